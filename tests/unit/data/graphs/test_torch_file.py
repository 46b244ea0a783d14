"""Graphs that torch.save wrote: PyG's Data, dicts of tensors; anything else is refused without running it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData

from shoestring.core.errors import ConfigError, DataError
from shoestring.data.graphs.formats import load_graph, save_graph


def small_graph() -> Data:
    turn = torch.arange(10) % 3
    return Data(
        edge_index=torch.stack([torch.arange(10), (torch.arange(10) + 1) % 10]),
        x=torch.arange(40.0).reshape(10, 4),
        y=torch.arange(10) % 2,
        **{f"{part}_mask": turn == i for i, part in enumerate(("train", "val", "test"))},
    )


def saved(folder: Path, content: Any) -> Path:
    path = folder / "graph.pt"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("form", ["data", "dict", "data set"])
def test_a_torch_file_is_the_graph_that_was_saved(tmp_path: Path, form: str) -> None:
    data = small_graph()
    content = {"data": data, "dict": data.to_dict(), "data set": (data.to_dict(), None, Data)}[form]
    found = load_graph(saved(tmp_path, content))
    save_graph(tmp_path / "same.npz", data)
    same = load_graph(tmp_path / "same.npz")
    for key in ("edge_index", "x", "y", "train_mask", "val_mask", "test_mask"):
        assert torch.equal(found[key], same[key]), key
    assert found.num_nodes == 10
    assert found.split == "given"


def test_narrow_features_and_vertices_without_edges_are_kept(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        data = small_graph()
        data.x = data.x.to(dtype)
        data.edge_index = data.edge_index[:, :2]
        found = load_graph(saved(tmp_path, data))
        assert (found.x.dtype, found.num_nodes) == (torch.float32, 10)
        assert torch.equal(found.x, data.x.float())


def test_one_of_the_stored_splits_of_a_data_set_is_chosen(tmp_path: Path) -> None:
    data = small_graph()
    for part in ("train", "val", "test"):
        mask = data[f"{part}_mask"]
        data[f"{part}_mask"] = torch.stack([mask, torch.zeros_like(mask)], dim=1)
    path = saved(tmp_path, data)
    assert load_graph(path).train_mask.sum() == 4
    assert load_graph(path, split=1).train_mask.sum() == 0
    with pytest.raises(ConfigError, match="split=2"):
        load_graph(path, split=2)


def test_reverse_edges_are_added_when_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path, small_graph())
    assert load_graph(path).edge_index.shape == (2, 10)
    assert load_graph(path, undirected=True).edge_index.shape == (2, 20)


class RunsCode:
    """Would make a folder if it were unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"edge_index": RunsCode(tmp_path / "ran")})
    with pytest.raises(DataError, match="could run code, so it is refused"):
        load_graph(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HeteroData(), "holds a .*(HeteroData|Storage)"),
        ([small_graph(), small_graph()], "several graphs"),
        ([], "several graphs"),
        (torch.zeros(3), "holds a Tensor; give one graph"),
        ({"x": torch.zeros(3, 2)}, "holds x; expected edge_index"),
        ({"edge_index": torch.zeros(2, 1), "x": torch.zeros(3, 2)}, "integer vertex ids"),
        ({"edge_index": torch.eye(2).to_sparse()}, "edge_index is a sparse tensor"),
    ],
)
def test_other_content_says_what_is_allowed(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_graph(saved(tmp_path, content))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"plain text", np.zeros(40).tobytes()])
def test_a_damaged_torch_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "graph.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"graph\.pt"):
        load_graph(tmp_path / "graph.pt")
