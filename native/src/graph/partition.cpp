#include "shoestring/graph/partition.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <thread>
#include <utility>

namespace shoestring::graph {
namespace {

constexpr std::size_t kChunks = 256;  // fixed, so that sums do not depend on the number of threads

std::uint64_t mix(std::uint64_t x) noexcept {  // splitmix64's finaliser
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31U);
}

double uniform(std::uint64_t seed, std::uint64_t iteration, std::uint64_t vertex) noexcept {
  const std::uint64_t bits = mix(mix(mix(seed) ^ iteration) ^ vertex) >> 11U;
  return static_cast<double>(bits) * 0x1.0p-53;
}

// Wishes of one vertex.
struct Preference {
  std::int32_t first = -1;   // -1: stays
  std::int32_t second = -1;  // where it would go otherwise; -1 with one part
};

// Parts sorted by load, and the score that an empty neighbourhood gives.
struct Loads {
  std::vector<double> penalty;          // |P_j| / C
  std::vector<std::int32_t> by_load;    // least loaded first, ties by id
};

class Propagation {
 public:
  Propagation(CsrView graph, std::span<std::int32_t> labels, const PropagationOptions& options)
      : graph_(graph),
        labels_(labels),
        options_(options),
        sizes_(static_cast<std::size_t>(options.parts), 0),
        wishes_(labels.size()),
        chunk_scores_(kChunks, 0.0),
        bounds_(chunk_bounds()) {
    for (const auto label : labels_) ++sizes_[static_cast<std::size_t>(label)];
    const double mean = static_cast<double>(labels.size()) / options.parts;
    // At least the mean rounded up, or a balanced start would already be over the limit.
    limit_ = std::max(static_cast<std::int64_t>(options.capacity * mean),
                      static_cast<std::int64_t>(std::ceil(mean)));
  }

  PropagationResult run() {
    PropagationResult out;
    std::int32_t idle = 0;
    double last = -std::numeric_limits<double>::infinity();
    for (std::int32_t i = 0; i < options_.max_iterations && idle < options_.patience; ++i) {
      measure_loads();
      find_wishes();
      const double score = std::accumulate(chunk_scores_.begin(), chunk_scores_.end(), 0.0) /
                           static_cast<double>(std::max<std::size_t>(labels_.size(), 1));
      idle = score - last < options_.tolerance * std::max(std::abs(last), 1e-12) ? idle + 1 : 0;
      last = score;
      const auto moved = options_.moves == Moves::kSwitching ? switch_groups() : draw_moves(i);
      out.scores.push_back(score);
      out.moved.push_back(moved);
      ++out.iterations;
      if (moved == 0) break;
    }
    return out;
  }

 private:
  // Vertex ranges of about equal edges; as many for every number of threads.
  std::vector<std::int32_t> chunk_bounds() const {
    std::vector<std::int32_t> bounds(kChunks + 1, 0);
    const auto n = graph_.num_vertices();
    const std::int64_t work = graph_.indptr.back() + n;
    std::int32_t v = 0;
    for (std::size_t c = 1; c <= kChunks; ++c) {
      const auto target = static_cast<std::int64_t>(static_cast<double>(work) * static_cast<double>(c) / kChunks);
      while (v < n && graph_.indptr[static_cast<std::size_t>(v)] + v < target) ++v;
      bounds[c] = c == kChunks ? n : v;
    }
    return bounds;
  }

  void measure_loads() {
    const auto parts = sizes_.size();
    loads_.penalty.resize(parts);
    loads_.by_load.resize(parts);
    for (std::size_t j = 0; j < parts; ++j) {
      loads_.penalty[j] = static_cast<double>(sizes_[j]) / static_cast<double>(limit_);
    }
    std::iota(loads_.by_load.begin(), loads_.by_load.end(), 0);
    std::stable_sort(loads_.by_load.begin(), loads_.by_load.end(), [this](std::int32_t a, std::int32_t b) {
      return sizes_[static_cast<std::size_t>(a)] < sizes_[static_cast<std::size_t>(b)];
    });
  }

