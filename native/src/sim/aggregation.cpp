#include "shoestring/sim/aggregation.hpp"

#include <algorithm>
#include <limits>
#include <new>

namespace shoestring::sim {

namespace {

constexpr std::int32_t kNoSource = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kAskEvery = 1 << 20;  // edges between two looks at go_on
constexpr std::uint32_t kPointersAhead = 64;  // records of an engine whose pointers are read before the first one's data

// Where the streams begin, in lines; features at 0.
struct Layout {
  std::uint64_t pointers = 0, topology = 0, partials = 0, outputs = 0;
};

// What is left of a vertex, by rank.
struct Vertex {
  std::int64_t edge = 0;   // the next one
  std::int32_t edges = 0;  // number of them
  bool begun = false;
};

// A vertex with edges in this tile, and how many of its engine's ranks lie between it and the one before.
struct Visit {
  std::int32_t rank = 0;
  std::uint32_t passed = 0;
};

struct Engine {
  std::size_t first = 0, next = 0, last = 0;  // its visits of this tile: begin, the one to come, end
  std::uint32_t passed = 0;                   // ranks behind the last visit
  std::int64_t edge = 0, end = 0, rank = 0;   // of the vertex under way
  std::int64_t issue = 0, consumed = 0;       // next free cycle of the request port; end of the last consumption
  std::int64_t busy = 0;
  std::size_t slot = 0;                       // of the queue's ring
  std::uint32_t oldest = 0, ahead = 0;        // of the records whose pointers were read: the first one, their number
};

// A record whose pointer was read.
struct Pointed {
  std::uint32_t source = 0;
  std::int64_t ready = 0;  // its address is known
};

inline void prefetch(const void* at) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(at);
#else
  (void)at;
#endif
}

template <Policy policy>
class Run {
  const AggregationInput& in_;
  const AggregationOptions& opt_;
  Cache<policy> cache_;
  Banks banks_;
  std::vector<std::int64_t> filled_;       // cycle at which each slot's line is there
  std::vector<std::int64_t> queue_;        // ends of consumption, queue_lines an engine
  std::vector<std::int64_t> outstanding_;  // fill cycles of the last misses, a ring
  std::size_t oldest_ = 0;
  std::vector<Vertex> vertices_;           // by rank
  std::vector<std::int32_t> next_;         // by rank: source of the next edge, kNoSource when none is left
  std::vector<Visit> visits_;              // of this tile, engine by engine
  std::vector<std::uint64_t> touched_;     // a bit a line
  std::vector<std::uint8_t> pinned_;
  std::vector<Engine> engines_;
  std::vector<Pointed> pointed_;           // kPointersAhead an engine
  std::int64_t ranks_ = 0;
  Layout at_;
  std::uint64_t topology_bytes_ = 0, topology_lines_ = 0;
  unsigned line_shift_;
  std::int64_t until_asked_ = kAskEvery;
  AggregationResult out_;
  TileCounts* tile_ = nullptr;

  [[nodiscard]] std::int64_t vertex(std::int64_t rank) const {
    return in_.order.empty() ? rank : in_.order[static_cast<std::size_t>(rank)];
  }
  std::int64_t dram(std::uint64_t line, std::int64_t cycle, bool write) {
    if (opt_.trace) {
      out_.trace.line.push_back(static_cast<std::int64_t>(line));
      out_.trace.cycle.push_back(cycle);
      out_.trace.write.push_back(write);
    }
    return banks_.access(line, cycle, write);
  }

  void stream_topology(std::uint64_t bytes, std::int64_t cycle) {
    topology_bytes_ += bytes;
    while (topology_lines_ << line_shift_ < topology_bytes_) dram(at_.topology + topology_lines_++, cycle, false);
  }

