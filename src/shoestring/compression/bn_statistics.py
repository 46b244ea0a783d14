"""Match the running statistics of a frozen teacher's BatchNorm2d layers, the only trace of its training data.

References
----------
ZeroQ (Cai et al., CVPR 2020), eq. 3; GDFQ (Xu et al., ECCV 2020), eq. 4. Reduction as in the released GDFQ
code: mean over layers of the mean squared errors of batch means and biased batch variances.
"""

from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from shoestring.compression.conversion import require_batch_norm
from shoestring.core.errors import DataError

__all__ = ["BatchNormMatcher", "batch_moments"]


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over a batch.

    Parameters
    ----------
    x : Tensor
        Floating, (B, C, H, W), any memory layout.

    Returns
    -------
    tuple of Tensor
        Mean and variance, both (C,), differentiable once.

    Notes
    -----
    One pass forward and one backward, where `torch.var_mean` over three dimensions is slow on a CPU.
    """
    mean, var = _BatchMoments.apply(x)  # type: ignore[no-untyped-call]  # torch's stub
    return mean, var


class _BatchMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, var = torch.batch_norm_update_stats(x, None, None, 0.1)
        ctx.save_for_backward(x, mean)
        return mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        grad_mean, grad_var = grads
        count = x.numel() // x.shape[1]
        slope = grad_var * (2 / count)
        offset = grad_mean / count - slope * mean
        return torch.addcmul(offset.view(1, -1, 1, 1), x, slope.view(1, -1, 1, 1))


class BatchNormMatcher:
    """Runs a frozen teacher: its logits, and the BatchNorm-statistics loss of the same batch.

    A context manager: the hooks exist only inside the ``with`` block, and each call sees its own batch alone.

    Parameters
    ----------
    teacher : nn.Module
        A model in evaluation mode with at least one BatchNorm2d; all of them keep running statistics.

    Raises
    ------
    UnsupportedModelError
        If the teacher has no BatchNorm2d, or one without running statistics.
    """

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher
        self.layers = require_batch_norm(teacher)
        self._losses: list[Tensor] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        self._hooks = [m.register_forward_pre_hook(self._collect) for m in self.layers]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._losses.clear()

    def _collect(self, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        mean, var = batch_moments(args[0].float())
        error = (mean - layer.running_mean).square().mean() + (var - layer.running_var).square().mean()
        self._losses.append(error)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher's logits (B, classes) and the scalar statistics loss of `images` (B, C, H, W).

        Raises
        ------
        DataError
            If there are fewer than two images.
        """
        assert self._hooks, "use BatchNormMatcher inside a with block"
        if len(images) < 2:
            raise DataError(f"a batch of {len(images)} image has no batch statistics; give at least 2")
        self._losses.clear()
        logits = self.teacher(images)
        loss = torch.stack(self._losses).mean()
        self._losses.clear()
        return logits, loss
