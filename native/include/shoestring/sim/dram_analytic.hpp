#pragma once
// Level (a) of the DRAM: open rows and the bounds of bus, bank groups, activates and banks, without a schedule.
// A few tens of nanoseconds an access; fed one after the other in the order in which they reach the controllers.

#include <array>
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

// Every channel collects reads and writes apart, as its controller does, and serves one kind at a time: reads until
// writes fill three quarters of their half of the queue, then writes until a quarter is left. A step serves one run of
// every bank, all that waits for one row (first ready, first come), and new accesses take the room. Data bus, bank
// groups, activates of a rank and banks have clocks that the work moves on, none from before the access came in. From
// one kind to the other the bus turns, and the rows of the new kind are opened only then.
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
    double ready = 0;   // for the next activate
    double column = 0;  // for the next access to the open row
  };
  // Accesses of a window to one row of one bank.
  struct Run {
    std::int32_t row = 0;
    std::int32_t bank = 0;
    std::int32_t accesses = 0;
    std::int32_t next = -1;  // of the same bank
    bool hits = false;    // the row is open
    double admitted = 0;  // when the first of them came in
    std::int64_t first = 0, last = 0;  // places of the first and last of them among all accesses
  };
  // What waits of one kind.
  struct Window {
    std::vector<Run> runs;
    std::vector<std::int32_t> first_run;  // of each bank
    std::vector<std::int32_t> pick;       // of each bank, while a window is served
    std::int32_t pending = 0;
  };
  // How the runs of a step share the bus.
  struct Share {
    double begin = 0;         // when it is free
    std::int64_t oldest = 0;  // place of the oldest access
    double part = 0;          // of the accesses from there on that belong to the step
  };
  struct Channel {
    std::array<Window, 2> windows;  // reads, writes
    std::vector<Bank> banks;
    std::vector<double> group_clock;
    std::vector<double> activate_clock;  // of a rank
    double bus_clock = 0;
    std::int64_t sequence = 0;
    double front = 0;         // the furthest clock after the last window
    double front_before = 0;  // and after the one before it
    double progress = 0;  // end of the last runs
    double turned = 0;    // when the bus turned
    std::size_t kind = 0;
    std::vector<std::int32_t> chosen;  // banks, while a window is served
    DramCounts counts;
  };
  static constexpr std::size_t kReads = 0, kWrites = 1;

  std::size_t choose_kind(Channel& channel) const;
  void serve_window(Channel& channel) const;
  // Returns when the last access of the run is issued and its bank group is free again.
  double serve_run(Channel& channel, const Run& run, std::int32_t accesses, std::size_t kind,
                   const Share& share) const;

  DramSpec spec_;
  std::int32_t half_;   // of the queue
  std::int32_t high_, low_;  // writes that begin a batch, and that end it
  std::vector<Channel> channels_;
};

}  // namespace shoestring::sim
