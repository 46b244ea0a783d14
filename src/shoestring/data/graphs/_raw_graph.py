"""The arrays of a graph as a reader found them, and the checks that make them a PyG Data.

Shapes: N vertices, E edges, D features.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from shoestring.core.errors import DataError
from shoestring.core.seeds import derive_seed

__all__ = ["RawGraph", "both_directions", "finish", "mask_of", "random_split"]

_log = logging.getLogger(__name__)
SPLITS = ("train_mask", "val_mask", "test_mask")


@dataclass(kw_only=True, slots=True)
class RawGraph:
    """What a reader read; `finish` checks it."""

    source: str
    num_nodes: int
    edges: NDArray[Any]
    """Integer, (2, E): sources, targets."""
    x: NDArray[Any] | None = None
    y: NDArray[Any] | None = None
    weights: NDArray[Any] | None = None
    masks: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None
    kind: str = "unknown"
    """real, synthetic or unknown."""
    split: str = "given"


def both_directions(edges: NDArray[Any]) -> NDArray[Any]:
    """Add the reverse of every edge (2, E) that is no self-loop."""
    proper = edges[:, edges[0] != edges[1]]
    return np.concatenate([edges, proper[::-1]], axis=1)


def mask_of(index: NDArray[Any], num_nodes: int, what: str) -> NDArray[np.bool_]:
    """Turn vertex ids into a mask, refusing ids outside the graph."""
    index = np.asarray(index).reshape(-1)
    if index.size and not np.issubdtype(index.dtype, np.integer):
        raise DataError(f"{what} holds {index.dtype}; give integer vertex ids")
    if index.size and (index.min() < 0 or index.max() >= num_nodes):
        raise DataError(
            f"{what} holds ids {index.min()} .. {index.max()}; the graph has vertices 0 .. {num_nodes - 1}"
        )
    mask = np.zeros(num_nodes, dtype=np.bool_)
    mask[index] = True
    return mask


def random_split(labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Split the labelled vertices (label >= 0) 60/20/20 by the seed; three masks (N,)."""
    labelled = torch.nonzero(labels >= 0).squeeze(1)
    generator = torch.Generator().manual_seed(derive_seed(seed, "graph", "split"))
    order = labelled[torch.randperm(labelled.numel(), generator=generator)]
    cuts = [round(0.6 * order.numel()), round(0.8 * order.numel())]
    masks = []
    for ids in torch.tensor_split(order, cuts):
        mask = torch.zeros(labels.numel(), dtype=torch.bool)
        mask[ids] = True
        masks.append(mask)
    return masks[0], masks[1], masks[2]


def finish(raw: RawGraph, seed: int) -> Data:
    """Check a graph and make it a Data; see `load_graph` for what is refused."""
    num = raw.num_nodes
    data = Data(edge_index=_checked_edges(raw), num_nodes=num)
    if raw.weights is not None:
        data.edge_weight = _checked_weights(raw)
    if raw.x is not None:
        data.x = _checked_features(raw)
    if raw.y is not None:
        data.y = _checked_labels(raw)
        split = raw.split
        if raw.masks is None:
            split = f"made here: 60/20/20 of the labelled vertices, seed {seed}"
            _log.info("%s has no split; %s", raw.source, split)
            masks = random_split(data.y, seed)
        else:
            masks = _checked_masks(raw, data.y)
        data.train_mask, data.val_mask, data.test_mask = masks
        data.split = split
    data.source, data.kind = raw.source, raw.kind
    return data


