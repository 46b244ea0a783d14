// Every kernel against the definition, both instruction sets bit by bit, any number of threads, awkward sizes.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "../src/graph/sparse_table.hpp"
#include "check.hpp"
#include "shoestring/graph/sparse.hpp"

namespace graph = shoestring::graph;
using graph::SparseRows;

namespace {

template <class T>
struct Problem {
  std::vector<std::int64_t> indptr;
  std::vector<std::int32_t> indices;
  std::vector<T> values;
  std::int64_t rows, cols;

  [[nodiscard]] SparseRows<T> view(bool weighted) const {
    return {indptr.data(), indices.data(), weighted ? values.data() : nullptr, rows, cols};
  }
};

// Empty rows, a hub, duplicate edges.
template <class T>
Problem<T> make_problem(std::int64_t rows, std::int64_t cols, std::mt19937& random) {
  Problem<T> p{{0}, {}, {}, rows, cols};
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t degree = r == 1 ? 3 * cols : static_cast<std::int64_t>(random() % 4);
    for (std::int64_t e = 0; e < (cols > 0 ? degree : 0); ++e) {
      p.indices.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(cols)));
      p.values.push_back(static_cast<T>(random() % 1000) / 500 - 1);
    }
    p.indptr.push_back(static_cast<std::int64_t>(p.indices.size()));
  }
  return p;
}

template <class T>
std::vector<T> numbers(std::int64_t count, std::mt19937& random) {
  std::vector<T> out(static_cast<std::size_t>(count));
  for (T& v : out) v = static_cast<T>(random() % 2000) / 1000 - 1;
  return out;
}

template <class T>
bool close(const std::vector<T>& one, const std::vector<T>& two, T tolerance) {
  if (one.size() != two.size()) return false;
  for (std::size_t i = 0; i < one.size(); ++i) {
    if (!(std::abs(one[i] - two[i]) <= tolerance * (1 + std::abs(two[i])))) return false;
  }
  return true;
}

template <class T>
void test_products(std::int64_t rows, std::int64_t cols, std::int64_t width, std::mt19937& random) {
  const auto p = make_problem<T>(rows, cols, random);
  const auto x = numbers<T>(cols * width, random), g = numbers<T>(rows * width, random);
  const T tolerance = sizeof(T) == 4 ? T(1e-4) : T(1e-12);
  for (const bool weighted : {true, false}) {
    std::vector<T> want(g.size()), back(x.size());
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t e = p.indptr[static_cast<std::size_t>(r)]; e < p.indptr[static_cast<std::size_t>(r + 1)]; ++e) {
        const T w = weighted ? p.values[static_cast<std::size_t>(e)] : T(1);
        for (std::int64_t d = 0; d < width; ++d) {
          const auto out = static_cast<std::size_t>(r * width + d);
          const auto in = static_cast<std::size_t>(p.indices[static_cast<std::size_t>(e)] * width + d);
          want[out] += w * x[in];
          back[in] += w * g[out];
        }
      }
    }
    for (const int threads : {1, 2, 7}) {
      std::vector<T> out(want.size(), T(99)), spread(back.size(), T(99));
      graph::spmm(p.view(weighted), x.data(), out.data(), width, threads);
      graph::spmm_transposed(p.view(weighted), g.data(), spread.data(), width, threads);
      CHECK(close(out, want, tolerance));
      CHECK(close(spread, back, tolerance));
    }
  }
}

template <class T>
void test_maximum(std::int64_t width, std::mt19937& random) {
  const auto p = make_problem<T>(9, 6, random);
  const auto w = static_cast<std::size_t>(width);
  const auto x = numbers<T>(6 * width, random);
  std::vector<T> out(9 * w), grad(x.size()), want(x.size());
  graph::segment_max(p.view(false), x.data(), out.data(), width, 2);
  const auto push = numbers<T>(9 * width, random);
  graph::segment_max_backward(p.view(false), x.data(), out.data(), push.data(), grad.data(), width, 2);
  for (std::size_t r = 0; r < 9; ++r) {
    for (std::size_t d = 0; d < w; ++d) {
      const auto first = static_cast<std::size_t>(p.indptr[r]), last = static_cast<std::size_t>(p.indptr[r + 1]);
      const auto at = [&](std::size_t e) { return static_cast<std::size_t>(p.indices[e]) * w + d; };
      T best = first == last ? T(0) : x[at(first)];
      for (std::size_t e = first; e < last; ++e) best = std::max(best, x[at(e)]);
      CHECK(out[r * w + d] == best);
      T ties = best == 0 ? T(1) : T(0);
      for (std::size_t e = first; e < last; ++e) ties += x[at(e)] == best ? T(1) : T(0);
      for (std::size_t e = first; e < last; ++e) want[at(e)] += x[at(e)] == best ? push[r * w + d] / ties : T(0);
    }
  }
  CHECK(close(grad, want, T(1e-5)));
}

