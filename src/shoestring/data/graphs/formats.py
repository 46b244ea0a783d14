"""Graphs from files to PyG's Data and back: npz, torch files, Planetoid and OGB folders, edge lists.

Shapes: N vertices, E edges, D features.
"""

import gzip
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_geometric.data import Data

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.files import write_bytes_atomic
from shoestring.data.graphs._ogb import read_ogb
from shoestring.data.graphs._planetoid import planetoid_names, read_planetoid
from shoestring.data.graphs._raw_graph import SPLITS, RawGraph, both_directions, finish, mask_of
from shoestring.data.graphs._torch_file import read_torch

__all__ = ["load_graph", "save_graph"]

_SCHEMA = 1
_TEXT = (".csv", ".tsv", ".txt", ".edges", ".edgelist")
_TORCH = (".pt", ".pth")
_GAPS = 64
"""An edge list whose ids run past this many times its vertices, and past a million, was not numbered."""


def load_graph(
    path: str | Path,
    *,
    name: str | None = None,
    features: str | Path | None = None,
    labels: str | Path | None = None,
    undirected: bool | None = None,
    split: int = 0,
    seed: int = 0,
) -> Data:
    """Load a graph for vertex classification.

    Parameters
    ----------
    path : str or Path
        One of: a ``.npz`` (`save_graph`'s; or one undirected edge list ``edges`` with dense ``x`` or sparse
        ``x_indptr``, ``x_indices``, ``x_shape``, ``x_data``; or ``indptr``, ``indices``); a ``.pt`` that
        torch.save wrote of a PyG ``Data`` or of a dict with its names; a Planetoid folder
        (``ind.NAME.*``); an OGB folder (``raw/``, ``split/``); a text file with two ids a line, and a weight
        if there is a third column (comma, tab or space; ``#`` comments; ``.gz``).
    name : str or None
        Which data set of a Planetoid folder with several.
    features, labels : path or None
        For an edge list: (N, D) numbers and (N,) classes, ``.npy`` or text. -1 is no label.
    undirected : bool or None
        Add the reverse of every edge. None does what the format says: for ``edges`` of an npz and for the OGB
        sets that store one direction yes, else no.
    split : int
        Which of several stored splits (``train_masks``).
    seed : int
        Of the split that is made when the file has labels but no split.

    Returns
    -------
    torch_geometric.data.Data
        ``edge_index`` int64 (2, E), ``num_nodes``; where the file has them ``x`` float32 (N, D), ``y`` int64
        (N,), ``edge_weight`` float32 (E,), and with labels ``train_mask``, ``val_mask``, ``test_mask`` bool
        (N,). ``split`` says where the masks come from, ``kind`` whether the graph is real or synthetic as far
        as the file says it, ``source`` the path.

    Raises
    ------
    DataError
        A missing or damaged file, ids outside 0 .. N-1, wrong lengths, NaN or infinite features, labels below
        -1, masks that overlap or hold unlabelled vertices, a pickle with anything but arrays.
    ConfigError
        Options that do not fit the format.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; give a .npz, .pt, Planetoid or OGB folder, or an edge list")
    is_text = path.is_file() and path.name.removesuffix(".gz").endswith(_TEXT)
    if (features is not None or labels is not None) and not is_text:
        raise ConfigError(f"features and labels belong to an edge list; {path} brings its own")
    if is_text:
        raw = _read_edge_list(path, features, labels, undirected=bool(undirected))
    elif path.is_dir():
        raw = _read_folder(path, name, undirected)
    elif path.suffix == ".npz":
        raw = _read_npz(path, undirected, split)
    elif path.suffix in _TORCH:
        raw = _with_reverses(_from_arrays(read_torch(path), str(path), split), undirected)
    else:
        raise DataError(
            f"{path} has an unknown ending; give .npz, .pt, {', '.join(_TEXT)} (or .gz), or a folder"
        )
    return finish(raw, seed)


def save_graph(path: str | Path, data: Data) -> None:
    """Write a graph to a compressed npz that `load_graph` and plain numpy read.

    Parameters
    ----------
    path : str or Path
        Ends in ``.npz``; written atomically.
    data : torch_geometric.data.Data
        What `load_graph` returns; ``edge_index`` and the number of vertices are needed, the rest is optional.

    Raises
    ------
    DataError
        The same faults that `load_graph` refuses.
    ConfigError
        Another ending.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ConfigError(f"save_graph writes .npz, not {path.name!r}")
    arrays: dict[str, Any] = {"schema": np.int64(_SCHEMA), "num_nodes": np.int64(data.num_nodes)}
    for key in ("edge_index", "x", "y", "edge_weight", *SPLITS):
        value = data.get(key)
        if value is not None:
            arrays[key] = value.detach().cpu().numpy()
    for key in ("kind", "split"):
        arrays[key] = np.str_(data.get(key) or "")
    finish(_from_arrays(arrays, str(path)), seed=0)
    if arrays["edge_index"].dtype == np.int64:
        arrays["edge_index"] = arrays["edge_index"].astype(np.int32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes_atomic(path, buffer.getvalue())


def _read_folder(path: Path, name: str | None, undirected: bool | None) -> RawGraph:
    for folder in (path, path / "raw"):
        names = planetoid_names(folder) if folder.is_dir() else []
        if not names:
            continue
        if name is None and len(names) > 1:
            raise ConfigError(f"{folder} holds {', '.join(names)}; say which with name=")
        if name is not None and name not in names:
            raise ConfigError(f"name={name!r} is not in {folder}; it holds {', '.join(names)}")
        return read_planetoid(folder, name or names[0])
    if (path / "raw").is_dir():
        return read_ogb(path, undirected=undirected)
    raise DataError(
        f"{path} holds neither ind.NAME.graph (Planetoid) nor raw/ (OGB); give the folder with them"
    )


def _read_npz(path: Path, undirected: bool | None, split: int) -> RawGraph:
    try:
        with path.open("rb") as f, np.load(f, allow_pickle=False) as z:
            arrays = {key: z[key] for key in z.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError, TypeError, AttributeError) as e:
        raise DataError(f"{path} is no npz of plain arrays ({e}); write one with save_graph") from e
    schema = int(arrays.get("schema", _SCHEMA))
    if schema > _SCHEMA:
        raise DataError(f"{path} has schema {schema}; this version reads up to {_SCHEMA}. Update shoestring")
    raw = _from_arrays(arrays, str(path), split)
    one_way = "edges" in arrays and "edge_index" not in arrays
    return _with_reverses(raw, one_way if undirected is None else undirected)


def _with_reverses(raw: RawGraph, wanted: bool | None) -> RawGraph:
    if wanted:
        if raw.weights is not None:
            raise ConfigError(
                f"{raw.source} has edge weights; store both directions instead of undirected=True"
            )
        _check_pairs(raw)
        raw.edges = both_directions(raw.edges)
    return raw


def _check_pairs(raw: RawGraph) -> None:
    if raw.edges.ndim != 2 or raw.edges.shape[0] != 2:
        raise DataError(
            f"{raw.source}: edges have shape {raw.edges.shape}; give (2, edges): sources, targets"
        )


def _from_arrays(arrays: dict[str, Any], source: str, split: int = 0) -> RawGraph:
    if "edge_index" in arrays or "edges" in arrays:
        edges = arrays["edge_index"] if "edge_index" in arrays else arrays["edges"]
    elif "indptr" in arrays and "indices" in arrays:
        edges = _edges_of_rows(arrays["indptr"], arrays["indices"], source)
    else:
        raise DataError(
            f"{source} holds {', '.join(arrays)}; expected edge_index, edges, or indptr and indices"
        )
    x = _features_of(arrays, source)
    y = arrays.get("y")
    return RawGraph(
        source=source,
        num_nodes=_count_vertices(arrays, edges, x, y),
        edges=edges,
        x=x,
        y=y,
        weights=arrays.get("edge_weight"),
        masks=None if y is None else _masks_of(arrays, len(y), source, split),
        kind=str(arrays.get("kind", "")) or "unknown",
        split=str(arrays.get("split", "")) or "given",
    )


def _count_vertices(
    arrays: dict[str, Any], edges: NDArray[Any], x: NDArray[Any] | None, y: NDArray[Any] | None
) -> int:
    if "num_nodes" in arrays:
        return int(arrays["num_nodes"])
    if x is not None:
        return int(x.shape[0])
    if y is not None:
        return int(y.shape[0])
    return int(edges.max(initial=-1)) + 1 if "indptr" not in arrays else len(arrays["indptr"]) - 1


def _edges_of_rows(indptr: NDArray[Any], indices: NDArray[Any], source: str) -> NDArray[np.int64]:
    """Turn compressed rows of sources (row: source, columns: its targets) into edges."""
    counts = np.diff(indptr)
    if indptr.ndim != 1 or indptr.size == 0 or indptr[0] != 0 or counts.min(initial=0) < 0:
        raise DataError(f"{source}: indptr starts at 0 and never falls; this one does not")
    if indptr[-1] != indices.size:
        raise DataError(f"{source}: indptr ends at {indptr[-1]}, but there are {indices.size} indices")
    rows = np.repeat(np.arange(counts.size, dtype=np.int64), counts)
    return np.stack([rows, indices.astype(np.int64)])


def _features_of(arrays: dict[str, Any], source: str) -> NDArray[Any] | None:
    if "x" in arrays or "x_indptr" not in arrays:
        x = arrays.get("x")
        return None if x is None else np.asarray(x)
    missing = [k for k in ("x_indices", "x_shape") if k not in arrays]
    if missing:
        raise DataError(f"{source}: sparse features lack {', '.join(missing)}")
    indptr, indices, shape = arrays["x_indptr"], arrays["x_indices"], arrays["x_shape"]
    num_rows, num_cols = (int(n) for n in shape)
    data = arrays.get("x_data", np.ones(indices.size, dtype=np.float32))
    indices = indices.astype(np.int64)
    if indptr.shape != (num_rows + 1,) or indptr[-1] != indices.size or data.shape != indices.shape:
        raise DataError(f"{source}: x_indptr, x_indices, x_data and x_shape do not fit one another")
    if indices.size and (indices.min() < 0 or indices.max() >= num_cols):
        raise DataError(f"{source}: x_indices hold {indices.min()} .. {indices.max()} for {num_cols} columns")
    x = np.zeros((num_rows, num_cols), dtype=np.float32)
    x[np.repeat(np.arange(num_rows), np.diff(indptr)), indices] = data
    return x


def _masks_of(
    arrays: dict[str, Any], num: int, source: str, split: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    for ending in ("_mask", "_masks", "_idx"):
        names = [f"{part}{ending}" for part in ("train", "val", "test")]
        there = [n for n in names if n in arrays]
        if not there:
            continue
        if len(there) < 3:
            raise DataError(
                f"{source} holds {', '.join(there)} of {', '.join(names)}; give all three or none (an empty "
                "set is an all-false mask)"
            )
        if ending == "_idx":
            parts = [mask_of(arrays[n], num, f"{source}: {n}") for n in names]
        elif ending == "_masks":
            if not 0 <= split < len(arrays[names[0]]):
                raise ConfigError(f"split={split}; {source} holds splits 0 .. {len(arrays[names[0]]) - 1}")
            parts = [arrays[n][split] for n in names]
        else:
            parts = [arrays[n] for n in names]
        return parts[0], parts[1], parts[2]
    return None


def _read_edge_list(
    path: Path, features: str | Path | None, labels: str | Path | None, *, undirected: bool
) -> RawGraph:
    table = _read_text(path)
    if table.size and table.shape[1] not in (2, 3):
        raise DataError(
            f"{path} has {table.shape[1]} columns; an edge is two vertex ids and perhaps a weight"
        )
    pairs = table[:, :2] if table.size else np.zeros((0, 2))
    if not np.array_equal(pairs, np.trunc(pairs)) or (pairs.size and pairs.max() >= 2**31):
        raise DataError(
            f"{path}: vertex ids are whole numbers 0, 1, ... below 2**31; number the vertices first"
        )
    weights = table[:, 2] if table.size and table.shape[1] == 3 else None
    edges = pairs.astype(np.int64).T
    x = None if features is None else _read_array(Path(features))
    y = None if labels is None else _read_array(Path(labels))
    num_nodes = int(edges.max(initial=-1)) + 1
    if x is not None or y is not None:
        num_nodes = len(x if x is not None else y)  # type: ignore[arg-type]  # one of them is there
    else:
        _check_numbered(edges, num_nodes, path)
    if undirected:
        proper = edges[0] != edges[1]
        weights = None if weights is None else np.concatenate([weights, weights[proper]])
        edges = both_directions(edges)
    return RawGraph(source=str(path), num_nodes=num_nodes, edges=edges, x=x, y=y, weights=weights)


def _check_numbered(edges: NDArray[np.int64], num_nodes: int, path: Path) -> None:
    """Refuse ids that are names rather than numbers: every id up to the largest becomes a vertex."""
    if num_nodes > max(2**20, _GAPS * edges.size):
        raise DataError(
            f"{path}: ids run up to {num_nodes - 1:,}, but at most {edges.size:,} of them occur; number the "
            "vertices 0, 1, ... first (numpy.unique(edges, return_inverse=True))"
        )


def _read_array(path: Path) -> NDArray[Any]:
    if not path.exists():
        raise DataError(f"{path} does not exist; give .npy or text with one row a vertex")
    if path.suffix != ".npy":
        return _read_text(path)
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as e:
        raise DataError(f"{path} is no plain array ({e}); write it with numpy.save") from e


def _read_text(path: Path) -> NDArray[np.float64]:
    """Read a table of numbers, (rows, columns); a first line without a number is taken for a header."""
    delimiter = "," if ".csv" in path.suffixes else None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*contained no data.*")
            return np.loadtxt(
                path, dtype=np.float64, delimiter=delimiter, ndmin=2, skiprows=_header_lines(path, delimiter)
            )
    except (ValueError, OSError, EOFError) as e:
        raise DataError(
            f"{path} cannot be read as numbers ({e}); separate columns by "
            f"{'commas' if delimiter else 'spaces or tabs'}, use # for comments"
        ) from e


def _header_lines(path: Path, delimiter: str | None) -> int:
    """Count the lines up to a header, 0 if there is none."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as f:
        for number, line in enumerate(f, 1):
            fields = line.partition("#")[0].split(delimiter)
            if "".join(fields).strip():
                return 0 if any(_is_number(field) for field in fields) else number
    return 0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
