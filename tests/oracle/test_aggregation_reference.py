"""The compiled aggregation core against a plain simulator of the same rules, to the exact count and cycle."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.native.sim import (
    Aggregation,
    BankTiming,
    Cache,
    CacheShape,
    Machine,
    Records,
    Round,
    Schedule,
)

POINTERS_AHEAD = 64


@dataclass
class PlainCache:
    """Sets as ordered dictionaries, newest last; RRIP as a list of predictions a way."""

    shape: CacheShape
    sets: list[OrderedDict[int, Any]] = field(default_factory=list)
    ways: list[list[list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sets = [OrderedDict() for _ in range(self.shape.sets)]
        self.ways = [[[-1, 3] for _ in range(self.shape.ways)] for _ in range(self.shape.sets)]

    def access(self, line: int) -> bool:
        if self.shape.policy == "rrip":
            return self._rrip(self.ways[line % self.shape.sets], line)
        lines = self.sets[line % self.shape.sets]
        if line in lines:
            if self.shape.policy == "lru":
                lines.move_to_end(line)
            return True
        lines[line] = None
        if len(lines) > self.shape.ways:
            lines.popitem(last=False)
        return False

    @staticmethod
    def _rrip(ways: list[list[int]], line: int) -> bool:
        for way in ways:
            if way[0] == line:
                way[1] = 0
                return True
        while not any(way[1] == 3 for way in ways):
            for way in ways:
                way[1] += 1
        victim = next(way for way in ways if way[1] == 3)
        victim[:] = [line, 2]
        return False


@dataclass
class PlainBanks:
    timing: BankTiming
    servers: dict[Any, Fraction] = field(default_factory=dict)
    opened: dict[Any, list[tuple[int, int]]] = field(default_factory=dict)
    lines: dict[int, int] = field(default_factory=dict)
    last: Fraction = Fraction(0)
    row_hits: int = 0
    row_misses: int = 0

    def ticks(self, cycles: float) -> Fraction:
        return Fraction(round(cycles * 1024), 1024)

    def access(self, line: int, cycle: int, *, write: bool = False) -> int:
        t = self.timing
        at = {name: (line >> shift) % (1 << count) for name, (shift, count) in t.bits().items()}
        channel, rank = at["ch"], (at["ch"], at["ra"])
        bank = (*rank, at["bg"], at["ba"])
        number = self.lines.get(channel, 0)
        self.lines[channel] = number + 1
        on_bus = max(self.servers.get(channel, Fraction(0)), Fraction(cycle))
        self.servers[channel] = on_bus + self.ticks(t.burst_cycles / (1 - t.refresh_share))
        if write:
            self.servers[channel] += self.ticks(t.write_turn_cycles)
        rows = self.opened.setdefault(bank, [])
        is_open = bool(rows) and (
            rows[0][0] == at["ro"] or any(r == at["ro"] and number - n <= t.window for r, n in rows[1:4])
        )
        column = ("column", bank)
        if is_open:
            self.row_hits += 1
        else:
            self.row_misses += 1
            rows.insert(0, (at["ro"], number))
            allowed = max(self.servers.get(("act", rank), Fraction(0)), Fraction(cycle))
            self.servers["act", rank] = allowed + self.ticks(t.four_activates_cycles / 4)
            begun = max(
                allowed, self.servers.get(("row", bank), Fraction(0)), self.servers.get(column, Fraction(0))
            )
            self.servers["row", bank] = begun + self.ticks(t.row_cycles)
            self.servers[column] = begun + self.ticks(t.precharge_cycles + t.activate_cycles)
        start = on_bus
        for server in (column, ("group", bank[:3])):
            free = max(self.servers.get(server, Fraction(0)), Fraction(cycle))
            self.servers[server] = free + self.ticks(t.column_cycles)
            start = max(start, free)
        done = start + self.ticks(t.read_cycles + t.burst_cycles)
        self.last = max(self.last, done)
        return ceil(done)


COUNTS = (
    *("accesses", "hits", "merges", "misses", "pinned_hits", "pointer_misses"),
    *("partial_write_lines", "partial_read_lines", "output_lines"),
    *("queue_stall_cycles", "outstanding_stall_cycles"),
)


class Plain:
    """The rules of `Aggregation.run`, one after the other, with dictionaries."""

    def __init__(
        self, agg: Aggregation, records: Records, schedule: Schedule, machine: Machine, **lines: Any
    ) -> None:
        self.agg, self.records, self.schedule, self.machine, self.given = (
            agg,
            records,
            schedule,
            machine,
            lines,
        )
        self.cache, self.banks = PlainCache(machine.cache), PlainBanks(machine.dram)
        self.counts: dict[str, int] = dict.fromkeys(
            ("accesses", "hits", "merges", "misses", "pinned_hits", "pointer_misses", "partial_write_lines"),
            0,
        )
        for name in ("partial_read_lines", "output_lines", "queue_stall_cycles", "outstanding_stall_cycles"):
            self.counts[name] = 0
        self.filled: dict[int, int] = {}
        self.fills: deque[int] = deque([0] * machine.max_outstanding)
        self.seen: set[int] = set()
        self.cold: list[int] = []
        self.tile_misses: list[int] = []
        self.topology_bytes = 0
        self.topology_lines = 0
        n = agg.num_vertices
        self.issue = [0] * machine.engines
        self.consumed = [0] * machine.engines
        self.busy = [0] * machine.engines
        self.queues = [deque([0] * machine.queue_lines) for _ in range(machine.engines)]
        self.ahead: list[deque[tuple[int, int]]] = [deque() for _ in range(machine.engines)]
        self.order = list(range(n)) if schedule.order is None else [int(v) for v in schedule.order]
        line_bytes = machine.cache.line_bytes
        fetched = [self.of(records.lines, u) for u in range(agg.num_sources)]
        if records.offsets is None:
            assert records.region_lines is not None
            self.first = [u * records.region_lines for u in range(agg.num_sources)]
            self.pointers = agg.num_sources * records.region_lines
        else:
            self.first = [int(o) for o in records.offsets]
            self.pointers = max((o + k for o, k in zip(self.first, fetched, strict=True)), default=0)
        pointer_lines = agg.num_sources * records.pointer_bytes // line_bytes + (records.pointer_bytes != 0)
        self.topology = self.pointers + pointer_lines
        bound = agg.num_edges * lines["edge_bytes"] + 4 * (n + 1) * len(schedule.bounds)
        self.partials = self.topology + bound // line_bytes + 1
        self.outputs = self.partials + n * lines["partial_lines"]

    @staticmethod
    def of(value: Any, u: int) -> int:
        return value if isinstance(value, int) else int(value[u])

    def stream(self, base: int, vertex: int, kind: str, cycle: int) -> None:
        lines = self.given["output_lines" if kind == "output_lines" else "partial_lines"]
        self.counts[kind] += lines
        for k in range(lines):
            self.banks.access(base + vertex * lines + k, cycle, write=kind != "partial_read_lines")

    def stream_topology(self, num_bytes: int, cycle: int) -> None:
        self.topology_bytes += num_bytes
        while self.topology_lines * self.machine.cache.line_bytes < self.topology_bytes:
            self.banks.access(self.topology + self.topology_lines, cycle)
            self.topology_lines += 1

    def fetch(self, e: int, line: int, earliest: int, *, pinned: bool, pointer: bool) -> int:
        free = self.queues[e].popleft()
        at = self.issue[e]
        if free > at:
            self.counts["queue_stall_cycles"] += free - at
            at = free
        self.issue[e] = at + 1
        at = max(at, earliest)
        self.counts["accesses"] += 1
        ready = at + self.machine.hit_cycles
        if pinned:
            self.counts["pinned_hits"] += 1
        elif self.cache.access(line):
            there = self.filled[line]
            self.counts["merges" if there > at else "hits"] += 1
            ready = max(ready, there) if there > at else ready
        else:
            ready = self.miss(e, line, at, pointer=pointer)
        self.consumed[e] = max(self.consumed[e], ready) + 1
        self.queues[e].append(self.consumed[e])
        return ready

    def miss(self, e: int, line: int, at: int, *, pointer: bool) -> int:
        self.counts["misses"] += 1
        self.counts["pointer_misses"] += pointer
        self.tile_misses[-1] += 1
        self.cold[-1] += line not in self.seen
        self.seen.add(line)
        oldest = self.fills.popleft()
        if oldest > at:
            self.counts["outstanding_stall_cycles"] += oldest - at
            at = oldest
            self.issue[e] = max(self.issue[e], at + 1)
        self.filled[line] = self.banks.access(line, at)
        self.fills.append(self.filled[line])
        return self.filled[line]

    def record(self, e: int, u: int, pinned: set[int]) -> None:
        if not self.records.pointer_bytes or u in pinned:
            self.data(e, u, 0, pinned=u in pinned)
            return
        line = self.pointers + u * self.records.pointer_bytes // self.machine.cache.line_bytes
        ready = self.fetch(e, line, 0, pinned=False, pointer=True)
        if len(self.ahead[e]) == POINTERS_AHEAD:
            self.oldest(e)
        self.ahead[e].append((u, ready))

    def oldest(self, e: int) -> None:
        u, ready = self.ahead[e].popleft()
        self.data(e, u, ready, pinned=False)

    def data(self, e: int, u: int, earliest: int, *, pinned: bool) -> None:
        begun = self.consumed[e]
        lines = self.of(self.records.lines, u)
        for k in range(lines):
            self.fetch(e, self.first[u] + k, earliest, pinned=pinned, pointer=False)
            if k == 0:
                begun = self.consumed[e] - 1
        until = begun + self.of(self.records.compute, u)
        if until > self.consumed[e]:
            self.consumed[e] = until
            if lines:
                self.queues[e][-1] = until

    def run(self) -> "Plain":
        agg, given = self.agg, self.given
        pinned = {int(u) for u in given["pinned"]} if given["pinned"] is not None else set()
        edges = [
            list(map(int, agg.indices[agg.indptr[v] : agg.indptr[v + 1]])) for v in range(agg.num_vertices)
        ]
        for v in self.order:
            if not edges[v]:
                self.stream(self.outputs, v, "output_lines", 0)
        self.pinned_lines = 0
        for u in dict.fromkeys(int(u) for u in given["pinned"]) if given["pinned"] is not None else ():
            for k in range(self.of(self.records.lines, u)):
                self.banks.access(self.first[u] + k, 0)
                self.pinned_lines += 1
        begun: set[int] = set()
        for low, high in zip(self.schedule.bounds[:-1], self.schedule.bounds[1:], strict=True):
            self.cold.append(0)
            self.tile_misses.append(0)
            if low < high:
                self.tile(edges, begun, int(high), pinned)
        self.cycles = max([*self.consumed, ceil(self.banks.last)])
        return self

    def walk(self, e: int, edges: list[list[int]], begun: set[int], high: int, pinned: set[int]) -> Any:
        """Yield once an edge; the engine's own ranks in order."""
        passed = 0
        for rank, v in enumerate(self.order):
            if rank // self.schedule.strip % self.machine.engines != e:
                continue
            passed += 1
            if not edges[v] or edges[v][0] >= high:
                continue
            self.stream_topology(4 * passed, self.issue[e])
            passed = 0
            if v in begun:
                self.stream(self.partials, v, "partial_read_lines", self.issue[e])
            yield
            while True:
                self.stream_topology(self.given["edge_bytes"], self.issue[e])
                self.record(e, edges[v].pop(0), pinned)
                if not edges[v] or edges[v][0] >= high:
                    break
                yield
            begun.add(v)
            base, kind = (
                (self.partials, "partial_write_lines") if edges[v] else (self.outputs, "output_lines")
            )
            self.stream(base, v, kind, self.issue[e])
        self.stream_topology(4 * passed, self.issue[e])
        while self.ahead[e]:
            self.oldest(e)

    def tile(self, edges: list[list[int]], begun: set[int], high: int, pinned: set[int]) -> None:
        start = self.consumed[0]
        walks = []
        for e in range(self.machine.engines):
            walk = self.walk(e, edges, begun, high, pinned)
            if next(walk, "over") != "over":
                walks.append(walk)
        self.stream_topology(4, start)
        while walks:
            walks = [walk for walk in walks if next(walk, "over") != "over"]
        last = max(self.consumed)
        for e in range(self.machine.engines):
            self.busy[e] += self.consumed[e] - start
            self.issue[e] = self.consumed[e] = last


