"""The DRAM against closed forms.

Clocks of a long stream of n accesses on one channel, derived from the definitions of the timings:

- *bus*: whatever else, the data take ``BL/2`` clocks an access.
- *bank group*: accesses to one group follow each other every ``tCCD_L``.
- *bank, reads*: a new row of one bank every ``max(tRC, tRCD + tRTP + tRP)``.
- *bank, writes*: a new row every ``max(tRC, tRCD + CWL + BL/2 + tWR + tRP)``.
- *activates*: rows of different banks every ``max(tRRD_S, tFAW / 4, BL/2, tRC / banks)``.
- *turns*: the controller writes ``queue / 4`` lines, then reads as many as come with them. A read after a
  write in another bank group waits ``CWL + BL/2 + tWTR_S`` from command to command, a write after a read
  ``CL + BL/2 + tRTRS - CWL``; without a turn it would be ``BL/2`` each. A batch of w writes and r reads so
  takes ``(w + r) BL/2 + CL + tRTRS + tWTR_S``.
- *refresh*: a rank is away ``tRFC`` of every ``tREFI`` clocks, 374 of 8328 = 4.5 % for DDR4-2133: everything
  takes ``tREFI / (tREFI - tRFC)`` as long.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from shoestring.native.dram import DramGeometry, DramSpec, DramTiming
from shoestring.silicon.dram import Device, Dram

N = 30_000
DEVICES = ("ddr4_2133", "ddr4_2400", "ddr4_2666", "hbm2")
LOW = "ro-ba-co-ra-ch-bg"  # bank groups lowest
Stream = tuple[NDArray[np.uint64], NDArray[np.bool_]]


def dram(name: str, mapping: str = LOW, ranks: int = 1) -> Dram:
    return Dram(Device.from_yaml(name), mapping=mapping, ranks=ranks)


def stream(accesses: NDArray[np.int64], writes: NDArray[np.bool_] | None = None) -> Stream:
    kinds = np.zeros(len(accesses), np.bool_) if writes is None else writes
    return accesses.astype(np.uint64) * np.uint64(64), kinds


def refreshed(timing: DramTiming, clocks: float) -> float:
    return clocks * timing.t_refi / (timing.t_refi - timing.t_rfc)


def measured(memory: Dram, requests: Stream) -> int:
    run = memory.simulate(*requests, log_commands=True)
    assert memory.check(run) == ()
    assert run.counts.reads + run.counts.writes == len(requests[0])
    return run.counts.cycles


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("write", [False, True])
def test_a_sequential_stream_over_all_bank_groups_is_bound_by_the_bus(name: str, write: bool) -> None:
    memory, requests = dram(name), stream(np.arange(N), np.full(N, write))
    t = memory.spec.timing
    assert measured(memory, requests) == pytest.approx(refreshed(t, N * t.burst), rel=0.05)


@pytest.mark.parametrize("name", DEVICES)
def test_a_stride_that_stays_in_one_bank_group_is_bound_by_its_gap(name: str) -> None:
    memory = dram(name)
    columns = memory.spec.geometry.columns
    requests = stream(np.arange(N) % columns * 4 + np.arange(N) // columns * columns * 16)
    t = memory.spec.timing
    assert measured(memory, requests) == pytest.approx(
        refreshed(t, N * t.t_ccd_l + N / columns * _row_change(t)), rel=0.05
    )


def _row_change(t: DramTiming) -> int:
    """Clocks from the last read of a row to the first of the next in the same bank, beyond the usual gap."""
    return t.t_rtp + t.t_rp + t.t_rcd - t.t_ccd_l


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("write", [False, True])
def test_a_new_row_of_one_bank_every_time_is_bound_by_its_cycle(name: str, write: bool) -> None:
    memory = dram(name)
    per_row = memory.spec.geometry.columns * 16
    n = 5000
    t = memory.spec.timing
    held = t.t_rcd + (t.cwl + t.burst + t.t_wr if write else t.t_rtp) + t.t_rp
    requests = stream(np.arange(n) * per_row, np.full(n, write))
    cycle = max(t.t_ras + t.t_rp, held)
    assert measured(memory, requests) == pytest.approx(refreshed(t, n * cycle), rel=0.05)


@pytest.mark.parametrize("name", DEVICES)
def test_rows_of_all_banks_in_turn_are_bound_by_activates(name: str) -> None:
    memory = dram(name, "ro-co-ra-ch-ba-bg")  # all banks, then the next row
    columns = memory.spec.geometry.columns
    rounds = np.arange(N) // 16
    requests = stream(rounds * 16 * columns + np.arange(N) % 16)
    t = memory.spec.timing
    each = max(t.t_rrd_s, t.t_faw / 4, t.burst, (t.t_ras + t.t_rp) / 16)
    assert measured(memory, requests) == pytest.approx(refreshed(t, N * each), rel=0.05)


@pytest.mark.parametrize("name", ["ddr4_2133", "ddr4_2400", "hbm2"])
def test_random_reads_are_bound_by_the_window_of_four_activates(name: str) -> None:
    memory = dram(name)
    requests = stream(np.random.default_rng(0).integers(0, memory.spec.accesses, N))
    t = memory.spec.timing
    assert t.t_faw / 4 > max(t.t_rrd_s, t.burst)
    assert measured(memory, requests) == pytest.approx(refreshed(t, N * t.t_faw / 4), rel=0.05)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize(("reads", "writes"), [(1, 1), (2, 1), (3, 2)])
def test_a_mixed_stream_pays_two_turns_a_batch_of_writes(name: str, reads: int, writes: int) -> None:
    memory = dram(name)
    t, g = memory.spec.timing, memory.spec.geometry
    each = reads + writes
    index, place = np.arange(N) // each, np.arange(N) % each
    is_write = place >= reads
    # One array to read and one to write, each in two banks by turns: the next row can open in time.
    line = np.where(is_write, index * writes + place - reads, index * reads + place)
    per_bank = g.columns * g.bank_groups
    stripe, column = line // per_bank, line % per_bank
    bank = stripe % 2 + np.where(is_write, 2, 0)
    requests = stream((stripe // 2 * 4 + bank) * per_bank + column, is_write)
    batch = 64 / 4
    turned = batch * each / writes * t.burst + t.cl + t.t_rtrs + t.t_wtr_s
    expected = refreshed(t, N * writes / each / batch * turned)
    assert measured(memory, requests) == pytest.approx(expected, rel=0.05)


def test_refresh_takes_374_of_8328_clocks() -> None:
    geometry, order = DramGeometry(), dram("ddr4_2133")
    assert (order.spec.timing.t_rfc, order.spec.timing.t_refi) == (374, 8328)
    bits = [("group", 2), ("column", 7), ("bank", 2), ("row", 16)]
    never = DramSpec(geometry, DramTiming(t_refi=0), bits)  # type: ignore[arg-type]  # literals widen in a list
    accesses, kinds = np.arange(200_000, dtype=np.uint64), np.zeros(200_000, np.uint8)
    with_refresh = order.spec.simulate(accesses, kinds)[0].cycles
    without = never.simulate(accesses, kinds)[0].cycles
    assert with_refresh / without == pytest.approx(8328 / (8328 - 374), rel=0.01)


@pytest.mark.parametrize(
    ("change", "each"),
    [
        ({"t_rrd_s": 9, "t_rrd_l": 9}, 9),
        ({"t_rrd_s": 4, "t_faw": 40}, 10),
        ({"t_ccd_s": 7, "t_ccd_l": 7}, 7),
        ({"burst": 12, "t_ccd_s": 4}, 12),
    ],
)
def test_the_largest_of_the_bounds_decides(change: dict[str, int], each: int) -> None:
    bits = [("group", 2), ("bank", 2), ("column", 7), ("row", 16)]
    rows = DramSpec(DramGeometry(), DramTiming(t_refi=0, **change), bits)  # type: ignore[arg-type]  # as above
    n = 5000
    accesses = (np.arange(n) // 16 * 16 * 128 + np.arange(n) % 16).astype(np.uint64)
    assert rows.simulate(accesses, np.zeros(n, np.uint8))[0].cycles == pytest.approx(n * each, rel=0.05)


# DRAMsim3's shares of peak on the same device, one rank, as measured for the GradPIM dossier.
def test_sequential_reads_use_the_share_of_peak_that_dramsim3_finds() -> None:
    interleaved = dram("ddr4_2133").simulate(*stream(np.arange(N))).utilization
    assert 0.93 <= interleaved <= 0.955  # DRAMsim3: 93 to 95 %
    inside = dram("ddr4_2133", "rochrababgco").simulate(*stream(np.arange(N))).utilization
    assert inside == pytest.approx(0.78, rel=0.05)  # DRAMsim3: 78 %
