#pragma once
// The analytic DRAM of the aggregation core: a line passes the bus of its channel, its bank group, its bank, and the
// activations of its rank. Each works in the order of the requests and waits for none of the others. Which rows count as
// open depends on the order of the requests alone, so no time falls when a timing rises.

#include <array>
#include <cstdint>
#include <vector>

#include "shoestring/util/result.hpp"

namespace shoestring::sim {

// Some bits of a line's number.
struct Bits {
  std::uint32_t shift = 0;
  std::uint32_t count = 0;
  [[nodiscard]] std::uint64_t of(std::uint64_t line) const noexcept {
    return (line >> shift) & ((std::uint64_t{1} << count) - 1);
  }
};

// Times in cycles of the accelerator.
struct BankTiming {
  Bits channel, rank, group, bank, row;
  std::uint32_t window = 32;  // lines of a channel that the controller sees together
  double burst = 2, read = 14, activate = 14, precharge = 14, row_cycle = 48, column = 2, four_activates = 30;
  double write_turn = 0;  // of the bus, a written line
  double refresh_share = 0;
};

inline constexpr std::int64_t kTicks = 1024;  // a cycle; the bus times of DDR4 are no whole cycles

class Banks {
  static constexpr std::size_t kRows = 4;  // of a bank that are remembered
  struct Bank {
    std::array<std::uint64_t, kRows> rows{};   // newest first, plus one; 0 is none
    std::array<std::int64_t, kRows> opened{};  // at which line of the channel
    std::int64_t closable = 0;  // tRC after its last activation
    std::int64_t column = 0;    // next access to an open row
  };
  BankTiming timing_;
  std::vector<Bank> banks_;
  std::vector<std::int64_t> bus_, activations_, groups_;  // a channel; its ranks; their groups
  std::vector<std::int64_t> lines_;              // a channel
  std::int64_t burst_, column_, row_cycle_, activation_, open_, data_, turn_;
  std::int64_t last_ = 0, row_hits_ = 0, row_misses_ = 0;

  bool open_row(Bank& bank, std::uint64_t row, std::int64_t line) const noexcept;

 public:
  explicit Banks(const BankTiming& timing);
  // A line is asked for at `cycle`; returns the first cycle at which its data are there.
  std::int64_t access(std::uint64_t line, std::int64_t cycle, bool write) noexcept;
  // The cycle at which the last line has moved.
  [[nodiscard]] std::int64_t drained() const noexcept;
  // Bus time of the channel with the most lines, in cycles.
  [[nodiscard]] std::int64_t busy() const noexcept;
  [[nodiscard]] std::int64_t row_hits() const noexcept { return row_hits_; }
  [[nodiscard]] std::int64_t row_misses() const noexcept { return row_misses_; }
};

}  // namespace shoestring::sim
