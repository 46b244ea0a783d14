#pragma once
// What a DRAM is: geometry, timings and the map from addresses. Scheduler and checker share this and
// nothing else. All timings are clocks of the memory; names are those of the JEDEC standards.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "shoestring/util/result.hpp"

namespace shoestring::sim {

struct DramTiming {
  std::int32_t cl = 1;        // read command to data
  std::int32_t cwl = 1;       // write command to data
  std::int32_t burst = 1;     // clocks of data of one access (BL / 2)
  std::int32_t t_rcd = 1;     // activate to access
  std::int32_t t_rp = 1;      // precharge to activate
  std::int32_t t_ras = 1;     // activate to precharge
  std::int32_t t_rrd_s = 1;   // activate to activate, another bank group
  std::int32_t t_rrd_l = 1;   // activate to activate, the same bank group
  std::int32_t t_faw = 1;     // window that holds four activates of a rank at most
  std::int32_t t_ccd_s = 1;   // access to access, another bank group
  std::int32_t t_ccd_l = 1;   // access to access, the same bank group
  std::int32_t t_wtr_s = 0;   // end of write data to read, another bank group
  std::int32_t t_wtr_l = 0;   // end of write data to read, the same bank group
  std::int32_t t_wr = 0;      // end of write data to precharge
  std::int32_t t_rtp = 0;     // read to precharge
  std::int32_t t_rtrs = 0;    // gap on the data bus between ranks, and from read to write
  std::int32_t t_rfc = 1;     // refresh to activate
  std::int32_t t_refi = 0;    // mean interval of refreshes; 0: never refreshed

  [[nodiscard]] std::int32_t t_rc() const noexcept { return t_ras + t_rp; }
};

struct DramGeometry {
  std::int32_t channels = 1;
  std::int32_t ranks = 1;
  std::int32_t bank_groups = 1;
  std::int32_t banks_per_group = 1;
  std::int32_t rows = 1;
  std::int32_t columns = 1;  // accesses that one row holds

  [[nodiscard]] std::int32_t banks() const noexcept { return bank_groups * banks_per_group; }
};

// Where an access goes. `bank` counts within its bank group.
struct DramAddress {
  std::int32_t channel = 0;
  std::int32_t rank = 0;
  std::int32_t group = 0;
  std::int32_t bank = 0;
  std::int32_t row = 0;
  std::int32_t column = 0;
};

enum class AddressField : std::uint8_t { kChannel, kRank, kGroup, kBank, kRow, kColumn };
inline constexpr std::size_t kAddressFields = 6;

// Bits of the access number (address / bytes of an access) that make one field, listed from low to high.
struct AddressBits {
  AddressField field = AddressField::kColumn;
  std::int32_t bits = 0;
};

// Splits access numbers into fields; what lies above the highest field is cut off.
class AddressMap {
  struct Part {
    std::uint64_t mask = 0;
    std::int32_t shift = 0;  // from the access number
    std::int32_t place = 0;  // in the field
    std::size_t field = 0;
  };
  std::vector<Part> parts_;

 public:
  // Fails if the bits of a field do not fit the geometry.
  [[nodiscard]] static Result<AddressMap> make(const DramGeometry& geometry, std::span<const AddressBits> low_to_high);

  [[nodiscard]] DramAddress decode(std::uint64_t access) const noexcept {
    std::array<std::int32_t, kAddressFields> out{};
    for (const auto& part : parts_) {
      out[part.field] |= static_cast<std::int32_t>(((access >> part.shift) & part.mask) << part.place);
    }
    return {out[0], out[1], out[2], out[3], out[4], out[5]};
  }
};

// `queue`: requests that a channel's controller sees at once, half of them reads and half writes.
struct DramSpec {
  DramGeometry geometry;
  DramTiming timing;
  AddressMap map;
  std::int32_t queue = 64;
  bool split_command_bus = false;  // HBM: row and column commands have a bus each

  [[nodiscard]] static Result<DramSpec> make(const DramGeometry& geometry, const DramTiming& timing,
                                             std::span<const AddressBits> low_to_high, std::int32_t queue,
                                             bool split_command_bus);
};

}  // namespace shoestring::sim
