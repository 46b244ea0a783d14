"""The sparse products by torch alone: for other devices than the CPU, and to compare the compiled ones with.

Shapes: R rows, K columns, E edges of a block, D width, H heads, C channels of a head.
"""

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

if TYPE_CHECKING:
    from shoestring.graphs.csr import Block

__all__ = ["attend", "segment_max", "spmm"]


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
    """Weighted sum of the columns of every row, (R, D)."""
    return cast("Tensor", _Spmm.apply(x_KD, block))  # type: ignore[no-untyped-call]  # torch's apply is untyped


def segment_max(block: "Block", x_KD: Tensor) -> Tensor:
    """Largest value of the columns of every row, (R, D); holds E x D messages."""
    messages_ED = x_KD.index_select(0, block.csr.indices)
    rows_ED = block.csr.row_ids().unsqueeze(1).expand_as(messages_ED)
    out = x_KD.new_zeros(block.num_rows, x_KD.shape[1])
    return out.scatter_reduce(0, rows_ED, messages_ED, "amax", include_self=False)


def attend(
    block: "Block", x_KHC: Tensor, source_KH: Tensor, target_RH: Tensor, negative_slope: float
) -> Tensor:
    """Attention of GAT, (R, H, C); holds E x H x C messages."""
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