  void find_wishes() {
    const auto threads = static_cast<std::size_t>(std::max(options_.threads, 1));
    std::vector<std::thread> pool;
    for (std::size_t t = 1; t < threads; ++t) pool.emplace_back([this, t, threads] { search(t, threads); });
    search(0, threads);
    for (auto& thread : pool) thread.join();
  }

  void search(std::size_t thread, std::size_t threads) {
    std::vector<std::int32_t> count(sizes_.size(), 0);
    std::vector<std::int32_t> touched;
    touched.reserve(sizes_.size());
    for (std::size_t chunk = thread; chunk < kChunks; chunk += threads) {
      double score = 0.0;
      for (std::int32_t v = bounds_[chunk]; v < bounds_[chunk + 1]; ++v) score += judge(v, count, touched);
      chunk_scores_[chunk] = score;
    }
  }

  // Score of the vertex where it is; leaves its wishes.
  double judge(std::int32_t v, std::vector<std::int32_t>& count, std::vector<std::int32_t>& touched) {
    const auto row = static_cast<std::size_t>(v);
    const auto begin = graph_.indptr[row];
    const auto end = graph_.indptr[row + 1];
    const auto own = labels_[row];
    const double own_penalty = loads_.penalty[static_cast<std::size_t>(own)];
    wishes_[row] = Preference{};
    if (begin == end) return -own_penalty;  // no neighbour: it costs nobody anything where it is
    for (auto e = begin; e < end; ++e) {
      const auto label = labels_[static_cast<std::size_t>(graph_.indices[static_cast<std::size_t>(e)])];
      if (count[static_cast<std::size_t>(label)]++ == 0) touched.push_back(label);
    }
    const double share = 1.0 / static_cast<double>(end - begin);
    const double own_score = count[static_cast<std::size_t>(own)] * share - own_penalty;
    Best best;
    for (const auto j : touched) {
      const auto at = static_cast<std::size_t>(j);
      best.offer(j, count[at] * share - loads_.penalty[at]);
    }
    // Of the parts without a neighbour, the least loaded two can matter.
    std::int32_t spare = 0;
    for (std::size_t k = 0; k < loads_.by_load.size() && spare < 2; ++k) {
      const auto j = loads_.by_load[k];
      const auto at = static_cast<std::size_t>(j);
      if (count[at] == 0) {
        best.offer(j, -loads_.penalty[at]);
        ++spare;
      }
    }
    for (const auto j : touched) count[static_cast<std::size_t>(j)] = 0;
    touched.clear();
    if (best.first != own && best.first_score > own_score) wishes_[row] = {best.first, best.second};
    return own_score;
  }

  // The two best parts; at equal scores the smaller id.
  struct Best {
    std::int32_t first = -1;
    std::int32_t second = -1;
    double first_score = -std::numeric_limits<double>::infinity();
    double second_score = -std::numeric_limits<double>::infinity();

    void offer(std::int32_t j, double score) noexcept {
      if (score > first_score || (score == first_score && j < first)) {
        second = std::exchange(first, j);
        second_score = std::exchange(first_score, score);
      } else if (score > second_score || (score == second_score && j < second)) {
        second = j;
        second_score = score;
      }
    }
  };

  void move(std::int32_t v, std::int32_t to) {
    --sizes_[static_cast<std::size_t>(labels_[static_cast<std::size_t>(v)])];
    ++sizes_[static_cast<std::size_t>(to)];
    labels_[static_cast<std::size_t>(v)] = to;
  }

  // Room of every part before anybody moves.
  std::vector<std::int64_t> rooms() const {
    std::vector<std::int64_t> room(sizes_.size());
    for (std::size_t j = 0; j < room.size(); ++j) room[j] = std::max<std::int64_t>(limit_ - sizes_[j], 0);
    return room;
  }

