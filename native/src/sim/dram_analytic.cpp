#include "shoestring/sim/dram_analytic.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace shoestring::sim {

AnalyticDram::AnalyticDram(const DramSpec& spec)
    : spec_(spec),
      half_(std::max(spec.queue / 2, 1)),
      high_(std::max(half_ * 3 / 4, 1)),
      low_(half_ / 4),
      channels_(static_cast<std::size_t>(spec.geometry.channels)) {
  const auto& g = spec_.geometry;
  const auto banks = static_cast<std::size_t>(g.ranks * g.banks());
  for (auto& channel : channels_) {
    channel.banks.resize(banks);
    channel.group_clock.resize(static_cast<std::size_t>(g.ranks * g.bank_groups));
    channel.activate_clock.resize(static_cast<std::size_t>(g.ranks));
    for (auto& window : channel.windows) {
      window.first_run.resize(banks, -1);
      window.pick.resize(banks, -1);
      window.runs.reserve(static_cast<std::size_t>(half_));
    }
  }
}

void AnalyticDram::access(std::uint64_t access_number, bool is_write) {
  const auto& g = spec_.geometry;
  const auto at = spec_.map.decode(access_number);
  auto& channel = channels_[static_cast<std::size_t>(at.channel)];
  const auto kind = is_write ? kWrites : kReads;
  auto& window = channel.windows[kind];
  const auto bank = (at.rank * g.bank_groups + at.group) * g.banks_per_group + at.bank;
  auto& first = window.first_run[static_cast<std::size_t>(bank)];
  auto run = first;
  while (run >= 0 && window.runs[static_cast<std::size_t>(run)].row != at.row) {
    run = window.runs[static_cast<std::size_t>(run)].next;
  }
  if (run < 0) {
    run = static_cast<std::int32_t>(window.runs.size());
    // Room came while the last runs were served.
    window.runs.push_back({at.row, bank, 0, first, false, (2 * channel.front_before + channel.front) / 3, channel.sequence,
                           channel.sequence});
    first = run;
  }
  auto& found = window.runs[static_cast<std::size_t>(run)];
  ++found.accesses;
  found.last = channel.sequence++;
  ++window.pending;
  while (channel.windows[kReads].pending >= half_ || channel.windows[kWrites].pending >= high_) serve_window(channel);
}

double AnalyticDram::serve_run(Channel& channel, const Run& run, std::int32_t accesses,
                               std::size_t kind, const Share& share) const {
  const double floor = std::max(run.admitted, channel.turned);
  const auto& t = spec_.timing;
  const auto& g = spec_.geometry;
  auto& bank = channel.banks[static_cast<std::size_t>(run.bank)];
  const double gap = std::max(t.t_ccd_l, t.burst);
  double first = std::max(bank.column, floor);
  if (!run.hits) {
    auto& activates = channel.activate_clock[static_cast<std::size_t>(run.bank / g.banks())];
    activates = std::max(activates, floor);
    // After a turn even the precharge comes only then.
    const double closed = channel.turned >= run.admitted && bank.open_row >= 0 ? floor + t.t_rp : floor;
    const double activate = std::max({bank.ready, activates, closed});
    activates += std::max<double>(t.t_rrd_s, t.t_faw / 4.0);
    first = activate + t.t_rcd;
    bank.ready = activate + t.t_ras + t.t_rp;
    bank.open_row = run.row;
    ++channel.counts.activates;
  }
  // The older go first on the bus, so the last one waits for all that came before it.
  const double turn = share.begin + static_cast<double>(run.last - share.oldest) * share.part * t.burst;
  bank.column = std::max(first + (accesses - 1) * gap, turn) + gap;
  const double recovery = kind == kWrites ? t.cwl + t.burst + t.t_wr : t.t_rtp;
  bank.ready = std::max(bank.ready, bank.column - gap + recovery + t.t_rp);
  auto& group = channel.group_clock[static_cast<std::size_t>(run.bank / g.banks_per_group)];
  group = std::max(group, floor) + accesses * gap;
  channel.bus_clock = std::max(channel.bus_clock, floor) + accesses * std::max(t.t_ccd_s, t.burst);
  channel.counts.row_hits += accesses - (run.hits ? 0 : 1);
  (kind == kWrites ? channel.counts.writes : channel.counts.reads) += accesses;
  return std::max(bank.column, group);
}

