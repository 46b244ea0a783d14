#include "shoestring/sim/dram_checker.hpp"

#include <algorithm>
#include <map>

namespace shoestring::sim {
namespace {

using enum DramCommand;

// The rules of one channel, checked in the order of the clock.
class Checker {
 public:
  Checker(const DramSpec& spec, std::span<const DramCommandRecord> all, std::span<const std::size_t> own,
          std::size_t most, std::vector<DramViolation>& out)
      : g_(spec.geometry), t_(spec.timing), split_(spec.split_command_bus), all_(all), own_(own), most_(most), out_(out) {
    // No rule about a pair, but those of refreshes, reaches further back.
    window_ = std::max({t_.t_rc(), t_.cl + t_.burst + t_.t_rtrs, t_.cwl + t_.burst + t_.t_wr,
                        t_.cwl + t_.burst + std::max(t_.t_wtr_s, t_.t_wtr_l) + t_.cl, t_.t_rcd, t_.t_rrd_l, t_.t_rrd_s,
                        t_.t_ccd_l, t_.t_ccd_s, t_.t_rtp});
  }

  void run(std::int64_t end) {
    for (std::size_t j = 0; j < own_.size() && out_.size() < most_; ++j) {
      const auto& command = at(j);
      if (!in_range(command)) {
        report("a field is outside the geometry", j);
        continue;
      }
      if (j > 0 && command.clock < at(j - 1).clock) report("clocks fall", j, j - 1, 0, command.clock - at(j - 1).clock);
      for (std::size_t i = j; i-- > 0 && command.clock - at(i).clock < window_;) {
        if (in_range(at(i))) pair(i, j);
      }
      windows(j);
      state(j);
    }
    for (std::int32_t rank = 0; rank < g_.ranks && out_.size() < most_; ++rank) refresh_was_due(rank, end, own_.size());
  }

 private:
  [[nodiscard]] const DramCommandRecord& at(std::size_t i) const { return all_[own_[i]]; }
  [[nodiscard]] static bool whole_rank(DramCommand c) { return c == kPrechargeAll || c == kRefresh; }
  [[nodiscard]] static bool closes(DramCommand c) { return c == kPrecharge || c == kPrechargeAll; }
  [[nodiscard]] static bool column(DramCommand c) { return c == kRead || c == kWrite; }

  void report(const char* rule, std::size_t later, std::size_t earlier, std::int64_t required, std::int64_t found) {
    if (out_.size() < most_) out_.push_back({rule, place(earlier), place(later), required, found});
  }
  void report(const char* rule, std::size_t later) { report(rule, later, own_.size(), 0, 0); }
  [[nodiscard]] std::int64_t place(std::size_t i) const {
    return i < own_.size() ? static_cast<std::int64_t>(own_[i]) : -1;
  }

  [[nodiscard]] bool in_range(const DramCommandRecord& c) const {
    const auto& a = c.address;
    const auto inside = [](std::int32_t value, std::int32_t size) { return value >= 0 && value < size; };
    return static_cast<std::size_t>(c.command) < kDramCommands && c.clock >= 0 && inside(a.channel, g_.channels) &&
           inside(a.rank, g_.ranks) && inside(a.group, g_.bank_groups) && inside(a.bank, g_.banks_per_group) &&
           inside(a.row, g_.rows) && inside(a.column, g_.columns);
  }

  void need(const char* rule, std::size_t i, std::size_t j, std::int64_t clocks) {
    const auto found = at(j).clock - at(i).clock;
    if (found < clocks) report(rule, j, i, clocks, found);
  }

  // Every rule about two commands i before j.
  void pair(std::size_t i, std::size_t j) {
    const auto a = at(i).command, b = at(j).command;
    if (!split_ || column(a) == column(b)) need("command bus", i, j, 1);
    if (column(a) && column(b)) data_bus(i, j);
    if (at(i).address.rank != at(j).address.rank) return;
    const bool group = at(i).address.group == at(j).address.group;
    const bool bank = group && at(i).address.bank == at(j).address.bank;
    if (a == kActivate && b == kActivate) {
      need(group ? "tRRD_L" : "tRRD_S", i, j, group ? t_.t_rrd_l : t_.t_rrd_s);
      if (bank) need("tRC", i, j, t_.t_ras + t_.t_rp);
    }
    if (column(a) && column(b)) {
      need(group ? "tCCD_L" : "tCCD_S", i, j, group ? t_.t_ccd_l : t_.t_ccd_s);
      if (a == kWrite && b == kRead) {
        need(group ? "tWTR_L" : "tWTR_S", i, j, t_.cwl + t_.burst + (group ? t_.t_wtr_l : t_.t_wtr_s));
      }
    }
    // Commands for a whole rank concern every bank of it.
    if (!bank && !whole_rank(a) && !whole_rank(b)) return;
    if (a == kActivate && column(b)) need("tRCD", i, j, t_.t_rcd);
    if (a == kActivate && closes(b)) need("tRAS", i, j, t_.t_ras);
    if (a == kRead && closes(b)) need("tRTP", i, j, t_.t_rtp);
    if (a == kWrite && closes(b)) need("tWR", i, j, t_.cwl + t_.burst + t_.t_wr);
    if (closes(a) && (b == kActivate || b == kRefresh)) need("tRP", i, j, t_.t_rp);
  }

