#include "shoestring/sim/dram_device.hpp"

#include <algorithm>

namespace shoestring::sim {
namespace {

constexpr std::size_t index(DramCommand command) noexcept { return static_cast<std::size_t>(command); }

}  // namespace

DramChannel::DramChannel(const DramSpec& spec)
    : split_command_bus_(spec.split_command_bus),
      banks_per_rank_(spec.geometry.banks()),
      four_activates_(spec.timing.t_faw) {
  const auto& g = spec.geometry;
  const auto& t = spec.timing;
  for (auto* table : {&same_bank_, &same_group_, &same_rank_, &other_rank_}) {
    for (auto& row : *table) row.fill(kNone);
  }
  const auto act = index(DramCommand::kActivate), pre = index(DramCommand::kPrecharge);
  const auto all = index(DramCommand::kPrechargeAll), rd = index(DramCommand::kRead);
  const auto wr = index(DramCommand::kWrite), ref = index(DramCommand::kRefresh);
  const auto write_end = t.cwl + t.burst;
  same_bank_[act][rd] = same_bank_[act][wr] = t.t_rcd;
  same_bank_[act][act] = t.t_rc();
  same_bank_[act][pre] = t.t_ras;
  same_bank_[pre][act] = t.t_rp;
  same_bank_[rd][pre] = t.t_rtp;
  same_bank_[wr][pre] = write_end + t.t_wr;
  same_group_[act][act] = t.t_rrd_l;
  same_group_[rd][rd] = same_group_[wr][wr] = std::max(t.t_ccd_l, t.burst);
  same_group_[wr][rd] = write_end + t.t_wtr_l;
  same_rank_[act][act] = t.t_rrd_s;
  same_rank_[rd][rd] = same_rank_[wr][wr] = std::max(t.t_ccd_s, t.burst);
  // The turn of the data bus; a read after a write also waits for the bank group's own gap.
  same_rank_[rd][wr] = std::max(t.cl + t.burst + t.t_rtrs - t.cwl, std::max(t.t_ccd_l, t.t_ccd_s));
  same_rank_[wr][rd] = std::max({write_end + t.t_wtr_s, write_end + t.t_rtrs - t.cl, t.t_ccd_l});
  // Commands for a whole rank.
  same_rank_[act][all] = t.t_ras;
  same_rank_[rd][all] = t.t_rtp;
  same_rank_[wr][all] = write_end + t.t_wr;
  same_rank_[pre][ref] = same_rank_[all][ref] = same_rank_[all][act] = t.t_rp;
  same_rank_[ref][act] = same_rank_[ref][ref] = t.t_rfc;
  same_rank_[ref][pre] = same_rank_[ref][all] = t.t_rfc;
  other_rank_[rd][rd] = other_rank_[wr][wr] = t.burst + t.t_rtrs;
  other_rank_[rd][wr] = t.cl + t.burst + t.t_rtrs - t.cwl;
  other_rank_[wr][rd] = write_end + t.t_rtrs - t.cl;

  const auto ranks = static_cast<std::size_t>(g.ranks);
  const auto banks = ranks * static_cast<std::size_t>(g.banks());
  banks_.resize(banks, Row{});
  groups_.resize(ranks * static_cast<std::size_t>(g.bank_groups), Row{});
  ranks_.resize(ranks, Row{});
  for (std::size_t b = 0; b < banks; ++b) {
    group_of_.push_back(b / static_cast<std::size_t>(g.banks_per_group));
    rank_of_.push_back(b / static_cast<std::size_t>(g.banks()));
  }
  last_activates_.resize(ranks, {-four_activates_, -four_activates_, -four_activates_, -four_activates_});
  activates_.resize(ranks, 0);
  open_row_.resize(banks, kClosed);
  open_banks_.resize(ranks, 0);
  opened_.resize(ranks, 0);
  active_.resize(ranks, 0);
}

void DramChannel::open(std::size_t bank, std::size_t rank, std::int32_t row, Clock clock) noexcept {
  open_row_[bank] = row;
  if (open_banks_[rank]++ == 0) opened_[rank] = clock;
}

void DramChannel::close(std::size_t bank, std::size_t rank, Clock clock) noexcept {
  if (open_row_[bank] == kClosed) return;
  open_row_[bank] = kClosed;
  if (--open_banks_[rank] == 0) active_[rank] += clock - opened_[rank];
}

void DramChannel::issue(DramCommand command, std::int32_t bank, std::int32_t row, Clock clock) noexcept {
  const auto at = static_cast<std::size_t>(bank);
  const auto rank = rank_of_[at];
  const auto c = index(command);
  bus_free_[bus_of(command)] = clock + 1;
  raise(banks_[at], same_bank_[c], clock);
  raise(groups_[group_of_[at]], same_group_[c], clock);
  raise(ranks_[rank], same_rank_[c], clock);
  if (ranks_.size() > 1 && is_column(command)) {
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      if (r == rank) continue;
      for (const auto later : {index(DramCommand::kRead), index(DramCommand::kWrite)}) {
        ranks_[r][later] = std::max(ranks_[r][later], clock + other_rank_[c][later]);
      }
    }
  }
  switch (command) {
    case DramCommand::kActivate: {
      open(at, rank, row, clock);
      auto& window = last_activates_[rank];
      window[activates_[rank]++ % 4] = clock;
      auto& next = ranks_[rank][c];
      next = std::max(next, window[activates_[rank] % 4] + four_activates_);
      break;
    }
    case DramCommand::kPrecharge:
      close(at, rank, clock);
      break;
    case DramCommand::kPrechargeAll:
      for (auto b = rank * static_cast<std::size_t>(banks_per_rank_), end = b + static_cast<std::size_t>(banks_per_rank_);
           b < end; ++b) {
        close(b, rank, clock);
      }
      break;
    case DramCommand::kRead:
    case DramCommand::kWrite:
    case DramCommand::kRefresh:
      break;
  }
}

DramChannel::Clock DramChannel::active_clocks(std::int32_t rank, Clock now) const noexcept {
  const auto r = static_cast<std::size_t>(rank);
  return active_[r] + (open_banks_[r] > 0 ? now - opened_[r] : 0);
}

}  // namespace shoestring::sim
