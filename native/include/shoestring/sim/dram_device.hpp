#pragma once
// The state of one channel of a DRAM as the earliest legal time of every command. Knows no requests and no policy:
// whoever issues commands (the controller; later a sequencer of in-memory operations) asks `earliest`, then `issue`s.
// A new command is a value of DramCommand and rows in the table of gaps that the constructor fills.

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "shoestring/sim/dram_spec.hpp"

namespace shoestring::sim {

enum class DramCommand : std::uint8_t { kActivate, kPrecharge, kPrechargeAll, kRead, kWrite, kRefresh };
inline constexpr std::size_t kDramCommands = 6;

[[nodiscard]] constexpr bool is_column(DramCommand command) noexcept {
  return command == DramCommand::kRead || command == DramCommand::kWrite;
}

// One command as it stands in a trace; fields that a command does not use are 0.
struct DramCommandRecord {
  std::int64_t clock = 0;
  DramCommand command = DramCommand::kActivate;
  DramAddress address;
};

class DramChannel {
 public:
  using Clock = std::int64_t;
  static constexpr std::int32_t kClosed = -1;

  explicit DramChannel(const DramSpec& spec);

  // `bank` counts over all ranks and groups of the channel; commands for a whole rank take any bank of it.
  [[nodiscard]] Clock earliest(DramCommand command, std::int32_t bank) const noexcept {
    const auto c = static_cast<std::size_t>(command);
    const auto at = static_cast<std::size_t>(bank);
    const auto rank = rank_of_[at];
    const Clock local = std::max(banks_[at][c], groups_[group_of_[at]][c]);
    return std::max({local, ranks_[rank][c], bus_free_[bus_of(command)]});
  }
  // The parts of `earliest`: what the bank itself allows, its group, its rank and the command bus.
  [[nodiscard]] Clock bank_earliest(DramCommand command, std::int32_t bank) const noexcept {
    return banks_[static_cast<std::size_t>(bank)][static_cast<std::size_t>(command)];
  }
  [[nodiscard]] Clock group_earliest(DramCommand command, std::size_t group) const noexcept {
    return groups_[group][static_cast<std::size_t>(command)];
  }
  [[nodiscard]] Clock rank_earliest(DramCommand command, std::size_t rank) const noexcept {
    return ranks_[rank][static_cast<std::size_t>(command)];
  }
  [[nodiscard]] Clock bus_earliest(DramCommand command) const noexcept { return bus_free_[bus_of(command)]; }
  void issue(DramCommand command, std::int32_t bank, std::int32_t row, Clock clock) noexcept;

  [[nodiscard]] std::int32_t open_row(std::int32_t bank) const noexcept {
    return open_row_[static_cast<std::size_t>(bank)];
  }
  [[nodiscard]] std::int32_t open_banks(std::int32_t rank) const noexcept {
    return open_banks_[static_cast<std::size_t>(rank)];
  }
  // Clocks until `now` in which the rank had at least one row open.
  [[nodiscard]] Clock active_clocks(std::int32_t rank, Clock now) const noexcept;

 private:
  using Row = std::array<Clock, kDramCommands>;
  // gaps_[scope][earlier][later]: clocks between the two, or kNone.
  using Table = std::array<std::array<std::int32_t, kDramCommands>, kDramCommands>;
  static constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::min() / 2;

  [[nodiscard]] std::size_t bus_of(DramCommand command) const noexcept {
    return split_command_bus_ && is_column(command) ? 1U : 0U;
  }
  static void raise(Row& row, const std::array<std::int32_t, kDramCommands>& gaps, Clock clock) noexcept {
    for (std::size_t i = 0; i < kDramCommands; ++i) row[i] = std::max(row[i], clock + gaps[i]);
  }
  void open(std::size_t bank, std::size_t rank, std::int32_t row, Clock clock) noexcept;
  void close(std::size_t bank, std::size_t rank, Clock clock) noexcept;

  bool split_command_bus_;
  std::int32_t banks_per_rank_;
  Clock four_activates_;
  Table same_bank_{}, same_group_{}, same_rank_{}, other_rank_{};
  std::vector<Row> banks_, groups_, ranks_;
  std::vector<std::size_t> group_of_, rank_of_;  // of a bank
  std::vector<std::array<Clock, 4>> last_activates_;
  std::vector<std::size_t> activates_;  // of a rank
  std::vector<std::int32_t> open_row_, open_banks_;
  std::vector<Clock> opened_, active_;
  std::array<Clock, 2> bus_free_{};
};

}  // namespace shoestring::sim
