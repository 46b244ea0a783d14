"""Sparse products on blocks, with gradients: compiled kernels on the CPU, torch on other devices.

On the CPU every value is summed in the order of the edges, so results do not depend on the number of threads.
Shapes: R rows, K columns, E edges of a block, D width, H heads, C channels of a head.
"""

from typing import TYPE_CHECKING, Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import FunctionCtx

from shoestring.graphs import _sparse_torch
from shoestring.native import sparse

if TYPE_CHECKING:
    from shoestring.graphs.csr import Block, Csr

__all__ = ["attend", "group", "scatter_add_rows_", "segment_max", "spmm"]


def _compiled(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def _array(x: Tensor) -> NDArray[Any]:
    """View a tensor as a row-major array, copying only if it is laid out otherwise."""
    return x.detach().contiguous().numpy()


def _rows(csr: "Csr") -> tuple[NDArray[Any], NDArray[Any]]:
    return _array(csr.indptr), _array(csr.indices)


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

    Raises
    ------
    DataError
        A key outside the groups.

    Notes
    -----
    A counting sort on the CPU, O(E + num_groups).
    """
    if keys.device.type == "cpu":
        indptr_array, order_array = sparse.group(_array(keys), num_groups)
        return torch.from_numpy(indptr_array), torch.from_numpy(order_array)
    indptr = torch.zeros(num_groups + 1, dtype=torch.int64, device=keys.device)
    torch.cumsum(torch.bincount(keys, minlength=num_groups), 0, out=indptr[1:])
    return indptr, torch.argsort(keys, stable=True)


class _Spmm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x_KD: Tensor, block: "Block") -> Tensor:
        cast("Any", ctx).block = block
        return _forward_product(block.csr, x_KD)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, None]:
        block: Block = cast("Any", ctx).block
        if block.has_transposed:
            return _forward_product(block.transposed.csr, grads[0]), None
        out_KD = grads[0].new_empty(block.num_cols, grads[0].shape[1])
        sparse.spmm_transposed(
            *_rows(block.csr),
            _values(block.csr, out_KD.dtype),
            _array(grads[0]),
            out_KD.numpy(),
            torch.get_num_threads(),
        )
        return out_KD, None


def _values(csr: "Csr", dtype: torch.dtype) -> NDArray[Any] | None:
    return None if csr.values is None else _array(csr.values.to(dtype))


def _forward_product(csr: "Csr", x_KD: Tensor) -> Tensor:
    out_RD = x_KD.new_empty(csr.num_rows, x_KD.shape[1])
    threads = torch.get_num_threads()
    sparse.spmm(*_rows(csr), _values(csr, x_KD.dtype), _array(x_KD), out_RD.numpy(), threads)
    return out_RD


def spmm(block: "Block", x_KD: Tensor) -> Tensor:
    """Weighted sum of the columns of every row: ``A @ x``, differentiable in `x`.

    Parameters
    ----------
    block : Block
        (R, K); its weights are constants, taken in the dtype of `x`.
    x_KD : Tensor
        float, (K, D).

    Returns
    -------
    Tensor
        (R, D); a row without edges is 0.

    Notes
    -----
    The backward pass reads the block's transpose if there is one and spreads the rows otherwise; both add in
    the same order.
    """
    if not _compiled(x_KD):
        return _sparse_torch.spmm(block, x_KD)
    return cast("Tensor", _Spmm.apply(x_KD, block))  # type: ignore[no-untyped-call]  # torch's apply is untyped


class _SegmentMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x_KD: Tensor, block: "Block") -> Tensor:
        out_RD = x_KD.new_empty(block.num_rows, x_KD.shape[1])
        sparse.segment_max(*_rows(block.csr), _array(x_KD), out_RD.numpy(), torch.get_num_threads())
        cast("Any", ctx).block = block
        ctx.save_for_backward(x_KD, out_RD)
        return out_RD

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, None]:
        block, (x_KD, out_RD) = cast("Any", ctx).block, cast("Any", ctx).saved_tensors
        grad_KD = torch.empty_like(x_KD, memory_format=torch.contiguous_format)
        sparse.segment_max_backward(
            *_rows(block.csr),
            _array(x_KD),
            _array(out_RD),
            _array(grads[0]),
            grad_KD.numpy(),
            torch.get_num_threads(),
        )
        return grad_KD, None


def segment_max(block: "Block", x_KD: Tensor) -> Tensor:
    """Largest value of the columns of every row, channel by channel; 0 for a row without edges.

    Parameters
    ----------
    block : Block
        (R, K); its weights are not read.
    x_KD : Tensor
        float, (K, D).

    Returns
    -------
    Tensor
        (R, D). The gradient of a maximum is shared evenly by the edges that attain it; if it is exactly 0,
        one share is lost, as in PyG (torch counts the zero that it reduces into among the ties).
    """
    if not _compiled(x_KD):
        return _sparse_torch.segment_max(block, x_KD)
    return cast("Tensor", _SegmentMax.apply(x_KD, block))  # type: ignore[no-untyped-call]  # as above


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x_KHC: Tensor, source_KH: Tensor, target_RH: Tensor, block: "Block", slope: float
    ) -> Tensor:
        weights_EH = x_KHC.new_empty(block.num_edges, x_KHC.shape[1])
        out_RHC = x_KHC.new_empty(block.num_rows, *x_KHC.shape[1:])
        sparse.attend(
            *_rows(block.csr),
            _array(x_KHC),
            _array(source_KH),
            _array(target_RH),
            slope,
            weights_EH.numpy(),
            out_RHC.numpy(),
            torch.get_num_threads(),
        )
        cast("Any", ctx).block, cast("Any", ctx).slope = block, slope
        ctx.save_for_backward(x_KHC, source_KH, target_RH, weights_EH)
        return out_RHC

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        block, slope = cast("Any", ctx).block, cast("Any", ctx).slope
        x_KHC, source_KH, target_RH, weights_EH = cast("Any", ctx).saved_tensors
        like = torch.contiguous_format
        pushed = [torch.empty_like(t, memory_format=like) for t in (x_KHC, source_KH, target_RH)]
        sparse.attend_backward(
            *_rows(block.csr),
            (_array(x_KHC), _array(source_KH), _array(target_RH), slope),
            _array(weights_EH),
            _array(grads[0]),
            (pushed[0].numpy(), pushed[1].numpy(), pushed[2].numpy()),
            torch.get_num_threads(),
        )
        return *pushed, None, None


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

    Notes
    -----
    On the CPU, E x H weights are kept for the backward pass and E x H x C messages are never made.

    References
    ----------
    P. Velickovic et al., "Graph Attention Networks", ICLR 2018, eqs. 3, 4; the sum of the softmax has PyG's
    1e-16 added.
    """
    if not _compiled(x_KHC):
        return _sparse_torch.attend(block, x_KHC, source_KH, target_RH, negative_slope)
    out = _Attend.apply(x_KHC, source_KH, target_RH, block, negative_slope)  # type: ignore[no-untyped-call]  # as above
    return cast("Tensor", out)


def scatter_add_rows_(target_ND: Tensor, index_M: Tensor, source_MD: Tensor) -> Tensor:
    """Add row i of `source` to row ``index[i]`` of `target`, in place and in the order of i.

    Parameters
    ----------
    target_ND : Tensor
        float, (N, D), changed in place.
    index_M : Tensor
        int32 or int64, (M,), in 0 .. N - 1; may repeat.
    source_MD : Tensor
        float, (M, D).

    Returns
    -------
    Tensor
        `target`.

    Notes
    -----
    Not differentiable. torch's ``index_add_`` where the compiled kernel does not apply: another device or
    dtype, a target that is not row-major.
    """
    if _compiled(target_ND) and target_ND.is_contiguous() and source_MD.dtype == target_ND.dtype:
        index = _array(index_M.to(torch.int32))
        sparse.add_rows(index, _array(source_MD), target_ND.detach().numpy(), torch.get_num_threads())
        return target_ND
    return target_ND.index_add_(0, index_M, source_MD)