  // Streams are posted at the time of the requests around them: a later time would make requests of the other engines,
  // which come after this one in turn but not in time, wait for it.
  void stream_row(std::uint64_t base, std::int64_t rank, std::uint32_t lines, std::int64_t cycle, bool write) {
    const std::uint64_t first = base + static_cast<std::uint64_t>(vertex(rank)) * lines;
    for (std::uint32_t k = 0; k < lines; ++k) dram(first + k, cycle, write);
  }

  // Sends one line of engine `e` through the cache, not before `earliest`; returns when its data are there.
  std::int64_t look_up(std::uint32_t line, std::int64_t at, Engine& e, bool pointer) {
    const Slot slot = cache_.access(line);
    if (slot.hit) {
      const std::int64_t filled = filled_[slot.index];
      const std::int64_t ready = at + opt_.hit_cycles;
      if (filled <= at) {
        ++out_.hits;
        return ready;
      }
      ++out_.merges;
      return std::max(filled, ready);
    }
    ++out_.misses;
    out_.pointer_misses += pointer;
    ++tile_->misses;
    std::uint64_t& word = touched_[line / 64];
    const std::uint64_t bit = std::uint64_t{1} << (line % 64);
    tile_->cold += (word & bit) == 0;
    word |= bit;
    std::int64_t& oldest = outstanding_[oldest_];
    if (oldest > at) {  // as many misses as allowed are under way
      out_.outstanding_stall_cycles += oldest - at;
      at = oldest;
      e.issue = std::max(e.issue, at + 1);
    }
    const std::int64_t filled = dram(line, at, false);
    oldest = filled;
    if (++oldest_ == outstanding_.size()) oldest_ = 0;
    filled_[slot.index] = filled;
    return filled;
  }

  // Asks for a line as soon as port and queue allow, and consumes it in its turn; returns when its data are there.
  std::int64_t fetch(std::uint32_t line, std::int64_t earliest, Engine& e, std::int64_t* ring, bool pinned, bool pointer) {
    std::int64_t& place = ring[e.slot];
    if (++e.slot == opt_.queue_lines) e.slot = 0;
    std::int64_t at = e.issue;
    if (place > at) {
      out_.queue_stall_cycles += place - at;
      at = place;
    }
    e.issue = at + 1;
    at = std::max(at, earliest);
    ++out_.accesses;
    std::int64_t ready;
    if (pinned) {
      ++out_.pinned_hits;
      ready = at + opt_.hit_cycles;
    } else {
      ready = look_up(line, at, e, pointer);
    }
    e.consumed = std::max(e.consumed, ready) + 1;
    place = e.consumed;
    return ready;
  }

  // Reads a record, or, where a pointer comes first, its pointer, and the record whose turn it is: sources are known in
  // advance, so pointers run ahead. Without, records would be asked for at a later time than what the other engines ask
  // for after them in turn, and those would wait in the banks.
  void fetch_record(std::uint32_t source, Engine& e, std::int64_t* ring) {
    const bool pinned = !pinned_.empty() && pinned_[source] != 0;
    if (opt_.pointer_bytes == 0 || pinned) return fetch_data(source, 0, pinned, e, ring);
    const auto line = at_.pointers + (std::uint64_t{source} * opt_.pointer_bytes >> line_shift_);
    const std::int64_t ready = fetch(static_cast<std::uint32_t>(line), 0, e, ring, false, true);
    if (e.ahead == kPointersAhead) fetch_oldest(e, ring);
    pointed(e)[(e.oldest + e.ahead++) % kPointersAhead] = {source, ready};
  }

  Pointed* pointed(const Engine& e) {
    return pointed_.data() + static_cast<std::size_t>(&e - engines_.data()) * kPointersAhead;
  }

  void fetch_oldest(Engine& e, std::int64_t* ring) {
    const Pointed record = pointed(e)[e.oldest];
    e.oldest = (e.oldest + 1) % kPointersAhead;
    --e.ahead;
    fetch_data(record.source, record.ready, false, e, ring);
  }

