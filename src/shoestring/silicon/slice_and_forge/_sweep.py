"""The exhaustive oracle: every number of slices, tiles and strip height, and the best of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shoestring.core.errors import ConfigError
from shoestring.silicon.aggregation import DensePhase, contiguous_strip, machine_of, slice_bounds
from shoestring.silicon.arch import Arch
from shoestring.silicon.slice_and_forge.config import CONTIGUOUS
from shoestring.silicon.slice_and_forge.functional import even_runs, run_bounds, unit_count
from shoestring.silicon.topology import load_graph

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["STRIPS", "TILES", "Point", "Sweep", "sweep", "sweep_phase"]

TILES = (1, 2, 4, 8, 16, 32)
"""Grid of every tuned baseline."""
STRIPS = (CONTIGUOUS, 128, 32, 8)


@dataclass(frozen=True, slots=True)
class Point:
    """A layer at one setting."""

    slices: int
    """Asked for."""
    tiles: int
    strip: int
    """0: contiguous."""
    cycles: int
    dram_lines: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """Every setting of a grid."""

    points: tuple[Point, ...]

    def best(self, *, by: str = "cycles", **only: Any) -> Point:
        """Return the point with the least ``cycles`` (or ``dram_lines``), among those with the given values.

        Raises
        ------
        ConfigError
            No point has these values.
        """
        some = [p for p in self.points if all(getattr(p, k) == v for k, v in only.items())]
        if not some:
            raise ConfigError(f"no point of the sweep has {only}; it has {len(self.points)} others")
        return min(some, key=lambda p: getattr(p, by))

    @property
    def frame(self) -> "pd.DataFrame":
        """One row a point."""
        import pandas as pd

        names = ("slices", "tiles", "strip", "cycles", "dram_lines")
        return pd.DataFrame([{n: getattr(p, n) for n in names} for p in self.points], columns=list(names))


def sweep(
    graph: Any,
    arch: Arch,
    *,
    width: int = 256,
    slices: Sequence[int] = (1, 2, 4, 8, 16),
    tiles: Sequence[int] = TILES,
    strips: Sequence[int] = STRIPS,
    edge_bytes: int = 8,
) -> Sweep:
    """Simulate one layer at every setting of a grid.

    Parameters
    ----------
    graph : str, Path or object
        Whatever `shoestring.silicon.topology.load_graph` takes.
    arch : Arch
        The machine.
    width : int
        Columns of the features.
    slices, tiles, strips : sequence of int
        The grid; a strip of 0 is contiguous.
    edge_bytes : int
        8, or 4 without weights.

    Raises
    ------
    ConfigError
        An empty grid, numbers below their range.
    """
    phase = DensePhase(load_graph(graph), machine_of(arch), edge_bytes=edge_bytes)
    return sweep_phase(phase, width, slices, tiles=tiles, strips=strips)


def sweep_phase(
    phase: DensePhase,
    width: int,
    slices: Sequence[int],
    *,
    tiles: Sequence[int] = TILES,
    strips: Sequence[int] = STRIPS,
    units: int = 64,
) -> Sweep:
    """Simulate one layer at every setting of a grid, on a phase that keeps its rounds."""
    if not (slices and tiles and strips):
        raise ConfigError("a sweep needs at least one number of slices, of tiles, and a strip height")
    if min(*slices, *tiles) < 1 or min(strips) < 0:
        raise ConfigError(f"slices={slices} and tiles={tiles} must be at least 1, strips={strips} at least 0")
    num = phase.topology.num_nodes
    points = []
    for count in slices:
        columns = np.diff(slice_bounds(width, count, phase.machine.cache.line_bytes))
        for tile in tiles:
            runs = even_runs(unit_count(num, max(units, tile)), tile)
            for strip in strips:
                height = strip or contiguous_strip(num, phase.machine.engines)
                rounds = [phase.run(int(c), run_bounds(num, runs), height) for c in columns]
                cycles, lines = sum(r.cycles for r in rounds), sum(r.dram_lines for r in rounds)
                points.append(Point(count, tile, strip, cycles, lines))
    return Sweep(tuple(points))
