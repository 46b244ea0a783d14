"""Prior accelerators as a schedule on the same core, each tuned over the same grid of tiles and strips."""

from dataclasses import dataclass
from typing import Any, Literal

from shoestring.core.errors import ConfigError
from shoestring.silicon.aggregation import DensePhase, machine_of
from shoestring.silicon.arch import Arch
from shoestring.silicon.slice_and_forge._sweep import STRIPS, TILES, Point, sweep_phase
from shoestring.silicon.slice_and_forge.config import CONTIGUOUS
from shoestring.silicon.slice_and_forge.functional import modelled_lines
from shoestring.silicon.topology import load_graph

__all__ = ["BASELINES", "Baseline", "best_of_baseline"]

Baseline = Literal["tiled", "hygcn", "engn", "gcnax"]
BASELINES: tuple[Baseline, ...] = ("tiled", "hygcn", "engn", "gcnax")


@dataclass(frozen=True, slots=True)
class _Schedule:
    strips: tuple[int, ...] = STRIPS
    pinned: tuple[float, ...] = (0.0,)
    """Shares of the capacity for the vertices that are read most."""


# All are output-stationary in a tile, merge requests under way and skip empty tiles, as the core does.
_SCHEDULES = {
    "tiled": _Schedule(),
    "hygcn": _Schedule(strips=(CONTIGUOUS,)),
    "engn": _Schedule(pinned=(0.0, 0.5)),
}


def best_of_baseline(
    name: Baseline,
    graph: Any,
    arch: Arch,
    *,
    width: int = 256,
    edge_bytes: int = 8,
    phase: DensePhase | None = None,
) -> Point:
    """Return one layer of a prior accelerator at its best setting.

    Parameters
    ----------
    name : str
        ``tiled``: whole rows, the best tiles and strips. ``hygcn``: whole rows, contiguous chunks of
        destinations, the best tiles (HyGCN-like). ``engn``: whole rows, half of the capacity for the vertices
        that are read most or none, the best tiles and strips (EnGN-like). ``gcnax``: slices and tiles from a
        model of the traffic, as GCNAX finds them before it runs, the best strips (GCNAX-like).
    graph : str, Path or object
        Whatever `shoestring.silicon.topology.load_graph` takes.
    arch : Arch
        The machine.
    width, edge_bytes : int
        Columns of the features; 8 or 4 bytes an edge.
    phase : DensePhase, optional
        Of the same graph and machine, whose rounds are used again.

    Raises
    ------
    ConfigError
        An unknown name.
    """
    phase = phase or DensePhase(load_graph(graph), machine_of(arch), edge_bytes=edge_bytes)
    if name == "gcnax":
        return _modelled(phase, width)
    if name not in _SCHEDULES:
        raise ConfigError(f"baseline {name!r} is not one of {', '.join(BASELINES)}")
    schedule = _SCHEDULES[name]
    points = []
    for share in schedule.pinned:
        with_share = phase
        if share:
            with_share = DensePhase(
                phase.topology, phase.machine, edge_bytes=phase.edge_bytes, pinned_share=share
            )
        points.append(sweep_phase(with_share, width, (1,), strips=schedule.strips).best())
    return min(points, key=lambda p: p.cycles)


def _modelled(phase: DensePhase, width: int) -> Point:
    """Slices and tiles with the least modelled traffic, then the best strips of these."""
    cache = phase.machine.cache
    columns = cache.line_bytes // 4
    degrees = phase.topology.in_degrees
    grid = []
    for slices in (1, 2, 4, 8, 16):
        if slices > 1 and width < slices * columns:
            continue
        lines = phase.lines(-(-width // (slices * columns)) * columns)
        for tiles in TILES:
            moved = modelled_lines(
                degrees, lines, slices, tiles, cache.bytes // cache.line_bytes, phase.edge_bytes
            )
            grid.append((moved, slices, tiles))
    _, slices, tiles = min(grid)
    return sweep_phase(phase, width, (slices,), tiles=(tiles,)).best()
