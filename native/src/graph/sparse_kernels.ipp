// Compiled once per instruction set, each time inside its own namespace and with its own flags.
// The vectors have eight lanes of 4 or four of 8 bytes everywhere (the compiler splits them where registers are
// narrower), so that every instruction set adds in the same order. No fused multiply-add: it would round differently.

template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  typedef float Vector __attribute__((vector_size(32), aligned(4), may_alias));
};
template <>
struct Lanes<double> {
  typedef double Vector __attribute__((vector_size(32), aligned(8), may_alias));
};

template <class T>
using Vector = typename Lanes<T>::Vector;
template <class T>
inline constexpr std::int64_t kLanes = static_cast<std::int64_t>(32 / sizeof(T));

inline constexpr std::int64_t kAhead = 6;  // edges between a prefetch and its use
inline constexpr std::int64_t kLine = 64;

template <class T>
static inline const Vector<T>& load(const T* p) {
  return *reinterpret_cast<const Vector<T>*>(p);
}
template <class T>
static inline void store(T* p, const Vector<T>& v) {
  *reinterpret_cast<Vector<T>*>(p) = v;
}

template <bool kWrite, class T>
static inline void prefetch(const T* p, std::int64_t count) {
  const char* byte = reinterpret_cast<const char*>(p);
  const auto bytes = count * static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(byte + i, kWrite ? 1 : 0, 3);
}

// Calls piece(offset, vectors as a constant) for pieces of 8, 4, 2, 1 vectors of begin..end, then tail(offset) for the
// single values that are left.
template <class T, class Piece, class Tail>
static inline void for_pieces(Range dense, Piece piece, Tail tail) {
  std::int64_t at = dense.begin;
  for (; at + 8 * kLanes<T> <= dense.end; at += 8 * kLanes<T>) piece(at, std::integral_constant<int, 8>{});
  if (at + 4 * kLanes<T> <= dense.end) {
    piece(at, std::integral_constant<int, 4>{});
    at += 4 * kLanes<T>;
  }
  if (at + 2 * kLanes<T> <= dense.end) {
    piece(at, std::integral_constant<int, 2>{});
    at += 2 * kLanes<T>;
  }
  if (at + kLanes<T> <= dense.end) {
    piece(at, std::integral_constant<int, 1>{});
    at += kLanes<T>;
  }
  for (; at < dense.end; ++at) tail(at);
}

// One row, one piece of N vectors: sum of weight(e) * x[column of e].
template <int N, class T, class Weight>
static inline void sum_row(const SparseRows<T>& a, Range edges, const T* x, std::int64_t stride, T* out,
                           Weight weight) {
  Vector<T> sum[N] = {};
  const std::int64_t last = a.indptr[a.rows];
  for (std::int64_t e = edges.begin; e < edges.end; ++e) {
    if (e + kAhead < last) prefetch<false>(x + a.indices[e + kAhead] * stride, N * kLanes<T>);
    const T* from = x + a.indices[e] * stride;
    const T w = weight(e);
#pragma GCC unroll 8
    for (int k = 0; k < N; ++k) sum[k] += w * load(from + k * kLanes<T>);
  }
#pragma GCC unroll 8
  for (int k = 0; k < N; ++k) store(out + k * kLanes<T>, sum[k]);
}

template <class T, class Weight>
static inline void sum_row_all(const SparseRows<T>& a, Range edges, const T* x, std::int64_t stride, T* out,
                               Range dense, Weight weight) {
  for_pieces<T>(
      dense,
      [&](std::int64_t at, auto n) { sum_row<decltype(n)::value>(a, edges, x + at, stride, out + at, weight); },
      [&](std::int64_t at) {
        T sum = 0;
        for (std::int64_t e = edges.begin; e < edges.end; ++e) sum += weight(e) * x[a.indices[e] * stride + at];
        out[at] = sum;
      });
}

