"""Planetoid's raw files (``ind.NAME.x`` and others), read without trusting their pickles."""

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import DataError
from shoestring.data.graphs._raw_graph import RawGraph, both_directions, mask_of

__all__ = ["planetoid_names", "read_planetoid"]

_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph")
_VALIDATION = 500
_DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError, MemoryError,
)  # fmt: skip
"""What the unpickler raises on a damaged stream."""


class _SparseRows:
    """Stands for scipy's csr_matrix: takes its state, runs none of its code."""

    def dense(self) -> NDArray[np.float32]:
        """Fill the rows; raises DataError if the state is no matrix in compressed rows."""
        state = vars(self)
        shape = state.get("_shape", state.get("shape"))
        try:
            num_rows, num_cols = (int(n) for n in shape)  # type: ignore[union-attr]  # checked by the except
            indptr, indices, values = (np.asarray(state[k]) for k in ("indptr", "indices", "data"))
            rows = np.repeat(np.arange(num_rows), np.diff(indptr))
            out = np.zeros((num_rows, num_cols), dtype=np.float32)
            np.add.at(out, (rows, indices), values.astype(np.float32))
        except (LookupError, TypeError, ValueError, MemoryError) as e:
            raise DataError(
                f"a sparse matrix of the pickle is damaged ({e}); fetch the raw files again"
            ) from e
        return out


def _reconstruct(base: object, shape: object, typecode: object) -> NDArray[Any]:
    """Make the empty array that numpy's pickles fill; only ever an ndarray."""
    del base, shape, typecode
    return np.ndarray((0,), dtype="b")


def _latin1(text: str, encoding: str) -> bytes:
    """Make the bytes of an array that Python 3 wrote as text."""
    if encoding != "latin1":
        raise DataError(f"the pickle holds text in {encoding!r}; arrays are stored as latin1")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("scipy.sparse.csr", "csr_matrix"): _SparseRows,
    ("scipy.sparse._csr", "csr_matrix"): _SparseRows,
    ("_codecs", "encode"): _latin1,
    ("collections", "defaultdict"): defaultdict,
    ("builtins", "list"): list,
    ("__builtin__", "list"): list,  # Python 2
}


