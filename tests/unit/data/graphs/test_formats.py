"""Graphs from files: every layout, every kind of damage."""

import gzip
import os
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Data

from shoestring.core.errors import ConfigError, DataError
from shoestring.data.graphs.formats import load_graph, save_graph

REAL = Path(__file__).parents[5] / "shared" / "data" / "graphs"


def small_arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    mask = np.arange(10) % 3
    return {
        "edge_index": rng.integers(0, 10, (2, 30)),
        "x": rng.normal(size=(10, 4)).astype(np.float32),
        "y": np.arange(10) % 2,
        **{f"{part}_mask": mask == i for i, part in enumerate(("train", "val", "test"))},
    }


def write_npz(folder: Path, arrays: dict[str, Any]) -> Path:
    path = folder / "graph.npz"
    np.savez(path, **arrays)
    return path


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    data = load_graph(write_npz(tmp_path, small_arrays() | {"edge_weight": np.ones(30), "kind": "synthetic"}))
    save_graph(tmp_path / "two.npz", data)
    again = load_graph(tmp_path / "two.npz")
    for key in ("edge_index", "x", "y", "train_mask", "val_mask", "test_mask", "edge_weight"):
        assert torch.equal(again[key], data[key]), key
    assert (again.kind, again.split) == ("synthetic", "given")
    assert again.edge_index.dtype == torch.int64


def test_the_edges_layout_gets_both_directions_and_sparse_features(tmp_path: Path) -> None:
    arrays = {
        "edges": np.array([[0, 1], [1, 2]], dtype=np.int32),
        "y": np.array([0, -1, 1], dtype=np.int16),
        "x_indptr": np.array([0, 1, 1, 3]),
        "x_indices": np.array([2, 0, 1], dtype=np.int16),
        "x_shape": np.array([3, 3]),
        "train_idx": np.array([0]),
        "val_idx": np.array([2]),
        "test_idx": np.array([], dtype=np.int32),
    }
    data = load_graph(write_npz(tmp_path, arrays))
    assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 2, 0, 1]]
    assert data.x.tolist() == [[0, 0, 1], [0, 0, 0], [1, 1, 0]]
    assert data.train_mask.tolist() == [True, False, False]
    one_way = load_graph(write_npz(tmp_path, arrays), undirected=False)
    assert one_way.edge_index.tolist() == [[0, 1], [1, 2]]


def test_one_of_several_splits_is_chosen(tmp_path: Path) -> None:
    arrays = small_arrays()
    stacked = {f"{p}_masks": np.stack([arrays.pop(f"{p}_mask")] * 2) for p in ("train", "val", "test")}
    stacked["train_masks"][1] = False
    path = write_npz(tmp_path, arrays | stacked)
    assert load_graph(path).train_mask.sum() == 4
    assert load_graph(path, split=1).train_mask.sum() == 0
    with pytest.raises(ConfigError, match=r"split=2.*0 \.\. 1"):
        load_graph(path, split=2)


def test_a_missing_split_is_made_from_the_seed_and_says_so(tmp_path: Path) -> None:
    arrays = {k: v for k, v in small_arrays().items() if "mask" not in k}
    arrays["y"][3] = -1
    path = write_npz(tmp_path, arrays)
    one, same, other = load_graph(path, seed=1), load_graph(path, seed=1), load_graph(path, seed=2)
    assert one.split == "made here: 60/20/20 of the labelled vertices, seed 1"
    assert torch.equal(one.train_mask, same.train_mask)
    assert not torch.equal(one.train_mask, other.train_mask)
    total = one.train_mask.int() + one.val_mask.int() + one.test_mask.int()
    assert total.tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    assert [int(m.sum()) for m in (one.train_mask, one.val_mask, one.test_mask)] == [5, 2, 2]


