#pragma once
// The kernels of one instruction set: each works on a range of rows or of dense columns, single-threaded.

#include "shoestring/graph/sparse.hpp"

namespace shoestring::graph {

struct Range {
  std::int64_t begin;
  std::int64_t end;
};

template <class T>
struct SparseTable {
  void (*spmm)(const SparseRows<T>& a, const T* x, T* out, std::int64_t width, Range rows);
  void (*spmm_transposed)(const SparseRows<T>& a, const T* g, T* out, std::int64_t width, Range dense);
  void (*segment_max)(const SparseRows<T>& a, const T* x, T* out, std::int64_t width, Range rows);
  void (*segment_max_backward)(const SparseRows<T>& a, const T* x, const T* out, const T* grad_out, T* grad_x,
                               std::int64_t width, Range dense);
  void (*attend)(const SparseRows<T>& a, const Attention<T>& in, T* weights, T* out, Range rows);
  void (*attend_backward_rows)(const SparseRows<T>& a, const Attention<T>& in, const T* weights, const T* grad_out,
                               const AttentionGradients<T>& grad, Range rows);
  void (*attend_backward_x)(const SparseRows<T>& a, const Attention<T>& in, const T* weights, const T* grad_out,
                            T* grad_x, Range dense);
  void (*add_rows)(const std::int32_t* index, std::int64_t count, const T* x, T* out, std::int64_t width, Range dense);
  void (*dropout_rows)(const T* x, T* out, const std::int64_t* vertices, std::int64_t width, std::uint64_t key,
                       std::uint32_t threshold, T scale, Range rows);
};

namespace scalar {
extern const SparseTable<float> table_float;
extern const SparseTable<double> table_double;
}  // namespace scalar

#if defined(__x86_64__)
namespace avx2 {
extern const SparseTable<float> table_float;
extern const SparseTable<double> table_double;
}  // namespace avx2
#endif

}  // namespace shoestring::graph
