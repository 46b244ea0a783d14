#pragma once
// One aggregation phase of a graph accelerator on a cold cache: for every tile of sources, engines walk their
// destinations and fetch the record of each source through a shared cache. Lines are made on the fly.
// Engines take turns, an edge each, so hits do not depend on timing. All else is in Aggregation.run's docstring.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "shoestring/sim/banks.hpp"
#include "shoestring/sim/cache.hpp"
#include "shoestring/util/result.hpp"

namespace shoestring::sim {

struct AggregationInput {
  std::span<const std::int64_t> indptr;    // destinations + 1
  std::span<const std::int32_t> indices;   // sources, rising in a row
  std::int64_t num_sources = 0;
  std::span<const std::int64_t> bounds;    // tiles + 1, from 0 to num_sources
  std::span<const std::uint16_t> lines;    // of each record; empty: options.lines
  std::span<const std::uint16_t> compute;  // cycles of each record; empty: options.compute
  std::span<const std::int64_t> offsets;   // first line of each record; empty: in place
  std::span<const std::int32_t> order;     // destinations by rank; empty: by id
  std::span<const std::int32_t> pinned;    // sources that always hit
};

struct AggregationOptions {
  std::uint32_t lines = 1;
  std::uint32_t compute = 0;
  std::int64_t region_lines = 1;
  std::uint32_t pointer_bytes = 0;
  std::int64_t strip = 32;
  std::uint32_t output_lines = 0;
  std::uint32_t partial_lines = 0;
  std::uint32_t edge_bytes = 8;
  bool trace = false;

  std::uint64_t sets = 512;
  std::uint32_t ways = 16;
  Policy policy = Policy::kLru;
  std::uint32_t line_bytes = 64;
  std::uint32_t engines = 8;
  std::uint32_t queue_lines = 256;
  std::uint32_t max_outstanding = 10240;
  std::uint32_t hit_cycles = 1;
  BankTiming dram;
};

struct TileCounts {
  std::int64_t misses = 0, cold = 0, edges = 0, partial_writes = 0, partial_reads = 0, cycles = 0;
};

struct Traced {
  std::vector<std::int64_t> line, cycle;
  std::vector<std::uint8_t> write;
};

struct AggregationResult {
  std::int64_t cycles = 0, dram_busy_cycles = 0;
  std::int64_t accesses = 0, hits = 0, merges = 0, misses = 0, pinned_hits = 0, pointer_misses = 0;
  std::int64_t pinned_lines = 0, topology_lines = 0, partial_write_lines = 0, partial_read_lines = 0, output_lines = 0;
  std::int64_t row_hits = 0, row_misses = 0, queue_stall_cycles = 0, outstanding_stall_cycles = 0;
  std::vector<std::int64_t> engine_cycles;
  std::vector<TileCounts> tiles;
  Traced trace;
};

// `go_on` is asked now and then; where it says no, the run ends with an error of kind `unsupported`.
// The arrays are trusted (the Python face checks them). O(edges + accesses + destinations * tiles).
[[nodiscard]] Result<AggregationResult> aggregate(const AggregationInput& input, const AggregationOptions& options,
                                                  const std::function<bool()>& go_on);

}  // namespace shoestring::sim