def test_a_structure_alone_has_neither_features_nor_masks(tmp_path: Path) -> None:
    arrays = {"indptr": np.array([0, 2, 2, 3]), "indices": np.array([1, 2, 0])}
    data = load_graph(write_npz(tmp_path, arrays))
    assert data.edge_index.tolist() == [[0, 0, 2], [1, 2, 0]]
    assert (data.num_nodes, data.x, data.y, data.get("train_mask")) == (3, None, None, None)


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "id too high": ({"edge_index": np.array([[0], [10]])}, r"ids 0 \.\. 10.*0 \.\. 9"),
    "id below 0": ({"edge_index": np.array([[-1], [1]])}, r"ids -1"),
    "float ids": ({"edge_index": np.array([[0.0], [1.0]])}, "integer vertex ids"),
    "three rows of ids": ({"edge_index": np.zeros((3, 2), int)}, r"shape \(3, 2\)"),
    "flat edges": ({"edge_index": np.zeros(4, int)}, r"shape \(4,\)"),
    "NaN feature": ({"x": np.full((10, 2), np.nan)}, "20 of 20 features are NaN"),
    "infinite in float32": ({"x": np.full((10, 1), 1e300)}, "infinite"),
    "text features": ({"x": np.full((10, 1), "a")}, "give numbers"),
    "short features": ({"x": np.zeros((9, 2)), "num_nodes": 10}, r"features of shape \(9, 2\)"),
    "short labels": ({"y": np.zeros(9, int)}, r"labels of shape \(9,\)"),
    "many labels": ({"y": np.zeros((10, 3), int)}, "several labels"),
    "fraction labels": ({"y": np.full(10, 0.5)}, "fractions"),
    "label -2": ({"y": np.full(10, -2)}, "smallest label is -2"),
    "text labels": ({"y": np.full(10, "a")}, "classes 0, 1"),
    "mask of ids": ({"train_mask": np.array([0, 1])}, "give bool"),
    "mask too short": ({"val_mask": np.ones(9, bool)}, r"\(9,\)"),
    "overlap": ({"val_mask": np.ones(10, bool)}, "val_mask shares 4"),
    "unlabelled in mask": ({"y": np.full(10, -1)}, "without a label"),
    "weights too short": ({"edge_weight": np.ones(3)}, r"shape \(3,\)"),
    "NaN weights": ({"edge_weight": np.full(30, np.nan)}, "edge weights are NaN"),
    "newer schema": ({"schema": 9}, "schema 9"),
    "negative count": ({"num_nodes": -3}, "-3 vertices"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_malformed_npz_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    change, message = DAMAGE[name]
    with pytest.raises(DataError, match=message):
        load_graph(write_npz(tmp_path, small_arrays() | change))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(1)}, "expected edge_index"),
        ({"indptr": np.array([1, 2]), "indices": np.array([0])}, "indptr starts at 0"),
        ({"indptr": np.array([0, 2]), "indices": np.array([0])}, "ends at 2"),
        ({"edges": np.zeros(3, int)}, r"shape \(3,\)"),
        ({"edges": np.zeros((2, 0), int), "x_indptr": np.array([0])}, "x_indices, x_shape"),
        (
            {
                "edges": np.zeros((2, 0), int),
                "x_indptr": np.array([0, 1]),
                "x_indices": np.array([5]),
                "x_shape": [1, 2],
            },
            "5 for 2 columns",
        ),
        (
            {
                "edges": np.zeros((2, 0), int),
                "x_indptr": np.array([0, 2]),
                "x_indices": np.array([0]),
                "x_shape": [1, 2],
            },
            "do not fit",
        ),
        (
            {"edges": np.zeros((2, 1), int), "y": np.zeros(2, int), "train_idx": np.array([0])},
            "all three or none",
        ),
        (
            {"edges": np.zeros((2, 1), int), "y": np.zeros(2, int)}
            | {f"{p}_idx": np.array([7]) for p in ("train", "val", "test")},
            r"train_idx holds ids 7 \.\. 7",
        ),
    ],
)
def test_other_layouts_are_checked_too(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_graph(write_npz(tmp_path, arrays))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x04K\x01.", b"text"])
def test_a_file_that_is_no_npz_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "g.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no npz of plain arrays"):
        load_graph(path)


def test_an_npz_of_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path, {"edge_index": np.array([[object()], [object()]])})
    with pytest.raises(DataError, match="no npz of plain arrays"):
        load_graph(path)


def test_missing_paths_endings_and_options(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_graph(tmp_path / "none.npz")
    (tmp_path / "g.bin").write_bytes(b"x")
    with pytest.raises(DataError, match="unknown ending"):
        load_graph(tmp_path / "g.bin")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Planetoid.*OGB"):
        load_graph(tmp_path / "empty")
    with pytest.raises(ConfigError, match="edge list"):
        load_graph(write_npz(tmp_path, small_arrays()), features=tmp_path / "x.npy")
    with pytest.raises(ConfigError, match=r"writes \.npz"):
        save_graph(tmp_path / "g.csv", Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=0))


def test_a_bad_graph_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ids"):
        save_graph(tmp_path / "g.npz", Data(edge_index=torch.tensor([[0], [5]]), num_nodes=2))
    assert not (tmp_path / "g.npz").exists()