// Reads go first until enough writes wait, then writes until few are left, as in the controller.
std::size_t AnalyticDram::choose_kind(Channel& channel) const {
  const auto reads = channel.windows[kReads].pending, writes = channel.windows[kWrites].pending;
  const auto before = channel.kind;
  if (before == kReads && (writes >= high_ || reads == 0)) channel.kind = kWrites;
  if (before == kWrites && (writes == 0 || (writes <= low_ && reads > 0))) channel.kind = kReads;
  if (channel.kind == before || channel.counts.reads + channel.counts.writes == 0) return channel.kind;
  const auto& t = spec_.timing;
  channel.turned = std::max(channel.progress, channel.bus_clock);
  channel.bus_clock =
      channel.turned + (channel.kind == kWrites ? std::max(t.cl + t.t_rtrs - t.cwl, 0) : t.cwl + t.t_wtr_s);
  return channel.kind;
}

// Serves one run of every bank: the one of the open row, else the one that waits longest. The others stay.
void AnalyticDram::serve_window(Channel& channel) const {
  const auto kind = choose_kind(channel);
  auto& window = channel.windows[kind];
  auto& chosen = channel.chosen;
  chosen.clear();
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(window.runs.size()); ++i) {
    auto& run = window.runs[static_cast<std::size_t>(i)];
    auto& pick = window.pick[static_cast<std::size_t>(run.bank)];
    run.hits = channel.banks[static_cast<std::size_t>(run.bank)].open_row == run.row;
    if (pick < 0) chosen.push_back(run.bank);
    if (pick < 0 || run.hits) pick = i;
  }
  // A batch of writes ends when few are left, in all banks alike.
  const bool batch = kind == kWrites && channel.windows[kReads].pending > 0;
  auto budget = batch ? window.pending - low_ : window.pending;
  Share share;
  share.oldest = channel.sequence;
  std::int64_t accesses_chosen = 0, youngest = 0;
  double admitted = channel.front;
  for (const auto bank : chosen) {
    const auto& run = window.runs[static_cast<std::size_t>(window.pick[static_cast<std::size_t>(bank)])];
    accesses_chosen += run.accesses;
    share.oldest = std::min(share.oldest, run.first);
    youngest = std::max(youngest, run.last);
    admitted = std::min(admitted, run.admitted);
  }
  const double part = std::min(1.0, budget / static_cast<double>(accesses_chosen));
  share.part = std::min(1.0, part * static_cast<double>(accesses_chosen) / static_cast<double>(youngest - share.oldest + 1));
  share.begin = std::max(channel.bus_clock, admitted);
  double latest = 0;
  for (const auto bank : chosen) {
    auto& pick = window.pick[static_cast<std::size_t>(bank)];
    auto& run = window.runs[static_cast<std::size_t>(pick)];
    pick = -1;
    window.first_run[static_cast<std::size_t>(bank)] = -1;
    const auto accesses = std::min(budget, static_cast<std::int32_t>(std::ceil(run.accesses * part)));
    if (accesses == 0) continue;
    latest = std::max(latest, serve_run(channel, run, accesses, kind, share));
    window.pending -= accesses;
    budget -= accesses;
    run.accesses -= accesses;
  }
  channel.progress = latest;
  channel.front_before = channel.front;
  channel.front = std::max({channel.front, latest, channel.bus_clock});
  // What waits moves together; lists of runs are linked again.
  std::erase_if(window.runs, [](const Run& run) { return run.accesses == 0; });
  for (const auto& run : window.runs) window.first_run[static_cast<std::size_t>(run.bank)] = -1;
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(window.runs.size()); ++i) {
    auto& run = window.runs[static_cast<std::size_t>(i)];
    auto& first = window.first_run[static_cast<std::size_t>(run.bank)];
    run.next = first;
    first = i;
  }
}

DramCounts AnalyticDram::counts() const {
  const auto& t = spec_.timing;
  DramCounts total;
  double slowest = 0;
  for (auto channel : channels_) {
    while (channel.windows[kReads].pending + channel.windows[kWrites].pending > 0) serve_window(channel);
    slowest = std::max(slowest, channel.front);
    total.reads += channel.counts.reads;
    total.writes += channel.counts.writes;
    total.row_hits += channel.counts.row_hits;
    total.activates += channel.counts.activates;
  }
  if (total.reads + total.writes == 0) return total;
  slowest += t.cl + t.burst;
  if (t.t_refi > 0) {
    // A refresh costs its own time, the closing of the rows before it and the opening of the first one after it.
    const double each = t.t_rfc + t.t_rp + t.t_rcd;
    const auto refreshes = static_cast<std::int64_t>(slowest / (t.t_refi - each));
    slowest += static_cast<double>(refreshes) * each;
    total.refreshes = refreshes * spec_.geometry.channels * spec_.geometry.ranks;
  }
  total.cycles = static_cast<std::int64_t>(slowest);
  return total;
}

}  // namespace shoestring::sim
