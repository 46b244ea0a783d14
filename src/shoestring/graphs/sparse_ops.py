"""Sparse products on blocks, with gradients.

Shapes: R rows, K columns, E edges of a block, D width, H heads, C channels of a head.
"""

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

if TYPE_CHECKING:
    from shoestring.graphs.csr import Block

__all__ = ["attend", "gather_rows", "group", "scatter_add_rows_", "segment_max", "spmm"]


def group(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Group items by key, keeping their order inside a group.

    Parameters
    ----------
    keys : Tensor
        int32, (E,), in 0 .. num_groups - 1.
    num_groups : int
        Number of groups.

    Returns
    -------
    indptr, order : Tensor
        int64, (num_groups + 1,) and (E,): items ``order[indptr[g]:indptr[g + 1]]`` have key g.
    """
    indptr = torch.zeros(num_groups + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(keys, minlength=num_groups), 0, out=indptr[1:])
    return indptr, torch.argsort(keys, stable=True)


class _Spmm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x_KD: Tensor, block: "Block") -> Tensor:
        cast("Any", ctx).block = block
        return _product(block.csr.to_torch(x_KD.dtype), x_KD)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, None]:
        block: Block = cast("Any", ctx).block
        return _product(block.transposed.csr.to_torch(grads[0].dtype), grads[0]), None


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    return cast("Tensor", torch.sparse.mm(matrix, x))


def spmm(block: "Block", x_KD: Tensor) -> Tensor:
    """Weighted sum of the columns of every row: ``A @ x``, differentiable in `x`.

    Parameters
    ----------
    block : Block
        (R, K); its weights are constants.
    x_KD : Tensor
        float32 or float64, (K, D).

    Returns
    -------
    Tensor
        (R, D); a row without edges is 0.
    """
    return cast("Tensor", _Spmm.apply(x_KD, block))  # type: ignore[no-untyped-call]  # torch's apply is untyped


def segment_max(block: "Block", x_KD: Tensor) -> Tensor:
    """Largest value of the columns of every row, channel by channel; 0 for a row without edges.

    Parameters
    ----------
    block : Block
        (R, K); its weights are not read.
    x_KD : Tensor
        float32 or float64, (K, D).

    Returns
    -------
    Tensor
        (R, D). The gradient of a maximum is shared evenly by the edges that attain it, as in PyG.

    Notes
    -----
    Holds E x D messages.
    """
    messages_ED = x_KD.index_select(0, block.csr.indices)
    rows_ED = block.csr.row_ids().unsqueeze(1).expand_as(messages_ED)
    out = x_KD.new_zeros(block.num_rows, x_KD.shape[1])
    return out.scatter_reduce(0, rows_ED, messages_ED, "amax", include_self=False)


def attend(
    block: "Block", x_KHC: Tensor, source_KH: Tensor, target_RH: Tensor, negative_slope: float
) -> Tensor:
    """Attention of GAT: softmax over the edges of a row, then the weighted sum of its columns.

    Parameters
    ----------
    block : Block
        (R, K); its weights are not read.
    x_KHC : Tensor
        float, (K, H, C), transformed features.
    source_KH, target_RH : Tensor
        float, (K, H) and (R, H), the two halves of the logits.
    negative_slope : float
        Of the LeakyReLU on their sum.

    Returns
    -------
    Tensor
        (R, H, C); a row without edges is 0.

    References
    ----------
    P. Velickovic et al., "Graph Attention Networks", ICLR 2018, eqs. 3, 4; the sum of the softmax has PyG's
    1e-16 added.
    """
    rows_E, cols_E = block.csr.row_ids(), block.csr.indices
    logits_EH = source_KH.index_select(0, cols_E) + target_RH.index_select(0, rows_E)
    logits_EH = torch.nn.functional.leaky_relu(logits_EH, negative_slope)
    rows_EH = rows_E.unsqueeze(1).expand_as(logits_EH)
    top_RH = logits_EH.new_zeros(target_RH.shape).scatter_reduce(
        0, rows_EH, logits_EH.detach(), "amax", include_self=False
    )
    weights_EH = (logits_EH - top_RH.index_select(0, rows_E)).exp()
    sums_RH = torch.zeros_like(target_RH).scatter_add(0, rows_EH, weights_EH) + 1e-16
    weights_EH = weights_EH / sums_RH.index_select(0, rows_E)
    messages_EHC = weights_EH.unsqueeze(-1) * x_KHC.index_select(0, cols_E)
    out = x_KHC.new_zeros(block.num_rows, *x_KHC.shape[1:])
    return out.index_add(0, rows_E, messages_EHC)


def gather_rows(source: Tensor, index: Tensor, out: Tensor) -> Tensor:
    """Copy rows `index` of `source` (N, D) into the given buffer `out` (M, D); returns `out`."""
    return torch.index_select(source, 0, index, out=out)


def scatter_add_rows_(target: Tensor, index: Tensor, source: Tensor) -> Tensor:
    """Add row i of `source` (M, D) to row ``index[i]`` of `target` (N, D), in order; returns `target`."""
    return target.index_add_(0, index, source)