template <class T>
static void spmm(const SparseRows<T>& a, const T* x, T* out, std::int64_t width, Range rows) {
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    const Range edges{a.indptr[r], a.indptr[r + 1]};
    if (a.values != nullptr) {
      sum_row_all(a, edges, x, width, out + r * width, {0, width}, [&](std::int64_t e) { return a.values[e]; });
    } else {
      sum_row_all(a, edges, x, width, out + r * width, {0, width}, [](std::int64_t) { return T{1}; });
    }
  }
}

// One row, one piece: out[column of e] += weight(e) * g.
template <int N, class T, class Weight>
static inline void spread_row(const SparseRows<T>& a, Range edges, const T* g, T* out, std::int64_t stride,
                              Weight weight) {
  Vector<T> row[N];
#pragma GCC unroll 8
  for (int k = 0; k < N; ++k) row[k] = load(g + k * kLanes<T>);
  const std::int64_t last = a.indptr[a.rows];
  for (std::int64_t e = edges.begin; e < edges.end; ++e) {
    if (e + kAhead < last) prefetch<true>(out + a.indices[e + kAhead] * stride, N * kLanes<T>);
    T* to = out + a.indices[e] * stride;
    const T w = weight(e);
#pragma GCC unroll 8
    for (int k = 0; k < N; ++k) store(to + k * kLanes<T>, load(to + k * kLanes<T>) + w * row[k]);
  }
}

template <class T, class Weight>
static inline void spread_row_all(const SparseRows<T>& a, Range edges, const T* g, T* out, std::int64_t stride,
                                  Range dense, Weight weight) {
  for_pieces<T>(
      dense,
      [&](std::int64_t at, auto n) { spread_row<decltype(n)::value>(a, edges, g + at, out + at, stride, weight); },
      [&](std::int64_t at) {
        for (std::int64_t e = edges.begin; e < edges.end; ++e) out[a.indices[e] * stride + at] += weight(e) * g[at];
      });
}

template <class T>
static void clear_columns(T* out, std::int64_t rows, std::int64_t width, Range dense) {
  for (std::int64_t c = 0; c < rows; ++c) {
    for (std::int64_t d = dense.begin; d < dense.end; ++d) out[c * width + d] = 0;
  }
}

template <class T>
static void spmm_transposed(const SparseRows<T>& a, const T* g, T* out, std::int64_t width, Range dense) {
  clear_columns(out, a.cols, width, dense);
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const Range edges{a.indptr[r], a.indptr[r + 1]};
    if (a.values != nullptr) {
      spread_row_all(a, edges, g + r * width, out, width, dense, [&](std::int64_t e) { return a.values[e]; });
    } else {
      spread_row_all(a, edges, g + r * width, out, width, dense, [](std::int64_t) { return T{1}; });
    }
  }
}

template <class T>
static void segment_max(const SparseRows<T>& a, const T* x, T* out, std::int64_t width, Range rows) {
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    T* best = out + r * width;
    const std::int64_t begin = a.indptr[r];
    for (std::int64_t d = 0; d < width; ++d) best[d] = begin < a.indptr[r + 1] ? x[a.indices[begin] * width + d] : 0;
    for (std::int64_t e = begin + 1; e < a.indptr[r + 1]; ++e) {
      const T* from = x + a.indices[e] * width;
      // A NaN wins and stays, as in torch.
      for (std::int64_t d = 0; d < width; ++d) best[d] = best[d] >= from[d] || best[d] != best[d] ? best[d] : from[d];
    }
  }
}

