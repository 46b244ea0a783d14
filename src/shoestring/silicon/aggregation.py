"""One aggregation phase, slices x tiles x engines: the machine as the core takes it, rounds, and the sums.

Shapes: N vertices, E edges, F features, S slices, T tiles.
"""

import itertools
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, DataError
from shoestring.native.sim import Aggregation, BankTiming, CacheShape, Machine, Records, Round, Schedule
from shoestring.silicon.arch import Arch
from shoestring.silicon.dram import Dram
from shoestring.silicon.topology import Topology

__all__ = ["DensePhase", "aggregate_rows", "contiguous_strip", "even_bounds", "machine_of", "slice_bounds"]

_ELEMENT_BYTES = 4


def machine_of(arch: Arch) -> Machine:
    """Translate engines, cache and DRAM of a machine; times become cycles of its clock.

    Raises
    ------
    ConfigError
        A cache of more than 16 ways, or cache lines that are no multiple of a DRAM access.
    """
    cache = arch.cache
    dram = Dram.from_config(arch.dram)
    device, geometry, clk = dram.device, dram.spec.geometry, dram.spec.timing
    if cache.line_bytes % dram.access_bytes:
        raise ConfigError(
            f"cache.line_bytes={cache.line_bytes} is no multiple of the {dram.access_bytes} bytes that one "
            "access of the DRAM moves; give a multiple"
        )
    cycles = device.clock_ns * arch.clock_ghz
    accesses = cache.line_bytes // dram.access_bytes
    batch = arch.dram.queue // 4 // accesses  # lines that the controller writes before it reads again
    timing = BankTiming(
        channels=geometry.channels,
        ranks=geometry.ranks,
        groups=geometry.bank_groups,
        banks=geometry.banks_per_group,
        row_lines=max(1, geometry.columns // accesses),
        mapping=arch.dram.mapping,
        burst_cycles=clk.burst * accesses * cycles,
        read_cycles=clk.cl * cycles,
        activate_cycles=clk.t_rcd * cycles,
        precharge_cycles=clk.t_rp * cycles,
        row_cycles=(clk.t_ras + clk.t_rp) * cycles,
        column_cycles=clk.t_ccd_l * accesses * cycles,
        four_activates_cycles=clk.t_faw * cycles,
        write_turn_cycles=(clk.cl + clk.t_rtrs + clk.t_wtr_l) * cycles / max(1, batch),
        refresh_share=clk.t_rfc / clk.t_refi if clk.t_refi else 0.0,
        window=arch.dram.queue,  # reads fill one half of it, writes the other
    )
    shape = CacheShape(bytes=cache.bytes, ways=cache.ways, line_bytes=cache.line_bytes, policy=cache.policy)
    return Machine(
        engines=arch.engines,
        cache=shape,
        dram=timing,
        queue_lines=arch.queue_lines,
        max_outstanding=cache.mshr_entries or arch.max_outstanding,
    )


def even_bounds(num: int, tiles: int) -> NDArray[np.int64]:
    """Cut 0 .. num into tiles of equal width, as far as whole vertices allow; int64, (tiles + 1,)."""
    if tiles < 1:
        raise ConfigError(f"tiles={tiles} must be at least 1")
    return np.arange(tiles + 1, dtype=np.int64) * num // tiles


def contiguous_strip(num: int, engines: int) -> int:
    """Return the strip height that gives every engine one run of vertices."""
    return max(1, -(-num // engines))


def slice_bounds(width: int, slices: int, line_bytes: int = 64) -> NDArray[np.int64]:
    """Cut `width` fp32 columns into slices of whole cache lines, so that no two slices share one.

    Parameters
    ----------
    width : int
        F.
    slices : int
        Slices asked for; fewer come out where a line holds more columns than a slice would.

    Returns
    -------
    ndarray
        int64, (S + 1,); the last slice may be narrower than the others.
    """
    if width < 1 or slices < 1:
        raise ConfigError(f"width={width} and slices={slices} must be at least 1")
    columns = line_bytes // _ELEMENT_BYTES
    each = -(-width // (slices * columns)) * columns
    return np.minimum(np.arange(0, width + each, each, dtype=np.int64), width)


@dataclass(eq=False)
class DensePhase:
    """The aggregation of a dense fp32 feature matrix, stored slice by slice.

    Line k of v's record in slice s is ``(s N + v) lines + k``. Rounds that were simulated once are kept, as
    equal settings give equal rounds.
    """

    topology: Topology
    machine: Machine
    edge_bytes: int = 8
    """8: column id and weight of every edge; 4 without weights."""
    pinned_share: float = 0.0
    """Share of the capacity that holds records of the vertices that are read most (EnGN); the cache keeps the
    rest. 0 or 0.5."""
    _core: Aggregation = field(init=False, repr=False)
    _rounds: dict[Hashable, Round] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.pinned_share not in (0.0, 0.5):
            raise ConfigError(
                f"pinned_share={self.pinned_share} is neither 0 nor 0.5; others leave no power of two of sets"
            )
        graph = self.topology
        self._core = Aggregation(graph.indptr, graph.indices, num_sources=graph.num_nodes)

    def lines(self, columns: int) -> int:
        """Cache lines of a record of so many columns."""
        return -(-columns * _ELEMENT_BYTES // self.machine.cache.line_bytes)

    def run(self, columns: int, bounds: NDArray[np.int64], strip: int) -> Round:
        """Aggregate a slice of `columns`, with source tiles `bounds` (T + 1,) and strips of `strip` ranks."""
        lines = self.lines(columns)
        strip = 1 if self.machine.engines == 1 else strip  # one engine takes every vertex, in order
        key = (lines, bounds.tobytes(), strip)
        if key not in self._rounds:
            machine, pinned = self._pinned(lines)
            self._rounds[key] = self._core.run(
                Records(lines=lines, region_lines=lines),
                Schedule(bounds=bounds, strip=strip),
                machine,
                output_lines=lines,
                partial_lines=lines,
                edge_bytes=self.edge_bytes,
                pinned=pinned,
            )
        return self._rounds[key]

    def _pinned(self, lines: int) -> tuple[Machine, NDArray[np.int32] | None]:
        if not self.pinned_share:
            return self.machine, None
        cache = self.machine.cache
        kept = int(cache.bytes * self.pinned_share)
        smaller = replace(self.machine, cache=replace(cache, bytes=cache.bytes - kept))
        count = kept // (lines * cache.line_bytes)
        most_read = np.argsort(-self.topology.out_degrees, kind="stable")[:count]
        return smaller, most_read.astype(np.int32)


def aggregate_rows(
    topology: Topology,
    x: NDArray[np.float32],
    columns: NDArray[np.int64],
    bounds: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Sum the features of in-neighbours, in the order of the hardware: slices, then tiles.

    Parameters
    ----------
    topology : Topology
        N vertices; without weights every edge counts 1.
    x : ndarray
        float32, (N, F).
    columns : ndarray
        int64, (S + 1,): see `slice_bounds`.
    bounds : ndarray
        int64, (T + 1,): tiles of sources.

    Returns
    -------
    ndarray
        float32, (N, F): ``A @ x``; the order of the additions is that of the tiles, so the last bits are not
        scipy's.

    Raises
    ------
    DataError
        `x` has another number of rows, or tiles and slices do not cover it.
    """
    if x.ndim != 2 or x.shape[0] != topology.num_nodes:
        raise DataError(f"x has shape {x.shape}; give a row for each of {topology.num_nodes} vertices")
    for name, cuts, end in (("columns", columns, x.shape[1]), ("bounds", bounds, x.shape[0])):
        if cuts[0] != 0 or cuts[-1] != end or bool((np.diff(cuts) < 0).any()):
            raise DataError(f"{name} must rise from 0 to {end}")
    matrix = topology.to_scipy().tocsc()
    out = np.zeros(x.shape, np.float32)
    tiles = [(matrix[:, a:b].tocsr(), a, b) for a, b in itertools.pairwise(bounds) if a < b]
    for left, right in itertools.pairwise(columns):
        for part, a, b in tiles:
            out[:, left:right] += part @ x[a:b, left:right]
    return out
