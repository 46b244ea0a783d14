// Python's view of the sparse products; arrays are borrowed and checked by type, the caller checks their shapes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>

#include "bind.hpp"

#include "shoestring/graph/sparse.hpp"

namespace nb = nanobind;
namespace graph = shoestring::graph;

namespace {

template <class T>
using Flat = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Cube = nb::ndarray<T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Indptr = Flat<const std::int64_t>;
using Indices = Flat<const std::int32_t>;

template <class T>
graph::SparseRows<T> view(const Indptr& indptr, const Indices& indices, const T* values, std::int64_t cols) {
  return {indptr.data(), indices.data(), values, static_cast<std::int64_t>(indptr.size()) - 1, cols};
}

std::int64_t size(std::size_t n) { return static_cast<std::int64_t>(n); }

template <class T>
void bind_type(nb::module_& m) {
  using nb::literals::operator""_a;
  const auto product = [](auto kernel) {
    return [kernel](const Indptr& indptr, const Indices& indices, const std::optional<Flat<const T>>& values,
                    const Matrix<const T>& x, const Matrix<T>& out, std::int64_t cols, int threads) {
      const auto a = view<T>(indptr, indices, values ? values->data() : nullptr, cols);
      const nb::gil_scoped_release unlocked;
      kernel(a, x.data(), out.data(), size(x.shape(1)), threads);
    };
  };
  const auto define = [&](const char* name, auto kernel, const char* text) {
    m.def(name, product(kernel), "indptr"_a.noconvert(), "indices"_a.noconvert(), "values"_a.noconvert().none(),
          "x"_a.noconvert(), "out"_a.noconvert(), "cols"_a, "threads"_a, text);
  };
  define("spmm", &graph::spmm<T>, "out = A x");
  define("spmm_transposed", &graph::spmm_transposed<T>, "out = A^T x");
  define("segment_max", &graph::segment_max<T>, "out = largest of a row's columns of x");

  m.def(
      "segment_max_backward",
      [](const Indptr& indptr, const Indices& indices, const Matrix<const T>& x, const Matrix<const T>& out,
         const Matrix<const T>& grad_out, const Matrix<T>& grad_x, int threads) {
        const auto a = view<T>(indptr, indices, nullptr, size(x.shape(0)));
        const nb::gil_scoped_release unlocked;
        graph::segment_max_backward(a, x.data(), out.data(), grad_out.data(), grad_x.data(), size(x.shape(1)),
                                    threads);
      },
      "indptr"_a.noconvert(), "indices"_a.noconvert(), "x"_a.noconvert(), "out"_a.noconvert(),
      "grad_out"_a.noconvert(), "grad_x"_a.noconvert(), "threads"_a, "Gradient of segment_max.");

  m.def(
      "attend",
      [](const Indptr& indptr, const Indices& indices, const Cube<const T>& x, const Matrix<const T>& source,
         const Matrix<const T>& target, T negative_slope, const Matrix<T>& weights, const Cube<T>& out, int threads) {
        const auto a = view<T>(indptr, indices, nullptr, size(x.shape(0)));
        const graph::Attention<T> in{x.data(),       source.data(),     target.data(),
                                     negative_slope, size(x.shape(1)), size(x.shape(2))};
        const nb::gil_scoped_release unlocked;
        graph::attend(a, in, weights.data(), out.data(), threads);
      },
      "indptr"_a.noconvert(), "indices"_a.noconvert(), "x"_a.noconvert(), "source"_a.noconvert(),
      "target"_a.noconvert(), "negative_slope"_a, "weights"_a.noconvert(), "out"_a.noconvert(), "threads"_a,
      "Softmax over a row's edges and the weighted sum of its columns.");

  m.def(
      "attend_backward",
      [](const Indptr& indptr, const Indices& indices, const Cube<const T>& x, const Matrix<const T>& source,
         const Matrix<const T>& target, T negative_slope, const Matrix<const T>& weights, const Cube<const T>& grad_out,
         const Cube<T>& grad_x, const Matrix<T>& grad_source, const Matrix<T>& grad_target, const Matrix<T>& scratch,
         int threads) {
        const auto a = view<T>(indptr, indices, nullptr, size(x.shape(0)));
        const graph::Attention<T> in{x.data(),       source.data(),     target.data(),
                                     negative_slope, size(x.shape(1)), size(x.shape(2))};
        const graph::AttentionGradients<T> grad{grad_x.data(), grad_source.data(), grad_target.data(), scratch.data()};
        const nb::gil_scoped_release unlocked;
        graph::attend_backward(a, in, weights.data(), grad_out.data(), grad, threads);
      },
      "indptr"_a.noconvert(), "indices"_a.noconvert(), "x"_a.noconvert(), "source"_a.noconvert(),
      "target"_a.noconvert(), "negative_slope"_a, "weights"_a.noconvert(), "grad_out"_a.noconvert(),
      "grad_x"_a.noconvert(), "grad_source"_a.noconvert(), "grad_target"_a.noconvert(), "scratch"_a.noconvert(),
      "threads"_a, "Gradients of attend; scratch (edges, heads) is overwritten.");

  m.def(
      "add_rows",
      [](const Indices& index, const Matrix<const T>& x, const Matrix<T>& out, int threads) {
        const nb::gil_scoped_release unlocked;
        graph::add_rows(index.data(), size(index.size()), x.data(), out.data(), size(x.shape(1)), threads);
      },
      "index"_a.noconvert(), "x"_a.noconvert(), "out"_a.noconvert(), "threads"_a, "out[index[i]] += x[i]");

  m.def(
      "dropout_rows",
      [](const Matrix<const T>& x, const Matrix<T>& out, const Flat<const std::int64_t>& vertices, std::uint64_t key,
         std::uint32_t threshold, T scale, int threads) {
        const nb::gil_scoped_release unlocked;
        graph::dropout_rows(x.data(), out.data(), vertices.data(), size(x.shape(0)), size(x.shape(1)), key, threshold,
                            scale, threads);
      },
      "x"_a.noconvert(), "out"_a.noconvert(), "vertices"_a.noconvert(), "key"_a, "threshold"_a, "scale"_a,
      "threads"_a, "Keep and scale the values whose hash is at least threshold.");
}

}  // namespace

void bind_sparse(nb::module_& m) {
  using nb::literals::operator""_a;
  bind_type<float>(m);
  bind_type<double>(m);
  m.def(
      "group",
      [](const Indices& keys, const Flat<std::int64_t>& indptr, const Flat<std::int64_t>& order) {
        const nb::gil_scoped_release unlocked;
        return graph::group(keys.data(), size(keys.size()), size(indptr.size()) - 1, indptr.data(), order.data());
      },
      "keys"_a.noconvert(), "indptr"_a.noconvert(), "order"_a.noconvert(),
      "Stable counting sort; return the place of the first key outside the groups, or -1.");
  m.def("simd", &graph::sparse_simd, "Instruction set in use.");
}