class _ArrayUnpickler(pickle.Unpickler):
    """Admits arrays, sparse matrices and a dictionary of lists; everything else is refused unread."""

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the list of admitted ones."""
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise DataError(
                f"the pickle asks for {module}.{name}; a Planetoid file holds numpy arrays, sparse matrices "
                "and lists alone. It is not loaded: get the raw files from their source"
            ) from None


def planetoid_names(folder: Path) -> list[str]:
    """Names of the data sets whose raw files lie in a folder."""
    return sorted(p.name.split(".")[1] for p in folder.glob("ind.*.graph"))


def read_planetoid(folder: Path, name: str) -> RawGraph:
    """Read ``ind.NAME.*`` with the public split: the labelled rows, the next 500, the test ids.

    Raises
    ------
    DataError
        A missing or damaged file, or a pickle with anything but arrays.
    """
    x, tx, allx, y, ty, ally, graph = (_read(folder / f"ind.{name}.{part}") for part in _PARTS)
    source = f"{folder / f'ind.{name}.*'}"
    features, tests = _matrix(source, allx, tx)
    classes, _ = _matrix(source, ally, ty)
    if features.shape[0] != classes.shape[0] or tests != len(_rows(source, ty)):
        raise DataError(
            f"{source}: {features.shape[0]} rows of features, {classes.shape[0]} of labels; they must agree, "
            "fetch the raw files again"
        )
    order = _test_index(folder / f"ind.{name}.test.index", tests)
    first = features.shape[0] - tests
    # Citeseer lacks some test ids: their rows stay zero and unlabelled, as in the public readers.
    num_nodes = max(first, int(order.max(initial=-1)) + 1)
    full_x = np.zeros((num_nodes, features.shape[1]), dtype=np.float32)
    full_y = np.zeros((num_nodes, classes.shape[1]), dtype=np.float32)
    full_x[:first], full_y[:first] = features[:first], classes[:first]
    full_x[order], full_y[order] = features[first:], classes[first:]
    labels = np.where(full_y.any(axis=1), full_y.argmax(axis=1), -1)
    train = len(_rows(source, y))
    if len(_rows(source, x)) != train:
        raise DataError(f"{source}: x and y have different numbers of rows; fetch the raw files again")
    masks = (
        mask_of(np.arange(train), num_nodes, "the training rows"),
        mask_of(np.arange(train, min(train + _VALIDATION, first)), num_nodes, "the validation rows"),
        mask_of(order[labels[order] >= 0], num_nodes, "the test index"),
    )
    edges = _edges(source, graph, num_nodes)
    return RawGraph(
        source=source, num_nodes=num_nodes, edges=edges, x=full_x, y=labels, masks=masks, kind="real",
        split="given: Planetoid's public split",
    )  # fmt: skip


def _read(path: Path) -> object:
    try:
        with path.open("rb") as f:
            return _ArrayUnpickler(f, encoding="latin1").load()
    except FileNotFoundError as e:
        raise DataError(f"{path} is missing; a Planetoid set has {', '.join(_PARTS)} and test.index") from e
    except DataError as e:
        raise DataError(f"{path}: {e}") from e
    except _DAMAGED as e:
        raise DataError(f"{path} is damaged ({e}); fetch the raw files again") from e


def _rows(source: str, part: object) -> NDArray[Any]:
    if isinstance(part, _SparseRows):
        return part.dense()
    if isinstance(part, np.ndarray) and part.ndim == 2 and part.dtype.kind in "fiub":
        return part
    raise DataError(f"{source}: expected a matrix of numbers, found {type(part).__name__}; fetch it again")


def _matrix(source: str, first: object, second: object) -> tuple[NDArray[np.float32], int]:
    one, two = _rows(source, first), _rows(source, second)
    if one.shape[1] != two.shape[1]:
        raise DataError(f"{source}: parts with {one.shape[1]} and {two.shape[1]} columns; fetch them again")
    return np.concatenate([one, two]).astype(np.float32), two.shape[0]


def _test_index(path: Path, tests: int) -> NDArray[np.int64]:
    try:
        order = np.array([int(line) for line in path.read_text(encoding="ascii").split()], dtype=np.int64)
    except (OSError, ValueError) as e:
        raise DataError(f"{path} cannot be read ({e}); it holds one vertex id a line") from e
    if order.size != tests or order.min(initial=0) < 0 or np.unique(order).size != order.size:
        raise DataError(f"{path} holds {order.size} ids for {tests} test rows; give each row its own id")
    return order


def _edges(source: str, graph: object, num_nodes: int) -> NDArray[np.int64]:
    """Make each undirected edge once per direction, without self-loops."""
    if not isinstance(graph, dict) or not all(isinstance(v, list) for v in graph.values()):
        raise DataError(f"{source}: the graph is a {type(graph).__name__}; expected a dictionary of lists")
    try:
        targets = np.fromiter((n for v in graph.values() for n in v), dtype=np.int64)
        sources = np.repeat(np.fromiter(graph, dtype=np.int64), [len(v) for v in graph.values()])
    except (TypeError, ValueError, OverflowError) as e:
        raise DataError(f"{source}: the graph holds something else than vertex ids ({e})") from e
    low, high = np.minimum(sources, targets), np.maximum(sources, targets)
    if high.size and (low.min() < 0 or high.max() >= num_nodes):
        raise DataError(f"{source}: edges hold ids {low.min()} .. {high.max()} for {num_nodes} vertices")
    keys = np.unique((low * num_nodes + high)[low != high])
    return both_directions(np.stack(np.divmod(keys, max(num_nodes, 1))))