# Edge lists


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e.csv", "source,target\n0,1\n1,2\n"),
        ("e.tsv", "0\t1\n1\t2\n"),
        ("e.txt", "# a comment\n0 1\n1  2\n"),
    ],
)
def test_an_edge_list_with_features_and_labels(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    np.save(tmp_path / "x.npy", np.eye(4, 2))
    (tmp_path / "y.csv").write_text("label\n0\n1\n-1\n1\n")
    data = load_graph(tmp_path / name, features=tmp_path / "x.npy", labels=tmp_path / "y.csv")
    assert data.edge_index.tolist() == [[0, 1], [1, 2]]
    assert (data.num_nodes, data.y.tolist()) == (4, [0, 1, -1, 1])
    assert "made here" in data.split


def test_a_gzipped_weighted_edge_list_in_both_directions(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "e.csv.gz", "wt") as f:
        f.write("0,1,0.5\n2,2,3\n")
    data = load_graph(tmp_path / "e.csv.gz", undirected=True)
    assert data.edge_index.tolist() == [[0, 2, 1], [1, 2, 0]]
    assert data.edge_weight.tolist() == [0.5, 3.0, 0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\nc,d\n", "cannot be read as numbers"),
        ("0,1\n0\n", "cannot be read as numbers"),
        ("0.5,1\n", "whole numbers"),
        ("nan,1\n", "whole numbers"),
        ("0,99999999999\n", "below 2"),
        ("-1,0\n", "ids -1"),
        ("0,1,2,3\n", "4 columns"),
    ],
)
def test_a_malformed_edge_list_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_graph(tmp_path / "e.csv")


