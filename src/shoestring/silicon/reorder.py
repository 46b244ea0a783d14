"""Orders of the vertices that put neighbours close to one another."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.silicon.topology import Topology

__all__ = ["Order", "vertex_order"]

Order = Literal["given", "bfs", "rcm", "community"]


def vertex_order(topology: Topology, order: Order) -> NDArray[np.int64] | None:
    """Return the old id of every new vertex, int64, (N,); None for ``"given"``.

    ``"bfs"`` goes breadth-first from the vertex of highest degree of every component, ``"rcm"`` is reverse
    Cuthill-McKee, ``"community"`` puts the communities that label propagation finds one after another.
    """
    if order == "given":
        return None
    graphs = optional("scipy.sparse.csgraph", extra="silicon")
    matrix = topology.to_scipy()
    if order == "rcm":
        return np.asarray(graphs.reverse_cuthill_mckee(matrix.tocsr(), symmetric_mode=False), dtype=np.int64)
    walk = _breadth_first(graphs, (matrix + matrix.T).tocsr())
    if order == "bfs":
        return walk
    if order != "community":
        raise ConfigError(f"order={order!r} is not one of given, bfs, rcm, community")
    return walk[np.argsort(_communities(topology)[walk], kind="stable")]


def _breadth_first(graphs: Any, both: Any) -> NDArray[np.int64]:
    """Walk every component; those of single vertices come last."""
    _, part = graphs.connected_components(both, directed=False)
    by_degree = np.argsort(-np.diff(both.indptr), kind="stable")
    starts = by_degree[np.sort(np.unique(part[by_degree], return_index=True)[1])]
    alone = np.bincount(part)[part[starts]] == 1
    walks = [graphs.breadth_first_order(both, int(s), return_predecessors=False) for s in starts[~alone]]
    return np.concatenate([*walks, starts[alone]]).astype(np.int64)


def _communities(topology: Topology, rounds: int = 10) -> NDArray[np.int64]:
    """Propagate labels: every vertex takes the commonest of its in-neighbours, ties to the smallest."""
    sources, rows = topology.edges()
    labels = np.arange(topology.num_nodes, dtype=np.int64)
    for _ in range(rounds):
        pairs, counts = np.unique(rows * topology.num_nodes + labels[sources], return_counts=True)
        owner, label = np.divmod(pairs, max(topology.num_nodes, 1))
        best = np.lexsort((-label, counts, owner))
        last = np.append(owner[best][1:] != owner[best][:-1], True) if best.size else np.zeros(0, np.bool_)
        labels[owner[best][last]] = label[best][last]
    return labels
