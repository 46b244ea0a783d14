#pragma once
// A set-associative cache of line numbers with LRU, FIFO or RRIP replacement. At most 16 ways: the state of a set's
// replacement is one word of 4-bit fields, so an access is a compare of 16 tags and a few shifts.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace shoestring::sim {

enum class Policy : std::uint8_t { kLru, kFifo, kRrip };

inline constexpr unsigned kMaxWays = 16;
inline constexpr std::uint32_t kNoLine = 0xFFFFFFFF;

// Bit i is set where tags[i] == line; 16 tags.
inline unsigned match_tags(const std::uint32_t* tags, std::uint32_t line) noexcept {
#if defined(__SSE2__)
  const __m128i wanted = _mm_set1_epi32(static_cast<int>(line));
  const auto* blocks = reinterpret_cast<const __m128i*>(tags);
  const __m128i a = _mm_cmpeq_epi32(_mm_loadu_si128(blocks), wanted);
  const __m128i b = _mm_cmpeq_epi32(_mm_loadu_si128(blocks + 1), wanted);
  const __m128i c = _mm_cmpeq_epi32(_mm_loadu_si128(blocks + 2), wanted);
  const __m128i d = _mm_cmpeq_epi32(_mm_loadu_si128(blocks + 3), wanted);
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d))));
#else
  unsigned mask = 0;
  for (unsigned way = 0; way < kMaxWays; ++way) mask |= static_cast<unsigned>(tags[way] == line) << way;
  return mask;
#endif
}

// Index of the lowest 4-bit field of `word` that equals `value`; one must.
inline unsigned find_field(std::uint64_t word, unsigned value) noexcept {
  constexpr std::uint64_t kOnes = 0x1111111111111111;
  const std::uint64_t zero_at = word ^ (kOnes * value);
  return static_cast<unsigned>(std::countr_zero((zero_at - kOnes) & ~zero_at & (kOnes << 3))) / 4;
}

struct Slot {
  std::size_t index;  // of the line's place, for data kept beside the cache
  bool hit;
};

template <Policy policy>
class Cache {
  std::vector<std::uint32_t> tags_;   // kMaxWays a set
  std::vector<std::uint64_t> state_;  // LRU, FIFO: ways from newest to oldest. RRIP: a prediction a way
  std::size_t mask_;
  unsigned ways_;

  static constexpr std::uint64_t kOldest = 3;
  static constexpr std::uint64_t kOnes = 0x1111111111111111;

  [[nodiscard]] std::uint64_t used_fields() const noexcept {
    return ways_ == kMaxWays ? ~std::uint64_t{0} : (std::uint64_t{1} << (4 * ways_)) - 1;
  }

  // Moves the way at field `place` to the front.
  static std::uint64_t to_front(std::uint64_t order, unsigned place, unsigned way) noexcept {
    const std::uint64_t low = (std::uint64_t{1} << (4 * place)) - 1;
    const std::uint64_t behind = place == kMaxWays - 1 ? 0 : ~std::uint64_t{0} << (4 * (place + 1));
    return (order & behind) | ((order & low) << 4) | way;
  }

  unsigned replace_rrip(std::uint64_t& predictions) const noexcept {
    const std::uint64_t used = used_fields();
    while (true) {
      const std::uint64_t zero_at = (predictions ^ (kOnes * kOldest)) | ~used;  // unused ways never match
      const std::uint64_t found = (zero_at - kOnes) & ~zero_at & (kOnes << 3);
      if (found != 0) {
        const auto way = static_cast<unsigned>(std::countr_zero(found)) / 4;
        predictions = (predictions & ~(std::uint64_t{15} << (4 * way))) | (std::uint64_t{2} << (4 * way));
        return way;
      }
      predictions += kOnes & used;
    }
  }

 public:
  Cache(std::size_t sets, unsigned ways) : mask_(sets - 1), ways_(ways) {
    tags_.resize(sets * kMaxWays, kNoLine);
    state_.resize(sets, policy == Policy::kRrip ? kOnes * kOldest : 0xFEDCBA9876543210);
  }

  // Looks `line` (not kNoLine) up, and puts it in place of another one if it is not there.
  Slot access(std::uint32_t line) noexcept {
    const std::size_t set = line & mask_;
    std::uint32_t* tags = tags_.data() + set * kMaxWays;
    std::uint64_t& state = state_[set];
    const unsigned found = match_tags(tags, line);
    if (found != 0) {
      const auto way = static_cast<unsigned>(std::countr_zero(found));
      if constexpr (policy == Policy::kLru) state = to_front(state, find_field(state, way), way);
      if constexpr (policy == Policy::kRrip) state &= ~(std::uint64_t{15} << (4 * way));
      return {set * kMaxWays + way, true};
    }
    unsigned way;
    if constexpr (policy == Policy::kRrip) {
      way = replace_rrip(state);
    } else {
      way = static_cast<unsigned>(state >> (4 * (ways_ - 1))) & 15U;
      state = to_front(state, ways_ - 1, way);
    }
    tags[way] = line;
    return {set * kMaxWays + way, false};
  }

  [[nodiscard]] std::size_t slots() const noexcept { return tags_.size(); }
};

}  // namespace shoestring::sim
