// Python's view of the accelerator core; arrays are borrowed and checked by type, the caller checks their content.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "bind.hpp"
#include "errors.hpp"
#include "shoestring/sim/aggregation.hpp"

namespace nb = nanobind;
namespace sim = shoestring::sim;
using namespace nb::literals;

namespace {

template <class T>
using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
std::span<const T> span_of(const In<T>& array) {
  return {array.data(), array.size()};
}

template <class T>
std::span<const T> span_of(const std::optional<In<T>>& array) {
  return array ? span_of(*array) : std::span<const T>{};
}

template <class T, class U = T>
Out<U> array_of(std::vector<T>&& values) {
  auto owner = std::make_unique<std::vector<T>>(std::move(values));
  auto* data = reinterpret_cast<U*>(owner->data());
  const std::size_t size = owner->size();
  nb::capsule keep(owner.get(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  owner.release();
  return Out<U>(data, {size}, keep);
}

sim::Policy policy_of(const std::string& name) {
  if (name == "fifo") return sim::Policy::kFifo;
  return name == "rrip" ? sim::Policy::kRrip : sim::Policy::kLru;
}

using Fields = std::array<std::pair<std::uint32_t, std::uint32_t>, 5>;  // (shift, count) of ch, ra, bg, ba, ro

void set_bits(sim::AggregationOptions& options, const Fields& fields) {
  sim::Bits* const to[] = {&options.dram.channel, &options.dram.rank, &options.dram.group, &options.dram.bank,
                           &options.dram.row};
  for (std::size_t i = 0; i < fields.size(); ++i) *to[i] = {fields[i].first, fields[i].second};
}

nb::dict counts_of(const sim::AggregationResult& r) {
  nb::dict d;
  d["cycles"] = r.cycles;
  d["dram_busy_cycles"] = r.dram_busy_cycles;
  d["accesses"] = r.accesses;
  d["hits"] = r.hits;
  d["merges"] = r.merges;
  d["misses"] = r.misses;
  d["pinned_hits"] = r.pinned_hits;
  d["pointer_misses"] = r.pointer_misses;
  d["pinned_lines"] = r.pinned_lines;
  d["topology_lines"] = r.topology_lines;
  d["partial_write_lines"] = r.partial_write_lines;
  d["partial_read_lines"] = r.partial_read_lines;
  d["output_lines"] = r.output_lines;
  d["row_hits"] = r.row_hits;
  d["row_misses"] = r.row_misses;
  d["queue_stall_cycles"] = r.queue_stall_cycles;
  d["outstanding_stall_cycles"] = r.outstanding_stall_cycles;
  return d;
}

nb::dict tiles_of(const std::vector<sim::TileCounts>& tiles) {
  nb::dict d;
  const auto column = [&](const char* name, std::int64_t sim::TileCounts::* field) {
    std::vector<std::int64_t> values;
    values.reserve(tiles.size());
    for (const auto& tile : tiles) values.push_back(tile.*field);
    d[name] = array_of(std::move(values));
  };
  column("misses", &sim::TileCounts::misses);
  column("cold", &sim::TileCounts::cold);
  column("edges", &sim::TileCounts::edges);
  column("partial_writes", &sim::TileCounts::partial_writes);
  column("partial_reads", &sim::TileCounts::partial_reads);
  column("cycles", &sim::TileCounts::cycles);
  return d;
}

nb::tuple run(const In<std::int64_t>& indptr, const In<std::int32_t>& indices, std::int64_t num_sources,
              const sim::AggregationOptions& options, const In<std::int64_t>& bounds,
              const std::optional<In<std::uint16_t>>& lines, const std::optional<In<std::uint16_t>>& compute,
              const std::optional<In<std::int64_t>>& offsets, const std::optional<In<std::int32_t>>& order,
              const std::optional<In<std::int32_t>>& pinned) {
  const sim::AggregationInput input{span_of(indptr),  span_of(indices), num_sources,    span_of(bounds), span_of(lines),
                                    span_of(compute), span_of(offsets), span_of(order), span_of(pinned)};
  const auto go_on = [] {
    const nb::gil_scoped_acquire locked;
    return PyErr_CheckSignals() == 0;
  };
  auto result = [&] {
    const nb::gil_scoped_release unlocked;
    return sim::aggregate(input, options, go_on);
  }();
  if (!result.ok() && PyErr_Occurred() != nullptr) throw nb::python_error();
  sim::AggregationResult r = unwrap(std::move(result));
  const nb::dict counts = counts_of(r);
  return nb::make_tuple(counts, tiles_of(r.tiles), array_of(std::move(r.engine_cycles)),
                        nb::make_tuple(array_of(std::move(r.trace.line)), array_of(std::move(r.trace.cycle)),
                                       array_of<std::uint8_t, bool>(std::move(r.trace.write))));
}

class CacheHandle {
  std::variant<sim::Cache<sim::Policy::kLru>, sim::Cache<sim::Policy::kFifo>, sim::Cache<sim::Policy::kRrip>> cache_;

  static decltype(cache_) make(std::size_t sets, unsigned ways, sim::Policy policy) {
    if (policy == sim::Policy::kFifo) return sim::Cache<sim::Policy::kFifo>(sets, ways);
    if (policy == sim::Policy::kRrip) return sim::Cache<sim::Policy::kRrip>(sets, ways);
    return sim::Cache<sim::Policy::kLru>(sets, ways);
  }

 public:
  CacheHandle(std::size_t sets, unsigned ways, const std::string& policy) : cache_(make(sets, ways, policy_of(policy))) {}

  void access(const In<std::uint32_t>& lines, const nb::ndarray<bool, nb::ndim<1>, nb::c_contig, nb::device::cpu>& hits) {
    const nb::gil_scoped_release unlocked;
    std::visit(
        [&](auto& cache) {
          for (std::size_t i = 0; i < lines.size(); ++i) hits.data()[i] = cache.access(lines.data()[i]).hit;
        },
        cache_);
  }
};

void bind_options(nb::module_& module) {
  using O = sim::AggregationOptions;
  nb::class_<O> c(module, "Options", "What `aggregate` takes; checked by shoestring.native.sim.");
  c.def(nb::init<>())
      .def_rw("lines", &O::lines)
      .def_rw("compute", &O::compute)
      .def_rw("region_lines", &O::region_lines)
      .def_rw("pointer_bytes", &O::pointer_bytes)
      .def_rw("strip", &O::strip)
      .def_rw("output_lines", &O::output_lines)
      .def_rw("partial_lines", &O::partial_lines)
      .def_rw("edge_bytes", &O::edge_bytes)
      .def_rw("trace", &O::trace)
      .def_rw("sets", &O::sets)
      .def_rw("ways", &O::ways)
      .def_rw("line_bytes", &O::line_bytes)
      .def_rw("engines", &O::engines)
      .def_rw("queue_lines", &O::queue_lines)
      .def_rw("max_outstanding", &O::max_outstanding)
      .def_rw("hit_cycles", &O::hit_cycles)
      .def("set_policy", [](O& o, const std::string& name) { o.policy = policy_of(name); }, "name"_a, "lru, fifo or rrip.")
      .def("set_bits", &set_bits, "fields"_a, "(shift, count) of channel, rank, group, bank and row.");
  const auto timing = [&](const char* name, double sim::BankTiming::* field) {
    c.def_prop_rw(
        name, [field](const O& o) { return o.dram.*field; }, [field](O& o, double value) { o.dram.*field = value; });
  };
  c.def_prop_rw("window", [](const O& o) { return o.dram.window; }, [](O& o, std::uint32_t v) { o.dram.window = v; });
  timing("refresh_share", &sim::BankTiming::refresh_share);
  timing("burst_cycles", &sim::BankTiming::burst);
  timing("read_cycles", &sim::BankTiming::read);
  timing("activate_cycles", &sim::BankTiming::activate);
  timing("precharge_cycles", &sim::BankTiming::precharge);
  timing("row_cycles", &sim::BankTiming::row_cycle);
  timing("column_cycles", &sim::BankTiming::column);
  timing("four_activates_cycles", &sim::BankTiming::four_activates);
  timing("write_turn_cycles", &sim::BankTiming::write_turn);
}

}  // namespace

void bind_sim(nb::module_& module) {
  bind_options(module);
  module.def("aggregate", &run, "indptr"_a.noconvert(), "indices"_a.noconvert(), "num_sources"_a, "options"_a,
             "bounds"_a.noconvert(), nb::kw_only(), "lines"_a.noconvert().none(), "compute"_a.noconvert().none(),
             "offsets"_a.noconvert().none(), "order"_a.noconvert().none(), "pinned"_a.noconvert().none(),
             "Aggregate one slice; return counts, columns of the tiles, cycles of the engines, and the trace.");
  nb::class_<CacheHandle>(module, "Cache", "Use shoestring.native.sim.Cache.")
      .def(nb::init<std::size_t, unsigned, const std::string&>(), "sets"_a, "ways"_a, "policy"_a)
      .def("access", &CacheHandle::access, "lines"_a.noconvert(), "hits"_a.noconvert());
}
