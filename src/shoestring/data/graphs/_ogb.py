"""The raw folder of an Open Graph Benchmark node-classification set."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import DataError
from shoestring.data.graphs._raw_graph import RawGraph, both_directions, mask_of

__all__ = ["read_ogb", "read_table"]

_STORED_ONE_WAY = ("ogbn_products", "ogbn_proteins")
"""Sets whose raw edges are stored in one direction (add_inverse_edge in the benchmark's own index)."""


def read_ogb(folder: Path, *, undirected: bool | None) -> RawGraph:
    """Read ``raw/*.csv.gz`` or ``raw/data.npz`` with the first folder of ``split/``.

    Parameters
    ----------
    folder : Path
        E.g. ``dataset/ogbn_arxiv``.
    undirected : bool or None
        Add the reverse of every edge; None does so for ogbn_products, whose raw files hold one direction.
    """
    raw = folder / "raw"
    binary = raw / "data.npz"
    if binary.exists():
        num_nodes, edges, x, y = _read_binary(raw, binary)
    else:
        edges = read_table(raw / "edge.csv.gz", np.int64, columns=2).T
        x = _optional_table(raw / "node-feat.csv.gz", np.float32)
        y = _optional_table(raw / "node-label.csv.gz", np.float64)
        num_nodes = _single_count(read_table(raw / "num-node-list.csv.gz", np.int64), raw)
    if undirected or (undirected is None and folder.name in _STORED_ONE_WAY):
        edges = both_directions(edges)
    masks = _read_split(folder / "split", num_nodes)
    return RawGraph(source=str(folder), num_nodes=num_nodes, edges=edges, x=x, y=y, masks=masks, kind="real")


def _read_binary(raw: Path, path: Path) -> tuple[int, NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    try:
        with path.open("rb") as f, np.load(f, allow_pickle=False) as z:
            num_nodes = _single_count(z["num_nodes_list"], raw)
            edges = z["edge_index"]
            x = z.get("node_feat")
        y = None
        labels = raw / "node-label.npz"
        if labels.exists():
            with labels.open("rb") as f, np.load(f, allow_pickle=False) as z:
                y = z["node_label"]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise DataError(f"{path} is no OGB binary graph ({e}); fetch the raw folder again") from e
    return num_nodes, edges, x, y


def _single_count(counts: NDArray[Any], raw: Path) -> int:
    if counts.size != 1:
        raise DataError(f"{raw} holds {counts.size} graphs; node classification needs one graph")
    return int(counts.reshape(-1)[0])


def _optional_table(path: Path, dtype: type) -> NDArray[Any] | None:
    return read_table(path, dtype) if path.exists() else None


def _read_split(folder: Path, num_nodes: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    named = sorted(p for p in folder.glob("*") if p.is_dir()) if folder.is_dir() else []
    if not named:
        return None
    if len(named) > 1:
        raise DataError(f"{folder} holds {', '.join(p.name for p in named)}; keep the one split to use")
    parts = [
        mask_of(
            read_table(named[0] / f"{part}.csv.gz", np.int64),
            num_nodes,
            f"split/{named[0].name}/{part}.csv.gz",
        )
        for part in ("train", "valid", "test")
    ]
    return parts[0], parts[1], parts[2]


def read_table(path: Path, dtype: type, *, columns: int | None = None) -> NDArray[Any]:
    """Read numbers from comma-separated text, gzipped or not, without a header; always two-dimensional.

    Raises
    ------
    DataError
        A missing file, a value that is no number, rows of different lengths, or not `columns` columns.
    """
    try:
        table: NDArray[Any] = np.loadtxt(path, dtype=dtype, delimiter=",", ndmin=2)
    except FileNotFoundError as e:
        raise DataError(f"{path} is missing; the OGB folder has raw/ and split/NAME/ with it") from e
    except (ValueError, OSError, EOFError) as e:
        raise DataError(f"{path} cannot be read as numbers ({e}); fetch it again") from e
    if columns is not None and table.size and table.shape[1] != columns:
        raise DataError(f"{path} has {table.shape[1]} columns; expected {columns}")
    return table.reshape(0, columns) if columns is not None and not table.size else table