  // Two transfers must not overlap; between ranks and directions the bus rests.
  void data_bus(std::size_t i, std::size_t j) {
    const auto data = [&](std::size_t k) { return at(k).clock + (at(k).command == kRead ? t_.cl : t_.cwl); };
    const bool turn = at(i).command != at(j).command || at(i).address.rank != at(j).address.rank;
    const auto first = std::min(data(i), data(j)), second = std::max(data(i), data(j));
    const auto required = t_.burst + (turn ? t_.t_rtrs : 0);
    if (second - first < required) report(turn ? "data bus turn" : "data bus", j, i, required, second - first);
  }

  // Rules about more than two commands, or further apart than the window.
  void windows(std::size_t j) {
    const auto& c = at(j);
    auto& rank = ranks_[c.address.rank];
    if (rank.refreshed) need("tRFC", rank.last_refresh, j, t_.t_rfc);
    if (c.command == kActivate) {
      rank.activates.push_back(j);
      const auto n = rank.activates.size();
      if (n > 4) need("tFAW", rank.activates[n - 5], j, t_.t_faw);
    }
    if (c.command == kRefresh) {
      refresh_was_due(c.address.rank, c.clock, j);
      rank.refreshed = true;
      rank.last_refresh = j;
    }
  }

  void refresh_was_due(std::int32_t index, std::int64_t now, std::size_t j) {
    if (t_.t_refi == 0) return;
    const auto& rank = ranks_[index];
    const auto last = rank.refreshed ? at(rank.last_refresh).clock : 0;
    const auto longest = std::int64_t{9} * t_.t_refi;
    if (now - last > longest) report("tREFI", j, rank.refreshed ? rank.last_refresh : own_.size(), longest, now - last);
  }

  // Rows: what is open, and what a command needs.
  void state(std::size_t j) {
    const auto& c = at(j);
    auto& open = ranks_[c.address.rank].open_rows;
    const auto bank = c.address.group * g_.banks_per_group + c.address.bank;
    const auto row = open.find(bank);
    switch (c.command) {
      case kActivate:
        if (row != open.end()) report("activate of an open bank", j);
        open[bank] = c.address.row;
        break;
      case kRead:
      case kWrite:
        if (row == open.end()) report("access to a closed bank", j);
        if (row != open.end() && row->second != c.address.row) report("access to another row than the open one", j);
        break;
      case kPrecharge:
        open.erase(bank);
        break;
      case kPrechargeAll:
        open.clear();
        break;
      case kRefresh:
        if (!open.empty()) report("refresh of an open rank", j);
        break;
    }
  }

  struct Rank {
    std::map<std::int32_t, std::int32_t> open_rows;
    std::vector<std::size_t> activates;
    std::size_t last_refresh = 0;
    bool refreshed = false;
  };

  const DramGeometry& g_;
  const DramTiming& t_;
  bool split_;
  std::span<const DramCommandRecord> all_;
  std::span<const std::size_t> own_;
  std::size_t most_;
  std::vector<DramViolation>& out_;
  std::int64_t window_ = 0;
  std::map<std::int32_t, Rank> ranks_;
};

}  // namespace

std::vector<DramViolation> check_commands(const DramSpec& spec, std::span<const DramCommandRecord> commands,
                                          std::int64_t end, std::size_t most) {
  std::vector<DramViolation> out;
  std::map<std::int32_t, std::vector<std::size_t>> channels;
  for (std::int32_t c = 0; c < spec.geometry.channels; ++c) channels[c];
  for (std::size_t i = 0; i < commands.size(); ++i) channels[commands[i].address.channel].push_back(i);
  for (const auto& [channel, own] : channels) Checker(spec, commands, own, most, out).run(end);
  return out;
}

}  // namespace shoestring::sim