  void fetch_data(std::uint32_t source, std::int64_t earliest, bool pinned, Engine& e, std::int64_t* ring) {
    const std::uint32_t lines = in_.lines.empty() ? opt_.lines : in_.lines[source];
    const std::uint32_t compute = in_.compute.empty() ? opt_.compute : in_.compute[source];
    const auto first = static_cast<std::uint32_t>(in_.offsets.empty() ? source * opt_.region_lines : in_.offsets[source]);
    std::int64_t begun = e.consumed;
    for (std::uint32_t k = 0; k < lines; ++k) {
      fetch(first + k, earliest, e, ring, pinned, false);
      if (k == 0) begun = e.consumed - 1;
    }
    if (begun + compute > e.consumed) {
      e.consumed = begun + compute;
      if (lines != 0) ring[e.slot == 0 ? opt_.queue_lines - 1 : e.slot - 1] = e.consumed;
    }
  }

  // Lists the vertices with an edge below `bound`, engine by engine. One sequential pass over next_.
  void find_visits(std::int32_t bound) {
    for (Engine& e : engines_) {
      e.next = e.last = e.first;
      e.passed = 0;
    }
    std::size_t turn = 0;
    for (std::int64_t strip = 0; strip < ranks_; strip += opt_.strip) {
      Engine& e = engines_[turn];
      if (++turn == engines_.size()) turn = 0;
      const std::int64_t end = std::min(strip + opt_.strip, ranks_);
      std::size_t last = e.last;
      std::uint32_t passed = e.passed;
      for (std::int64_t rank = strip; rank < end; ++rank) {
        const bool found = next_[static_cast<std::size_t>(rank)] < bound;
        visits_[last] = {static_cast<std::int32_t>(rank), ++passed};
        last += found;
        passed = found ? 0 : passed;
      }
      e.last = last;
      e.passed = passed;
    }
  }

  // Moves to the engine's next vertex of this tile; false when it has none left.
  bool next_vertex(Engine& e) {
    if (e.next == e.last) {
      stream_topology(std::uint64_t{4} * e.passed, e.issue);
      return false;
    }
    constexpr std::size_t kAhead = 4;
    if (e.next + 2 * kAhead < e.last) prefetch(&vertices_[static_cast<std::size_t>(visits_[e.next + 2 * kAhead].rank)]);
    if (e.next + kAhead < e.last) {
      prefetch(in_.indices.data() + vertices_[static_cast<std::size_t>(visits_[e.next + kAhead].rank)].edge);
    }
    const Visit& visit = visits_[e.next++];
    const Vertex& v = vertices_[static_cast<std::size_t>(visit.rank)];
    e.rank = visit.rank;
    e.edge = v.edge;
    e.end = v.edge + v.edges;
    stream_topology(std::uint64_t{4} * visit.passed, e.issue);  // row pointers
    if (v.begun) {
      ++tile_->partial_reads;
      stream_row(at_.partials, e.rank, opt_.partial_lines, e.issue, false);
    }
    return true;
  }

  void finish_vertex(Engine& e) {
    const auto rank = static_cast<std::size_t>(e.rank);
    vertices_[rank] = {e.edge, static_cast<std::int32_t>(e.end - e.edge), true};
    if (e.edge == e.end) {
      next_[rank] = kNoSource;
      out_.output_lines += opt_.output_lines;
      stream_row(at_.outputs, e.rank, opt_.output_lines, e.issue, true);
    } else {
      next_[rank] = in_.indices[static_cast<std::size_t>(e.edge)];
      ++tile_->partial_writes;
      stream_row(at_.partials, e.rank, opt_.partial_lines, e.issue, true);
    }
  }

  // One edge of engine `e`; false when it has done its last one of the tile.
  bool step(Engine& e, std::int64_t* ring, std::int32_t bound) {
    const auto source = static_cast<std::uint32_t>(in_.indices[static_cast<std::size_t>(e.edge)]);
    ++tile_->edges;
    stream_topology(opt_.edge_bytes, e.issue);
    fetch_record(source, e, ring);
    ++e.edge;
    if (e.edge < e.end && in_.indices[static_cast<std::size_t>(e.edge)] < bound) return true;
    finish_vertex(e);
    return next_vertex(e);
  }

