#pragma once
// Which of the banks' next commands is legal first. Banks are kept by what they want and by their rank; such a class
// is looked through again only when one of its banks, or the legal time of one, changed what the last look found.

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

#include "shoestring/sim/dram_device.hpp"

namespace shoestring::sim {

// What a bank would do next, and when the bank itself allows it.
struct BankWish {
  DramChannel::Clock ready = 0;
  std::uint64_t sequence = 0;  // of the request; older ones are smaller
  std::int32_t slot = -1;
  DramCommand command = DramCommand::kRead;
};

class BankChooser {
 public:
  using Clock = DramChannel::Clock;
  static constexpr Clock kNever = std::numeric_limits<Clock>::max();

  struct Pick {
    Clock clock = kNever;  // kNever: no bank wants anything
    std::uint64_t sequence = 0;
    std::int32_t bank = -1;
  };

  BankChooser(const DramSpec& spec, const DramChannel& device)
      : device_(device),
        ranks_(static_cast<std::size_t>(spec.geometry.ranks)),
        rank_shift_(shift_of(spec.geometry.banks())),
        group_shift_(shift_of(spec.geometry.banks_per_group)),
        words_(((std::size_t{1} << rank_shift_) + 63) / 64),
        wishes_(ranks_ << rank_shift_),
        class_of_(wishes_.size(), kNone),
        members_(kClasses * ranks_ * words_, 0),
        found_(kClasses * ranks_) {}

  [[nodiscard]] const BankWish& wish(std::int32_t bank) const noexcept {
    return wishes_[static_cast<std::size_t>(bank)];
  }

  void set(std::int32_t bank, const BankWish& wish) noexcept {
    const auto at = static_cast<std::size_t>(bank);
    const auto c = class_of(wish.command);
    if (class_of_[at] != c) {
      remove(at);
      insert(at, c);
    }
    wishes_[at] = wish;
    // One that is legal later than what was found is looked at when its time comes.
    auto& found = found_[place(c, at >> rank_shift_)];
    const auto clock = std::max(wish.ready, device_.group_earliest(wish.command, at >> group_shift_));
    if (found.bank == bank || clock <= found.from) {
      found.forget();
    } else {
      found.until = std::min(found.until, clock);
    }
  }
  void clear(std::int32_t bank) noexcept { remove(static_cast<std::size_t>(bank)); }

  // A command raised the legal times of the bank's group.
  void issued(DramCommand command, std::int32_t bank) noexcept {
    if (command == DramCommand::kActivate || is_column(command)) {
      found_[place(class_of(command), static_cast<std::size_t>(bank) >> rank_shift_)].forget();
    }
  }

  // The command that is legal first, not before `now`: accesses go before others, older requests before younger ones.
  // `column` is what all accesses are; `away(rank)` says which ranks take part in nothing. Time never falls.
  template <class Away>
  [[nodiscard]] Pick first(DramCommand column, Clock now, const Away& away) noexcept {
    const Pick access = first_of(kAccess, column, now, away, {});
    // What only prepares must be earlier: nothing is older than sequence 0.
    Pick prepare = first_of(kActivate, DramCommand::kActivate, now, away, {access.clock, 0, -1});
    prepare = first_of(kPrecharge, DramCommand::kPrecharge, now, away, prepare);
    return prepare.clock < access.clock ? prepare : access;
  }

 private:
  enum Class : std::uint8_t { kAccess, kActivate, kPrecharge, kNone };
  static constexpr std::size_t kClasses = 3;

  // At a floor F, the class's first command is that of `bank`, at max(F, from), as long as this lies before `until`.
  struct Found {
    Clock from = 0, until = 0;
    std::uint64_t sequence = 0;
    std::int32_t bank = -1;

    void forget() noexcept { from = until = 0; }
  };

  // Of a power of two, which counts of a geometry are.
  [[nodiscard]] static std::uint32_t shift_of(std::int32_t count) noexcept {
    return static_cast<std::uint32_t>(std::countr_zero(static_cast<std::uint32_t>(count)));
  }
  [[nodiscard]] static Class class_of(DramCommand command) noexcept {
    if (is_column(command)) return kAccess;
    return command == DramCommand::kActivate ? kActivate : kPrecharge;
  }
  [[nodiscard]] std::size_t place(Class c, std::size_t rank) const noexcept { return c * ranks_ + rank; }
  void remove(std::size_t bank) noexcept {
    const auto c = class_of_[bank];
    if (c == kNone) return;
    class_of_[bank] = kNone;
    const auto rank = bank >> rank_shift_, within = bank - (rank << rank_shift_);
    members_[place(c, rank) * words_ + within / 64] &= ~(std::uint64_t{1} << (within % 64));
    auto& found = found_[place(c, rank)];
    if (found.bank == static_cast<std::int32_t>(bank)) found.forget();
  }
  void insert(std::size_t bank, Class c) noexcept {
    class_of_[bank] = c;
    const auto rank = bank >> rank_shift_, within = bank - (rank << rank_shift_);
    members_[place(c, rank) * words_ + within / 64] |= std::uint64_t{1} << (within % 64);
  }

  template <class Away>
  [[nodiscard]] Pick first_of(Class c, DramCommand command, Clock now, const Away& away, Pick best) noexcept {
    const Clock bus = std::max(now, device_.bus_earliest(command));
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      const Clock floor = std::max(bus, device_.rank_earliest(command, rank));
      auto& found = found_[place(c, rank)];
      auto clock = std::max(floor, found.from);
      if (clock > best.clock || clock == kNever || away(rank)) continue;
      if (clock >= found.until) {
        look(found, c, command, rank, floor);
        clock = found.from;
        if (clock > best.clock || clock == kNever) continue;
      }
      if (clock < best.clock || found.sequence < best.sequence) best = {clock, found.sequence, found.bank};
    }
    return best;
  }

  // Looks through the banks of a class at a floor.
  void look(Found& found, Class c, DramCommand command, std::size_t rank, Clock floor) const noexcept {
    found = {kNever, kNever, 0, -1};
    for (std::size_t word = 0; word < words_; ++word) {
      for (auto bits = members_[place(c, rank) * words_ + word]; bits != 0; bits &= bits - 1) {
        const auto bank = (rank << rank_shift_) + word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
        const auto& wish = wishes_[bank];
        const auto clock = std::max({wish.ready, device_.group_earliest(command, bank >> group_shift_), floor});
        if (clock > found.from) {
          found.until = std::min(found.until, clock);
        } else if (clock < found.from || wish.sequence < found.sequence) {
          if (clock < found.from) found.until = found.from;
          found = {clock, found.until, wish.sequence, static_cast<std::int32_t>(bank)};
        }
      }
    }
  }

  const DramChannel& device_;
  std::size_t ranks_;
  std::uint32_t rank_shift_, group_shift_;
  std::size_t words_;  // of a rank's bits
  std::vector<BankWish> wishes_;
  std::vector<Class> class_of_;         // of each bank
  std::vector<std::uint64_t> members_;  // of each class and rank: its banks, a bit each
  std::vector<Found> found_;            // of each class and rank
};

}  // namespace shoestring::sim