template <class T>
void test_attention(std::int64_t heads, std::int64_t channels, std::mt19937& random) {
  const auto p = make_problem<T>(7, 5, random);
  const auto a = p.view(false);
  const std::int64_t width = heads * channels;
  const auto x = numbers<T>(5 * width, random), source = numbers<T>(5 * heads, random);
  const auto target = numbers<T>(7 * heads, random), push = numbers<T>(7 * width, random);
  const auto edges = p.indices.size();
  const graph::Attention<T> in{x.data(), source.data(), target.data(), T(0.2), heads, channels};
  std::vector<T> weights(edges * static_cast<std::size_t>(heads)), out(push.size());
  graph::attend(a, in, weights.data(), out.data(), 3);
  for (std::size_t r = 0; r < 7; ++r) {
    for (std::int64_t h = 0; h < heads; ++h) {
      T sum = 0;
      for (std::int64_t e = p.indptr[r]; e < p.indptr[r + 1]; ++e) sum += weights[static_cast<std::size_t>(e * heads + h)];
      CHECK(p.indptr[r] == p.indptr[r + 1] || std::abs(sum - 1) < T(1e-5));
    }
  }
  std::vector<T> gx(x.size()), gs(source.size()), gt(target.size()), scratch(weights.size());
  graph::attend_backward(a, in, weights.data(), push.data(), {gx.data(), gs.data(), gt.data(), scratch.data()}, 3);
  if (sizeof(T) == 4) return;
  // Central differences of sum(out * push) for one source, one target and one feature a head.
  const auto value = [&](const std::vector<T>& xs, const std::vector<T>& ss, const std::vector<T>& ts) {
    const graph::Attention<T> moved{xs.data(), ss.data(), ts.data(), T(0.2), heads, channels};
    std::vector<T> w(weights.size()), o(out.size());
    graph::attend(a, moved, w.data(), o.data(), 1);
    T sum = 0;
    for (std::size_t i = 0; i < o.size(); ++i) sum += o[i] * push[i];
    return sum;
  };
  const T step = T(1e-6);
  const auto slope = [&](int which, std::size_t at) {
    auto up = std::vector{x, source, target}, down = up;
    up[static_cast<std::size_t>(which)][at] += step;
    down[static_cast<std::size_t>(which)][at] -= step;
    return (value(up[0], up[1], up[2]) - value(down[0], down[1], down[2])) / (2 * step);
  };
  for (std::size_t h = 0; h < static_cast<std::size_t>(heads); ++h) {
    CHECK(std::abs(slope(0, h * static_cast<std::size_t>(channels)) - gx[h * static_cast<std::size_t>(channels)]) < T(1e-6));
    CHECK(std::abs(slope(1, h) - gs[h]) < T(1e-6));
    CHECK(std::abs(slope(2, static_cast<std::size_t>(heads) + h) - gt[static_cast<std::size_t>(heads) + h]) < T(1e-6));
  }
}

