#pragma once
// Is a trace of commands legal? Reads the definitions of the timings pair by pair, and keeps no earliest times: it
// shares the device's description with the scheduler and no line of code.

#include <cstdint>
#include <span>
#include <vector>

#include "shoestring/sim/dram_device.hpp"

namespace shoestring::sim {

// Commands `earlier` and `later` (places in the trace; -1: no command) are `found` clocks apart, `required` were needed.
// Rules about states have no clocks: both are 0.
struct DramViolation {
  const char* rule = "";
  std::int64_t earlier = -1;
  std::int64_t later = -1;
  std::int64_t required = 0;
  std::int64_t found = 0;
};

// At most `most` violations, in the order of the trace within each channel. A trace that ends at clock `end` must have
// refreshed until then (a rank may postpone eight refreshes). O(commands in the longest timing) a command.
[[nodiscard]] std::vector<DramViolation> check_commands(const DramSpec& spec,
                                                        std::span<const DramCommandRecord> commands, std::int64_t end,
                                                        std::size_t most);

}  // namespace shoestring::sim
