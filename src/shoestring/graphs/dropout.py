"""Dropout whose mask belongs to the vertex: the same for every copy, partition, rank and recomputation.

Shapes: R rows, D width.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed
from shoestring.native import sparse

__all__ = ["dropout_key", "dropout_rows"]

_LOW32 = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9
_GOLDEN64 = 0x9E3779B97F4A7C15 - (1 << 64)  # as int64


def dropout_key(seed: int, epoch: int, layer: int) -> int:
    """Derive the 63-bit key of one layer's masks in one epoch."""
    return derive_seed(seed, "dropout", epoch, layer)


def dropout_rows(x_RD: Tensor, p: float, key: int, vertices: Tensor) -> Tensor:
    """Set every value to 0 with probability `p`, and divide the others by ``1 - p``.

    Parameters
    ----------
    x_RD : Tensor
        float, (R, D).
    p : float
        Probability, 0 <= p < 1; 0 returns `x`.
    key : int
        From `dropout_key`.
    vertices : Tensor
        int64, (R,): the global id of every row. Whether value (r, d) is kept depends on the key, the id and
        d, on nothing else.

    Returns
    -------
    Tensor
        (R, D).

    Notes
    -----
    A counter-based generator: the 64-bit finaliser of splitmix (Steele, Lea, Flood, OOPSLA 2014) makes two
    words of the key and the vertex; a 32-bit finaliser (C. Wellons' lowbias32) mixes each with the channel.
    """
    if not 0.0 <= p < 1.0:
        raise ConfigError(f"dropout={p} is outside 0 <= dropout < 1; 0.5 is usual")
    if p == 0.0:
        return x_RD
    threshold = min(round(p * 2**32), _LOW32)
    if x_RD.device.type == "cpu" and x_RD.dtype in (torch.float32, torch.float64):
        out = _Dropout.apply(x_RD, threshold, 1.0 / (1.0 - p), key, vertices)  # type: ignore[no-untyped-call]  # torch
        return cast("Tensor", out)
    keep_RD = _random_words(x_RD.shape[1], key, vertices) >= threshold
    return x_RD * keep_RD.to(x_RD.dtype).mul_(1.0 / (1.0 - p))


class _Dropout(torch.autograd.Function):
    """Keeps no mask: the backward pass draws it again."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x_RD: Tensor, threshold: int, scale: float, key: int, vertices: Tensor
    ) -> Tensor:
        cast("Any", ctx).how = (threshold, scale, key, vertices)
        return _drop(x_RD, threshold, scale, key, vertices)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _drop(grads[0], *cast("Any", ctx).how), None, None, None, None


def _drop(x_RD: Tensor, threshold: int, scale: float, key: int, vertices: Tensor) -> Tensor:
    out_RD = torch.empty_like(x_RD, memory_format=torch.contiguous_format)
    sparse.dropout_rows(
        x_RD.detach().contiguous().numpy(),
        out_RD.numpy(),
        vertices.contiguous().numpy(),
        key,
        threshold,
        scale,
        torch.get_num_threads(),
    )
    return out_RD


def _random_words(width: int, key: int, vertices: Tensor) -> Tensor:
    """Make (R, width) numbers in 0 .. 2**32 - 1, int64."""
    state_R = _mix64(vertices * _GOLDEN64 + key)
    low_R, high_R = state_R & _LOW32, (state_R >> 32) & _LOW32
    steps_D = (torch.arange(1, width + 1, device=vertices.device) * _GOLDEN) & _LOW32
    words_RD = _mix32_((low_R.unsqueeze(1) + steps_D).bitwise_and_(_LOW32))
    return _mix32_(words_RD.bitwise_xor_(high_R.unsqueeze(1)))


def _mix64(z: Tensor) -> Tensor:
    """Finalise int64 words as if they were unsigned (products wrap)."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * (0xBF58476D1CE4E5B9 - (1 << 64))
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * (0x94D049BB133111EB - (1 << 64))
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def _mix32_(z: Tensor) -> Tensor:
    """Finalise 32-bit words held in int64, in place."""
    z.bitwise_xor_(z >> 16).mul_(0x7FEB352D).bitwise_and_(_LOW32)
    z.bitwise_xor_(z >> 15).mul_(0x846CA68B).bitwise_and_(_LOW32)
    return z.bitwise_xor_(z >> 16)