template <class T>
static void segment_max_backward(const SparseRows<T>& a, const T* x, const T* out, const T* grad_out, T* grad_x,
                                 std::int64_t width, Range dense) {
  clear_columns(grad_x, a.cols, width, dense);
  constexpr std::int64_t kPiece = 64;
  T share[kPiece];
  for (std::int64_t r = 0; r < a.rows; ++r) {
    for (std::int64_t at = dense.begin; at < dense.end; at += kPiece) {
      const std::int64_t count = dense.end - at < kPiece ? dense.end - at : kPiece;
      const T* best = out + r * width + at;
      // PyG reduces into zeros, and torch counts such a zero among the ties if the maximum is 0.
      for (std::int64_t d = 0; d < count; ++d) share[d] = best[d] == 0 ? T{1} : T{0};
      for (std::int64_t e = a.indptr[r]; e < a.indptr[r + 1]; ++e) {
        const T* from = x + a.indices[e] * width + at;
        for (std::int64_t d = 0; d < count; ++d) share[d] += from[d] == best[d] ? T{1} : T{0};
      }
      for (std::int64_t d = 0; d < count; ++d) share[d] = grad_out[r * width + at + d] / share[d];
      for (std::int64_t e = a.indptr[r]; e < a.indptr[r + 1]; ++e) {
        const T* from = x + a.indices[e] * width + at;
        T* to = grad_x + a.indices[e] * width + at;
        for (std::int64_t d = 0; d < count; ++d) to[d] += from[d] == best[d] ? share[d] : T{0};
      }
    }
  }
}

// weights of one row: logits, then softmax, head by head.
template <class T>
static inline void softmax_row(const SparseRows<T>& a, const Attention<T>& in, std::int64_t row, T* weights) {
  const std::int64_t heads = in.heads;
  const T* target = in.target + row * heads;
  for (std::int64_t h = 0; h < heads; ++h) {
    T top = -std::numeric_limits<T>::infinity();
    for (std::int64_t e = a.indptr[row]; e < a.indptr[row + 1]; ++e) {
      const T sum = in.source[a.indices[e] * heads + h] + target[h];
      const T logit = sum > 0 ? sum : sum * in.negative_slope;
      weights[e * heads + h] = logit;
      top = top >= logit || top != top ? top : logit;
    }
    T total = 0;
    for (std::int64_t e = a.indptr[row]; e < a.indptr[row + 1]; ++e) {
      const T power = std::exp(weights[e * heads + h] - top);
      weights[e * heads + h] = power;
      total += power;
    }
    total += static_cast<T>(1e-16);
    for (std::int64_t e = a.indptr[row]; e < a.indptr[row + 1]; ++e) weights[e * heads + h] /= total;
  }
}

template <class T>
static void attend(const SparseRows<T>& a, const Attention<T>& in, T* weights, T* out, Range rows) {
  const std::int64_t width = in.heads * in.channels;
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    softmax_row(a, in, r, weights);
    const Range edges{a.indptr[r], a.indptr[r + 1]};
    for (std::int64_t h = 0; h < in.heads; ++h) {
      sum_row_all(a, edges, in.x, width, out + r * width, {h * in.channels, (h + 1) * in.channels},
                  [&](std::int64_t e) { return weights[e * in.heads + h]; });
    }
  }
}

template <class T>
static inline T dot(const T* one, const T* two, std::int64_t count) {
  Vector<T> first = {}, second = {};
  std::int64_t d = 0;
  for (; d + 2 * kLanes<T> <= count; d += 2 * kLanes<T>) {
    first += load(one + d) * load(two + d);
    second += load(one + d + kLanes<T>) * load(two + d + kLanes<T>);
  }
  if (d + kLanes<T> <= count) {
    first += load(one + d) * load(two + d);
    d += kLanes<T>;
  }
  first += second;
  T sum = 0;
  for (std::int64_t k = 0; k < kLanes<T>; ++k) sum += first[k];
  for (; d < count; ++d) sum += one[d] * two[d];
  return sum;
}