def equal(round_: Round, plain: Plain) -> None:
    for name, value in plain.counts.items():
        assert getattr(round_, name) == value, name
    assert round_.tile_misses.tolist() == plain.tile_misses
    assert round_.tile_cold.tolist() == plain.cold
    assert round_.topology_lines == plain.topology_lines
    assert round_.pinned_lines == plain.pinned_lines
    assert (round_.row_hits, round_.row_misses) == (plain.banks.row_hits, plain.banks.row_misses)
    assert round_.engine_cycles.tolist() == plain.busy
    assert round_.cycles == plain.cycles


@st.composite
def graphs(draw: st.DrawFn) -> Aggregation:
    sources = draw(st.integers(1, 24))
    rows = draw(
        st.lists(st.lists(st.integers(0, sources - 1), max_size=7).map(sorted), min_size=1, max_size=20)
    )
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Aggregation(indptr, np.array([u for row in rows for u in row], np.int32), num_sources=sources)


@st.composite
def layouts(draw: st.DrawFn, sources: int) -> Records:
    lines = draw(
        st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), min_size=sources, max_size=sources))
    )
    compute = draw(st.sampled_from([0, 5, None]))
    each = np.array(draw(st.lists(st.integers(0, 6), min_size=sources, max_size=sources)), np.uint16)
    many = lines if isinstance(lines, int) else np.array(lines, np.uint16)
    packed = draw(st.booleans())
    ends = np.cumsum(np.broadcast_to(np.asarray(many, np.int64), (sources,)))
    return Records(
        lines=many,
        compute=each if compute is None else compute,
        region_lines=None if packed else draw(st.integers(3, 4)),
        offsets=np.concatenate([[0], ends[:-1]]).astype(np.int64) if packed else None,
        pointer_bytes=draw(st.sampled_from([0, 0, 8])),
    )


