"""Graphs that PyTorch wrote: PyG's Data, the file of a PyG data set, a dict of tensors; no code is run.

Shapes: N vertices, S splits.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import BaseStorage, GlobalStorage

from shoestring.core.errors import DataError

__all__ = ["read_torch"]

_SAFE = (Data, DataEdgeAttr, DataTensorAttr, BaseStorage, GlobalStorage)
_ALLOWED = "one graph as PyG Data or as a dict of tensors with PyG's names"


def read_torch(path: Path) -> dict[str, Any]:
    """Read the arrays of one graph by PyG's names; stored splits (N, S) become ``*_masks`` (S, N).

    Raises
    ------
    DataError
        A damaged file, several graphs, a graph with kinds of vertices, or objects of other classes.
    """
    fields = _fields(_load(path), path)
    arrays = {name: _array(value, f"{path}: {name}") for name, value in fields.items()}
    for part in ("train", "val", "test"):
        mask = arrays.get(f"{part}_mask")
        if mask is not None and mask.ndim == 2:
            arrays[f"{part}_masks"] = arrays.pop(f"{part}_mask").T
    return arrays


def _load(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(list(_SAFE)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        found = str(e).partition("Unsupported global: GLOBAL ")[2].partition(" ")[0]
        if not found:
            raise DataError(f"{path} is no file that torch.save wrote; give {_ALLOWED}") from e
        raise DataError(
            f"{path} holds a {found}, and loading it could run code, so it is refused; allowed is "
            f"{_ALLOWED}. Where you trust the file, load it and save its data.to_dict() with torch.save"
        ) from e
    except (RuntimeError, EOFError, KeyError, ValueError, OSError, AttributeError, TypeError) as e:
        reason = " ".join(str(e).split())[:200] or type(e).__name__
        raise DataError(f"{path} cannot be read as a torch file: {reason}. Save it again") from e


def _fields(found: Any, path: Path) -> dict[str, Any]:
    """Take the one graph out of what was saved; a PyG data set saves (graph, slices, ...)."""
    if isinstance(found, (tuple, list)):
        several = len(found) > 1 and found[1] is not None
        if not found or several:
            raise DataError(f"{path} holds a {type(found).__name__} of several graphs; give {_ALLOWED}")
        found = found[0]
    if isinstance(found, Data):
        found = found.to_dict()
    if not isinstance(found, Mapping):
        raise DataError(f"{path} holds a {type(found).__name__}; give {_ALLOWED}")
    kept = (Tensor, np.ndarray, str, int)
    return {str(k): v for k, v in found.items() if isinstance(v, kept)}


def _array(value: Any, what: str) -> Any:
    if not isinstance(value, Tensor):
        return np.asarray(value)
    if value.layout != torch.strided:
        raise DataError(f"{what} is a sparse tensor; store it with .to_dense(), and edges as edge_index")
    value = value.detach()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
