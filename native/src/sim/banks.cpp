#include "shoestring/sim/banks.hpp"

#include <algorithm>
#include <cmath>

namespace shoestring::sim {

namespace {

std::int64_t ticks(double cycles) { return std::llround(cycles * static_cast<double>(kTicks)); }
std::int64_t whole_cycles(std::int64_t ticks) { return (ticks + kTicks - 1) / kTicks; }

}  // namespace

Banks::Banks(const BankTiming& timing)
    : timing_(timing),
      burst_(std::max<std::int64_t>(1, ticks(timing.burst / (1 - timing.refresh_share)))),
      column_(ticks(timing.column)),
      row_cycle_(ticks(timing.row_cycle)),
      activation_(ticks(timing.four_activates / 4)),
      open_(ticks(timing.precharge + timing.activate)),
      data_(ticks(timing.read + timing.burst)),
      turn_(ticks(timing.write_turn)) {
  const std::size_t channels = std::size_t{1} << timing.channel.count;
  const std::size_t ranks = channels << timing.rank.count;
  bus_.resize(channels);
  lines_.resize(channels);
  activations_.resize(ranks);
  groups_.resize(ranks << timing.group.count);
  banks_.resize(ranks << (timing.group.count + timing.bank.count));
}

bool Banks::open_row(Bank& bank, std::uint64_t row, std::int64_t line) const noexcept {
  const std::uint64_t wanted = row + 1;
  if (bank.rows[0] == wanted) return true;
  for (std::size_t i = 1; i < kRows; ++i) {
    if (bank.rows[i] == wanted && line - bank.opened[i] <= static_cast<std::int64_t>(timing_.window)) return true;
  }
  for (std::size_t i = kRows - 1; i > 0; --i) {
    bank.rows[i] = bank.rows[i - 1];
    bank.opened[i] = bank.opened[i - 1];
  }
  bank.rows[0] = wanted;
  bank.opened[0] = line;
  return false;
}

std::int64_t Banks::access(std::uint64_t line, std::int64_t cycle, bool write) noexcept {
  const std::uint64_t channel = timing_.channel.of(line);
  const std::uint64_t rank = (channel << timing_.rank.count) | timing_.rank.of(line);
  const std::uint64_t group = (rank << timing_.group.count) | timing_.group.of(line);
  Bank& bank = banks_[(group << timing_.bank.count) | timing_.bank.of(line)];
  const bool hit = open_row(bank, timing_.row.of(line), lines_[channel]);

  const std::int64_t asked = cycle * kTicks;
  const std::int64_t on_bus = std::max(bus_[channel], asked);
  bus_[channel] = on_bus + burst_ + (write ? turn_ : 0);
  ++lines_[channel];
  if (hit) {
    ++row_hits_;
  } else {
    ++row_misses_;
    std::int64_t& activations = activations_[rank];
    const std::int64_t allowed = std::max(activations, asked);
    activations = allowed + activation_;
    const std::int64_t begun = std::max({allowed, bank.closable, bank.column});
    bank.closable = begun + row_cycle_;
    bank.column = begun + open_;
  }
  const std::int64_t in_group = std::max(groups_[group], asked);
  groups_[group] = in_group + column_;
  const std::int64_t in_bank = std::max(bank.column, asked);
  bank.column = in_bank + column_;
  const std::int64_t done = std::max({on_bus, in_group, in_bank}) + data_;
  last_ = std::max(last_, done);
  return whole_cycles(done);
}

std::int64_t Banks::drained() const noexcept { return whole_cycles(last_); }

std::int64_t Banks::busy() const noexcept {
  return whole_cycles(*std::max_element(lines_.begin(), lines_.end()) * burst_);
}

}  // namespace shoestring::sim
