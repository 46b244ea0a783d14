from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import io, sparse
from torch_geometric.data import Data
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from shoestring.core.errors import ConfigError, DataError
from shoestring.data.graphs.formats import save_graph
from shoestring.silicon.topology import (
    Topology,
    load_graph,
    load_labelled_graph,
    topology_from_edges,
)

EDGES = np.array([[2, 0, 1, 0], [0, 0, 2, 2]])


def dense(topology: Topology) -> np.ndarray:
    return topology.to_scipy().toarray()  # type: ignore[no-any-return]  # scipy has no types


def test_rows_are_destinations_and_sources_rise() -> None:
    made = topology_from_edges(EDGES, 3)
    assert made.indptr.tolist() == [0, 2, 2, 4]
    assert made.indices.tolist() == [0, 2, 0, 1]
    assert made.in_degrees.tolist() == [2, 0, 2]
    assert made.out_degrees.tolist() == [2, 1, 1]
    assert sorted(map(tuple, made.edges().T.tolist())) == sorted(map(tuple, EDGES.T.tolist()))


def test_every_source_gives_the_same_graph(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wanted = (rng.random((20, 20)) < 0.2).astype(np.float32)
    row, col = np.nonzero(wanted)
    data = Data(edge_index=torch.from_numpy(np.stack([col, row])), num_nodes=20)
    directed = nx.from_numpy_array(wanted.T, create_using=nx.DiGraph)
    io.mmwrite(tmp_path / "graph.mtx", sparse.coo_matrix(wanted))
    np.savetxt(tmp_path / "graph.txt", np.stack([col, row]).T, fmt="%d")
    save_graph(tmp_path / "graph.npz", data)
    for graph in (
        data,
        directed,
        sparse.csr_matrix(wanted),
        tmp_path / "graph.mtx",
        tmp_path / "graph.npz",
        str(tmp_path / "graph.txt"),
    ):
        made = load_graph(graph)
        assert made.weights is None
        np.testing.assert_array_equal(dense(made)[:20, :20], wanted[: made.num_nodes, : made.num_nodes])


def test_weights_come_along_and_symmetric_files_bring_both_directions(tmp_path: Path) -> None:
    matrix = sparse.coo_matrix(np.array([[0, 2.5], [2.5, 0]]))
    io.mmwrite(tmp_path / "s.mtx", matrix, symmetry="symmetric")
    np.testing.assert_array_equal(dense(load_graph(tmp_path / "s.mtx")), matrix.toarray())
    io.mmwrite(tmp_path / "d.mtx", sparse.coo_matrix(np.array([[0, 2.5], [0, 0]])))
    both = load_graph(tmp_path / "d.mtx", undirected=True)
    np.testing.assert_array_equal(dense(both), matrix.toarray())


def test_normalisation_equals_pygs() -> None:
    rng = np.random.default_rng(2)
    edges = np.unique(rng.integers(0, 30, (2, 120)), axis=1)
    made = topology_from_edges(edges, 30).normalized()
    index, weight = gcn_norm(torch.from_numpy(edges), None, 30)
    wanted = np.zeros((30, 30), np.float32)
    np.add.at(wanted, (index[1].numpy(), index[0].numpy()), weight.numpy())
    np.testing.assert_allclose(dense(made), wanted, rtol=1e-6)


def test_relabelling_permutes_rows_and_columns() -> None:
    made = topology_from_edges(EDGES, 3, np.array([1.0, 2, 3, 4]))
    order = np.array([2, 0, 1])
    np.testing.assert_array_equal(dense(made.relabelled(order)), dense(made)[np.ix_(order, order)])


@pytest.mark.parametrize(
    "text", ["sbm:n=2048,deg=12", "rmat:n=2048,deg=12", "grid:n=2025,deg=12", "karate", "lesmis"]
)
def test_generated_and_built_in_graphs_are_undirected_simple_and_repeatable(text: str) -> None:
    made = load_graph(text, seed=3)
    again = load_graph(text, seed=3)
    np.testing.assert_array_equal(made.indices, again.indices)
    matrix = dense(made) != 0
    np.testing.assert_array_equal(matrix, matrix.T)
    assert not matrix.diagonal().any()
    assert made.num_edges == matrix.sum()
    if ":" in text:
        assert made.kind == "synthetic"
        assert made.num_edges / made.num_nodes == pytest.approx(12, rel=0.25)
        assert made.source.endswith("seed 3")
        assert not np.array_equal(load_graph(text, seed=4).indices, made.indices)


def test_blocks_have_consecutive_ids_most_edges_inside_and_a_heavy_tail() -> None:
    graph = load_labelled_graph("sbm:n=4096,deg=16,low=128,high=512", seed=1)
    assert (np.diff(graph.y) >= 0).all()
    sizes = np.bincount(graph.y)
    assert sizes[:-1].min() >= 128
    assert sizes.max() <= 512
    sources, rows = graph.topology.edges()
    inside = float((graph.y[sources] == graph.y[rows]).mean())
    assert 0.65 < inside < 0.8
    assert graph.topology.in_degrees.max() > 5 * graph.topology.in_degrees.mean()


def test_words_tell_the_class() -> None:
    graph = load_labelled_graph("sbm:n=1024,deg=8", words=128, seed=0)
    assert set(np.unique(graph.x)) == {0.0, 1.0}
    centres = np.stack([graph.x[graph.y == c].mean(axis=0) for c in range(int(graph.y.max()) + 1)])
    assert float(((graph.x @ centres.T).argmax(axis=1) == graph.y).mean()) > 0.7
    assert graph.train.sum() == pytest.approx(0.6 * 1024, abs=1)
    assert not (graph.train & graph.test).any()


def test_files_without_what_a_training_needs_are_refused(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "graph.txt", EDGES.T, fmt="%d")
    with pytest.raises(DataError, match="no x, no y"):
        load_labelled_graph(tmp_path / "graph.txt")


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("sbm:n=10,width=3", ConfigError, "width=3"),
        ("sbm:n=ten", ConfigError, "n='ten'"),
        ("sbm:n=1", ConfigError, "n=1"),
        ("sbm:n=100,deg=0", ConfigError, "deg=0"),
        ("sbm:inside=2", ConfigError, "inside=2"),
        ("grid:n=10", ConfigError, "n=10"),
        ("nothing.npz", DataError, "does not exist"),
    ],
)
def test_bad_names_of_graphs_get_one_line(text: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        load_graph(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("edges", "weights", "match"),
    [
        (np.array([[0], [3]]), None, r"ids 0 \.\. 3"),
        (np.array([[-1], [0]]), None, r"ids -1 \.\. 0"),
        (np.zeros((2, 2)), None, "float64"),
        (np.zeros((3, 2), int), None, "shape"),
        (EDGES[:, :2], np.array([1, np.nan]), "1 of 2 edge weights are NaN"),
        (EDGES[:, :2], np.array([1, np.inf]), "NaN or infinite"),
        (EDGES[:, :2], np.array([1.0]), "shape"),
    ],
)
def test_bad_edges_get_one_line_that_names_them(edges: Any, weights: Any, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        topology_from_edges(edges, 3, weights, source="mine")
    assert str(caught.value).startswith("mine")


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="int is no graph"):
        load_graph(3)
    (tmp_path / "bad.mtx").write_text("not a matrix\n")
    with pytest.raises(DataError, match="MatrixMarket"):
        load_graph(tmp_path / "bad.mtx")
    with pytest.raises(DataError, match="square"):
        load_graph(sparse.csr_matrix(np.ones((2, 3))))


def test_an_empty_graph_and_isolated_vertices_are_fine() -> None:
    assert topology_from_edges(np.zeros((2, 0), int), 0).num_nodes == 0
    made = topology_from_edges(np.zeros((2, 0), int), 4).normalized()
    np.testing.assert_array_equal(dense(made), np.eye(4))
