"""The compiled DRAM: timing rules one clock early and on time, and what the controller owes its requests."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, DataError
from shoestring.native.dram import (
    COMMAND_DTYPE,
    COMMANDS,
    DramGeometry,
    DramSpec,
    DramTiming,
    Field,
)

NO_REFRESH = DramTiming(t_refi=0)
TWO_RANKS = DramGeometry(ranks=2)
MAP: list[tuple[Field, int]] = [("group", 2), ("rank", 1), ("column", 7), ("bank", 2), ("row", 16)]
Command = tuple[int, str, int, int, int]
"""Clock, name, rank, group, bank."""


def spec(timing: DramTiming = NO_REFRESH, *, split: bool = False, queue: int = 64) -> DramSpec:
    return DramSpec(TWO_RANKS, timing, MAP, split_command_bus=split, queue=queue)


def trace(commands: Sequence[Command]) -> NDArray[np.void]:
    out = np.zeros(len(commands), COMMAND_DTYPE)
    for record, (clock, name, rank, group, bank) in zip(out, commands, strict=True):
        record["clock"], record["command"] = clock, COMMANDS.index(name)
        record["rank"], record["group"], record["bank"] = rank, group, bank
    return out


# Rule, what is on time, and the device; the last command one clock earlier breaks the rule.
ON_TIME: list[tuple[str, list[Command], DramTiming]] = [
    ("tRCD", [(0, "ACT", 0, 0, 0), (16, "RD", 0, 0, 0)], NO_REFRESH),
    ("tRCD", [(0, "ACT", 0, 0, 0), (16, "WR", 0, 0, 0)], NO_REFRESH),
    ("tRAS", [(0, "ACT", 0, 0, 0), (36, "PRE", 0, 0, 0)], NO_REFRESH),
    ("tRAS", [(0, "ACT", 0, 2, 3), (36, "PREA", 0, 0, 0)], NO_REFRESH),
    ("tRP", [(0, "ACT", 0, 0, 0), (40, "PRE", 0, 0, 0), (56, "ACT", 0, 0, 0)], NO_REFRESH),
    ("tRP", [(0, "ACT", 0, 1, 2), (40, "PREA", 0, 0, 0), (56, "ACT", 0, 1, 2)], NO_REFRESH),
    ("tRP", [(0, "ACT", 0, 0, 0), (40, "PREA", 0, 0, 0), (56, "REF", 0, 0, 0)], NO_REFRESH),
    ("tRC", [(0, "ACT", 0, 0, 0), (36, "PRE", 0, 0, 0), (52, "ACT", 0, 0, 0)], NO_REFRESH),
    ("tRRD_L", [(0, "ACT", 0, 0, 0), (6, "ACT", 0, 0, 1)], NO_REFRESH),
    ("tRRD_S", [(0, "ACT", 0, 0, 0), (4, "ACT", 0, 1, 0)], NO_REFRESH),
    ("tFAW", [*((4 * g, "ACT", 0, g, 0) for g in range(4)), (23, "ACT", 0, 0, 1)], NO_REFRESH),
    (
        "tCCD_S",
        [(0, "ACT", 0, 0, 0), (4, "ACT", 0, 1, 0), (20, "RD", 0, 0, 0), (24, "RD", 0, 1, 0)],
        replace(NO_REFRESH, burst=2),
    ),
    ("tCCD_L", [(0, "ACT", 0, 0, 0), (20, "RD", 0, 0, 0), (26, "RD", 0, 0, 0)], NO_REFRESH),
    ("tCCD_L", [(0, "ACT", 0, 0, 0), (20, "WR", 0, 0, 0), (26, "WR", 0, 0, 0)], NO_REFRESH),
    (
        "data bus",
        [(0, "ACT", 0, 0, 0), (4, "ACT", 0, 1, 0), (20, "RD", 0, 0, 0), (24, "RD", 0, 1, 0)],
        replace(NO_REFRESH, t_ccd_s=2),
    ),
    (
        "data bus turn",  # read, then write: 16 + 4 + 1 - 11 clocks
        [(0, "ACT", 0, 0, 0), (4, "ACT", 0, 1, 0), (20, "RD", 0, 0, 0), (30, "WR", 0, 1, 0)],
        NO_REFRESH,
    ),
    (
        "data bus turn",  # one rank, then the other: 4 + 1 clocks
        [(0, "ACT", 0, 0, 0), (4, "ACT", 1, 0, 0), (20, "RD", 0, 0, 0), (25, "RD", 1, 0, 0)],
        NO_REFRESH,
    ),
    (
        "tWTR_S",  # 11 + 4 + 3 clocks
        [(0, "ACT", 0, 0, 0), (4, "ACT", 0, 1, 0), (20, "WR", 0, 0, 0), (38, "RD", 0, 1, 0)],
        NO_REFRESH,
    ),
    ("tWTR_L", [(0, "ACT", 0, 0, 0), (20, "WR", 0, 0, 0), (43, "RD", 0, 0, 0)], NO_REFRESH),
    ("tWR", [(0, "ACT", 0, 0, 0), (16, "WR", 0, 0, 0), (47, "PRE", 0, 0, 0)], NO_REFRESH),
    ("tWR", [(0, "ACT", 0, 3, 3), (16, "WR", 0, 3, 3), (47, "PREA", 0, 0, 0)], NO_REFRESH),
    ("tRTP", [(0, "ACT", 0, 0, 0), (30, "RD", 0, 0, 0), (38, "PRE", 0, 0, 0)], NO_REFRESH),
    ("tRFC", [(0, "REF", 0, 0, 0), (374, "ACT", 0, 2, 1)], NO_REFRESH),
    ("tRFC", [(0, "REF", 0, 0, 0), (374, "REF", 0, 0, 0)], NO_REFRESH),
    (
        "command bus",
        [(0, "ACT", 0, 0, 0), (4, "ACT", 0, 1, 0), (40, "RD", 0, 0, 0), (41, "PRE", 0, 1, 0)],
        NO_REFRESH,
    ),
]


@pytest.mark.parametrize(
    ("rule", "commands", "timing"), ON_TIME, ids=[f"{c[0]}-{i}" for i, c in enumerate(ON_TIME)]
)
def test_a_rule_passes_on_time_and_is_caught_one_clock_early(
    rule: str, commands: list[Command], timing: DramTiming
) -> None:
    legal = trace(commands)
    assert spec(timing).check(legal) == ()
    early = legal.copy()
    early["clock"][-1] -= 1
    found = {v.rule: v for v in spec(timing).check(early)}
    assert rule in found
    assert found[rule].later == len(commands) - 1
    assert found[rule].found == found[rule].required - 1


def test_commands_for_other_banks_ranks_and_channels_are_free_of_a_banks_rules() -> None:
    legal = [(0, "ACT", 0, 0, 0), (1, "ACT", 1, 0, 0), (17, "RD", 0, 0, 0), (36, "PRE", 0, 0, 0)]
    assert spec().check(trace([*legal, (37, "PRE", 1, 0, 0), (38, "PRE", 1, 2, 2)])) == ()


def test_a_refresh_may_be_eight_intervals_late_and_no_clock_more() -> None:
    refreshed = spec(DramTiming())
    last = 8328 + 9 * 8328
    on_time = trace(
        [(8328, "REF", r, 0, 0) for r in (0, 1)] + [(last, "REF", 0, 0, 0), (last + 1, "REF", 1, 0, 0)]
    )
    on_time["clock"][1] += 1
    assert refreshed.check(on_time) == ()
    late = on_time.copy()
    late["clock"][3] += 1
    assert [(v.rule, v.found - v.required) for v in refreshed.check(late)] == [("tREFI", 1)]
    assert {v.rule for v in refreshed.check(on_time, end=last + 9 * 8328 + 2)} == {"tREFI"}


def test_row_and_column_commands_share_a_clock_only_where_each_has_a_bus() -> None:
    both = trace([(0, "ACT", 0, 0, 0), (4, "ACT", 0, 1, 0), (40, "RD", 0, 0, 0), (40, "PRE", 0, 1, 0)])
    assert [v.rule for v in spec().check(both)] == ["command bus"]
    assert spec(split=True).check(both) == ()


@pytest.mark.parametrize(
    ("commands", "rule"),
    [
        ([(0, "RD", 0, 0, 0)], "access to a closed bank"),
        ([(0, "ACT", 0, 0, 0), (60, "ACT", 0, 0, 0)], "activate of an open bank"),
        ([(0, "ACT", 0, 0, 0), (60, "REF", 0, 0, 0)], "refresh of an open rank"),
        ([(0, "ACT", 0, 0, 0), (50, "PRE", 0, 0, 0), (70, "WR", 0, 0, 0)], "access to a closed bank"),
        ([(9, "ACT", 0, 0, 0), (0, "ACT", 1, 0, 0)], "clocks fall"),
        ([(0, "ACT", 2, 0, 0)], "a field is outside the geometry"),
        ([(0, "ACT", 0, 0, 9)], "a field is outside the geometry"),
    ],
)
def test_states_that_cannot_be_are_named(commands: list[Command], rule: str) -> None:
    assert rule in {v.rule for v in spec().check(trace(commands))}


def test_an_access_to_another_row_than_the_open_one_is_named() -> None:
    wrong = trace([(0, "ACT", 0, 0, 0), (20, "RD", 0, 0, 0)])
    wrong["row"] = [5, 6]
    assert [v.rule for v in spec().check(wrong)] == ["access to another row than the open one"]


def test_the_checker_stops_after_so_many_violations() -> None:
    wrong = trace([(i, "RD", 0, 0, 0) for i in range(50)])
    assert len(spec().check(wrong, most=7)) == 7


def test_a_channel_without_a_rank_refresh_or_request_has_a_legal_empty_trace() -> None:
    counts, commands = spec(DramTiming()).simulate(
        np.empty(0, np.uint64), np.empty(0, np.uint8), log_commands=True
    )
    assert (counts.cycles, len(commands)) == (0, 0)
    assert spec(DramTiming()).check(commands) == ()


def test_one_read_takes_activate_latency_and_burst() -> None:
    counts, commands = spec().simulate(np.array([5], np.uint64), np.zeros(1, np.uint8), log_commands=True)
    assert [(COMMANDS[c["command"]], int(c["clock"])) for c in commands] == [("ACT", 0), ("RD", 16)]
    assert counts.cycles == 16 + 16 + 4
    assert (counts.reads, counts.row_hits, counts.activates, counts.read_latency) == (1, 0, 1, 36)


def test_one_write_is_over_with_its_data() -> None:
    counts, _ = spec().simulate(np.array([5], np.uint64), np.ones(1, np.uint8))
    assert counts.cycles == 16 + 11 + 4


def test_a_row_conflict_waits_for_precharge_and_activate() -> None:
    one_bank = np.array([0, 1 << 12], np.uint64)  # rows 0 and 1 of one bank
    counts, commands = spec().simulate(one_bank, np.zeros(2, np.uint8), log_commands=True)
    assert [(COMMANDS[c["command"]], int(c["clock"])) for c in commands] == [
        ("ACT", 0),
        ("RD", 16),
        ("PRE", 36),
        ("ACT", 52),
        ("RD", 68),
    ]
    assert counts.row_hits == 0


def test_a_younger_hit_overtakes_an_older_conflict_but_not_for_ever() -> None:
    conflict, hits = 1 << 12, np.arange(400, dtype=np.uint64) * np.uint64(8) % np.uint64(1024)
    stream = np.concatenate([[0], [conflict], hits[1:]]).astype(np.uint64)
    finish = np.zeros(len(stream), np.int64)
    spec(queue=16).simulate(stream, np.zeros(len(stream), np.uint8), finish=finish)
    assert finish[2] < finish[1] < finish[-1]


@pytest.mark.parametrize("lag", [0, 1, 16, 64])
@pytest.mark.parametrize("queue", [2, 4, 16, 64])
def test_an_in_place_update_never_stops_and_every_write_waits_for_its_older_read(
    lag: int, queue: int
) -> None:
    # Three reads and two writes an element, line by line, writes `lag` lines behind: the trace that freezes
    # controllers whose write buffer is full of writes to lines that are still to be read.
    lines, bases = 300, (0, 1 << 14, 1 << 15)
    stream, kinds = [], []
    for i in range(lines + lag):
        if i < lines:
            stream += [base + i for base in bases]
            kinds += [0, 0, 0]
        if i >= lag:
            stream += [base + i - lag for base in bases[:2]]
            kinds += [1, 1]
    accesses, writes = np.array(stream, np.uint64), np.array(kinds, np.uint8)
    device, finish = spec(DramTiming(), queue=queue), np.full(len(stream), -1, np.int64)
    arrivals = np.arange(len(stream), dtype=np.int64)  # a request a clock
    counts, commands = device.simulate(accesses, writes, arrivals, finish=finish, log_commands=True)
    assert counts.reads + counts.writes == len(stream)
    assert bool((finish > 0).all())
    assert device.check(commands, end=counts.cycles) == ()
    for address in np.unique(accesses[writes == 1]):
        first, second = np.flatnonzero(accesses == address)
        assert (writes[first], writes[second]) == (0, 1)
        assert finish[second] - 15 > finish[first] - 20  # command clocks: write after read


def test_all_channels_are_refreshed_until_the_last_one_is_done() -> None:
    geometry = DramGeometry(channels=2)
    two = DramSpec(
        geometry, DramTiming(), [("group", 2), ("column", 7), ("bank", 2), ("row", 16), ("channel", 1)]
    )
    counts, commands = two.simulate(
        np.arange(20_000, dtype=np.uint64), np.zeros(20_000, np.uint8), log_commands=True
    )
    assert counts.cycles > 9 * 8328
    assert two.check(commands, end=counts.cycles) == ()
    refreshes = commands[commands["command"] == COMMANDS.index("REF")]
    assert np.bincount(refreshes["channel"]).tolist() == [counts.refreshes // 2] * 2


def test_requests_that_come_later_start_later_and_idle_ranks_go_on_refreshing() -> None:
    device = spec(DramTiming())
    arrivals = np.array([0, 100_000], np.int64)
    finish = np.zeros(2, np.int64)
    counts, commands = device.simulate(
        np.array([0, 0], np.uint64), np.zeros(2, np.uint8), arrivals, finish=finish, log_commands=True
    )
    assert finish[1] >= 100_000 + 16 + 4
    assert counts.refreshes == 2 * (counts.cycles // 8328)
    assert device.check(commands, end=counts.cycles) == ()


def test_the_same_requests_give_the_same_commands() -> None:
    accesses = np.random.default_rng(0).integers(0, 1 << 20, 2000).astype(np.uint64)
    writes = (accesses % np.uint64(3) == 0).astype(np.uint8)
    one, two = (spec(DramTiming()).simulate(accesses, writes, log_commands=True) for _ in range(2))
    assert one[0] == two[0]
    assert one[1].tobytes() == two[1].tobytes()


def test_addresses_are_split_as_the_map_says() -> None:
    accesses = np.random.default_rng(0).integers(0, spec().accesses, 100).astype(np.uint64)
    fields = spec().decode(accesses).astype(np.uint64)
    group, rank, column, bank, row = (fields[:, i] for i in (2, 1, 5, 3, 4))
    again = (
        group | rank << np.uint64(2) | column << np.uint64(3) | bank << np.uint64(10) | row << np.uint64(12)
    )
    assert again.tolist() == accesses.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cl": 0}, "cl=0"),
        ({"t_rcd": -1}, "t_rcd=-1"),
        ({"t_wr": -1}, "t_wr=-1"),
        ({"t_refi": 400}, "t_refi=400"),
        ({"burst": 1 << 30}, "burst="),
        ({"t_rp": 1 << 40}, "t_rp="),
    ],
)
def test_clocks_that_cannot_be_are_refused_by_name(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spec(replace(DramTiming(), **change))


@pytest.mark.parametrize("change", [{"ranks": 3}, {"rows": 0}, {"channels": -2}, {"columns": 1 << 20}])
def test_sizes_that_cannot_be_are_refused_by_name(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(change))}="):
        DramSpec(replace(TWO_RANKS, **change), DramTiming(), MAP)


def test_a_map_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="gives 8 bits to columns; 128 need 7"):
        DramSpec(TWO_RANKS, DramTiming(), [*MAP, ("column", 1)])
    with pytest.raises(ConfigError, match="gives 0 bits to ranks"):
        DramSpec(TWO_RANKS, DramTiming(), [part for part in MAP if part[0] != "rank"])


@pytest.mark.parametrize("queue", [0, 1, 5000, -3])
def test_a_queue_that_cannot_be_is_refused(queue: int) -> None:
    with pytest.raises(ConfigError, match="queue="):
        spec(queue=queue)


def test_arrays_that_contradict_each_other_are_refused() -> None:
    accesses, writes = np.arange(4, dtype=np.uint64), np.zeros(4, np.uint8)
    with pytest.raises(DataError, match="outside the memory"):
        spec().simulate(accesses + np.uint64(spec().accesses), writes)
    with pytest.raises(DataError, match="writes have shape"):
        spec().simulate(accesses, writes[:3])
    with pytest.raises(DataError, match="must not fall"):
        spec().simulate(accesses, writes, np.array([0, 5, 4, 6], np.int64))
    with pytest.raises(DataError, match="must not fall"):
        spec().simulate(accesses, writes, np.array([-1, 5, 6, 7], np.int64))
    with pytest.raises(DataError, match="uint64"):
        spec().simulate(accesses.astype(np.int64), writes)
    with pytest.raises(DataError, match="COMMAND_DTYPE"):
        spec().check(np.zeros(3))  # type: ignore[arg-type]  # the wrong type on purpose