def test_an_empty_edge_list_is_an_empty_graph(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("# nothing\n")
    assert load_graph(tmp_path / "e.csv").num_nodes == 0


def test_missing_and_damaged_feature_files(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("0,1\n")
    with pytest.raises(DataError, match="does not exist"):
        load_graph(tmp_path / "e.csv", features=tmp_path / "no.npy")
    (tmp_path / "x.npy").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="no plain array"):
        load_graph(tmp_path / "e.csv", features=tmp_path / "x.npy")


# Planetoid


def write_planetoid(folder: Path, **change: object) -> None:
    """Six vertices; ids 3 and 5 are test rows, 4 is missing from the test index (as in Citeseer)."""
    one_hot = np.eye(2, dtype=np.int32)
    parts: dict[str, object] = {
        "x": scipy.sparse.csr_matrix(np.eye(2, 4, dtype=np.float32)),
        "allx": scipy.sparse.csr_matrix(np.eye(3, 4, dtype=np.float32)),
        "tx": scipy.sparse.csr_matrix(np.full((2, 4), 7, dtype=np.float32)),
        "y": one_hot[[0, 1]],
        "ally": one_hot[[0, 1, 0]],
        "ty": one_hot[[1, 0]],
        "graph": defaultdict(list, {0: [1, 1, 0], 1: [0, 2], 2: [1], 3: [5], 5: [3]}),
    }
    for part, value in (parts | change).items():
        (folder / f"ind.tiny.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / "ind.tiny.test.index").write_text("5\n3\n")


def test_a_planetoid_folder_with_a_missing_test_row(tmp_path: Path) -> None:
    write_planetoid(tmp_path)
    data = load_graph(tmp_path)
    assert data.y.tolist() == [0, 1, 0, 0, -1, 1]
    assert data.x[5].tolist() == [7, 7, 7, 7]
    assert data.x[4].tolist() == [0, 0, 0, 0]
    assert sorted(data.edge_index.t().tolist()) == [[0, 1], [1, 0], [1, 2], [2, 1], [3, 5], [5, 3]]
    assert data.train_mask.tolist() == [True, True, False, False, False, False]
    assert data.val_mask.tolist() == [False, False, True, False, False, False]
    assert data.test_mask.tolist() == [False, False, False, True, False, True]


class _Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/should-not-exist-shoestring",)


def test_a_hostile_planetoid_pickle_is_refused_unread(tmp_path: Path) -> None:
    write_planetoid(tmp_path, graph=_Hostile())
    with pytest.raises(DataError, match=r"asks for (posix|nt)\.system"):
        load_graph(tmp_path)
    assert not Path("/tmp/should-not-exist-shoestring").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graph": [1]}, "dictionary of lists"),
        ({"graph": {0: [99]}}, r"ids 0 \.\. 99"),
        ({"graph": {0: [None]}}, "vertex ids"),
        ({"x": np.zeros(3)}, "expected a matrix"),
        ({"x": scipy.sparse.csr_matrix(np.eye(1, 4))}, "x and y"),
        ({"tx": scipy.sparse.csr_matrix(np.eye(2, 3))}, "columns"),
        ({"ally": np.eye(2)}, "must agree"),
    ],
)
def test_a_malformed_planetoid_folder_says_what_is_wrong(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    write_planetoid(tmp_path, **change)
    with pytest.raises(DataError, match=message):
        load_graph(tmp_path)


def test_damaged_planetoid_files(tmp_path: Path) -> None:
    write_planetoid(tmp_path)
    whole = (tmp_path / "ind.tiny.x").read_bytes()
    for cut in (0, 1, 20, len(whole) // 2, len(whole) - 1):
        (tmp_path / "ind.tiny.x").write_bytes(whole[:cut])
        with pytest.raises(DataError):
            load_graph(tmp_path)
    (tmp_path / "ind.tiny.x").unlink()
    with pytest.raises(DataError, match="is missing"):
        load_graph(tmp_path)
    write_planetoid(tmp_path)
    (tmp_path / "ind.tiny.test.index").write_text("3\n3\n")
    with pytest.raises(DataError, match="its own id"):
        load_graph(tmp_path)


def test_a_planetoid_folder_with_two_sets_needs_a_name(tmp_path: Path) -> None:
    write_planetoid(tmp_path)
    (tmp_path / "ind.other.graph").write_bytes(b"")
    assert load_graph(tmp_path, name="tiny").num_nodes == 6
    with pytest.raises(ConfigError, match="other, tiny"):
        load_graph(tmp_path)
    with pytest.raises(ConfigError, match="'third' is not in"):
        load_graph(tmp_path, name="third")


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real graphs is not on this machine")
@pytest.mark.parametrize("name", ["cora", "citeseer"])
def test_the_raw_planetoid_files_equal_the_converted_ones(name: str) -> None:
    raw, converted = load_graph(REAL / "planetoid_raw", name=name), load_graph(REAL / f"{name}.npz")
    for key in ("x", "y", "train_mask", "val_mask", "test_mask"):
        assert torch.equal(raw[key], converted[key]), key
    assert sorted(raw.edge_index.t().tolist()) == sorted(converted.edge_index.t().tolist())


# OGB


def write_gz(path: Path, rows: list[list[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as f:
        f.writelines(",".join(map(str, row)) + "\n" for row in rows)


def write_ogb(folder: Path) -> Path:
    write_gz(folder / "raw/edge.csv.gz", [[0, 1], [1, 2], [2, 2]])
    write_gz(folder / "raw/node-feat.csv.gz", [[0.5, 1], [2, 3], [4, 5]])
    write_gz(folder / "raw/node-label.csv.gz", [[1], [0], [1]])
    write_gz(folder / "raw/num-node-list.csv.gz", [[3]])
    for i, part in enumerate(("train", "valid", "test")):
        write_gz(folder / f"split/time/{part}.csv.gz", [[i]])
    return folder


def test_an_ogb_folder(tmp_path: Path) -> None:
    data = load_graph(write_ogb(tmp_path / "ogbn_arxiv"))
    assert data.edge_index.tolist() == [[0, 1, 2], [1, 2, 2]]
    assert data.x.tolist() == [[0.5, 1], [2, 3], [4, 5]]
    assert data.y.tolist() == [1, 0, 1]
    assert data.val_mask.tolist() == [False, True, False]


def test_an_ogb_set_that_stores_one_direction_gets_the_other(tmp_path: Path) -> None:
    data = load_graph(write_ogb(tmp_path / "ogbn_products"))
    assert data.edge_index.tolist() == [[0, 1, 2, 1, 2], [1, 2, 2, 0, 1]]


def test_an_ogb_binary_folder_with_unlabelled_vertices(tmp_path: Path) -> None:
    folder = write_ogb(tmp_path / "ogbn_papers100M")
    np.savez(
        folder / "raw/data.npz",
        edge_index=np.array([[0, 1], [1, 2]]),
        node_feat=np.ones((3, 2), np.float16),
        num_nodes_list=np.array([3]),
        num_edges_list=np.array([2]),
    )
    np.savez(folder / "raw/node-label.npz", node_label=np.array([[1.0], [0.0], [1.0]]))
    data = load_graph(folder)
    assert data.edge_index.tolist() == [[0, 1], [1, 2]]
    assert data.x.dtype == torch.float32
    assert data.y.tolist() == [1, 0, 1]


def test_malformed_ogb_folders(tmp_path: Path) -> None:
    folder = write_ogb(tmp_path / "ogbn_arxiv")
    write_gz(folder / "raw/edge.csv.gz", [[0, 1, 2]])
    with pytest.raises(DataError, match="3 columns"):
        load_graph(folder)
    write_ogb(folder)
    write_gz(folder / "raw/num-node-list.csv.gz", [[3], [4]])
    with pytest.raises(DataError, match="2 graphs"):
        load_graph(folder)
    write_ogb(folder)
    (folder / "raw/edge.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        load_graph(folder)
    (folder / "raw/edge.csv.gz").unlink()
    with pytest.raises(DataError, match="is missing"):
        load_graph(folder)
    write_ogb(folder)
    write_gz(folder / "split/other/train.csv.gz", [[0]])
    with pytest.raises(DataError, match="other, time"):
        load_graph(folder)
    (folder / "raw/data.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="no OGB binary graph"):
        load_graph(folder)
