"""Slice-and-Forge as plain functions: guesses of tiles, tiles as runs of unit tiles, what may be changed.

Shapes: N vertices, T tiles, U unit tiles.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shoestring.native.sim import Round

__all__ = [
    "Change",
    "apply_changes",
    "even_runs",
    "find_changes",
    "fitting_tiles",
    "modelled_lines",
    "nearest_power",
    "run_bounds",
    "unit_count",
]

Runs = tuple[int, ...]


def unit_count(num: int, units: int) -> int:
    """Return U: no more unit tiles than vertices."""
    return max(1, min(units, num))


def fitting_tiles(num: int, lines: int, cache_lines: int, *, fill: float, most: int) -> int:
    """Return how many equal tiles of sources take `fill` of the cache each, 1 .. `most`.

    Parameters
    ----------
    num : int
        N.
    lines : int
        Cache lines of a record of the slice.
    cache_lines : int
        Lines of the cache.
    fill : float
        0.5 is the controller's first guess, 1 the analytic tiling.
    most : int
        U.
    """
    return min(max(1, -int(-num * lines // (fill * cache_lines))), most)


def nearest_power(tiles: float, *, most: int) -> int:
    """Return the power of two that is the nearest factor away, at most `most`."""
    return min(int(2 ** round(math.log2(tiles))), most)


def even_runs(units: int, tiles: int) -> Runs:
    """Return T runs of unit tiles, as equal as whole unit tiles allow; at most one tile a unit."""
    tiles = min(tiles, units)
    cuts = [units * i // tiles for i in range(tiles + 1)]
    return tuple(b - a for a, b in itertools.pairwise(cuts))


def run_bounds(num: int, runs: Runs) -> NDArray[np.int64]:
    """Return the sources at which the tiles begin and end, int64, (T + 1,)."""
    cuts = np.concatenate([[0], np.cumsum(runs)]).astype(np.int64)
    return cuts * num // int(cuts[-1])


@dataclass(frozen=True, slots=True)
class Change:
    """A split of tile `tile`, or its merger with the next one."""

    kind: Literal["split", "merge"]
    tile: int
    units: tuple[int, int]
    """First unit tile, and the one behind the last."""
    lines: int
    """Lines that it may save at best."""

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes it the same change as another one."""
        return self.kind, *self.units


def find_changes(
    runs: Runs,
    measured: Round,
    *,
    cache_lines: int,
    partial_lines: int,
    split_above: float = 1.25,
    merge_below: float = 1.05,
    fit: float = 0.75,
) -> list[Change]:
    """List the tiles that miss too much and the neighbours that need not be apart, most lines first.

    Parameters
    ----------
    runs : tuple of int
        The tiles of the round, in unit tiles.
    measured : Round
        Misses, distinct lines and partial sums of every tile.
    cache_lines, partial_lines : int
        Lines of the cache, and of a partial sum.
    split_above, merge_below, fit : float
        See `MorphingConfig`.
    """
    misses, cold = measured.tile_misses, measured.tile_cold
    starts = np.concatenate([[0], np.cumsum(runs)])
    found: list[Change] = []
    for i, length in enumerate(runs):
        if length > 1 and misses[i] > split_above * cold[i]:
            units = (int(starts[i]), int(starts[i + 1]))
            found.append(Change("split", i, units, int(misses[i] - cold[i])))
    for i in range(len(runs) - 1):
        together = int(cold[i] + cold[i + 1])
        few = misses[i] + misses[i + 1] <= merge_below * together
        if few and together <= fit * cache_lines:
            units = (int(starts[i]), int(starts[i + 2]))
            saved = 2 * partial_lines * int(measured.tile_partial_writes[i])
            found.append(Change("merge", i, units, saved))
    return sorted(found, key=lambda change: -change.lines)


def apply_changes(runs: Runs, changes: Sequence[Change]) -> tuple[Runs, list[Change]]:
    """Apply changes that do not touch the same tile; return the new runs and the changes applied."""
    taken: set[int] = set()
    applied: list[Change] = []
    for change in changes:
        tiles = {change.tile} if change.kind == "split" else {change.tile, change.tile + 1}
        if not tiles & taken:
            taken |= tiles
            applied.append(change)
    splits = {c.tile for c in applied if c.kind == "split"}
    merges = {c.tile for c in applied if c.kind == "merge"}
    out: list[int] = []
    for i, length in enumerate(runs):
        if i in splits:
            out += [length // 2, length - length // 2]
        elif i - 1 in merges:
            out[-1] += length
        else:
            out.append(length)
    return tuple(out), applied


def modelled_lines(
    degrees: NDArray[np.int64], lines: int, slices: int, tiles: int, cache_lines: int, edge_bytes: int = 8
) -> float:
    """Model the lines that a layer moves, for tilers that decide before they run (never for morphing).

    Sources of an edge are taken for drawn at random: a tile that fits the cache is read once, one that does
    not misses in proportion; a vertex of degree d is touched by ``T (1 - (1 - 1/T)^d)`` tiles, and all but
    one of these touches write and read a partial sum.

    Parameters
    ----------
    degrees : ndarray
        int64, (N,): in-degrees.
    lines : int
        Cache lines of a record of one slice.
    slices, tiles, cache_lines, edge_bytes : int
        S, T, lines of the cache, bytes of an edge.
    """
    num, edges = len(degrees), int(degrees.sum())
    working_set = num * lines / tiles
    missing = max(0.0, 1 - cache_lines / working_set) if working_set else 0.0
    features = min(num, edges) * lines * (1 - missing) + edges * lines * missing
    touched = float((tiles * (1 - (1 - 1 / tiles) ** degrees)).sum())
    partials = 2 * lines * max(0.0, touched - np.count_nonzero(degrees))
    topology = (edge_bytes * edges + 4 * (num + 1) * tiles) / 64
    return slices * (features + partials + topology + num * lines)
