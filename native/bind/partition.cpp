// Python's view of the partitioners; arrays are borrowed and checked by type, the caller checks their content.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

#include "bind.hpp"

#include "shoestring/graph/partition.hpp"

namespace nb = nanobind;
namespace graph = shoestring::graph;

namespace {

using Indptr = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Labels = nb::ndarray<std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

graph::CsrView view(const Indptr& indptr, const Indices& indices) {
  return {{indptr.data(), indptr.size()}, {indices.data(), indices.size()}};
}

nb::tuple propagate(const Indptr& indptr, const Indices& indices, const Labels& labels, const std::string& moves,
                    std::int32_t parts, double capacity, std::int32_t max_iterations, double tolerance,
                    std::int32_t patience, bool group_by_second, std::uint64_t seed, std::int32_t threads) {
  graph::PropagationOptions options;
  options.parts = parts;
  options.capacity = capacity;
  options.max_iterations = max_iterations;
  options.tolerance = tolerance;
  options.patience = patience;
  options.group_by_second = group_by_second;
  options.seed = seed;
  options.threads = threads;
  options.moves = moves == "spinner" ? graph::Moves::kSpinner : graph::Moves::kSwitching;
  graph::PropagationResult result;
  {
    const nb::gil_scoped_release unlocked;
    result = graph::propagate_labels(view(indptr, indices), {labels.data(), labels.size()}, options);
  }
  return nb::make_tuple(result.iterations, result.scores, result.moved);
}

void breadth_first(const Indptr& indptr, const Indices& indices, std::int32_t start, const Labels& order) {
  const nb::gil_scoped_release unlocked;
  graph::breadth_first_order(view(indptr, indices), start, {order.data(), order.size()});
}

}  // namespace

void bind_partition(nb::module_& module) {
  using nb::literals::operator""_a;
  module.def("propagate_labels", &propagate, "indptr"_a, "indices"_a, "labels"_a, nb::kw_only(), "moves"_a, "parts"_a,
             "capacity"_a, "max_iterations"_a, "tolerance"_a, "patience"_a, "group_by_second"_a, "seed"_a, "threads"_a,
             "Improve labels in place; return iterations, mean scores and moves of each.");
  module.def("breadth_first_order", &breadth_first, "indptr"_a, "indices"_a, "start"_a, "order"_a,
             "Write the breadth-first order of all vertices into order.");
}
