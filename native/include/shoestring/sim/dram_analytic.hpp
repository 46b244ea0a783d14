#pragma once
// Level (a) of the DRAM: open rows and the bounds of bus, bank groups, activates and banks, without a schedule.
// A few nanoseconds an access; fed one access after the other in the order in which they reach the controller.

#include <cstdint>
#include <vector>

#include "shoestring/sim/dram_spec.hpp"

namespace shoestring::sim {

struct DramCounts {
  std::int64_t reads = 0;
  std::int64_t writes = 0;
  std::int64_t row_hits = 0;
  std::int64_t activates = 0;  // = row misses
  std::int64_t refreshes = 0;  // of all ranks
  std::int64_t cycles = 0;     // clocks of the memory until the last access is done; the slowest channel counts
};

// Every channel looks at its accesses in windows of half a queue: within a window those of one row are served
// together (first ready, first come), so a row opens once a window at most. Every resource (data bus, bank group,
// the activates of a rank, bank) has a clock that the window's work moves on. A clock may lag behind the furthest
// one by two windows, as no controller can use idle time that lies further back than its queue.
class AnalyticDram {
 public:
  explicit AnalyticDram(const DramSpec& spec);

  void access(std::uint64_t access_number, bool is_write);
  void read(std::uint64_t access_number) { access(access_number, false); }
  void write(std::uint64_t access_number) { access(access_number, true); }

  // What all accesses so far cost; more may follow.
  [[nodiscard]] DramCounts counts() const;

 private:
  struct Bank {
    std::int32_t open_row = -1;
    std::int32_t first_run = -1;  // runs of this window, a list through Channel::runs
    double clock = 0;
  };
  // Accesses of a window to one row of one bank.
  struct Run {
    std::int32_t row = 0;
    std::int32_t bank = 0;
    std::int32_t reads = 0;
    std::int32_t writes = 0;
    std::int32_t next = -1;
    bool hits = false;  // the row was open when the window began
  };
  struct Channel {
    std::vector<Bank> banks;
    std::vector<double> group_clock;
    std::vector<double> activate_clock;  // of a rank
    std::vector<Run> runs;
    double bus_clock = 0;
    double front = 0;       // the furthest clock after the last window
    double front_before = 0;  // and after the one before it
    std::int32_t pending = 0;
    std::int32_t undrained = 0;  // writes since the last turn of the bus
    bool has_read = false;
    DramCounts counts;
  };

  void close_window(Channel& channel) const;
  void serve_run(Channel& channel, const Run& run, double floor) const;

  DramSpec spec_;
  std::int32_t window_;
  std::vector<Channel> channels_;
};

}  // namespace shoestring::sim
