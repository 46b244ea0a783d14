#include <list>
#include <random>
#include <vector>

#include "check.hpp"
#include "shoestring/sim/cache.hpp"

using namespace shoestring::sim;

namespace {

// Textbook LRU or FIFO: a list a set, newest first.
class Listed {
  std::vector<std::list<std::uint32_t>> sets_;
  std::size_t ways_;
  bool moves_;

 public:
  Listed(std::size_t sets, std::size_t ways, bool moves) : sets_(sets), ways_(ways), moves_(moves) {}
  bool access(std::uint32_t line) {
    auto& set = sets_[line % sets_.size()];
    for (auto it = set.begin(); it != set.end(); ++it) {
      if (*it != line) continue;
      if (moves_) set.splice(set.begin(), set, it);
      return true;
    }
    set.push_front(line);
    if (set.size() > ways_) set.pop_back();
    return false;
  }
};

template <Policy policy>
void equals_lists(std::size_t sets, unsigned ways, std::uint32_t lines) {
  Cache<policy> cache(sets, ways);
  Listed listed(sets, ways, policy == Policy::kLru);
  std::mt19937 draw(7);
  for (int i = 0; i < 20'000; ++i) {
    const auto line = static_cast<std::uint32_t>(draw() % lines);
    CHECK(cache.access(line).hit == listed.access(line));
  }
}

void a_rereferenced_line_outlives_a_scan_under_rrip() {
  Cache<Policy::kRrip> cache(1, 4);
  for (const std::uint32_t line : {1U, 2U, 3U, 4U}) CHECK(!cache.access(line).hit);
  CHECK(cache.access(1).hit);                  // predictions: 1 -> 0, others 2
  for (const std::uint32_t line : {5U, 6U, 7U}) CHECK(!cache.access(line).hit);  // take the places of 2, 3, 4
  CHECK(cache.access(1).hit);
  CHECK(!cache.access(2).hit);
}

void the_slot_of_a_line_stays_the_same_while_it_is_there() {
  Cache<Policy::kLru> cache(2, 3);
  const std::size_t place = cache.access(4).index;
  CHECK(place < cache.slots());
  (void)cache.access(6);
  CHECK(cache.access(4).index == place);
  CHECK(cache.access(8).index != place);
}

}  // namespace

int main() {
  for (const unsigned ways : {1U, 2U, 3U, 4U, 8U, 15U, 16U}) {
    for (const std::size_t sets : {1U, 2U, 8U}) {
      const auto lines = static_cast<std::uint32_t>(sets * ways * 2 + 1);
      equals_lists<Policy::kLru>(sets, ways, lines);
      equals_lists<Policy::kFifo>(sets, ways, lines);
    }
  }
  a_rereferenced_line_outlives_a_scan_under_rrip();
  the_slot_of_a_line_stays_the_same_while_it_is_there();
  return check::report();
}
