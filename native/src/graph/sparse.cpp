#include "shoestring/graph/sparse.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "sparse_table.hpp"

namespace shoestring::graph {

namespace {

constexpr std::int64_t kMinValues = 1 << 15;  // multiply-adds below which a second thread costs more than it saves
constexpr std::int64_t kUnit = 16;            // dense columns are dealt out in units of a cache line of floats

bool use_avx2() noexcept {
#if defined(__x86_64__)
  static const bool answer = [] {
    const char* wish = std::getenv("SHOESTRING_SIMD");
    return (wish == nullptr || std::strcmp(wish, "scalar") != 0) && __builtin_cpu_supports("avx2");
  }();
  return answer;
#else
  return false;
#endif
}

template <class T>
const SparseTable<T>& table() noexcept;

template <>
const SparseTable<float>& table() noexcept {
#if defined(__x86_64__)
  if (use_avx2()) return avx2::table_float;
#endif
  return scalar::table_float;
}

template <>
const SparseTable<double>& table() noexcept {
#if defined(__x86_64__)
  if (use_avx2()) return avx2::table_double;
#endif
  return scalar::table_double;
}

// Runs work(range) for every range, the first one on this thread.
template <class Work>
void run(const std::vector<Range>& ranges, Work work) {
  std::vector<std::jthread> others;
  others.reserve(ranges.size());
  for (std::size_t i = 1; i < ranges.size(); ++i) others.emplace_back([&, i] { work(ranges[i]); });
  if (!ranges.empty()) work(ranges[0]);
}

int useful_threads(std::int64_t values, int threads) {
  return static_cast<int>(std::clamp<std::int64_t>(values / kMinValues, 1, std::max(threads, 1)));
}

// Rows in pieces of about equal work: edges plus rows.
template <class T>
std::vector<Range> split_rows(const SparseRows<T>& a, std::int64_t width, int threads) {
  const std::int64_t total = a.indptr[a.rows] + a.rows;
  threads = useful_threads(total * width, threads);
  std::vector<Range> ranges;
  std::int64_t begin = 0;
  for (int t = 1; t <= threads; ++t) {
    std::int64_t low = begin, high = a.rows;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if ((a.indptr[middle] + middle) * threads < total * t) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    const std::int64_t end = t == threads ? a.rows : low;
    ranges.push_back({begin, end});
    begin = end;
  }
  return ranges;
}

// Dense columns in pieces, so that no two threads write to one place; `rows` of them are visited in all.
std::vector<Range> split_columns(std::int64_t rows, std::int64_t width, int threads) {
  const std::int64_t units = (width + kUnit - 1) / kUnit;
  threads = useful_threads(rows * width, threads);
  const std::int64_t pieces = std::min<std::int64_t>(threads, std::max<std::int64_t>(units, 1));
  std::vector<Range> ranges;
  for (std::int64_t t = 0; t < pieces; ++t) {
    ranges.push_back({std::min(width, units * t / pieces * kUnit), std::min(width, units * (t + 1) / pieces * kUnit)});
  }
  return ranges;
}

}  // namespace

template <class T>
void spmm(const SparseRows<T>& a, const T* x, T* out, std::int64_t width, int threads) {
  run(split_rows(a, width, threads), [&](Range rows) { table<T>().spmm(a, x, out, width, rows); });
}

template <class T>
void spmm_transposed(const SparseRows<T>& a, const T* g, T* out, std::int64_t width, int threads) {
  run(split_columns(a.indptr[a.rows] + a.cols, width, threads), [&](Range dense) { table<T>().spmm_transposed(a, g, out, width, dense); });
}

template <class T>
void segment_max(const SparseRows<T>& a, const T* x, T* out, std::int64_t width, int threads) {
  run(split_rows(a, width, threads), [&](Range rows) { table<T>().segment_max(a, x, out, width, rows); });
}

template <class T>
void segment_max_backward(const SparseRows<T>& a, const T* x, const T* out, const T* grad_out, T* grad_x,
                          std::int64_t width, int threads) {
  run(split_columns(a.indptr[a.rows] + a.cols, width, threads),
      [&](Range dense) { table<T>().segment_max_backward(a, x, out, grad_out, grad_x, width, dense); });
}

template <class T>
void attend(const SparseRows<T>& a, const Attention<T>& in, T* weights, T* out, int threads) {
  run(split_rows(a, in.heads * in.channels, threads),
      [&](Range rows) { table<T>().attend(a, in, weights, out, rows); });
}

template <class T>
void attend_backward(const SparseRows<T>& a, const Attention<T>& in, const T* weights, const T* grad_out,
                     const AttentionGradients<T>& grad, int threads) {
  const std::int64_t width = in.heads * in.channels;
  run(split_rows(a, width, threads),
      [&](Range rows) { table<T>().attend_backward_rows(a, in, weights, grad_out, grad, rows); });
  run(split_columns(a.indptr[a.rows] + a.cols, width, threads), [&](Range dense) {
    table<T>().attend_backward_x(a, in, weights, grad_out, grad.x, dense);
    if (dense.begin > 0) return;
    std::fill_n(grad.source, a.cols * in.heads, T{0});
    for (std::int64_t e = 0; e < a.indptr[a.rows]; ++e) {
      for (std::int64_t h = 0; h < in.heads; ++h) {
        grad.source[a.indices[e] * in.heads + h] += grad.scratch[e * in.heads + h];
      }
    }
  });
}

template <class T>
void dropout_rows(const T* x, T* out, const std::int64_t* vertices, std::int64_t rows, std::int64_t width,
                  std::uint64_t key, std::uint32_t threshold, T scale, int threads) {
  const int pieces = useful_threads(rows * width, threads);
  std::vector<Range> ranges;
  for (int t = 0; t < pieces; ++t) ranges.push_back({rows * t / pieces, rows * (t + 1) / pieces});
  run(ranges, [&](Range part) {
    table<T>().dropout_rows(x, out, vertices, width, key, threshold, scale, part);
  });
}

template <class T>
void add_rows(const std::int32_t* index, std::int64_t count, const T* x, T* out, std::int64_t width, int threads) {
  run(split_columns(count, width, threads),
      [&](Range dense) { table<T>().add_rows(index, count, x, out, width, dense); });
}

std::int64_t group(const std::int32_t* keys, std::int64_t items, std::int64_t groups, std::int64_t* indptr,
                   std::int64_t* order) {
  std::fill_n(indptr, groups + 1, std::int64_t{0});
  for (std::int64_t i = 0; i < items; ++i) {
    if (keys[i] < 0 || keys[i] >= groups) return i;
    ++indptr[keys[i] + 1];
  }
  for (std::int64_t g = 0; g < groups; ++g) indptr[g + 1] += indptr[g];
  // indptr[g] runs to the end of its group, then everything moves back by one place.
  for (std::int64_t i = 0; i < items; ++i) order[indptr[keys[i]]++] = i;
  for (std::int64_t g = groups; g > 0; --g) indptr[g] = indptr[g - 1];
  indptr[0] = 0;
  return -1;
}

const char* sparse_simd() noexcept { return use_avx2() ? "avx2" : "scalar"; }

#define SHOESTRING_INSTANTIATE(T)                                                                                    \
  template void spmm(const SparseRows<T>&, const T*, T*, std::int64_t, int);                                         \
  template void spmm_transposed(const SparseRows<T>&, const T*, T*, std::int64_t, int);                              \
  template void segment_max(const SparseRows<T>&, const T*, T*, std::int64_t, int);                                  \
  template void segment_max_backward(const SparseRows<T>&, const T*, const T*, const T*, T*, std::int64_t, int);     \
  template void attend(const SparseRows<T>&, const Attention<T>&, T*, T*, int);                                      \
  template void attend_backward(const SparseRows<T>&, const Attention<T>&, const T*, const T*,                       \
                                const AttentionGradients<T>&, int);                                                  \
  template void add_rows(const std::int32_t*, std::int64_t, const T*, T*, std::int64_t, int);                        \
  template void dropout_rows(const T*, T*, const std::int64_t*, std::int64_t, std::int64_t, std::uint64_t,           \
                             std::uint32_t, T, int);
SHOESTRING_INSTANTIATE(float)
SHOESTRING_INSTANTIATE(double)
#undef SHOESTRING_INSTANTIATE

}  // namespace shoestring::graph