// The two tables give the same bits, NaN and denormals included.
template <class T>
void test_tables(const graph::SparseTable<T>& one, const graph::SparseTable<T>& two, std::mt19937& random) {
  for (const std::int64_t width : {1, 5, 8, 37, 64, 131}) {
    const auto p = make_problem<T>(11, 13, random);
    auto x = numbers<T>(13 * width, random);
    x[0] = std::numeric_limits<T>::quiet_NaN();
    x[x.size() - 1] = std::numeric_limits<T>::denorm_min();
    const auto same = [](const std::vector<T>& u, const std::vector<T>& v) {
      for (std::size_t i = 0; i < u.size(); ++i) {
        if (!(u[i] == v[i] || (std::isnan(u[i]) && std::isnan(v[i])))) return false;
      }
      return true;
    };
    std::vector<T> first(static_cast<std::size_t>(11 * width)), second(first.size());
    one.spmm(p.view(true), x.data(), first.data(), width, {0, 11});
    two.spmm(p.view(true), x.data(), second.data(), width, {0, 11});
    CHECK(same(first, second));
    one.segment_max(p.view(true), x.data(), first.data(), width, {0, 11});
    two.segment_max(p.view(true), x.data(), second.data(), width, {0, 11});
    CHECK(same(first, second));
    std::vector<T> back(x.size()), again(x.size());
    one.spmm_transposed(p.view(true), second.data(), back.data(), width, {0, width});
    two.spmm_transposed(p.view(true), second.data(), again.data(), width, {0, width});
    CHECK(same(back, again));
    const std::vector<std::int64_t> ids(13, 5);
    one.dropout_rows(x.data(), back.data(), ids.data(), width, 77, 1U << 31, T(2), {0, 13});
    two.dropout_rows(x.data(), again.data(), ids.data(), width, 77, 1U << 31, T(2), {0, 13});
    CHECK(same(back, again));
    const auto source = numbers<T>(13, random), target = numbers<T>(11, random);
    const graph::Attention<T> in{x.data(), source.data(), target.data(), T(0.2), 1, width};
    std::vector<T> weights(p.indices.size()), others(p.indices.size()), scratch(p.indices.size());
    one.attend(p.view(false), in, weights.data(), first.data(), {0, 11});
    two.attend(p.view(false), in, others.data(), second.data(), {0, 11});
    CHECK(same(first, second) && same(weights, others));
    std::vector<T> into(11), like(11);
    one.attend_backward_rows(p.view(false), in, weights.data(), first.data(), {nullptr, nullptr, into.data(), scratch.data()}, {0, 11});
    two.attend_backward_rows(p.view(false), in, weights.data(), first.data(), {nullptr, nullptr, like.data(), scratch.data()}, {0, 11});
    CHECK(same(into, like));
  }
}

void test_group() {
  const std::vector<std::int32_t> keys{2, 0, 2, 1, 0};
  std::vector<std::int64_t> indptr(5), order(5);
  CHECK(graph::group(keys.data(), 5, 4, indptr.data(), order.data()) == -1);
  CHECK((indptr == std::vector<std::int64_t>{0, 2, 3, 5, 5}));
  CHECK((order == std::vector<std::int64_t>{1, 4, 3, 0, 2}));
  CHECK(graph::group(keys.data(), 5, 2, indptr.data(), order.data()) == 0);
  CHECK(graph::group(keys.data(), 0, 0, indptr.data(), order.data()) == -1);
}

void test_add_rows() {
  const std::vector<std::int32_t> index{1, 1, 0};
  const std::vector<float> x{1, 2, 10, 20, 5, 6};
  std::vector<float> out(4, 1.0F);
  graph::add_rows(index.data(), 3, x.data(), out.data(), 2, 4);
  CHECK((out == std::vector<float>{6, 7, 12, 23}));
}

}  // namespace

int main() {
  std::mt19937 random(7);
  for (const std::int64_t width : {0, 1, 3, 4, 8, 9, 16, 31, 33, 64, 100, 129}) {
    test_products<float>(12, 17, width, random);
    test_products<double>(12, 17, width, random);
    test_maximum<float>(width, random);
    test_maximum<double>(width, random);
  }
  test_products<float>(0, 0, 8, random);
  test_products<double>(400, 500, 130, random);  // large enough for threads
  for (const std::int64_t heads : {1, 3, 4}) {
    for (const std::int64_t channels : {1, 7, 16, 70}) {
      test_attention<float>(heads, channels, random);
      test_attention<double>(heads, channels, random);
    }
  }
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) {
    test_tables(graph::scalar::table_float, graph::avx2::table_float, random);
    test_tables(graph::scalar::table_double, graph::avx2::table_double, random);
  }
#endif
  test_group();
  test_add_rows();
  return check::report();
}
