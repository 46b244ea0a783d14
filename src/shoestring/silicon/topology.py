"""The graph that an accelerator walks over: compressed rows of in-edges, from files, objects or generators.

Row = destination vertex, columns = its in-neighbours (sources), rising. Shapes: N vertices, E edges.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import DataError
from shoestring.core.optional import optional
from shoestring.silicon._generators import bag_of_words, draw, generator_names

__all__ = ["LabelledGraph", "Topology", "load_graph", "load_labelled_graph", "topology_from_edges"]

_BUILT_IN = ("karate", "lesmis")


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """In-edges of every vertex.

    Attributes
    ----------
    indptr : ndarray
        int64, (N + 1,): destination v has edges ``indptr[v]:indptr[v + 1]``.
    indices : ndarray
        int32, (E,), sources, rising in every row; duplicates and self-loops are kept.
    weights : ndarray or None
        float32, (E,), finite; None means ones.
    source : str
        Where the graph comes from.
    kind : str
        ``"real"``, ``"synthetic"`` or ``"unknown"``.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32] | None = None
    source: str = ""
    kind: str = "unknown"

    @property
    def num_nodes(self) -> int:
        """N."""
        return int(self.indptr.size - 1)

    @property
    def num_edges(self) -> int:
        """E."""
        return int(self.indices.size)

    @property
    def in_degrees(self) -> NDArray[np.int64]:
        """Edges of every destination, int64, (N,)."""
        return np.diff(self.indptr)

    @property
    def out_degrees(self) -> NDArray[np.int64]:
        """Times that every vertex is read, int64, (N,)."""
        return np.bincount(self.indices, minlength=self.num_nodes).astype(np.int64)

    def edges(self) -> NDArray[np.int64]:
        """Return the edges as int64, (2, E): sources, destinations."""
        rows = np.repeat(np.arange(self.num_nodes, dtype=np.int64), self.in_degrees)
        return np.stack([self.indices.astype(np.int64), rows])

    def normalized(self) -> "Topology":
        """Return A_hat: self-loops of weight 1 where there are none, then ``w / sqrt(d_v d_u)``.

        d is the weighted in-degree after the loops are added, as in PyG's ``gcn_norm``. A vertex of degree 0
        or below gets weights 0.
        """
        sources, rows = self.edges()
        weights = np.ones(self.num_edges, np.float32) if self.weights is None else self.weights
        has_loop = np.zeros(self.num_nodes, dtype=np.bool_)
        has_loop[sources[sources == rows]] = True
        missing = np.flatnonzero(~has_loop)
        sources, rows = np.concatenate([sources, missing]), np.concatenate([rows, missing])
        weights = np.concatenate([weights, np.ones(missing.size, np.float32)])
        degree = np.bincount(rows, weights=weights, minlength=self.num_nodes)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(degree > 0, degree**-0.5, 0.0)
        weights = (weights * scale[sources] * scale[rows]).astype(np.float32)
        made = _sorted_rows(np.stack([sources, rows]), self.num_nodes, weights)
        return replace(made, source=self.source, kind=self.kind)

    def relabelled(self, order: NDArray[np.int64]) -> "Topology":
        """Return the same graph whose vertex i is the old vertex ``order[i]``."""
        position = np.empty(self.num_nodes, dtype=np.int64)
        position[order] = np.arange(self.num_nodes)
        made = _sorted_rows(position[self.edges()], self.num_nodes, self.weights)
        return replace(made, source=self.source, kind=self.kind)

    def to_scipy(self) -> Any:
        """Return the matrix (destinations, sources) as ``scipy.sparse.csr_matrix``."""
        sp = optional("scipy.sparse", extra="silicon")
        data = np.ones(self.num_edges, np.float32) if self.weights is None else self.weights
        return sp.csr_matrix((data, self.indices, self.indptr), shape=(self.num_nodes, self.num_nodes))


@dataclass(frozen=True, slots=True, eq=False)
class LabelledGraph:
    """A graph with what a training needs.

    Attributes
    ----------
    topology : Topology
        Without the normalisation.
    x : ndarray
        float32, (N, D).
    y : ndarray
        int64, (N,); -1 is no label.
    train, test : ndarray
        bool, (N,).
    """

    topology: Topology
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def topology_from_edges(
    edges: NDArray[Any],
    num_nodes: int,
    weights: NDArray[Any] | None = None,
    *,
    source: str = "edges",
    kind: str = "unknown",
) -> Topology:
    """Sort edges (2, E), sources and destinations, into rows.

    Raises
    ------
    DataError
        Shapes, types, ids outside 0 .. N-1, weights that are not finite.

    Notes
    -----
    O(E log E) time, about 40 bytes an edge beside the result.
    """
    edges = np.asarray(edges)
    if edges.ndim != 2 or edges.shape[0] != 2 or (edges.size and edges.dtype.kind not in "iu"):
        raise DataError(
            f"{source}: edges are {edges.dtype} of shape {edges.shape}; give integers of (2, edges)"
        )
    if not 0 <= num_nodes < 2**31:
        raise DataError(f"{source}: {num_nodes} vertices; 0 to {2**31 - 1} are allowed")
    if edges.size and (edges.min() < 0 or edges.max() >= num_nodes):
        raise DataError(
            f"{source}: edges hold ids {edges.min()} .. {edges.max()}, but the vertices are "
            f"0 .. {num_nodes - 1}; renumber the vertices"
        )
    checked = None if weights is None else _checked_weights(weights, edges.shape[1], source)
    return replace(_sorted_rows(edges, num_nodes, checked), source=source, kind=kind)


