"""The method as plain functions on tensors: loss, order of the targets, volumes.

Shapes: N vertices, n rows of a partition, K columns, D width, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own convention

__all__ = [
    "LayerVolumes",
    "epoch_volumes",
    "expansion_ratio",
    "greedy_order",
    "sum_loss",
]


def sum_loss(logits: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Sum over the training rows: cross-entropy for class labels, binary cross-entropy for label matrices.

    Parameters
    ----------
    logits : Tensor
        float, (n, C).
    y : Tensor
        int64 (n,), or float (n, C) of zeros and ones.
    mask : Tensor
        bool, (n,): rows that count; none gives a zero that still has a gradient.
    """
    rows = mask.nonzero().squeeze(1)
    picked = logits.index_select(0, rows)
    if y.dim() == 1:
        return F.cross_entropy(picked, y.index_select(0, rows).long(), reduction="sum")
    wanted = y.index_select(0, rows).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(picked, wanted, reduction="sum")


def expansion_ratio(columns: Sequence[int], num_nodes: int) -> float:
    """Columns of all partitions over the number of vertices (alpha of the paper)."""
    return sum(columns) / max(num_nodes, 1)


def greedy_order(needs: Sequence[frozenset[int]], weights: Sequence[int]) -> list[int]:
    """Order targets so that each shares as many source bytes as possible with the one before it.

    Parameters
    ----------
    needs : sequence of frozenset
        Source partitions of every target.
    weights : sequence of int
        Bytes of every source partition.

    Returns
    -------
    list of int
        A permutation; ties go to the smaller number, so it is deterministic. O(p^2).
    """
    left = set(range(len(needs)))
    order: list[int] = []
    while left:
        last = needs[order[-1]] if order else frozenset()
        best = max(left, key=lambda j: (sum(weights[q] for q in needs[j] & last), -j))
        order.append(best)
        left.remove(best)
    return order


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerVolumes:
    """Bytes of one epoch by the formulas of the method, without residency from one pass to the next."""

    storage_read: int
    storage_write: int
    device_host: int
    device_storage: int

    @property
    def storage(self) -> int:
        """Reads and writes."""
        return self.storage_read + self.storage_write


def epoch_volumes(
    mode: Literal["grinnder", "hongtu", "snapshot"],
    *,
    widths: Sequence[int],
    num_nodes: int,
    columns: Sequence[int],
    itemsize: int,
    fuse_last: bool = False,
) -> LayerVolumes:
    """Bytes of activations, gradients, snapshots of an epoch when a layer fits the cache but does not stay.

    With D = N * width * itemsize bytes a layer, and all widths equal, this is the derivation of the dossier:
    GriNNder ``(5 L - 1) D`` and HongTu ``((2 alpha + 2) L + 2 L - 1) D`` bytes of storage traffic.

    Parameters
    ----------
    mode : {"grinnder", "hongtu", "snapshot"}
        What is kept for the backward pass: nothing, or the gathered inputs.
    widths : sequence of int
        d_0 .. d_L.
    columns : sequence of int
        For each layer 1 .. L, columns of all partitions (alpha * N).
    fuse_last : bool
        Whether the last layer has no forward pass of its own.
    """
    layers = len(widths) - 1
    size = [num_nodes * w * itemsize for w in widths]
    gathered = [c * w * itemsize for c, w in zip(columns, widths[:-1], strict=True)]
    read = write = device_host = device_storage = 0
    snapshots = mode != "grinnder"
    bypass = mode != "hongtu"
    for l in range(1, layers + 1):  # noqa: E741  # the paper's letter
        ga = gathered[l - 1]
        if not (fuse_last and l == layers):
            read += size[l - 1]
            write += size[l] + (ga if snapshots else 0)
            device_host += ga + (0 if bypass else ga + size[l])
            device_storage += size[l] + (ga if mode == "snapshot" else 0) if bypass else 0
        read += ga if snapshots and not (fuse_last and l == layers) else size[l - 1]
        device_host += 0 if mode == "snapshot" and not (fuse_last and l == layers) else ga
        device_storage += ga if mode == "snapshot" and not (fuse_last and l == layers) else 0
        if l == layers and not fuse_last:
            read += size[l]
            device_storage += size[l] if bypass else 0
            device_host += 0 if bypass else size[l]
        if l > 1:
            write += size[l - 1]
            read += size[l - 1]
            device_host += ga + size[l - 1]
    return LayerVolumes(
        storage_read=read, storage_write=write, device_host=device_host, device_storage=device_storage
    )