machines = st.builds(
    Machine,
    engines=st.integers(1, 5),
    queue_lines=st.sampled_from([1, 2, 8, 256]),
    max_outstanding=st.sampled_from([1, 3, 10240]),
    hit_cycles=st.integers(0, 3),
    cache=st.builds(
        lambda sets, ways, policy: CacheShape(bytes=64 * sets * ways, ways=ways, policy=policy),
        st.sampled_from([1, 2, 4]),
        st.sampled_from([1, 2, 3, 16]),
        st.sampled_from(["lru", "fifo", "rrip"]),
    ),
    dram=st.builds(
        BankTiming,
        channels=st.sampled_from([1, 2]),
        ranks=st.sampled_from([1, 2]),
        groups=st.sampled_from([1, 2]),
        banks=st.sampled_from([1, 2]),
        row_lines=st.sampled_from([1, 4]),
        mapping=st.sampled_from(["ro-ba-co-ra-bg-ch", "ro-ra-bg-ba-ch-co"]),
        burst_cycles=st.sampled_from([1.0, 2.0, 3.3330078125]),
        refresh_share=st.sampled_from([0.0, 0.0625]),
        four_activates_cycles=st.sampled_from([0.0, 30.0, 26.5]),
        write_turn_cycles=st.sampled_from([0.0, 2.5]),
        window=st.sampled_from([0, 2, 32]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), agg=graphs(), machine=machines)
def test_every_option_equals_the_plain_simulator(
    data: st.DataObject, agg: Aggregation, machine: Machine
) -> None:
    cuts = data.draw(st.lists(st.integers(0, agg.num_sources), max_size=4).map(sorted))
    order = data.draw(st.one_of(st.none(), st.permutations(range(agg.num_vertices))))
    schedule = Schedule(
        bounds=np.array([0, *cuts, agg.num_sources], np.int64),
        strip=data.draw(st.integers(1, 8)),
        order=None if order is None else np.array(order, np.int32),
    )
    pinned = data.draw(st.one_of(st.none(), st.lists(st.integers(0, agg.num_sources - 1), max_size=4)))
    given_: dict[str, Any] = {
        "output_lines": data.draw(st.integers(0, 2)),
        "partial_lines": data.draw(st.integers(0, 2)),
        "edge_bytes": data.draw(st.sampled_from([4, 8])),
        "pinned": None if pinned is None else np.array(pinned, np.int32),
    }
    records = data.draw(layouts(agg.num_sources))
    equal(
        agg.run(records, schedule, machine, **given_), Plain(agg, records, schedule, machine, **given_).run()
    )


@pytest.mark.parametrize("policy", ["lru", "fifo", "rrip"])
@pytest.mark.parametrize(("sets", "ways"), [(1, 1), (1, 16), (4, 3), (16, 8), (64, 16)])
def test_the_cache_equals_an_ordered_dictionary(policy: Any, sets: int, ways: int) -> None:
    shape = CacheShape(bytes=64 * sets * ways, ways=ways, policy=policy)
    rng = np.random.default_rng(sets * ways)
    spread = rng.integers(0, 3 * sets * ways, 20_000)
    near = np.cumsum(rng.integers(-3, 4, 20_000)) % (2 * sets * ways)
    lines = np.where(rng.random(20_000) < 0.5, spread, near).astype(np.uint32)
    plain = PlainCache(shape)
    cache = Cache(shape)
    hits = np.concatenate([cache.access(lines[:7]), cache.access(lines[7:])])
    assert 0 < hits.sum() < len(lines)
    assert hits.tolist() == [plain.access(int(line)) for line in lines]
