"""Rounds on the native core, each simulated once: equal slices of equal layers give equal rounds.

A round starts with nothing of its slice in the cache, as slices share no lines, so its result depends on its
own records and schedule alone, and a dense format needs one round for all slices of all layers.
"""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shoestring.native.sim import Aggregation, Machine, Records, Round, Schedule
from shoestring.silicon.aggregation import machine_of
from shoestring.silicon.arch import Arch
from shoestring.silicon.beicsr import element_bytes
from shoestring.silicon.formats import FormatName, SliceFootprint, footprints
from shoestring.silicon.patterns import Pattern
from shoestring.silicon.reorder import Order, vertex_order
from shoestring.silicon.sgcn.config import Config
from shoestring.silicon.sgcn.functional import (
    aggregator_cycles,
    most_read,
    strip_of,
    tile_bounds,
)
from shoestring.silicon.topology import Topology
from shoestring.silicon.workload import Workload

__all__ = ["Bench", "Slice"]

_POINTER_BYTES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One slice of one layer's aggregation."""

    footprint: SliceFootprint
    edge_values: int
    """Values that the engines multiply: those of a record, once for every edge that reads it."""
    round: Round


@dataclass(slots=True, eq=False)
class _Numbered:
    """The topology under one numbering of its vertices."""

    order: NDArray[np.int64] | None
    topology: Topology
    core: Aggregation


@dataclass(eq=False)
class Bench:
    """A workload on a machine; keeps every round that was simulated."""

    workload: Workload
    arch: Arch
    keep_traces: bool = False
    """Keep every DRAM line of every round; 20 bytes a line."""
    _numbered: dict[str, _Numbered] = field(default_factory=dict)
    _rounds: dict[Hashable, Round] = field(default_factory=dict)
    _dense: dict[int, Pattern] = field(default_factory=dict)

    @cached_property
    def machine(self) -> Machine:
        """The machine as the core takes it."""
        return machine_of(self.arch)

    def aggregate(self, pattern: Pattern, fmt: FormatName, config: Config) -> list[Slice]:
        """Aggregate a feature matrix, slice by slice."""
        permutation = self.numbered(config.order).order
        moved = pattern if permutation is None else pattern.permuted(permutation)
        parts = self.layout(moved, fmt, config)
        sparse = config.sparse_aggregator and fmt != "dense"
        reads = self.numbered(config.order).topology.out_degrees
        return [
            Slice(part, int(nonzeros @ reads), self._round(part, nonzeros, config, sparse))
            for part, nonzeros in zip(parts, moved.count(config.slice_width), strict=True)
        ]

    def layout(self, pattern: Pattern, fmt: FormatName, config: Config) -> tuple[SliceFootprint, ...]:
        """Lay a feature matrix out in memory."""
        return footprints(
            pattern,
            fmt,
            config.slice_width,
            element_bytes=element_bytes(config.element),
            line_bytes=self.arch.cache.line_bytes,
            block=config.block,
        )

    def dense_pattern(self, width: int) -> Pattern:
        """Return the pattern of a matrix of the workload's vertices without zeros."""
        if width not in self._dense:
            self._dense[width] = Pattern.dense(self.workload.topology.num_nodes, width)
        return self._dense[width]

    def numbered(self, order: Order) -> _Numbered:
        """Return the topology under a numbering."""
        if order not in self._numbered:
            given = self.workload.topology
            permutation = vertex_order(given, order)
            topology = given if permutation is None else given.relabelled(permutation)
            core = Aggregation(topology.indptr, topology.indices, num_sources=topology.num_nodes)
            self._numbered[order] = _Numbered(permutation, topology, core)
        return self._numbered[order]

    def _round(
        self, part: SliceFootprint, nonzeros: NDArray[np.int32], config: Config, sparse: bool
    ) -> Round:
        compute = aggregator_cycles(nonzeros, part.width, self.arch.simd_lanes, sparse)
        key = (
            _digest(part.lines, compute, part.offsets),
            (part.width, part.region_lines, part.pointer_lines > 0),
            (config.tiles, config.schedule, config.strip, config.order, config.pinned_share),
        )
        if key not in self._rounds:
            self._rounds[key] = self._simulate(part, compute, config)
        return self._rounds[key]

    def _simulate(self, part: SliceFootprint, compute: NDArray[np.uint16], config: Config) -> Round:
        here = self.numbered(config.order)
        num = here.topology.num_nodes
        machine, pinned = self.machine, None
        if config.pinned_share:
            machine, budget = _with_pinned(machine, config.pinned_share)
            pinned = most_read(here.topology, part.lines, budget)
        sum_lines = -(-part.width * 4 // self.arch.cache.line_bytes)  # partial sums are float32
        return here.core.run(
            Records(
                lines=part.lines,
                region_lines=part.region_lines,
                offsets=part.offsets,
                compute=compute,
                pointer_bytes=_POINTER_BYTES if part.pointer == "line" else 0,
            ),
            Schedule(
                bounds=tile_bounds(num, config.tiles),
                strip=strip_of(config.schedule, config.strip, num, self.arch.engines),
            ),
            machine,
            output_lines=sum_lines,
            partial_lines=sum_lines,
            edge_bytes=8 if here.topology.weights is not None else 4,
            pinned=pinned,
            trace=self.keep_traces,
        )


def _digest(*arrays: NDArray[np.uint16] | NDArray[np.int64] | None) -> bytes:
    made = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is not None:
            made.update(np.ascontiguousarray(array).data)
        made.update(b";")
    return made.digest()


def _with_pinned(machine: Machine, share: float) -> tuple[Machine, int]:
    """Take whole ways from the cache for the pinned records."""
    cache = machine.cache
    ways = min(cache.ways - 1, max(1, round(cache.ways * share)))
    way_bytes = cache.bytes // cache.ways
    smaller = replace(cache, ways=cache.ways - ways, bytes=way_bytes * (cache.ways - ways))
    return replace(machine, cache=smaller), ways * way_bytes // cache.line_bytes
