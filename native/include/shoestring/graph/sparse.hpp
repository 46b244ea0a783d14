#pragma once
// Products of a sparse R x K matrix in compressed rows with dense row-major matrices, forward and backward.
//
// Every output value is summed in the order of the edges, whatever the number of threads and the instruction set, so
// results are the same bits everywhere. Arrays are borrowed; the caller vouches for shapes and for columns in 0..K-1.

#include <cstddef>
#include <cstdint>

namespace shoestring::graph {

template <class T>
struct SparseRows {
  const std::int64_t* indptr;   // rows + 1
  const std::int32_t* indices;  // edges
  const T* values;              // edges, or null: every weight is 1
  std::int64_t rows;
  std::int64_t cols;
};

// out (R, width) = A x, x (K, width).
template <class T>
void spmm(const SparseRows<T>& a, const T* x, T* out, std::int64_t width, int threads);

// out (K, width) = A^T g, g (R, width); without a transposed copy of A. `out` is overwritten.
template <class T>
void spmm_transposed(const SparseRows<T>& a, const T* g, T* out, std::int64_t width, int threads);

// out (R, width): the largest of a row's columns, 0 for a row without edges. Values of A are not read.
template <class T>
void segment_max(const SparseRows<T>& a, const T* x, T* out, std::int64_t width, int threads);

// grad_x (K, width): the gradient of a maximum is shared evenly by the edges that attain it. A maximum of 0 gives one
// share away, as the reduction of PyG and torch does.
template <class T>
void segment_max_backward(const SparseRows<T>& a, const T* x, const T* out, const T* grad_out, T* grad_x,
                          std::int64_t width, int threads);

template <class T>
struct Attention {
  const T* x;       // (K, heads, channels)
  const T* source;  // (K, heads)
  const T* target;  // (R, heads)
  T negative_slope;
  std::int64_t heads;
  std::int64_t channels;
};

// weights (E, heads) = softmax over a row's edges of leaky_relu(source + target), whose sum has 1e-16 added as in PyG;
// out (R, heads, channels) = sum of weights x.
template <class T>
void attend(const SparseRows<T>& a, const Attention<T>& in, T* weights, T* out, int threads);

template <class T>
struct AttentionGradients {
  T* x;        // (K, heads, channels)
  T* source;   // (K, heads)
  T* target;   // (R, heads)
  T* scratch;  // (E, heads)
};

// All outputs are overwritten.
template <class T>
void attend_backward(const SparseRows<T>& a, const Attention<T>& in, const T* weights, const T* grad_out,
                     const AttentionGradients<T>& grad, int threads);

// out[index[i]] += x[i] for rows of `width` values, in the order of i; indices in 0..rows of out - 1.
template <class T>
void add_rows(const std::int32_t* index, std::int64_t count, const T* x, T* out, std::int64_t width, int threads);

// Stable counting sort: indptr (groups + 1), order (items): items order[indptr[g]..indptr[g + 1]) have key g.
// Returns the place of the first key outside 0..groups-1, or -1.
[[nodiscard]] std::int64_t group(const std::int32_t* keys, std::int64_t items, std::int64_t groups,
                                 std::int64_t* indptr, std::int64_t* order);

// out (rows, width) = x * scale where the hash of (key, vertex, column) is at least `threshold`, else 0.
template <class T>
void dropout_rows(const T* x, T* out, const std::int64_t* vertices, std::int64_t rows, std::int64_t width,
                  std::uint64_t key, std::uint32_t threshold, T scale, int threads);

// The instruction set in use: "avx2" or "scalar" (SHOESTRING_SIMD=scalar forces it).
[[nodiscard]] const char* sparse_simd() noexcept;

}  // namespace shoestring::graph
