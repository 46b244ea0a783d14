"""SGCN's parts as plain functions: who works on what, where tiles end, what a phase moves and takes.

Shapes: N vertices, E engines, F columns, C columns of a slice, T tiles.
"""

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.silicon.topology import Topology

__all__ = [
    "aggregator_cycles",
    "combination_cycles",
    "engine_of",
    "most_read",
    "strip_of",
    "tile_bounds",
    "vertex_order",
    "working_set_lines",
]


def engine_of(vertices: NDArray[np.int64], strip: int, engines: int) -> NDArray[np.int64]:
    """Return the engine of each destination: strips of `strip` consecutive ones in turn (section 2, SAC)."""
    return vertices // strip % engines


def strip_of(schedule: str, strip: int, num_nodes: int, engines: int) -> int:
    """Return the strip height: `strip` with cooperation, ceil(N / E), one run an engine, without."""
    return strip if schedule == "sac" else max(1, -(-num_nodes // engines))


def tile_bounds(num_nodes: int, tiles: int) -> NDArray[np.int64]:
    """Cut the sources into `tiles` ranges of about equal length: int64, (T + 1,); at most N tiles."""
    count = max(1, min(tiles, num_nodes))
    return np.arange(count + 1, dtype=np.int64) * num_nodes // count


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


def combination_cycles(num_nodes: int, width_in: int, width_out: int, engines: int, side: int = 32) -> int:
    """Return the published simulator's cycles of a combination, ``ceil(F_out/32E) ceil(N/32E) (F_in + 32E)``.

    It takes the E arrays of 32 x 32 for one array of 32E x 32E, that is E times their multipliers; the
    simulation here uses `shoestring.silicon.systolic` and this is kept for comparison.
    """
    whole = side * engines
    return -(-width_out // whole) * -(-num_nodes // whole) * (width_in + whole)


def most_read(topology: Topology, lines: NDArray[np.uint16], budget_lines: int) -> NDArray[np.int32]:
    """Return the vertices that are read most, as many as have records of `budget_lines` together: int32."""
    order = np.argsort(-topology.out_degrees, kind="stable")
    fits = np.cumsum(lines[order], dtype=np.int64) <= budget_lines
    return np.sort(order[fits]).astype(np.int32)


def vertex_order(topology: Topology, order: str) -> NDArray[np.int64] | None:
    """Return the old id of every new vertex, int64, (N,), by ``"bfs"`` or ``"rcm"``; None for ``"given"``.

    Breadth-first starts at the vertex of highest degree and goes on from the next unseen one.
    """
    if order == "given":
        return None
    graphs = optional("scipy.sparse.csgraph", extra="silicon")
    matrix = topology.to_scipy()
    if order == "rcm":
        return np.asarray(graphs.reverse_cuthill_mckee(matrix.tocsr(), symmetric_mode=False), dtype=np.int64)
    if order != "bfs":
        raise ConfigError(f"order={order!r} is not one of given, bfs, rcm")
    both = (matrix + matrix.T).tocsr()
    _, part = graphs.connected_components(both, directed=False)
    degree = np.diff(both.indptr)
    by_degree = np.argsort(-degree, kind="stable")
    starts = by_degree[np.sort(np.unique(part[by_degree], return_index=True)[1])]
    single = degree[starts] <= 1  # alone, or with its own loop only: nothing to walk
    walks = [graphs.breadth_first_order(both, int(s), return_predecessors=False) for s in starts[~single]]
    seen = np.concatenate([*walks, starts[single]]).astype(np.int64)
    rest = np.setdiff1d(np.arange(topology.num_nodes), seen)
    return np.concatenate([seen, rest])
