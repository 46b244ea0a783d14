"""The compiled accelerator core: one aggregation phase over a shared cache, engines and DRAM banks.

Arrays are checked here, then handed over without a copy. All times are cycles of the accelerator's clock.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, DataError
from shoestring.native import _core

__all__ = [
    "Aggregation",
    "BankTiming",
    "Cache",
    "CacheShape",
    "Machine",
    "Policy",
    "Records",
    "Round",
    "Schedule",
    "Trace",
]

Policy = Literal["lru", "fifo", "rrip"]

_MAX_LINES = 2**32 - 2  # a line's number is kept in 32 bits; the last ones mean "empty"


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheShape:
    """A set-associative cache; the set of a line is its number modulo the sets."""

    bytes: int = 512 << 10
    """Capacity. ``bytes / (ways * line_bytes)`` must be a power of two."""
    ways: int = 16
    """1 .. 16."""
    line_bytes: int = 64
    """A power of two."""
    policy: Policy = "lru"
    """``rrip`` is SRRIP with 2-bit predictions and hit priority."""

    def __post_init__(self) -> None:
        if not 1 <= self.ways <= 16:
            raise ConfigError(f"cache.ways={self.ways} is outside 1 .. 16; 16 is usual")
        if not _is_power_of_two(self.line_bytes):
            raise ConfigError(f"cache.line_bytes={self.line_bytes} is no power of two; 64 is usual")
        if self.policy not in ("lru", "fifo", "rrip"):
            raise ConfigError(f"cache.policy={self.policy!r} is not one of lru, fifo, rrip")
        if self.bytes % (self.ways * self.line_bytes) or not _is_power_of_two(self.sets):
            raise ConfigError(
                f"cache.bytes={self.bytes} with {self.ways} ways of {self.line_bytes} bytes makes "
                f"{self.bytes / (self.ways * self.line_bytes):g} sets; it must be a power of two, such as "
                f"cache.bytes={self.ways * self.line_bytes * 512}"
            )

    @property
    def sets(self) -> int:
        """Number of sets."""
        return self.bytes // (self.ways * self.line_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class BankTiming:
    """The analytic DRAM model: channels, banks and row buffers as servers that a line passes through.

    A line occupies its channel's bus for ``burst_cycles`` (and ``write_turn_cycles`` when it is written), its
    bank group and its bank for ``column_cycles``. If its row is not open, the bank first opens it:
    ``row_cycles`` after it opened the last one at the earliest, and as one of four every
    ``four_activates_cycles`` in its rank. The slowest of bus, group, bank and rank decides, plus the latency
    of the read. Each works its lines off in the order of their requests without waiting for the others, which
    is what a controller with a deep queue comes close to. A row counts as open if it is the one that its bank
    opened last, or if it was opened within the last ``window`` lines of its channel: a first-ready controller
    serves those together.
    """

    channels: int = 8
    """A power of two, as are the other sizes."""
    ranks: int = 1
    """Ranks a channel."""
    groups: int = 4
    """Bank groups a rank."""
    banks: int = 4
    """Banks a group."""
    row_lines: int = 32
    """Cache lines a row."""
    mapping: str = "ro-ba-co-ra-bg-ch"
    """Bits of a line's number from high to low: row, bank, column, rank, bank group, channel."""
    burst_cycles: float = 2.0
    """Bus time of a line, BL/2 tCK."""
    read_cycles: float = 14.0
    """CL."""
    activate_cycles: float = 14.0
    """tRCD."""
    precharge_cycles: float = 14.0
    """tRP."""
    row_cycles: float = 48.0
    """tRC = tRAS + tRP, the least time between two activations of a bank."""
    column_cycles: float = 2.0
    """tCCD_L, the least time between two bursts of a bank group."""
    four_activates_cycles: float = 30.0
    """tFAW of a rank."""
    write_turn_cycles: float = 0.0
    """Bus time lost a written line: turning the bus to and fro, over the lines of a batch of writes."""
    refresh_share: float = 0.0
    """tRFC / tREFI, the share of time in which no line moves, in [0, 1)."""
    window: int = 32
    """Lines of a channel that its controller sees together; 0 is the open row alone."""

    def __post_init__(self) -> None:
        for name in _SIZES:
            if not _is_power_of_two(getattr(self, name)):
                raise ConfigError(f"dram.{name}={getattr(self, name)} must be a power of two")
        if sorted(self.mapping.split("-")) != sorted(_FIELDS):
            raise ConfigError(
                f"dram.mapping={self.mapping!r} must hold each of {', '.join(_FIELDS)} once, from high to "
                "low, such as ro-ba-co-ra-bg-ch"
            )
        for name in _TIMES:
            value = getattr(self, name)
            if not 0 <= value < 1e6:
                raise ConfigError(f"dram.{name}={value} is outside 0 .. 1e6 cycles")
        if not self.burst_cycles > 0:
            raise ConfigError(f"dram.burst_cycles={self.burst_cycles} must be above 0")
        if not 0 <= self.refresh_share < 1:
            raise ConfigError(f"dram.refresh_share={self.refresh_share} is outside 0 <= share < 1")
        if not 0 <= self.window <= 2**20:
            raise ConfigError(f"dram.window={self.window} is outside 0 .. {2**20} lines")

    def bits(self) -> dict[str, tuple[int, int]]:
        """Return (shift, count) of every field's bits in a line's number; rows take 32 bits."""
        sizes = dict(zip(("ch", "ra", "bg", "ba", "co"), (getattr(self, n) for n in _SIZES), strict=True))
        at, out = 0, {}
        for name in reversed(self.mapping.split("-")):
            count = 32 if name == "ro" else int(sizes[name]).bit_length() - 1
            out[name] = (at, count)
            at += count
        return out


