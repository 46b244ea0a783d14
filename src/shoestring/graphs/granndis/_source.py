"""The user's graph, checked and prepared once for the whole run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shoestring.core.errors import DataError
from shoestring.graphs.convs import prepare_topology
from shoestring.graphs.csr import Csr, check_edge_index, csr_from_edge_index
from shoestring.graphs.granndis.config import GranndisConfig

__all__ = ["Source", "prepare_source", "source_from_tensors"]

_MASKS = ("train_mask", "val_mask", "test_mask")


@dataclass(frozen=True, slots=True)
class Source:
    """The whole graph as a head or a single process holds it. Shapes: N vertices, E edges."""

    csr: Csr
    """(N, N) with the weights of the aggregation: global degrees, whatever is cut out of it later."""
    edge_index: Tensor
    """int64, (2, E): the edges that PyG's layers get in a single process."""
    x: Tensor
    """float, (N, D)."""
    y: Tensor
    """int64, (N,); -1 has no label."""
    masks: Tensor
    """bool, (3, N): train, validation, test."""
    num_classes: int

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.csr.num_rows

    def tensors(self) -> dict[str, Tensor]:
        """For other processes."""
        assert self.csr.values is not None
        return {
            "indptr": self.csr.indptr,
            "indices": self.csr.indices,
            "values": self.csr.values,
            "edge_index": self.edge_index,
            "x": self.x,
            "y": self.y,
            "masks": self.masks,
            "num_classes": torch.tensor(self.num_classes),
        }


def source_from_tensors(tensors: Mapping[str, Tensor]) -> Source:
    """Inverse of `Source.tensors`."""
    csr = Csr(tensors["indptr"], tensors["indices"], tensors["values"], tensors["indptr"].numel() - 1)
    return Source(
        csr, tensors["edge_index"], tensors["x"], tensors["y"], tensors["masks"], int(tensors["num_classes"])
    )


def prepare_source(data: Any, config: GranndisConfig) -> Source:
    """Check a PyG ``Data`` and prepare its topology with global degrees.

    Parameters
    ----------
    data : torch_geometric.data.Data
        With ``x`` float (N, D), ``edge_index`` (2, E), ``y`` integer (N,), ``train_mask`` bool (N,);
        ``val_mask`` and ``test_mask`` if there are any. Directed graphs, isolated vertices, duplicate
        edges, self-loops and several components are all fine.
    config : GranndisConfig
        For the kind of layer, the dtype, self-loops and the number of ranks.

    Raises
    ------
    DataError
        Whatever is missing or does not fit, by name.
    """
    dtype = getattr(torch, config.training.dtype)
    x, edge_index, y = (_tensor(data, name) for name in ("x", "edge_index", "y"))
    if x.dim() != 2 or not x.is_floating_point() or x.shape[1] == 0:
        raise DataError(f"x is {x.dtype} of shape {tuple(x.shape)}; give float features (vertices, width)")
    num = x.shape[0]
    world = config.topology.world
    if num < world:
        raise DataError(f"{num} vertices on {world} ranks; give at most as many ranks as vertices")
    if not bool(torch.isfinite(x).all()):
        raise DataError("x holds values that are not finite; clean the features")
    if getattr(data, "edge_weight", None) is not None:
        raise DataError(
            "data.edge_weight is given, but granndis trains on edges without weights; delete it, or take "
            "grinnder for a weighted GCN"
        )
    check_edge_index(edge_index, num)
    if y.shape != (num,) or y.is_floating_point():
        raise DataError(f"y is {y.dtype} of shape {tuple(y.shape)}; give one class a vertex, ({num},)")
    masks = torch.stack([_mask(data, name, num) for name in _MASKS])
    y = y.to(torch.int64)
    if not bool(masks[0].any()):
        raise DataError("train_mask is empty; mark at least one vertex with a label")
    if bool((y[masks[0]] < 0).any()):
        raise DataError("train_mask marks vertices without a label (y < 0); leave them out of the mask")
    edge_index = edge_index.to(torch.int64)
    if config.training.self_loops == "once":
        loops = torch.arange(num).expand(2, num)
        edge_index = torch.cat([edge_index[:, edge_index[0] != edge_index[1]], loops], 1)
    kind = "gcn" if config.model.kind == "gcn" else "mean"
    csr = prepare_topology(kind, csr_from_edge_index(edge_index, num), dtype)  # type: ignore[arg-type]  # two literals
    return Source(csr, edge_index, x.to(dtype), y, masks & (y >= 0), max(int(y.max()) + 1, 1))


def _tensor(data: Any, name: str) -> Tensor:
    value = getattr(data, name, None)
    if not isinstance(value, Tensor):
        raise DataError(
            f"data.{name} is {type(value).__name__}; give a PyG Data with x, edge_index, y, train_mask"
        )
    return value.detach().cpu()


def _mask(data: Any, name: str, num: int) -> Tensor:
    if name != "train_mask" and getattr(data, name, None) is None:
        return torch.zeros(num, dtype=torch.bool)
    mask = _tensor(data, name)
    if mask.shape != (num,) or mask.dtype != torch.bool:
        raise DataError(
            f"{name} is {mask.dtype} of shape {tuple(mask.shape)}; give bool, ({num},), one split"
        )
    return mask