// grad.scratch = gradient of source + target, edge by edge; grad.target = its sum over a row.
template <class T>
static void attend_backward_rows(const SparseRows<T>& a, const Attention<T>& in, const T* weights, const T* grad_out,
                                 const AttentionGradients<T>& grad, Range rows) {
  const std::int64_t heads = in.heads, channels = in.channels, width = heads * channels;
  const std::int64_t last = a.indptr[a.rows];
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    const T* pushed = grad_out + r * width;
    for (std::int64_t e = a.indptr[r]; e < a.indptr[r + 1]; ++e) {
      if (e + 2 < last) prefetch<false>(in.x + a.indices[e + 2] * width, width);
      for (std::int64_t h = 0; h < heads; ++h) {
        grad.scratch[e * heads + h] =
            dot(pushed + h * channels, in.x + a.indices[e] * width + h * channels, channels);
      }
    }
    for (std::int64_t h = 0; h < heads; ++h) {
      T mean = 0;
      for (std::int64_t e = a.indptr[r]; e < a.indptr[r + 1]; ++e) {
        mean += weights[e * heads + h] * grad.scratch[e * heads + h];
      }
      T sum = 0;
      for (std::int64_t e = a.indptr[r]; e < a.indptr[r + 1]; ++e) {
        const bool rises = in.source[a.indices[e] * heads + h] + in.target[r * heads + h] > 0;
        const T logit = weights[e * heads + h] * (grad.scratch[e * heads + h] - mean);
        grad.scratch[e * heads + h] = rises ? logit : logit * in.negative_slope;
        sum += grad.scratch[e * heads + h];
      }
      grad.target[r * heads + h] = sum;
    }
  }
}

template <class T>
static void attend_backward_x(const SparseRows<T>& a, const Attention<T>& in, const T* weights, const T* grad_out,
                              T* grad_x, Range dense) {
  const std::int64_t heads = in.heads, channels = in.channels, width = heads * channels;
  clear_columns(grad_x, a.cols, width, dense);
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const Range edges{a.indptr[r], a.indptr[r + 1]};
    for (std::int64_t h = dense.begin / channels; h * channels < dense.end; ++h) {
      const Range part{h * channels > dense.begin ? h * channels : dense.begin,
                       (h + 1) * channels < dense.end ? (h + 1) * channels : dense.end};
      spread_row_all(a, edges, grad_out + r * width, grad_x, width, part,
                     [&](std::int64_t e) { return weights[e * heads + h]; });
    }
  }
}

template <class T>
static void add_rows(const std::int32_t* index, std::int64_t count, const T* x, T* out, std::int64_t width,
                     Range dense) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (i + kAhead < count) prefetch<true>(out + index[i + kAhead] * width + dense.begin, dense.end - dense.begin);
    const T* from = x + i * width;
    T* to = out + index[i] * width;
    for (std::int64_t d = dense.begin; d < dense.end; ++d) to[d] += from[d];
  }
}

static inline std::uint32_t mix32(std::uint32_t z) {
  z = (z ^ (z >> 16)) * 0x7FEB352DU;
  z = (z ^ (z >> 15)) * 0x846CA68BU;
  return z ^ (z >> 16);
}

template <class T>
static void dropout_rows(const T* x, T* out, const std::int64_t* vertices, std::int64_t width, std::uint64_t key,
                         std::uint32_t threshold, T scale, Range rows) {
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    std::uint64_t z = static_cast<std::uint64_t>(vertices[r]) * 0x9E3779B97F4A7C15U + key;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    z ^= z >> 31;
    const auto low = static_cast<std::uint32_t>(z), high = static_cast<std::uint32_t>(z >> 32);
    const T* from = x + r * width;
    T* to = out + r * width;
    for (std::int64_t d = 0; d < width; ++d) {
      const std::uint32_t word = mix32(mix32(low + static_cast<std::uint32_t>(d + 1) * 0x9E3779B9U) ^ high);
      to[d] = word >= threshold ? from[d] * scale : T{0};
    }
  }
}

template <class T>
static constexpr SparseTable<T> make_table() {
  return {spmm<T>,   spmm_transposed<T>,      segment_max<T>,       segment_max_backward<T>,
          attend<T>, attend_backward_rows<T>, attend_backward_x<T>, add_rows<T>,
          dropout_rows<T>};
}

extern const SparseTable<float> table_float = make_table<float>();
extern const SparseTable<double> table_double = make_table<double>();