_SIZES = ("channels", "ranks", "groups", "banks", "row_lines")
_FIELDS = ("ro", "ba", "co", "ra", "bg", "ch")
_TIMES = (
    "burst_cycles",
    "read_cycles",
    "activate_cycles",
    "precharge_cycles",
    "row_cycles",
    "column_cycles",
    "four_activates_cycles",
    "write_turn_cycles",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What an aggregation runs on."""

    engines: int = 8
    """1 .. 1024 engines share the cache."""
    cache: CacheShape
    """The shared cache."""
    dram: BankTiming
    """The analytic DRAM in the loop."""
    queue_lines: int = 256
    """Lines that an engine has asked for and not consumed yet."""
    max_outstanding: int = 10240
    """Misses under way at a time, all engines (MSHR entries)."""
    hit_cycles: int = 1
    """From request to data on a hit."""

    def __post_init__(self) -> None:
        for name, high in (("engines", 1024), ("queue_lines", 65536), ("max_outstanding", 2**24)):
            if not 1 <= getattr(self, name) <= high:
                raise ConfigError(f"{name}={getattr(self, name)} is outside 1 .. {high}")
        if not 0 <= self.hit_cycles <= 10_000:
            raise ConfigError(f"hit_cycles={self.hit_cycles} is outside 0 .. 10000")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Records:
    """How the features of one slice lie in memory: a record for every source vertex.

    In place (`region_lines` set) record u starts at line ``u * region_lines``; packed (`offsets` set) at line
    ``offsets[u]``, and neighbouring records may share a line.
    """

    lines: NDArray[np.uint16] | int
    """Cache lines fetched of each record: (num_sources,), or one number for all."""
    region_lines: int | None = None
    """Lines kept for a record."""
    offsets: NDArray[np.int64] | None = None
    """First line of every record, (num_sources,)."""
    compute: NDArray[np.uint16] | int = 0
    """Least cycles that an engine takes to work a record off; its lines take one cycle each anyway."""
    pointer_bytes: int = 0
    """Packed formats: bytes of the row pointer to be read, through the cache, before the record can be asked
    for; 0 when the address is arithmetic. An engine reads the pointers of up to 64 records ahead."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Schedule:
    """Who works on what, in which order."""

    bounds: NDArray[np.int64]
    """(T + 1,): tile t holds the sources ``bounds[t] <= u < bounds[t + 1]``; from 0 to num_sources. A tile
    without a source is skipped."""
    strip: int = 32
    """h: the vertex of rank r belongs to engine ``r // strip % engines``; ceil(n / engines) is contiguous."""
    order: NDArray[np.int32] | None = None
    """(n,): the destination vertices by rank; None is by id."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trace:
    """Every line that went to DRAM, in the order of `cycle` (ties: in the order of the requests)."""

    line: NDArray[np.int64]
    """Line number; address in bytes is ``line * line_bytes``."""
    cycle: NDArray[np.int64]
    """When it was asked for."""
    write: NDArray[np.bool_]
    """Partial sums and results are written, all else is read."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Round:
    """What one slice did."""

    cycles: int
    """Until the last line is consumed and the last one written."""
    engine_cycles: NDArray[np.int64]
    """(engines,): until each engine had consumed its last line of the round."""
    dram_busy_cycles: int
    """Bus time of the busiest channel: no round on this DRAM can be shorter."""
    accesses: int
    """Lines asked for by the engines; ``hits + merges + misses + pinned_hits``."""
    hits: int
    """Data were in the cache."""
    merges: int
    """The same line was under way already (MSHR)."""
    misses: int
    """Lines fetched from DRAM for the engines, row pointers included."""
    pinned_hits: int
    """Lines of pinned vertices."""
    pointer_misses: int
    """Those of `misses` that are row pointers."""
    pinned_lines: int
    """Lines preloaded for pinned vertices."""
    topology_lines: int
    """Column ids and weights, and row pointers once a tile."""
    partial_write_lines: int
    partial_read_lines: int
    output_lines: int
    row_hits: int
    """DRAM lines of all streams that found their row open."""
    row_misses: int
    queue_stall_cycles: int
    """Cycles in which engines could not ask because their queue was full, all engines."""
    outstanding_stall_cycles: int
    """Cycles lost because `max_outstanding` misses were under way."""
    tile_misses: NDArray[np.int64]
    """(T,)"""
    tile_cold: NDArray[np.int64]
    """(T,): distinct lines, the misses that no cache avoids."""
    tile_edges: NDArray[np.int64]
    """(T,)"""
    tile_partial_writes: NDArray[np.int64]
    """(T,): vertices whose sum was put aside."""
    tile_partial_reads: NDArray[np.int64]
    """(T,): vertices whose sum was fetched back."""
    tile_cycles: NDArray[np.int64]
    """(T,): engines wait for one another between tiles."""
    trace: Trace | None

    @property
    def feature_lines(self) -> int:
        """Lines of features (and their row pointers) read from DRAM."""
        return self.misses + self.pinned_lines

    @property
    def dram_lines(self) -> int:
        """Lines moved, all five streams."""
        return (
            self.feature_lines
            + self.topology_lines
            + self.partial_write_lines
            + self.partial_read_lines
            + self.output_lines
        )


class Aggregation:
    """A graph, ready to be aggregated over, one slice of its features at a time.

    Parameters
    ----------
    indptr, indices : ndarray
        int64 (n + 1,) and int32 (m,): the sources of every destination, rising (equal ones allowed) in each
        row. Borrowed, not copied.
    num_sources : int
        Sources have ids below it.

    Raises
    ------
    DataError
        If the arrays contradict each other, or a row's sources do not rise.
    """

    def __init__(self, indptr: NDArray[np.int64], indices: NDArray[np.int32], *, num_sources: int) -> None:
        _check_graph(indptr, indices, num_sources)
        self.indptr = indptr
        self.indices = indices
        self.num_sources = num_sources

    @property
    def num_vertices(self) -> int:
        """Destinations."""
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        """Edges, duplicates and self-loops included."""
        return len(self.indices)

    def run(
        self,
        records: Records,
        schedule: Schedule,
        machine: Machine,
        *,
        output_lines: int,
        partial_lines: int,
        edge_bytes: int = 8,
        pinned: NDArray[np.int32] | None = None,
        trace: bool = False,
    ) -> Round:
        """Aggregate one slice on a cold cache.

        Every tile goes over all destinations; a vertex's sum that an earlier tile began is read again, and
        one that a later tile goes on with is written. The engines take turns, an edge each.

        Parameters
        ----------
        records, schedule, machine
            Layout of the features, order of the work, and hardware.
        output_lines : int
            Lines written with the last edge of a vertex (vertices without edges write theirs too); 0 when
            the result stays on the chip.
        partial_lines : int
            Lines of a partial sum.
        edge_bytes : int
            8 (column id and weight) or 4 (no weights).
        pinned : ndarray or None
            int32: vertices whose records are preloaded beside the cache and always hit.
        trace : bool
            Also return every DRAM line; about 32 bytes a line.

        Returns
        -------
        Round
            Counts and cycles; the same arguments give the same round.

        Raises
        ------
        ConfigError, DataError
            Numbers out of range, arrays of a wrong length, more than 2^32 - 2 lines of features.
        MemoryError
            The trace does not fit.

        Notes
        -----
        An engine asks for one line a cycle and consumes one a cycle, in order, with at most
        ``queue_lines`` in between. Topology, partial sums and results are streams that are prefetched or
        buffered: they take bandwidth, and the round ends when they are done, but no engine waits for them.
        O(edges + accesses + n T) time; 40 bytes a vertex beside the arguments. The hits do not depend on any
        timing, and no time falls when a latency or a burst rises.
        """
        self._check_records(records)
        self._check_schedule(schedule)
        for name, value in (("output_lines", output_lines), ("partial_lines", partial_lines)):
            if not 0 <= value < 65536:
                raise ConfigError(f"{name}={value} is outside 0 .. 65535")
        if edge_bytes not in (4, 8):
            raise ConfigError(f"edge_bytes={edge_bytes}; allowed are 4 (ids alone) and 8 (ids and weights)")
        if pinned is not None and len(pinned):
            low, high = int(pinned.min()), int(pinned.max())
            if low < 0 or high >= self.num_sources:
                raise DataError(
                    f"pinned vertices lie in {low} .. {high}; allowed are 0 .. {self.num_sources - 1}"
                )
        options = _options(records, machine)
        options.strip = min(schedule.strip, max(1, self.num_vertices))
        options.output_lines, options.partial_lines = output_lines, partial_lines
        options.edge_bytes, options.trace = edge_bytes, trace
        counts, tiles, engine_cycles, traced = _core.sim.aggregate(
            self.indptr,
            self.indices,
            self.num_sources,
            options,
            np.ascontiguousarray(schedule.bounds, np.int64),
            lines=None if isinstance(records.lines, int) else records.lines,
            compute=None if isinstance(records.compute, int) else records.compute,
            offsets=records.offsets,
            order=schedule.order,
            pinned=pinned,
        )
        return Round(
            **counts,
            **{f"tile_{name}": column for name, column in tiles.items()},
            engine_cycles=engine_cycles,
            trace=_trace(*traced) if trace else None,
        )

    def _check_records(self, records: Records) -> None:
        for name in ("lines", "compute"):
            value = getattr(records, name)
            if isinstance(value, int):
                if not 0 <= value < 65536:
                    raise ConfigError(f"records.{name}={value} is outside 0 .. 65535")
            elif value.shape != (self.num_sources,):
                raise DataError(
                    f"records.{name} has shape {value.shape}; give one for each of {self.num_sources}"
                )
        most = records.lines if isinstance(records.lines, int) else int(records.lines.max(initial=0))
        if (records.region_lines is None) == (records.offsets is None):
            raise ConfigError("records lie in place (region_lines) or packed (offsets); give one of them")
        if records.offsets is None:
            assert records.region_lines is not None
            if records.region_lines < most:
                raise ConfigError(f"records.region_lines={records.region_lines} does not hold {most} lines")
            last = records.region_lines * self.num_sources
        else:
            if records.offsets.shape != (self.num_sources,):
                raise DataError(f"records.offsets has shape {records.offsets.shape}; give {self.num_sources}")
            if int(records.offsets.min(initial=0)) < 0:
                raise DataError(f"records.offsets starts at {records.offsets.min()}; lines count from 0")
            last = int(records.offsets.max(initial=0)) + most
        if not 0 <= records.pointer_bytes <= 64:
            raise ConfigError(f"records.pointer_bytes={records.pointer_bytes} is outside 0 .. 64")
        if last + self.num_sources > _MAX_LINES:
            raise ConfigError(f"a slice of {last} lines is too long; at most {_MAX_LINES} with its pointers")

    def _check_schedule(self, schedule: Schedule) -> None:
        bounds = schedule.bounds
        if schedule.strip < 1:
            raise ConfigError(f"strip={schedule.strip} must be at least 1 vertex")
        if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != self.num_sources or (np.diff(bounds) < 0).any():
            raise DataError(f"bounds must rise from 0 to {self.num_sources}, the number of sources")
        if schedule.order is not None and (
            schedule.order.shape != (self.num_vertices,)
            or not bool((np.bincount(schedule.order, minlength=self.num_vertices) == 1).all())
        ):
            raise DataError(f"order must hold every vertex 0 .. {self.num_vertices - 1} once")


class Cache:
    """The cache alone, for traces of one's own; it stays warm from one `access` to the next."""

    def __init__(self, shape: CacheShape) -> None:
        self.shape = shape
        self._cache = _core.sim.Cache(shape.sets, shape.ways, shape.policy)

    def access(self, lines: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Access line numbers in turn; return which hit, (len(lines),)."""
        if len(lines) and int(lines.max()) > _MAX_LINES:
            raise DataError(f"line {int(lines.max())} is above {_MAX_LINES}")
        hits = np.empty(len(lines), np.bool_)
        self._cache.access(np.ascontiguousarray(lines, np.uint32), hits)
        return hits


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def _options(records: Records, machine: Machine) -> _core.sim.Options:
    options = _core.sim.Options()
    options.lines = records.lines if isinstance(records.lines, int) else 0
    options.compute = records.compute if isinstance(records.compute, int) else 0
    options.region_lines = records.region_lines or 0
    options.pointer_bytes = records.pointer_bytes
    options.sets, options.ways = machine.cache.sets, machine.cache.ways
    options.line_bytes = machine.cache.line_bytes
    options.set_policy(machine.cache.policy)
    for name in ("engines", "queue_lines", "max_outstanding", "hit_cycles"):
        setattr(options, name, getattr(machine, name))
    bits = machine.dram.bits()
    options.set_bits([bits[name] for name in ("ch", "ra", "bg", "ba", "ro")])
    for name in ("window", "refresh_share", *_TIMES):
        setattr(options, name, getattr(machine.dram, name))
    return options


def _trace(line: NDArray[np.int64], cycle: NDArray[np.int64], write: NDArray[np.bool_]) -> Trace:
    order = np.argsort(cycle, kind="stable")
    return Trace(line=line[order], cycle=cycle[order], write=write[order])


def _check_graph(indptr: NDArray[np.int64], indices: NDArray[np.int32], num_sources: int) -> None:
    num = len(indptr) - 1
    if num < 0 or num >= 2**31 or not 0 <= num_sources < 2**31:
        raise DataError(f"{num} vertices and {num_sources} sources; allowed are 0 .. 2^31 - 1 of each")
    if indptr[0] != 0 or indptr[-1] != len(indices) or (num and bool((np.diff(indptr) < 0).any())):
        raise DataError(f"indptr must rise from 0 to the number of edges, {len(indices)}")
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < num_sources:
        raise DataError(
            f"indices lie in {indices.min()} .. {indices.max()}; allowed are 0 .. {num_sources - 1}, sources"
        )
    falls = np.flatnonzero(indices[1:] < indices[:-1]) + 1  # where a row begins, at best
    if len(falls) and not bool(np.isin(falls, indptr).all()):
        raise DataError(
            "the sources of a vertex must rise; sort the rows, as scipy's csr.sort_indices() does"
        )
