#include "shoestring/sim/dram_analytic.hpp"

#include <algorithm>

namespace shoestring::sim {

AnalyticDram::AnalyticDram(const DramSpec& spec)
    : spec_(spec),
      window_(std::max(spec.queue / 2, 1)),
      channels_(static_cast<std::size_t>(spec.geometry.channels)) {
  const auto& g = spec_.geometry;
  for (auto& channel : channels_) {
    channel.banks.resize(static_cast<std::size_t>(g.ranks * g.banks()));
    channel.group_clock.resize(static_cast<std::size_t>(g.ranks * g.bank_groups));
    channel.activate_clock.resize(static_cast<std::size_t>(g.ranks));
    channel.runs.reserve(static_cast<std::size_t>(window_));
  }
}

void AnalyticDram::access(std::uint64_t access_number, bool is_write) {
  const auto& g = spec_.geometry;
  const auto at = spec_.map.decode(access_number);
  auto& channel = channels_[static_cast<std::size_t>(at.channel)];
  const auto index = (at.rank * g.bank_groups + at.group) * g.banks_per_group + at.bank;
  auto& bank = channel.banks[static_cast<std::size_t>(index)];
  auto run = bank.first_run;
  while (run >= 0 && channel.runs[static_cast<std::size_t>(run)].row != at.row) {
    run = channel.runs[static_cast<std::size_t>(run)].next;
  }
  if (run < 0) {
    run = static_cast<std::int32_t>(channel.runs.size());
    channel.runs.push_back({at.row, index, 0, 0, bank.first_run, false});
    bank.first_run = run;
  }
  auto& found = channel.runs[static_cast<std::size_t>(run)];
  found.reads += !is_write;
  found.writes += is_write;
  if (++channel.pending == window_) close_window(channel);
}

// The work of one run moves the clocks of its bank, its bank group, its rank's activates and the bus.
void AnalyticDram::serve_run(Channel& channel, const Run& run, double floor) const {
  const auto& t = spec_.timing;
  const auto& g = spec_.geometry;
  auto& bank = channel.banks[static_cast<std::size_t>(run.bank)];
  const auto accesses = run.reads + run.writes;
  auto& group = channel.group_clock[static_cast<std::size_t>(run.bank / g.banks_per_group)];
  group = std::max(group, floor) + accesses * t.t_ccd_l;
  channel.bus_clock += accesses * std::max(t.burst, t.t_ccd_s);
  channel.counts.reads += run.reads;
  channel.counts.writes += run.writes;
  if (run.hits) {
    bank.clock = std::max(bank.clock, floor) + accesses * t.t_ccd_l;
    channel.counts.row_hits += accesses;
    return;
  }
  const auto tail = run.writes > 0 ? t.cwl + t.burst + t.t_wr : t.t_rtp;
  const auto open = std::max(t.t_ras, t.t_rcd + (accesses - 1) * t.t_ccd_l + tail);
  bank.clock = std::max(bank.clock, floor) + open + t.t_rp;
  bank.open_row = run.row;
  auto& activates = channel.activate_clock[static_cast<std::size_t>(run.bank / g.banks())];
  activates = std::max(activates, floor) + std::max<double>(t.t_rrd_s, t.t_faw / 4.0);
  channel.counts.row_hits += accesses - 1;
  ++channel.counts.activates;
}

void AnalyticDram::close_window(Channel& channel) const {
  const auto& t = spec_.timing;
  const double floor = channel.front_before;
  channel.bus_clock = std::max(channel.bus_clock, floor);
  // Rows that are open already are served before they are closed.
  for (auto& run : channel.runs) {
    run.hits = channel.banks[static_cast<std::size_t>(run.bank)].open_row == run.row;
    if (run.hits) serve_run(channel, run, floor);
  }
  double front = channel.front;
  for (const auto& run : channel.runs) {
    if (!run.hits) serve_run(channel, run, floor);
    channel.banks[static_cast<std::size_t>(run.bank)].first_run = -1;
    channel.has_read |= run.reads > 0;
    channel.undrained += run.writes;
  }
  // Writes leave in batches of a quarter of the queue; each batch turns the bus twice.
  const auto batch = std::max(spec_.queue / 4, 1);
  while (channel.undrained >= batch) {
    channel.undrained -= batch;
    if (channel.has_read) channel.bus_clock += t.cl + 2 * t.t_rtrs + t.t_wtr_s;
    channel.has_read = false;
  }
  for (const auto& run : channel.runs) {
    const auto& g = spec_.geometry;
    front = std::max({front, channel.banks[static_cast<std::size_t>(run.bank)].clock - t.t_rp,
                      channel.group_clock[static_cast<std::size_t>(run.bank / g.banks_per_group)],
                      channel.activate_clock[static_cast<std::size_t>(run.bank / g.banks())]});
  }
  channel.front_before = channel.front;
  channel.front = std::max(front, channel.bus_clock);
  channel.runs.clear();
  channel.pending = 0;
}

DramCounts AnalyticDram::counts() const {
  const auto& t = spec_.timing;
  DramCounts total;
  double slowest = 0;
  for (auto channel : channels_) {
    if (channel.pending > 0) close_window(channel);
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
    const double refreshes = slowest / (t.t_refi - t.t_rfc - t.t_rp - t.t_rcd);
    slowest += refreshes * (t.t_rfc + t.t_rp + t.t_rcd);
    total.refreshes = static_cast<std::int64_t>(refreshes) * spec_.geometry.channels * spec_.geometry.ranks;
  }
  total.cycles = static_cast<std::int64_t>(slowest);
  return total;
}

}  // namespace shoestring::sim