  // Candidates of a part move in groups that share a second preference, the largest group first.
  std::int64_t switch_groups() {
    auto room = rooms();
    const auto parts = static_cast<std::uint64_t>(sizes_.size());
    std::vector<std::uint64_t> keys;  // (first, second, vertex) packed: sorted, groups are runs
    const bool grouped = options_.group_by_second;
    for (std::size_t v = 0; v < wishes_.size(); ++v) {
      const auto wish = wishes_[v];
      if (wish.first < 0) continue;
      const auto second = grouped && wish.second >= 0 ? static_cast<std::uint64_t>(wish.second) : 0;
      keys.push_back((static_cast<std::uint64_t>(wish.first) * parts + second) << 32U | v);
    }
    std::sort(keys.begin(), keys.end());
    struct Group {
      std::size_t begin, end;
    };
    std::vector<Group> groups;
    std::int64_t moved = 0;
    for (std::size_t i = 0; i < keys.size();) {
      const auto target = (keys[i] >> 32U) / parts;
      groups.clear();
      while (i < keys.size() && (keys[i] >> 32U) / parts == target) {
        const auto begin = i;
        const auto pair = keys[i] >> 32U;
        while (i < keys.size() && keys[i] >> 32U == pair) ++i;
        groups.push_back({begin, i});
      }
      std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
        return a.end - a.begin > b.end - b.begin;
      });
      for (const auto& group : groups) {
        for (auto k = group.begin; k < group.end && room[target] > 0; ++k, --room[target], ++moved) {
          move(static_cast<std::int32_t>(keys[k] & 0xffffffffU), static_cast<std::int32_t>(target));
        }
      }
    }
    return moved;
  }

  // Spinner: every candidate moves with the probability that the room over the candidates gives.
  std::int64_t draw_moves(std::int32_t iteration) {
    auto room = rooms();
    std::vector<std::int64_t> candidates(sizes_.size(), 0);
    for (const auto& wish : wishes_) {
      if (wish.first >= 0) ++candidates[static_cast<std::size_t>(wish.first)];
    }
    std::vector<double> chance(sizes_.size(), 0.0);
    for (std::size_t j = 0; j < chance.size(); ++j) {
      if (candidates[j] > 0) {
        chance[j] = static_cast<double>(room[j]) / static_cast<double>(candidates[j]);
      }
    }
    std::int64_t moved = 0;
    for (std::size_t v = 0; v < wishes_.size(); ++v) {
      const auto target = wishes_[v].first;
      if (target < 0) continue;
      const auto at = static_cast<std::size_t>(target);
      const auto draw = uniform(options_.seed, static_cast<std::uint64_t>(iteration), v);
      if (draw < chance[at] && room[at] > 0) {  // room: a lucky streak may not pass the limit either
        move(static_cast<std::int32_t>(v), target);
        --room[at];
        ++moved;
      }
    }
    return moved;
  }

  CsrView graph_;
  std::span<std::int32_t> labels_;
  PropagationOptions options_;
  std::vector<std::int64_t> sizes_;
  std::vector<Preference> wishes_;
  std::vector<double> chunk_scores_;
  std::vector<std::int32_t> bounds_;
  std::int64_t limit_ = 0;
  Loads loads_;
};

}  // namespace

PropagationResult propagate_labels(CsrView graph, std::span<std::int32_t> labels,
                                   const PropagationOptions& options) {
  return Propagation(graph, labels, options).run();
}

void breadth_first_order(CsrView graph, std::int32_t start, std::span<std::int32_t> order) {
  const auto n = graph.num_vertices();
  std::vector<bool> seen(static_cast<std::size_t>(n), false);
  std::size_t head = 0;
  std::size_t tail = 0;
  const auto visit = [&](std::int32_t v) {
    if (!seen[static_cast<std::size_t>(v)]) {
      seen[static_cast<std::size_t>(v)] = true;
      order[tail++] = v;
    }
  };
  for (std::int32_t offset = 0; offset < n; ++offset) {
    visit(static_cast<std::int32_t>((static_cast<std::int64_t>(start) + offset) % n));
    for (; head < tail; ++head) {
      const auto v = static_cast<std::size_t>(order[head]);
      for (auto e = graph.indptr[v]; e < graph.indptr[v + 1]; ++e) {
        visit(graph.indices[static_cast<std::size_t>(e)]);
      }
    }
  }
}

}  // namespace shoestring::graph