  bool run_tile(std::int32_t bound, const std::function<bool()>& go_on) {
    const std::int64_t begun = engines_.front().consumed;
    find_visits(bound);
    std::vector<std::uint32_t> active;
    for (std::uint32_t i = 0; i < opt_.engines; ++i) {
      if (next_vertex(engines_[i])) active.push_back(i);
    }
    stream_topology(4, begun);  // the last row pointer
    while (!active.empty()) {
      until_asked_ -= static_cast<std::int64_t>(active.size());
      if (until_asked_ <= 0) {
        until_asked_ = kAskEvery;
        if (!go_on()) return false;
      }
      std::size_t kept = 0;
      for (const std::uint32_t i : active) {
        Engine& e = engines_[i];
        std::int64_t* ring = queue_.data() + std::size_t{i} * opt_.queue_lines;
        if (step(e, ring, bound)) {
          active[kept++] = i;
        } else {
          while (e.ahead != 0) fetch_oldest(e, ring);
        }
      }
      active.resize(kept);
    }
    std::int64_t last = begun;
    for (const Engine& e : engines_) last = std::max(last, e.consumed);
    for (Engine& e : engines_) {
      e.busy += e.consumed - begun;
      e.issue = e.consumed = last;
    }
    tile_->cycles = last - begun;
    return true;
  }

  void lay_out() {
    std::uint64_t data = 0;
    if (in_.offsets.empty()) {
      data = static_cast<std::uint64_t>(in_.num_sources * opt_.region_lines);
    } else {
      for (std::size_t u = 0; u < in_.offsets.size(); ++u) {
        const std::uint32_t lines = in_.lines.empty() ? opt_.lines : in_.lines[u];
        data = std::max(data, static_cast<std::uint64_t>(in_.offsets[u]) + lines);
      }
    }
    const auto vertices = static_cast<std::uint64_t>(ranks_);
    at_.pointers = data;
    const std::uint64_t pointer_lines =
        static_cast<std::uint64_t>(in_.num_sources) * opt_.pointer_bytes / opt_.line_bytes + (opt_.pointer_bytes != 0);
    touched_.resize((data + pointer_lines) / 64 + 1);
    at_.topology = at_.pointers + pointer_lines;
    const std::uint64_t tiles = in_.bounds.size();
    at_.partials = at_.topology + (in_.indices.size() * opt_.edge_bytes + 4 * (vertices + 1) * tiles) / opt_.line_bytes + 1;
    at_.outputs = at_.partials + vertices * opt_.partial_lines;
  }

  void prepare() {
    const auto ranks = static_cast<std::size_t>(ranks_);
    vertices_.resize(ranks);
    next_.resize(ranks);
    visits_.resize(ranks + 1);  // find_visits writes one behind the last
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const auto v = static_cast<std::size_t>(vertex(static_cast<std::int64_t>(rank)));
      const std::int64_t begin = in_.indptr[v];
      const std::int64_t degree = in_.indptr[v + 1] - begin;
      vertices_[rank] = {begin, static_cast<std::int32_t>(degree), false};
      next_[rank] = degree == 0 ? kNoSource : in_.indices[static_cast<std::size_t>(begin)];
      if (degree == 0) {  // nothing to sum: its result is written all the same
        out_.output_lines += opt_.output_lines;
        stream_row(at_.outputs, static_cast<std::int64_t>(rank), opt_.output_lines, 0, true);
      }
    }
    const std::int64_t turn = opt_.strip * static_cast<std::int64_t>(opt_.engines);
    std::size_t first = 0;
    for (std::size_t i = 0; i < engines_.size(); ++i) {
      engines_[i].first = first;
      const std::int64_t rest = ranks_ % turn - static_cast<std::int64_t>(i) * opt_.strip;
      first += static_cast<std::size_t>(ranks_ / turn * opt_.strip + std::clamp<std::int64_t>(rest, 0, opt_.strip));
    }
    if (in_.pinned.empty()) return;
    pinned_.resize(static_cast<std::size_t>(in_.num_sources));
    for (const std::int32_t source : in_.pinned) {
      const auto u = static_cast<std::size_t>(source);
      if (pinned_[u] != 0) continue;
      pinned_[u] = 1;
      const std::uint32_t lines = in_.lines.empty() ? opt_.lines : in_.lines[u];
      const auto first = static_cast<std::uint64_t>(in_.offsets.empty() ? source * opt_.region_lines : in_.offsets[u]);
      for (std::uint32_t k = 0; k < lines; ++k) dram(first + k, 0, false);
      out_.pinned_lines += lines;
    }
  }