def load_graph(
    graph: Any, *, name: str | None = None, undirected: bool | None = None, seed: int = 0
) -> Topology:
    """Load a topology.

    Parameters
    ----------
    graph : str, Path or object
        A generator (``"sbm:n=16384,deg=16"``, ``"rmat:..."``, ``"grid:..."``), a graph that networkx brings
        (``"karate"``, ``"lesmis"``), a file (``.mtx``; or an edge list, ``.npz``, ``.pt``, Planetoid or OGB
        folder as `shoestring.data.graphs.formats.load_graph` reads them), a PyG ``Data``, a networkx graph, a
        scipy sparse matrix (row = destination), or a `Topology`.
    name : str or None
        Which data set of a Planetoid folder with several.
    undirected : bool or None
        Add the reverse of every edge; None does what the format says.
    seed : int
        Of a generator.

    Returns
    -------
    Topology

    Raises
    ------
    DataError
        A missing or damaged file, ids outside 0 .. N-1, weights that are not finite; the message says which.
    ConfigError
        A generator's name, key or value that is not known.
    """
    if isinstance(graph, Topology):
        return graph
    if isinstance(graph, str | Path):
        return _from_text(str(graph), name, undirected, seed)
    if hasattr(graph, "edge_index"):
        return _from_data(graph, "PyG Data")
    if hasattr(graph, "tocoo"):
        return _from_matrix(graph, "sparse matrix")
    if hasattr(graph, "adj") and hasattr(graph, "number_of_nodes"):
        return _from_networkx(graph, "networkx graph")
    raise DataError(
        f"a {type(graph).__name__} is no graph; give a path, a generator such as 'sbm:n=4096,deg=16', a PyG "
        "Data, a networkx graph or a scipy sparse matrix"
    )


def load_labelled_graph(
    graph: Any, *, name: str | None = None, words: int = 512, seed: int = 0
) -> LabelledGraph:
    """Load a graph with features, labels and a split; a generator's come from its blocks.

    Parameters
    ----------
    graph : str, Path or Data
        As `load_graph`, but with features and labels (files and ``Data`` bring theirs).
    name : str or None
        As `load_graph`.
    words : int
        Columns of the bag-of-words features that a generator gets.
    seed : int
        Of a generator, its features and the 60/20/20 split where none is given.

    Raises
    ------
    DataError
        As `load_graph`, and when features, labels or training vertices are missing.
    """
    if isinstance(graph, str) and graph.partition(":")[0] in generator_names():
        drawn = draw(graph, seed)
        topology = topology_from_edges(
            drawn.edges, drawn.num_nodes, source=f"{graph}, seed {seed}", kind="synthetic"
        )
        train = np.random.default_rng(seed).permutation(drawn.num_nodes) < 0.6 * drawn.num_nodes
        x = bag_of_words(drawn.labels, words, 16, seed)
        return LabelledGraph(topology, x, drawn.labels, train, ~train)
    data = graph if hasattr(graph, "edge_index") else _read_file(str(graph), name, None, seed)
    missing = [what for what in ("x", "y", "train_mask") if data.get(what) is None]
    if missing:
        raise DataError(f"{graph}: no {', no '.join(missing)}; a training needs features, labels and a split")
    train = data.train_mask.numpy()
    if not train.any():
        raise DataError(f"{graph}: no training vertex; give a train_mask with at least one true entry")
    test = train if data.get("test_mask") is None else data.test_mask.numpy()
    topology = _from_data(data, str(data.get("source") or "PyG Data"))
    return LabelledGraph(topology, data.x.float().numpy(), data.y.numpy(), train, test)