def _checked_edges(raw: RawGraph) -> torch.Tensor:
    edges = np.asarray(raw.edges)
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise DataError(f"{raw.source}: edges have shape {edges.shape}; give (2, edges): sources, targets")
    if edges.size and not np.issubdtype(edges.dtype, np.integer):
        raise DataError(f"{raw.source}: edges are {edges.dtype}; give integer vertex ids")
    if raw.num_nodes < 0 or raw.num_nodes >= 2**31:
        raise DataError(f"{raw.source}: {raw.num_nodes} vertices; 0 to {2**31 - 1} are allowed")
    if edges.size and (edges.min() < 0 or edges.max() >= raw.num_nodes):
        raise DataError(
            f"{raw.source}: edges hold ids {edges.min()} .. {edges.max()}, but the vertices are "
            f"0 .. {raw.num_nodes - 1}; renumber the vertices or correct num_nodes"
        )
    return torch.from_numpy(np.ascontiguousarray(edges, dtype=np.int64))


def _checked_weights(raw: RawGraph) -> torch.Tensor:
    weights = np.asarray(raw.weights)
    if weights.shape != (raw.edges.shape[1],):
        raise DataError(
            f"{raw.source}: edge weights have shape {weights.shape}; give ({raw.edges.shape[1]},)"
        )
    return torch.from_numpy(_finite_floats(raw, weights, "edge weights"))


def _finite_floats(raw: RawGraph, values: NDArray[Any], what: str) -> NDArray[np.float32]:
    if values.dtype.kind not in "fiub":
        raise DataError(f"{raw.source}: {what} are {values.dtype}; give numbers")
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(values, dtype=np.float32)
    bad = int(floats.size - np.count_nonzero(np.isfinite(floats)))
    if bad:
        raise DataError(
            f"{raw.source}: {bad} of {floats.size} {what} are NaN or infinite in float32; replace them first "
            "(numpy.nan_to_num)"
        )
    return floats


def _checked_features(raw: RawGraph) -> torch.Tensor:
    x = np.asarray(raw.x)
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or x.shape[0] != raw.num_nodes:
        raise DataError(
            f"{raw.source}: features of shape {x.shape} for {raw.num_nodes} vertices; give one row a vertex"
        )
    return torch.from_numpy(_finite_floats(raw, x, "features"))


def _checked_labels(raw: RawGraph) -> torch.Tensor:
    y = np.asarray(raw.y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.shape != (raw.num_nodes,):
        raise DataError(
            f"{raw.source}: labels of shape {y.shape} for {raw.num_nodes} vertices; give one class a vertex "
            "(several labels a vertex are not supported)"
        )
    if y.dtype.kind == "f":
        y = np.where(np.isnan(y), -1, y)
        if not np.array_equal(y, np.trunc(y)):
            raise DataError(f"{raw.source}: labels are fractions; give classes 0, 1, ..., and -1 for none")
    elif y.dtype.kind not in "iub":
        raise DataError(f"{raw.source}: labels are {y.dtype}; give classes 0, 1, ..., and -1 for none")
    y = y.astype(np.int64)
    if y.size and y.min() < -1:
        raise DataError(f"{raw.source}: the smallest label is {y.min()}; classes start at 0, -1 means none")
    return torch.from_numpy(y)


def _checked_masks(raw: RawGraph, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    masks = []
    taken = torch.zeros(raw.num_nodes, dtype=torch.bool)
    for name, given in zip(SPLITS, raw.masks or (), strict=True):
        array = np.asarray(given)
        if array.shape != (raw.num_nodes,) or array.dtype != np.bool_:
            raise DataError(
                f"{raw.source}: {name} is {array.dtype} of shape {array.shape}; give bool, ({raw.num_nodes},)"
            )
        mask = torch.from_numpy(array.copy())
        unlabelled = int((mask & (y < 0)).sum())
        if unlabelled:
            raise DataError(
                f"{raw.source}: {name} holds {unlabelled} vertices without a label (-1); take them out"
            )
        both = int((mask & taken).sum())
        if both:
            raise DataError(
                f"{raw.source}: {name} shares {both} vertices with an earlier mask; "
                "train, val and test must be disjoint"
            )
        taken |= mask
        masks.append(mask)
    return masks[0], masks[1], masks[2]
