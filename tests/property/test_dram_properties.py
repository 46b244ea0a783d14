"""Any device, map and stream: commands are legal, requests are served once, addresses keep their order."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoestring.native.dram import COMMANDS, DramGeometry, DramSpec, DramTiming, Field
from shoestring.silicon.dram_trace import DramTrace, read_trace, write_trace

FIELDS: tuple[Field, ...] = ("channel", "rank", "group", "bank", "row", "column")


@st.composite
def timings(draw: st.DrawFn) -> DramTiming:
    def clocks(least: int, most: int) -> int:
        return draw(st.integers(least, most))

    rrd, ccd, wtr = clocks(1, 8), clocks(1, 8), clocks(0, 8)
    return DramTiming(
        cl=clocks(1, 24),
        cwl=clocks(1, 24),
        burst=clocks(1, 8),
        t_rcd=clocks(1, 24),
        t_rp=clocks(1, 24),
        t_ras=clocks(1, 48),
        t_rrd_s=rrd,
        t_rrd_l=rrd + clocks(0, 6),
        t_faw=clocks(1, 48),
        t_ccd_s=ccd,
        t_ccd_l=ccd + clocks(0, 6),
        t_wtr_s=wtr,
        t_wtr_l=wtr + clocks(0, 8),
        t_wr=clocks(0, 24),
        t_rtp=clocks(0, 12),
        t_rtrs=clocks(0, 4),
        t_rfc=clocks(1, 300),
        t_refi=draw(st.sampled_from([0, 1500, 4000])),
    )


@st.composite
def specs(draw: st.DrawFn) -> DramSpec:
    bits = {name: draw(st.integers(0, most)) for name, most in zip(FIELDS, (1, 2, 2, 2, 4, 4), strict=True)}
    order = draw(st.permutations(list(bits.items())))
    sizes = (1 << bits[name] for name in FIELDS)
    channels, ranks, groups, banks, rows, columns = sizes
    geometry = DramGeometry(
        channels=channels, ranks=ranks, bank_groups=groups, banks_per_group=banks, rows=rows, columns=columns
    )
    return DramSpec(
        geometry,
        draw(timings()),
        list(order),
        queue=draw(st.sampled_from([2, 3, 8, 64])),
        split_command_bus=draw(st.booleans()),
    )


Requests = tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.int64]]


def requests(spec: DramSpec, seed: int, n: int) -> Requests:
    rng = np.random.default_rng(seed)
    span = max(1, min(spec.accesses, int(rng.choice([4, 64, 1 << 20]))))
    accesses = rng.integers(0, span, n).astype(np.uint64)
    if rng.random() < 0.5:  # in place: every other one writes what was just read
        accesses[1::2] = accesses[: len(accesses[1::2]) * 2 : 2]
    writes = (rng.random(n) < rng.choice([0.0, 0.3, 0.7, 1.0])).astype(np.uint8)
    arrivals = np.cumsum(rng.integers(0, int(rng.choice([1, 4, 400])), n)).astype(np.int64)
    return accesses, writes, arrivals


@settings(max_examples=80, deadline=None)
@given(spec=specs(), seed=st.integers(0, 2**32 - 1), n=st.integers(0, 300))
def test_commands_are_legal_and_serve_every_request_once(spec: DramSpec, seed: int, n: int) -> None:
    accesses, writes, arrivals = requests(spec, seed, n)
    finish = np.full(n, -1, np.int64)
    counts, commands = spec.simulate(accesses, writes, arrivals, finish=finish, log_commands=True)
    assert spec.check(commands, end=counts.cycles) == ()
    assert (counts.reads, counts.writes) == (n - int(writes.sum()), int(writes.sum()))
    assert counts.cycles == (finish.max() if n else 0)
    data = np.where(writes == 1, spec.timing.cwl, spec.timing.cl) + spec.timing.burst
    assert bool((finish - data >= arrivals).all())
    columns = commands[np.isin(commands["command"], (COMMANDS.index("RD"), COMMANDS.index("WR")))]
    served = np.stack([columns[f] for f in FIELDS] + [columns["command"] == COMMANDS.index("WR")], axis=1)
    asked = np.column_stack([spec.decode(accesses), writes])
    assert sorted(map(tuple, served.tolist())) == sorted(map(tuple, asked.tolist()))
    issued = finish - data
    for address in np.unique(accesses):
        assert bool((np.diff(issued[accesses == address]) > 0).all())


@settings(max_examples=40, deadline=None)
@given(spec=specs(), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_a_command_moved_into_the_one_before_it_is_caught(
    spec: DramSpec, seed: int, data: st.DataObject
) -> None:
    accesses, writes, _ = requests(spec, seed, 60)
    _, commands = spec.simulate(accesses, writes, log_commands=True)
    first = np.flatnonzero(commands["channel"] == commands["channel"][0])
    index = int(first[data.draw(st.integers(1, len(first) - 1))])
    # On one bus, two commands in a clock are never legal.
    split = {COMMANDS.index("RD"), COMMANDS.index("WR")}
    same_bus = (int(commands["command"][index]) in split) == (int(commands["command"][index - 1]) in split)
    commands["clock"][index] = commands["clock"][index - 1]
    if same_bus:
        assert "command bus" in {v.rule for v in spec.check(commands, most=10_000)}


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.booleans(), st.integers(0, 10**12)), max_size=50)
)
def test_a_trace_file_gives_back_what_was_written(rows: list[tuple[int, bool, int]]) -> None:
    rows.sort(key=lambda row: row[2])
    trace = DramTrace(
        addresses=np.array([row[0] for row in rows], np.uint64),
        writes=np.array([row[1] for row in rows], np.bool_),
        clocks=np.array([row[2] for row in rows], np.int64),
    )
    with tempfile.TemporaryDirectory() as folder:
        write_trace(Path(folder) / "t", trace)
        again = read_trace(Path(folder) / "t")
    assert again.addresses.tolist() == trace.addresses.tolist()
    assert again.writes.tolist() == trace.writes.tolist()
    assert again.clocks.tolist() == trace.clocks.tolist()