 public:
  Run(const AggregationInput& input, const AggregationOptions& options)
      : in_(input),
        opt_(options),
        cache_(options.sets, options.ways),
        banks_(options.dram),
        filled_(cache_.slots()),
        queue_(std::size_t{options.engines} * options.queue_lines),
        outstanding_(options.max_outstanding),
        engines_(options.engines),
        pointed_(options.pointer_bytes == 0 ? 0 : std::size_t{options.engines} * kPointersAhead),
        ranks_(static_cast<std::int64_t>(input.indptr.size()) - 1),
        line_shift_(static_cast<unsigned>(std::countr_zero(options.line_bytes))) {}

  Result<AggregationResult> go(const std::function<bool()>& go_on) {
    lay_out();
    prepare();
    out_.tiles.resize(in_.bounds.size() - 1);
    for (std::size_t t = 0; t + 1 < in_.bounds.size(); ++t) {
      if (in_.bounds[t] == in_.bounds[t + 1]) continue;
      tile_ = &out_.tiles[t];
      const auto bound = static_cast<std::int32_t>(std::min<std::int64_t>(in_.bounds[t + 1], kNoSource));
      if (!run_tile(bound, go_on)) return Error{ErrorKind::unsupported, 0, -1, "the run was interrupted", ""};
    }
    for (const Engine& e : engines_) {
      out_.engine_cycles.push_back(e.busy);
      out_.cycles = std::max(out_.cycles, e.consumed);
    }
    out_.cycles = std::max(out_.cycles, banks_.drained());
    out_.dram_busy_cycles = banks_.busy();
    out_.row_hits = banks_.row_hits();
    out_.row_misses = banks_.row_misses();
    out_.topology_lines = static_cast<std::int64_t>(topology_lines_);
    for (const TileCounts& tile : out_.tiles) {
      out_.partial_write_lines += tile.partial_writes * opt_.partial_lines;
      out_.partial_read_lines += tile.partial_reads * opt_.partial_lines;
    }
    return std::move(out_);
  }
};

}  // namespace

Result<AggregationResult> aggregate(const AggregationInput& input, const AggregationOptions& options,
                                    const std::function<bool()>& go_on) {
  try {
    switch (options.policy) {
      case Policy::kLru:
        return Run<Policy::kLru>(input, options).go(go_on);
      case Policy::kFifo:
        return Run<Policy::kFifo>(input, options).go(go_on);
      case Policy::kRrip:
        return Run<Policy::kRrip>(input, options).go(go_on);
    }
  } catch (const std::bad_alloc&) {
    return Error{ErrorKind::memory, 0, -1,
                 options.trace ? "out of memory; a trace takes 17 bytes a DRAM line, so trace a smaller graph"
                               : "out of memory; give a smaller graph or cache",
                 ""};
  }
  return Error{ErrorKind::config, 0, -1, "an unknown cache policy; allowed are lru, fifo, rrip", ""};
}

}  // namespace shoestring::sim
