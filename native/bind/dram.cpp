// Python's view of the DRAM: specs, the commands, the checker. The caller checks the content of arrays.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "bind.hpp"
#include "errors.hpp"

#include "shoestring/sim/dram_checker.hpp"
#include "shoestring/sim/dram_controller.hpp"

namespace nb = nanobind;
namespace sim = shoestring::sim;

namespace {

template <class T>
using Array = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Accesses = Array<const std::uint64_t>;
using Writes = Array<const std::uint8_t>;
using Clocks = Array<const std::int64_t>;
using Finish = Array<std::int64_t>;
// Commands cross the border as the bytes of their records; Python looks at them through a structured dtype.
using Records = nb::ndarray<const std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OwnedRecords = nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<2>>;

static_assert(sizeof(sim::DramCommandRecord) == 40 && offsetof(sim::DramCommandRecord, command) == 8 &&
              offsetof(sim::DramCommandRecord, address) == 12 && sizeof(sim::DramAddress) == 24);

sim::DramSpec make_spec(const std::vector<std::int32_t>& g, const std::vector<std::int32_t>& t,
                        const std::vector<std::pair<std::int32_t, std::int32_t>>& low_to_high, std::int32_t queue,
                        bool split_command_bus) {
  if (g.size() != 6 || t.size() != 18) throw nb::value_error("give 6 sizes and 18 timings");
  const sim::DramGeometry geometry{g[0], g[1], g[2], g[3], g[4], g[5]};
  const sim::DramTiming timing{t[0], t[1],  t[2],  t[3],  t[4],  t[5],  t[6],  t[7],  t[8],
                               t[9], t[10], t[11], t[12], t[13], t[14], t[15], t[16], t[17]};
  std::vector<sim::AddressBits> map;
  for (const auto& [field, bits] : low_to_high) {
    if (field < 0 || field >= static_cast<std::int32_t>(sim::kAddressFields)) throw nb::value_error("no such field");
    map.push_back({static_cast<sim::AddressField>(field), bits});
  }
  return unwrap(sim::DramSpec::make(geometry, timing, map, queue, split_command_bus));
}

bool interrupted() {
  const nb::gil_scoped_acquire locked;
  return PyErr_CheckSignals() != 0;
}

OwnedRecords to_records(std::vector<sim::DramCommandRecord> commands) {
  auto owner = std::make_unique<std::vector<sim::DramCommandRecord>>(std::move(commands));
  auto* data = reinterpret_cast<std::uint8_t*>(owner->data());
  const std::size_t shape[] = {owner->size(), sizeof(sim::DramCommandRecord)};
  const nb::capsule keeper(owner.release(), [](void* p) noexcept {
    delete static_cast<std::vector<sim::DramCommandRecord>*>(p);
  });
  return OwnedRecords(data, 2, shape, keeper);
}

nb::tuple simulate(const sim::DramSpec& spec, const Accesses& accesses, const Writes& writes, const Clocks& arrivals,
                   const Finish& finish, bool log_commands) {
  const sim::DramRequests requests{
      {accesses.data(), accesses.size()}, {writes.data(), writes.size()}, {arrivals.data(), arrivals.size()}};
  const sim::DramObserver observer{log_commands, {finish.data(), finish.size()}, interrupted};
  auto result = [&] {
    const nb::gil_scoped_release unlocked;
    return sim::simulate_dram(spec, requests, observer);
  }();
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
  auto report = unwrap(std::move(result));
  return nb::make_tuple(report.reads, report.writes, report.row_hits, report.activates, report.precharges,
                        report.refreshes, report.cycles, report.busy_clocks, report.active_clocks, report.read_latency,
                        report.worst_read_latency, to_records(std::move(report.commands)));
}

nb::list check(const sim::DramSpec& spec, const Records& records, std::int64_t end, std::size_t most) {
  if (records.shape(1) != sizeof(sim::DramCommandRecord)) throw nb::value_error("a record has 40 bytes");
  if (reinterpret_cast<std::uintptr_t>(records.data()) % alignof(sim::DramCommandRecord) != 0) {
    throw nb::value_error("records must be aligned to 8 bytes");
  }
  std::vector<sim::DramViolation> found;
  {
    const nb::gil_scoped_release unlocked;
    const auto* first = reinterpret_cast<const sim::DramCommandRecord*>(records.data());
    found = sim::check_commands(spec, {first, records.shape(0)}, end, most);
  }
  nb::list out;
  for (const auto& v : found) out.append(nb::make_tuple(v.rule, v.earlier, v.later, v.required, v.found));
  return out;
}

void decode(const sim::DramSpec& spec, const Accesses& accesses,
            const nb::ndarray<std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>& fields) {
  if (fields.shape(0) != accesses.size() || fields.shape(1) != sim::kAddressFields) {
    throw nb::value_error("fields must have six places an access");
  }
  auto* out = fields.data();
  for (std::size_t i = 0; i < accesses.size(); ++i) {
    const auto at = spec.map.decode(accesses.data()[i]);
    for (const auto value : {at.channel, at.rank, at.group, at.bank, at.row, at.column}) *out++ = value;
  }
}

}  // namespace

void bind_dram(nb::module_& module) {
  using nb::literals::operator""_a;
  nb::class_<sim::DramSpec>(module, "DramSpec", "Geometry, timings and address map, checked.");
  module.def("make_spec", &make_spec, "geometry"_a, "timing"_a, "low_to_high"_a, "queue"_a, "split_command_bus"_a);
  module.def("simulate", &simulate, "spec"_a, "accesses"_a, "writes"_a, "arrivals"_a, "finish"_a, "log_commands"_a,
             "Run every request at command level; return the counters and the records of the commands.");
  module.def("check", &check, "spec"_a, "records"_a, "end"_a, "most"_a,
             "Return violations as (rule, earlier, later, required, found).");
  module.def("decode", &decode, "spec"_a, "accesses"_a, "fields"_a,
             "Write channel, rank, group, bank, row, column of every access into fields.");
}
