#include "shoestring/sim/dram_spec.hpp"

#include <bit>
#include <string>
#include <utility>

namespace shoestring::sim {
namespace {

Error refused(const std::string& text) { return {ErrorKind::config, 0, -1, text, {}}; }

struct Limit {
  const char* name;
  std::int32_t value;
  std::int32_t least;
  std::int32_t most;
};

Result<Done> check(std::span<const Limit> limits, bool powers_of_two) {
  for (const auto& [name, value, least, most] : limits) {
    if (value < least || value > most) {
      return refused(std::string(name) + "=" + std::to_string(value) + " is not allowed; give " +
                     std::to_string(least) + " to " + std::to_string(most));
    }
    if (powers_of_two && !std::has_single_bit(static_cast<std::uint32_t>(value))) {
      return refused(std::string(name) + "=" + std::to_string(value) + " is not allowed; give a power of two");
    }
  }
  return Done{};
}

Result<Done> check_geometry(const DramGeometry& g) {
  const std::array<Limit, 6> limits{{{"channels", g.channels, 1, 256},
                                     {"ranks", g.ranks, 1, 16},
                                     {"bank_groups", g.bank_groups, 1, 16},
                                     {"banks_per_group", g.banks_per_group, 1, 16},
                                     {"rows", g.rows, 1, 1 << 24},
                                     {"columns", g.columns, 1, 1 << 16}}};
  return check(limits, true);
}

Result<Done> check_timing(const DramTiming& t) {
  constexpr std::int32_t most = 1 << 20;
  const std::array<Limit, 18> limits{{{"cl", t.cl, 1, most},          {"cwl", t.cwl, 1, most},
                                      {"burst", t.burst, 1, most},    {"t_rcd", t.t_rcd, 1, most},
                                      {"t_rp", t.t_rp, 1, most},      {"t_ras", t.t_ras, 1, most},
                                      {"t_rrd_s", t.t_rrd_s, 1, most}, {"t_rrd_l", t.t_rrd_l, 1, most},
                                      {"t_faw", t.t_faw, 1, most},    {"t_ccd_s", t.t_ccd_s, 1, most},
                                      {"t_ccd_l", t.t_ccd_l, 1, most}, {"t_wtr_s", t.t_wtr_s, 0, most},
                                      {"t_wtr_l", t.t_wtr_l, 0, most}, {"t_wr", t.t_wr, 0, most},
                                      {"t_rtp", t.t_rtp, 0, most},    {"t_rtrs", t.t_rtrs, 0, most},
                                      {"t_rfc", t.t_rfc, 1, most},    {"t_refi", t.t_refi, 0, most}}};
  auto done = check(limits, false);
  if (!done.ok()) return done;
  // Below this a rank would have no time left between two refreshes.
  const std::int64_t least = std::int64_t{t.t_rfc} + 4 * (t.t_rc() + t.cl + t.cwl + t.burst + t.t_wr);
  if (t.t_refi != 0 && t.t_refi < least) {
    return refused("t_refi=" + std::to_string(t.t_refi) + " is not allowed; give 0 (no refresh) or at least " +
                   std::to_string(least) + ", so that a rank works between refreshes");
  }
  return Done{};
}

}  // namespace

Result<AddressMap> AddressMap::make(const DramGeometry& geometry, std::span<const AddressBits> low_to_high) {
  constexpr std::array<const char*, kAddressFields> names{"channels", "ranks", "bank_groups", "banks_per_group",
                                                          "rows",     "columns"};
  const std::array<std::int32_t, kAddressFields> sizes{geometry.channels,        geometry.ranks, geometry.bank_groups,
                                                       geometry.banks_per_group, geometry.rows,  geometry.columns};
  std::array<std::int32_t, kAddressFields> used{};
  AddressMap map;
  std::int32_t shift = 0;
  for (const auto& [field, bits] : low_to_high) {
    if (bits < 0 || bits > 31) return refused("a field of the address map has " + std::to_string(bits) + " bits");
    const auto index = static_cast<std::size_t>(field);
    if (bits > 0) map.parts_.push_back({(std::uint64_t{1} << bits) - 1, shift, used[index], index});
    used[index] += bits;
    shift += bits;
  }
  for (std::size_t i = 0; i < kAddressFields; ++i) {
    const auto bits = static_cast<std::int32_t>(std::bit_width(static_cast<std::uint32_t>(sizes[i]))) - 1;
    if (used[i] != bits) {
      return refused("the address map gives " + std::to_string(used[i]) + " bits to " + names[i] + "; " +
                     std::to_string(sizes[i]) + " need " + std::to_string(bits));
    }
  }
  if (shift > 63) return refused("the address map has " + std::to_string(shift) + " bits; 63 fit");
  return map;
}

Result<DramSpec> DramSpec::make(const DramGeometry& geometry, const DramTiming& timing,
                                std::span<const AddressBits> low_to_high, std::int32_t queue, bool split_command_bus) {
  if (auto done = check_geometry(geometry); !done.ok()) return done.error();
  if (auto done = check_timing(timing); !done.ok()) return done.error();
  if (queue < 2 || queue > 4096) {
    return refused("queue=" + std::to_string(queue) + " is not allowed; give 2 to 4096");
  }
  auto map = AddressMap::make(geometry, low_to_high);
  if (!map.ok()) return map.error();
  return DramSpec{geometry, timing, std::move(map.value()), queue, split_command_bus};
}

}  // namespace shoestring::sim
