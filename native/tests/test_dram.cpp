#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "check.hpp"
#include "shoestring/sim/dram_checker.hpp"
#include "shoestring/sim/dram_controller.hpp"

namespace sim = shoestring::sim;
using Field = sim::AddressField;

namespace {

const std::vector<sim::AddressBits> kMap{
    {Field::kGroup, 2}, {Field::kRank, 1}, {Field::kColumn, 7}, {Field::kBank, 2}, {Field::kRow, 16}};

sim::DramTiming ddr4() { return {16, 11, 4, 16, 16, 36, 4, 6, 23, 4, 6, 3, 8, 16, 8, 1, 374, 8328}; }

sim::DramSpec spec(std::int32_t queue = 64) {
  return sim::DramSpec::make({1, 2, 4, 4, 65536, 128}, ddr4(), kMap, queue, false).value();
}

struct Stream {
  std::vector<std::uint64_t> accesses;
  std::vector<std::uint8_t> writes;
  std::vector<std::int64_t> arrivals;
  sim::DramRequests view() const { return {accesses, writes, arrivals}; }
};

Stream random_stream(std::size_t n, std::uint64_t seed, std::uint64_t lines) {
  std::mt19937_64 draw(seed);
  Stream out;
  std::int64_t clock = 0;
  for (std::size_t i = 0; i < n; ++i) {
    out.accesses.push_back(draw() % lines);
    out.writes.push_back(draw() % 3 == 0);
    clock += static_cast<std::int64_t>(draw() % 7);
    out.arrivals.push_back(clock);
  }
  return out;
}

void every_request_is_served_once_and_legally() {
  for (const std::int32_t queue : {2, 8, 64}) {
    for (const std::uint64_t lines : {4ULL, 300ULL, 1ULL << 22U}) {
      const auto stream = random_stream(4000, lines + static_cast<std::uint64_t>(queue), lines);
      std::vector<std::int64_t> finish(stream.accesses.size(), -1);
      auto result = sim::simulate_dram(spec(queue), stream.view(), {true, finish, {}});
      CHECK(result.ok());
      const auto& report = result.value();
      CHECK(report.reads + report.writes == 4000);
      CHECK(sim::check_commands(spec(queue), report.commands, report.cycles, 10).empty());
      CHECK(report.num_commands() == static_cast<std::int64_t>(report.commands.size()));
      CHECK(*std::max_element(finish.begin(), finish.end()) == report.cycles);
      std::multiset<std::tuple<bool, int, int, int, int, int>> asked, served;
      const auto key = [](bool write, const sim::DramAddress& a) {
        return std::tuple{write, a.rank, a.group, a.bank, a.row, a.column};
      };
      const auto device = spec(queue);
      for (std::size_t i = 0; i < stream.accesses.size(); ++i) {
        asked.insert(key(stream.writes[i] != 0, device.map.decode(stream.accesses[i])));
        CHECK(finish[i] >= stream.arrivals[i] + (stream.writes[i] != 0 ? 15 : 20));
      }
      for (const auto& c : report.commands) {
        if (sim::is_column(c.command)) served.insert(key(c.command == sim::DramCommand::kWrite, c.address));
      }
      CHECK(asked == served);
    }
  }
}

void requests_to_one_address_keep_their_order() {
  const auto stream = random_stream(3000, 5, 16);
  std::vector<std::int64_t> finish(stream.accesses.size(), -1);
  CHECK(sim::simulate_dram(spec(16), stream.view(), {false, finish, {}}).ok());
  std::vector<std::int64_t> last(16, -1);
  for (std::size_t i = 0; i < finish.size(); ++i) {
    const auto issued = finish[i] - (stream.writes[i] != 0 ? 15 : 20);
    auto& before = last[static_cast<std::size_t>(stream.accesses[i])];
    CHECK(issued > before);
    before = issued;
  }
}

void a_run_can_be_cancelled() {
  const auto stream = random_stream(200'000, 1, 1 << 20);
  int asked = 0;
  auto result = sim::simulate_dram(spec(), stream.view(), {false, {}, [&] { return ++asked == 2; }});
  CHECK(!result.ok());
  CHECK(asked == 2);
}

void requests_that_contradict_each_other_are_errors() {
  Stream stream{{1, 2}, {0}, {}};
  CHECK(!sim::simulate_dram(spec(), stream.view(), {}).ok());
  stream.writes.push_back(0);
  stream.arrivals = {4, 3};
  auto result = sim::simulate_dram(spec(), stream.view(), {});
  CHECK(!result.ok() && result.error().offset == 1);
  std::vector<std::int64_t> finish(1);
  stream.arrivals.clear();
  CHECK(!sim::simulate_dram(spec(), stream.view(), {false, finish, {}}).ok());
}

void specs_that_cannot_be_are_errors() {
  const auto fails = [](sim::DramGeometry g, sim::DramTiming t, std::int32_t queue, const char* name) {
    auto made = sim::DramSpec::make(g, t, kMap, queue, false);
    return !made.ok() && made.error().kind == shoestring::ErrorKind::config &&
           made.error().text.find(name) != std::string::npos;
  };
  const sim::DramGeometry good{1, 2, 4, 4, 65536, 128};
  auto timing = ddr4();
  CHECK(fails({1, 3, 4, 4, 65536, 128}, timing, 64, "ranks=3"));
  CHECK(fails({1, 1, 4, 4, 65536, 128}, timing, 64, "ranks"));
  CHECK(fails(good, timing, 1, "queue=1"));
  timing.t_rp = 0;
  CHECK(fails(good, timing, 64, "t_rp=0"));
  timing = ddr4();
  timing.t_refi = 500;
  CHECK(fails(good, timing, 64, "t_refi=500"));
}

}  // namespace

int main() {
  every_request_is_served_once_and_legally();
  requests_to_one_address_keep_their_order();
  a_run_can_be_cancelled();
  requests_that_contradict_each_other_are_errors();
  specs_that_cannot_be_are_errors();
  return check::report();
}