def _from_text(text: str, name: str | None, undirected: bool | None, seed: int) -> Topology:
    if text.partition(":")[0] in generator_names():
        drawn = draw(text, seed)
        return topology_from_edges(
            drawn.edges, drawn.num_nodes, source=f"{text}, seed {seed}", kind="synthetic"
        )
    if text in _BUILT_IN:
        nx = optional("networkx", extra="silicon")
        made = nx.karate_club_graph() if text == "karate" else nx.les_miserables_graph()
        return replace(_from_networkx(made, text), kind="real")
    path = Path(text)
    if not path.exists():
        raise DataError(
            f"{text} does not exist; give a file (.mtx, .npz, .pt, edge list), a folder, one of "
            f"{', '.join(_BUILT_IN)}, or a generator such as 'sbm:n=4096,deg=16'"
        )
    if path.name.removesuffix(".gz").endswith(".mtx"):
        return _read_mtx(path, undirected)
    return _from_data(_read_file(text, name, undirected, seed), text)


def _read_file(text: str, name: str | None, undirected: bool | None, seed: int) -> Any:
    optional("torch_geometric", extra="silicon")
    from shoestring.data.graphs.formats import load_graph as load_data

    return load_data(text, name=name, undirected=undirected, seed=seed)


def _read_mtx(path: Path, undirected: bool | None) -> Topology:
    """Read MatrixMarket: entry (i, j) is the edge from j to i; symmetric files bring both directions."""
    io = optional("scipy.io", extra="silicon")
    try:
        matrix = io.mmread(path)
    except (ValueError, OSError, EOFError, TypeError) as e:
        raise DataError(f"{path} cannot be read as MatrixMarket: {e}; write it with scipy.io.mmwrite") from e
    if not hasattr(matrix, "tocoo"):
        raise DataError(f"{path} is a dense matrix; store the graph in coordinate format")
    made = _from_matrix(matrix, str(path))
    if not undirected:
        return made
    sources, targets = made.edges()
    proper = sources != targets
    both = np.concatenate([made.edges(), np.stack([targets, sources])[:, proper]], axis=1)
    weights = None if made.weights is None else np.concatenate([made.weights, made.weights[proper]])
    return replace(_sorted_rows(both, made.num_nodes, weights), source=made.source)


def _from_matrix(matrix: Any, source: str) -> Topology:
    entries = matrix.tocoo()
    if entries.shape[0] != entries.shape[1]:
        raise DataError(f"{source}: the matrix has shape {entries.shape}; a graph's matrix is square")
    edges = np.stack([entries.col.astype(np.int64), entries.row.astype(np.int64)])
    ones = entries.data.dtype == np.bool_ or bool((entries.data == 1).all())
    return topology_from_edges(edges, entries.shape[0], None if ones else entries.data, source=source)


def _from_data(data: Any, source: str) -> Topology:
    num = data.num_nodes
    if num is None:
        raise DataError(f"{source}: num_nodes is not known; set data.num_nodes")
    weights = data.get("edge_weight")
    return topology_from_edges(
        data.edge_index.detach().cpu().numpy(),
        int(num),
        None if weights is None else weights.detach().cpu().numpy(),
        source=source,
        kind=str(data.get("kind") or "unknown"),
    )


def _from_networkx(graph: Any, source: str) -> Topology:
    """Take the nodes in the order in which the graph gives them; undirected edges count twice."""
    position = {node: i for i, node in enumerate(graph.nodes)}
    rows = [(position[u], position[v], w) for u, v, w in graph.edges(data="weight", default=1.0)]
    edges = np.array([r[:2] for r in rows], dtype=np.int64).reshape(-1, 2).T
    weights = np.array([r[2] for r in rows], dtype=np.float64)
    if not graph.is_directed():
        proper = edges[0] != edges[1]
        edges = np.concatenate([edges, edges[::-1][:, proper]], axis=1)
        weights = np.concatenate([weights, weights[proper]])
    plain = None if bool((weights == 1).all()) else weights
    return topology_from_edges(edges, len(position), plain, source=source)


def _checked_weights(weights: NDArray[Any], count: int, source: str) -> NDArray[np.float32]:
    weights = np.asarray(weights)
    if weights.shape != (count,) or weights.dtype.kind not in "fiub":
        raise DataError(
            f"{source}: edge weights are {weights.dtype} of shape {weights.shape}; give ({count},)"
        )
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(weights, dtype=np.float32)
    bad = int(count - np.count_nonzero(np.isfinite(floats)))
    if bad:
        raise DataError(f"{source}: {bad} of {count} edge weights are NaN or infinite; replace them first")
    return floats


def _sorted_rows(edges: NDArray[Any], num_nodes: int, weights: NDArray[np.float32] | None) -> Topology:
    """Sort by destination, then source; equal edges keep their order."""
    sources = edges[0].astype(np.int64)
    keys = edges[1].astype(np.int64) * max(num_nodes, 1) + sources
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(edges[1], minlength=num_nodes) if edges.size else np.zeros(num_nodes, np.int64)
    indptr = np.zeros(num_nodes + 1, dtype=np.int64)
    np.cumsum(counts, out=indptr[1:])
    indices = sources[order].astype(np.int32)
    return Topology(indptr, indices, None if weights is None else weights[order])
