"""The partitioners by name: random, Spinner, switching-aware, METIS."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.optional import optional
from shoestring.core.seeds import derive_seed
from shoestring.graphs.csr import Csr, csr_from_edge_index
from shoestring.graphs.partition._partition import Partition
from shoestring.native.partition import breadth_first_order, propagate_labels

__all__ = ["Init", "Method", "partition"]

Method = Literal["switching", "spinner", "random", "metis"]
Init = Literal["bfs", "random"]
MAX_PARTS = 65_535


def partition(  # noqa: PLR0913  # options of the methods, all with defaults
    graph: Csr | Tensor,
    parts: int,
    method: Method = "switching",
    *,
    seed: int = 0,
    num_nodes: int | None = None,
    init: Init | None = None,
    capacity: float = 1.1,
    max_iterations: int = 50,
    group_by_second: bool = True,
    objective: Literal["cut", "vol"] = "cut",
    vertex_weights: Tensor | None = None,
    threads: int = 0,
) -> Partition:
    """Split the vertices of a graph into parts of about equal size with few vertices read across parts.

    Parameters
    ----------
    graph : Csr or Tensor
        In-edges of every vertex, or a PyG ``edge_index``, int64 (2, E). Duplicate edges count as often as
        they stand there; self-loops hold a vertex where it is. The propagations look at in-neighbours, since
        these are what a part reads; METIS gets the graph with both directions.
    parts : int
        1 .. 65,535; with more parts than vertices some stay empty.
    method : {"switching", "spinner", "random", "metis"}
        ``switching``: label propagation in which the candidates of a part move in groups that share a second
        preference, the largest first, until the part is full. ``spinner``: the same score, every candidate
        moves with probability room / candidates. ``random``: balanced, ignores the edges. ``metis``:
        multilevel.
    seed : int
        Of all random draws; the same seed gives the same parts for every number of threads.
    num_nodes : int, optional
        Number of vertices, when `graph` is an edge_index with isolated vertices at its end.
    init : {"bfs", "random"}, optional
        Start of the propagations: equal chunks of a breadth-first order, or balanced random labels (the
        paper's). Default ``bfs`` for switching, ``random`` for spinner.
    capacity : float
        Largest part over the mean, of the propagations; at least 1.
    max_iterations : int
        Of the propagations, at least 1; they stop before when the total score gained less than 0.001 five
        times in a row, or nothing moved.
    group_by_second : bool
        False switches the groups off: candidates move by vertex id.
    objective : {"cut", "vol"}
        What METIS minimises: edges between parts, or the vertices sent (communication volume).
    vertex_weights : Tensor, optional
        int64, (N,): METIS balances their sum instead of the number of vertices.
    threads : int
        Of the propagations; 0 takes every core.

    Returns
    -------
    Partition
        With `part`, `perm`, `ptr` and the figures `alpha`, `dependants`, `balance`.

    Raises
    ------
    ConfigError
        If an option is outside its range or does not belong to the method.
    DataError
        If the graph is malformed.
    MissingExtraError
        If METIS is asked for and pymetis is not installed.

    Notes
    -----
    The propagations take O(E) an iteration and 24 bytes a vertex beyond the graph; METIS keeps every level
    of its coarsening, several times the graph.

    References
    ----------
    GriNNder, appendix on switching-aware partitioning; Martella et al., "Spinner", ICDE 2017; Karypis and
    Kumar, "METIS", 1998. The breadth-first start is ours.
    """
    csr = graph if isinstance(graph, Csr) else csr_from_edge_index(graph, _num_nodes(graph, num_nodes))
    if csr.num_rows != csr.num_cols:
        raise DataError(f"the graph has {csr.num_rows} rows and {csr.num_cols} columns; give a square one")
    _check(parts, method, init, capacity, max_iterations, vertex_weights)
    if method == "random" or parts == 1 or csr.num_rows == 0:
        return Partition(
            part=_random_labels(csr.num_rows, parts, seed), num_parts=parts, csr=csr, method=method
        )
    if method == "metis":
        return Partition(
            part=_metis(csr, parts, seed, objective, vertex_weights), num_parts=parts, csr=csr, method=method
        )
    start = init or ("bfs" if method == "switching" else "random")
    indptr, indices = csr.indptr.numpy(), csr.indices.numpy()
    labels = _STARTS[start](csr, parts, seed)
    done = propagate_labels(
        indptr,
        indices,
        labels.numpy(),
        parts=parts,
        moves=method,
        capacity=capacity,
        max_iterations=max_iterations,
        group_by_second=group_by_second,
        seed=derive_seed(seed, "partition", "moves"),
        threads=threads,
    )
    return Partition(
        part=labels, num_parts=parts, csr=csr, method=method, iterations=done.iterations, scores=done.scores
    )


def _num_nodes(edge_index: Tensor, num_nodes: int | None) -> int:
    if num_nodes is not None:
        return num_nodes
    return int(edge_index.max()) + 1 if edge_index.numel() else 0


def _check(
    parts: int,
    method: str,
    init: str | None,
    capacity: float,
    max_iterations: int,
    vertex_weights: Tensor | None,
) -> None:
    if method not in get_args(Method):
        raise ConfigError(f"method={method!r} is not known; allowed: {', '.join(get_args(Method))}")
    if not 1 <= parts <= MAX_PARTS:
        raise ConfigError(f"parts={parts} is outside 1 .. {MAX_PARTS}")
    if init is not None and (init not in get_args(Init) or method not in ("switching", "spinner")):
        raise ConfigError(
            f"init={init!r} with method={method!r}: switching and spinner start from 'bfs' or 'random', "
            "the other methods have no start"
        )
    if not 1.0 <= capacity <= 10.0:
        raise ConfigError(f"capacity={capacity} is outside 1 .. 10; 1.1 lets a part be 10 % over the mean")
    if max_iterations < 1:
        raise ConfigError(f"max_iterations={max_iterations} is below 1; 50 is usual")
    if vertex_weights is not None and method != "metis":
        raise ConfigError(
            f"vertex_weights with method={method!r}: only metis balances weights; leave them out"
        )


def _random_labels(num: int, parts: int, seed: int) -> Tensor:
    """Shuffle labels that occur equally often."""
    rng = torch.Generator().manual_seed(derive_seed(seed, "partition", "random"))
    return (torch.randperm(num, generator=rng) % parts).to(torch.int32)


def _bfs_labels(csr: Csr, parts: int, seed: int) -> Tensor:
    """Cut a breadth-first order from a random vertex into equal chunks."""
    start = derive_seed(seed, "partition", "bfs") % csr.num_rows
    order = torch.from_numpy(breadth_first_order(csr.indptr.numpy(), csr.indices.numpy(), start))
    labels = torch.empty(csr.num_rows, dtype=torch.int32)
    labels[order.long()] = (torch.arange(csr.num_rows) * parts // csr.num_rows).to(torch.int32)
    return labels


_STARTS: dict[Init, Callable[[Csr, int, int], Tensor]] = {
    "bfs": _bfs_labels,
    "random": lambda csr, parts, seed: _random_labels(csr.num_rows, parts, seed),
}


def _metis(csr: Csr, parts: int, seed: int, objective: str, vertex_weights: Tensor | None) -> Tensor:
    if objective not in ("cut", "vol"):
        raise ConfigError(f"objective={objective!r} is not known; allowed: cut, vol")
    pymetis = optional("pymetis", extra="graphs")
    indptr, indices = _both_directions(csr)
    options: Any = pymetis.Options()
    options.seed = seed % 2**31
    if objective == "vol":
        options.objtype = pymetis.ObjType.VOL
    adjacency = pymetis.CSRAdjacency(indptr, indices)
    weights = None if vertex_weights is None else vertex_weights.tolist()
    recursive = False  # k-way: recursive bisection cannot minimise the volume
    made = pymetis.part_graph(parts, adjacency, vweights=weights, recursive=recursive, options=options)
    return torch.from_numpy(np.asarray(made.vertex_part, dtype=np.int32))


def _both_directions(csr: Csr) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Neighbours in either direction, each once, without self-loops: what METIS takes."""
    sparse = optional("scipy.sparse", extra="graphs")
    marks = np.ones(csr.num_edges, dtype=bool)  # of bools, a sum is an or: duplicates stay one
    shape = (csr.num_rows, csr.num_rows)
    one_way = sparse.csr_matrix((marks, csr.indices.numpy(), csr.indptr.numpy()), shape=shape)
    both = (one_way + one_way.T).tocsr()
    del one_way, marks
    both.sum_duplicates()
    both.setdiag(False)
    both.eliminate_zeros()
    return both.indptr.astype(np.int32), both.indices.astype(np.int32)
