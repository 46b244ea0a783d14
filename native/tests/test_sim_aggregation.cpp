#include <algorithm>
#include <random>
#include <vector>

#include "check.hpp"
#include "shoestring/sim/aggregation.hpp"

using namespace shoestring::sim;

namespace {

struct Graph {
  std::vector<std::int64_t> indptr{0};
  std::vector<std::int32_t> indices;
  std::int64_t num_sources = 0;
};

Graph rows(const std::vector<std::vector<std::int32_t>>& lists, std::int64_t num_sources) {
  Graph g;
  g.num_sources = num_sources;
  for (const auto& list : lists) {
    g.indices.insert(g.indices.end(), list.begin(), list.end());
    g.indptr.push_back(static_cast<std::int64_t>(g.indices.size()));
  }
  return g;
}

Graph random_graph(std::uint32_t seed, int num) {
  std::mt19937 draw(seed);
  std::vector<std::vector<std::int32_t>> lists(static_cast<std::size_t>(num));
  for (auto& list : lists) {
    std::uniform_int_distribution<std::int32_t> source(0, num - 1);
    for (auto k = draw() % 9; k > 0; --k) list.push_back(source(draw));
    std::sort(list.begin(), list.end());
  }
  return rows(lists, num);
}

// One engine, two channels (lines alternate), and nothing written.
AggregationOptions plain() {
  AggregationOptions o;
  o.engines = 1;
  o.sets = 4;
  o.ways = 2;
  o.dram.channel = {0, 1};
  o.dram.group = {1, 1};
  o.dram.bank = {4, 1};
  o.dram.row = {5, 32};
  return o;
}

AggregationResult run(const Graph& g, const AggregationOptions& options, const std::vector<std::int64_t>& bounds) {
  AggregationInput in;
  in.indptr = g.indptr;
  in.indices = g.indices;
  in.num_sources = g.num_sources;
  in.bounds = bounds;
  auto result = aggregate(in, options, [] { return true; });
  CHECK(result.ok());
  return std::move(result.value());
}

void one_line_takes_the_latency_of_a_row_miss_and_a_cycle() {
  const auto r = run(rows({{0}}, 1), plain(), {0, 1});
  CHECK(r.cycles == 45);  // asked for at 0, there at 14 + 14 + 14 + 2, consumed
  CHECK(r.misses == 1 && r.tiles[0].cold == 1 && r.accesses == 1);
  CHECK(r.topology_lines == 1);  // 2 row pointers and an edge, from the other channel
  CHECK(r.engine_cycles == std::vector<std::int64_t>{45});
}

void a_second_request_for_a_line_under_way_is_merged() {
  const auto r = run(rows({{0, 0}}, 1), plain(), {0, 1});
  CHECK(r.misses == 1 && r.merges == 1 && r.hits == 0);
  CHECK(r.cycles == 46);
}

void hits_take_a_cycle_each() {
  AggregationOptions o = plain();
  const std::int32_t zero = 0;
  AggregationInput in;
  const Graph g = rows({{0, 0, 0, 0}}, 1);
  const std::vector<std::int64_t> bounds{0, 1};
  in.indptr = g.indptr;
  in.indices = g.indices;
  in.num_sources = 1;
  in.bounds = bounds;
  in.pinned = {&zero, 1};
  auto result = aggregate(in, o, [] { return true; });
  const auto& r = result.value();
  CHECK(r.pinned_hits == 4 && r.misses == 0 && r.pinned_lines == 1);
  CHECK(r.engine_cycles[0] == 5);  // asked for at 0 .. 3, consumed from 1 on
}

void a_tile_puts_its_sum_aside_and_the_next_one_fetches_it() {
  AggregationOptions o = plain();
  o.output_lines = o.partial_lines = 1;
  // Lines: features 0 and 1, topology 2, partial sum 3, result 4; even ones lie in channel 0.
  const auto r = run(rows({{0, 1}}, 2), o, {0, 1, 2});
  CHECK(r.partial_write_lines == 1 && r.partial_read_lines == 1 && r.output_lines == 1);
  CHECK(r.tiles[0].partial_writes == 1 && r.tiles[1].partial_reads == 1);
  CHECK(r.tiles[0].cycles == 53);  // line 0 opens its row 7.5 cycles after topology opened one: 7.5 + 44, and one
  CHECK(r.tiles[1].cycles == 45);
  CHECK(r.cycles == 98);  // the result, asked for at 54, is out before
  CHECK(r.topology_lines == 1);  // 2 (4 * 2) + 16 bytes
}

void a_full_queue_holds_the_engine_back() {
  AggregationOptions o = plain();
  o.queue_lines = 1;
  const auto r = run(rows({{0, 2}}, 3), o, {0, 3});
  CHECK(r.queue_stall_cycles == 44);  // the second line is asked for at 45 instead of 1
  CHECK(r.cycles == 90);
}

void a_record_pointer_is_read_before_its_data() {
  AggregationOptions o = plain();
  o.pointer_bytes = 8;
  const auto r = run(rows({{0}}, 1), o, {0, 1});
  CHECK(r.accesses == 2 && r.misses == 2 && r.pointer_misses == 1);
  CHECK(r.cycles == 89);  // 44 for the pointer, 44 for the data, a cycle
}

void a_record_that_takes_longer_to_compute_than_to_read_counts_so() {
  AggregationOptions o = plain();
  o.compute = 10;
  const auto r = run(rows({{0, 0}}, 1), o, {0, 1});
  CHECK(r.cycles == 44 + 20);
}

void nothing_is_lost(std::uint32_t seed, const AggregationOptions& o, const std::vector<std::int64_t>& bounds) {
  const Graph g = random_graph(seed, 60);
  const auto r = run(g, o, bounds);
  const auto edges = static_cast<std::int64_t>(g.indices.size());
  CHECK(r.accesses == edges * o.lines);
  CHECK(r.hits + r.merges + r.misses == r.accesses);
  std::int64_t tiles = 0, seen = 0, misses = 0, cold = 0, written = 0, read = 0;
  for (std::size_t t = 0; t < r.tiles.size(); ++t) {
    tiles += bounds[t] != bounds[t + 1];
    seen += r.tiles[t].edges;
    misses += r.tiles[t].misses;
    cold += r.tiles[t].cold;
    written += r.tiles[t].partial_writes;
    read += r.tiles[t].partial_reads;
  }
  CHECK(seen == edges && misses == r.misses && cold <= misses && written == read);
  CHECK(r.output_lines == 60 * o.output_lines);
  CHECK(r.topology_lines == (8 * edges + 4 * 61 * tiles + 63) / 64);
  CHECK(r.row_hits + r.row_misses ==
        r.misses + r.topology_lines + r.partial_write_lines + r.partial_read_lines + r.output_lines);
  CHECK(r.cycles >= r.dram_busy_cycles);
  for (const std::int64_t busy : r.engine_cycles) CHECK(busy <= r.cycles);
}

void slower_parts_are_never_faster(std::uint32_t seed) {
  const Graph g = random_graph(seed, 60);
  const std::vector<std::int64_t> bounds{0, 20, 21, 60};
  AggregationOptions o = plain();
  o.engines = 3;
  o.strip = 4;
  o.lines = 3;
  o.region_lines = 3;
  o.queue_lines = 8;
  o.output_lines = o.partial_lines = 3;
  const auto before = run(g, o, bounds);
  const auto check = [&](auto change) {
    AggregationOptions slower = o;
    change(slower);
    const auto after = run(g, slower, bounds);
    CHECK(after.cycles >= before.cycles && after.misses == before.misses);
  };
  check([](AggregationOptions& s) { s.dram.burst *= 2; });
  check([](AggregationOptions& s) { s.dram.read += 5; });
  check([](AggregationOptions& s) { s.dram.row_cycle *= 1.5; });
  check([](AggregationOptions& s) { s.dram.four_activates += 7; });
  check([](AggregationOptions& s) { s.dram.column += 3; });
  check([](AggregationOptions& s) { s.dram.refresh_share = 0.1; });
  check([](AggregationOptions& s) { s.queue_lines = 4; });
  check([](AggregationOptions& s) { s.max_outstanding = 3; });
  check([](AggregationOptions& s) { s.hit_cycles = 9; });
  check([](AggregationOptions& s) { s.compute = 4; });
}

void a_run_can_be_interrupted() {
  const Graph g = rows({std::vector<std::int32_t>(3 << 20, 0)}, 1);
  AggregationInput in;
  const std::vector<std::int64_t> bounds{0, 1};
  in.indptr = g.indptr;
  in.indices = g.indices;
  in.num_sources = 1;
  in.bounds = bounds;
  int asked = 0;
  const auto result = aggregate(in, plain(), [&] { return ++asked < 2; });
  CHECK(!result.ok() && asked == 2);
}

}  // namespace

int main() {
  one_line_takes_the_latency_of_a_row_miss_and_a_cycle();
  a_second_request_for_a_line_under_way_is_merged();
  hits_take_a_cycle_each();
  a_tile_puts_its_sum_aside_and_the_next_one_fetches_it();
  a_full_queue_holds_the_engine_back();
  a_record_pointer_is_read_before_its_data();
  a_record_that_takes_longer_to_compute_than_to_read_counts_so();
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    AggregationOptions o = plain();
    o.engines = 1 + seed % 5;
    o.strip = 1 + seed % 7;
    o.lines = 1 + seed % 3;
    o.region_lines = o.lines + seed % 2;
    o.policy = static_cast<Policy>(seed % 3);
    o.output_lines = o.partial_lines = 1 + seed % 2;
    nothing_is_lost(seed, o, {0, 60});
    nothing_is_lost(seed, o, {0, 0, 13, 13, 40, 60});
    slower_parts_are_never_faster(seed);
  }
  a_run_can_be_interrupted();
  return check::report();
}
