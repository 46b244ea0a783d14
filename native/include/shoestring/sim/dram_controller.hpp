#pragma once
// Level (b) of the DRAM: every command of every channel, chosen by an open-page, first-ready controller.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "shoestring/sim/dram_device.hpp"

namespace shoestring::sim {

// Requests in the order in which they reach the controllers. Every channel takes its own from the list, one after the
// other, as soon as it has arrived and its queue has room.
struct DramRequests {
  std::span<const std::uint64_t> accesses;  // address / bytes of an access
  std::span<const std::uint8_t> writes;     // 1: write
  std::span<const std::int64_t> arrivals;   // clock of the memory, never falling; empty: all at 0
};

struct DramReport {
  std::int64_t reads = 0;
  std::int64_t writes = 0;
  std::int64_t row_hits = 0;  // accesses that did not wait for an activate of their own
  std::int64_t activates = 0;
  std::int64_t precharges = 0;  // one bank, and all banks of a rank, alike
  std::int64_t refreshes = 0;
  std::int64_t cycles = 0;          // until the last data are over; the slowest channel counts
  std::int64_t busy_clocks = 0;     // of the data buses, all channels
  std::int64_t active_clocks = 0;   // of ranks with an open row, all ranks
  std::int64_t read_latency = 0;    // sum over the reads, from arrival to the end of the data
  std::int64_t worst_read_latency = 0;
  std::vector<DramCommandRecord> commands;  // channel after channel, each by clock; only if asked for

  [[nodiscard]] std::int64_t num_commands() const noexcept {
    return reads + writes + activates + precharges + refreshes;
  }
};

// What to do besides counting. `finish[i]`, if not empty, becomes the clock at which request i is over.
struct DramObserver {
  bool log_commands = false;
  std::span<std::int64_t> finish;
  std::function<bool()> cancelled;  // asked now and then; true ends the run with an error
};

// Runs until every request is done. First ready, first come: of the commands that are legal earliest, accesses to open
// rows before others, older requests before younger. Reads before writes until writes fill their half of the queue.
// Accesses to one address keep their order, whatever their kind. Every t_refi a rank is closed and refreshed.
[[nodiscard]] Result<DramReport> simulate_dram(const DramSpec& spec, const DramRequests& requests,
                                               const DramObserver& observer);

}  // namespace shoestring::sim
