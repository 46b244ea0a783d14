"""SGCN's parts as plain functions: who works on what, where tiles end, what a phase moves and takes.

Shapes: N vertices, E engines, F columns, C columns of a slice, T tiles.
"""

import numpy as np
from numpy.typing import NDArray

from shoestring.silicon.aggregation import contiguous_strip, even_bounds
from shoestring.silicon.topology import Topology

__all__ = [
    "aggregator_cycles",
    "engine_of",
    "most_read",
    "strip_of",
    "tile_bounds",
    "working_set_lines",
]


def engine_of(vertices: NDArray[np.int64], strip: int, engines: int) -> NDArray[np.int64]:
    """Return the engine of each destination: strips of `strip` consecutive ones in turn (section 2, SAC)."""
    return vertices // strip % engines


def strip_of(schedule: str, strip: int, num_nodes: int, engines: int) -> int:
    """Return the strip height: `strip` with cooperation, ceil(N / E), one run an engine, without."""
    return strip if schedule == "sac" else contiguous_strip(num_nodes, engines)


def tile_bounds(num_nodes: int, tiles: int) -> NDArray[np.int64]:
    """Cut the sources into `tiles` ranges of about equal length: int64, (T + 1,); at most N tiles."""
    return even_bounds(num_nodes, max(1, min(tiles, num_nodes)))


def working_set_lines(lines: NDArray[np.uint16], tiles: int) -> float:
    """Return the lines of the records of a tile: what the cache must hold for each to be fetched once."""
    return float(lines.sum(dtype=np.int64)) / max(1, tiles)


def aggregator_cycles(
    nonzeros: NDArray[np.int32], width: int, lanes: int, sparse: bool
) -> NDArray[np.uint16]:
    """Return the cycles of an engine for each record: ``ceil(nnz / lanes)``, or all columns if not sparse.

    Parameters
    ----------
    nonzeros : ndarray
        int32, (N,), values of each record.
    width : int
        C.
    lanes : int
        Multiply-adds a cycle.
    sparse : bool
        Whether zeros are skipped.
    """
    work = nonzeros if sparse else np.full(nonzeros.shape, width, dtype=np.int64)
    return np.minimum(-(-work // lanes), np.iinfo(np.uint16).max).astype(np.uint16)


def most_read(topology: Topology, lines: NDArray[np.uint16], budget_lines: int) -> NDArray[np.int32]:
    """Return the vertices that are read most, as many as have records of `budget_lines` together: int32."""
    order = np.argsort(-topology.out_degrees, kind="stable")
    fits = np.cumsum(lines[order], dtype=np.int64) <= budget_lines
    return np.sort(order[fits]).astype(np.int32)
