"""Uniform asymmetric quantisers with a straight-through gradient (the substrate of GDFQ).

A grid of `bits` bits over [low, high] has ``scale = max(high - low, 1e-8) / (2**bits - 1)`` and the integer
``zero_point = -round(low / scale) - 2**(bits - 1)``. Then
``code = clamp(round(x / scale) + zero_point, -2**(bits - 1), 2**(bits - 1) - 1)`` and
``x ~ (code - zero_point) * scale``, rounding half to even: the arithmetic of ONNX QuantizeLinear and
DequantizeLinear. Weights have one grid an output channel, recomputed from the float master weights at every
forward; activations one grid a tensor, from an exponential average of batch ranges.

References
----------
GDFQ (Xu et al., ECCV 2020), quantiser of the released code; Qimera (Choi et al., NeurIPS 2021) uses it
unchanged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from shoestring.core.errors import ConfigError, NotFittedError

__all__ = [
    "ActivationQuantizer",
    "Grid",
    "QuantizedConv2d",
    "QuantizedLinear",
    "activation_quantizers",
    "code_bounds",
    "dequantize",
    "fake_quantize",
    "observing",
    "quantize",
    "quantized_layers",
    "range_grid",
    "weight_codes",
    "weight_grid",
]

RANGE_FLOOR = 1e-8
_UNSEEN = "this activation range has seen no batch; run images through the model inside `observing` first"


class Grid(NamedTuple):
    """Step and integer offset of a uniform grid; both scalars, or one entry an output channel.

    `zero_point` holds whole numbers as floats: for a channel far from zero it exceeds any small integer type.
    """

    scale: Tensor
    zero_point: Tensor


def code_bounds(bits: int) -> tuple[int, int]:
    """Return the least and the greatest signed code.

    Parameters
    ----------
    bits : int
        2 to 8.

    Returns
    -------
    tuple of int
        ``-2**(bits - 1)`` and ``2**(bits - 1) - 1``.

    Raises
    ------
    ConfigError
        If `bits` is outside 2 to 8.
    """
    if not 2 <= bits <= 8:
        raise ConfigError(f"bits={bits} is not supported; give 2 to 8")
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def range_grid(low: Tensor, high: Tensor, bits: int) -> Grid:
    """Lay a grid of `bits` bits over [low, high], elementwise.

    Parameters
    ----------
    low, high : Tensor
        Ends of the range, equal shapes, ``low <= high``. A range narrower than 1e-8 is widened to that.
    bits : int
        2 to 8.

    Returns
    -------
    Grid
        Of the shape of `low`.

    Raises
    ------
    ConfigError
        If `bits` is outside 2 to 8.
    """
    code_min, code_max = code_bounds(bits)
    scale = (high - low).clamp_min(RANGE_FLOOR) / (code_max - code_min)
    return Grid(scale, -torch.round(low / scale) + code_min)


def quantize(x: Tensor, grid: Grid, bits: int) -> Tensor:
    """Return the codes of `x`.

    Parameters
    ----------
    x : Tensor
        Floating, any shape.
    grid : Grid
        Broadcasts against `x`.
    bits : int
        2 to 8.

    Returns
    -------
    Tensor
        Whole numbers within `code_bounds`, in the shape and dtype of `x`.

    Raises
    ------
    ConfigError
        If `bits` is outside 2 to 8.
    """
    code_min, code_max = code_bounds(bits)
    return torch.div(x, grid.scale).round_().add_(grid.zero_point).clamp_(code_min, code_max)


def dequantize(codes: Tensor, grid: Grid) -> Tensor:
    """Return the values that codes stand for.

    Parameters
    ----------
    codes : Tensor
        As `quantize` gives them.
    grid : Grid
        The same as in `quantize`.

    Returns
    -------
    Tensor
        ``(codes - zero_point) * scale``, in the shape of `codes`.
    """
    return torch.sub(codes, grid.zero_point).mul_(grid.scale)


def fake_quantize(x: Tensor, grid: Grid, bits: int) -> Tensor:
    """Quantise and dequantise in one differentiable step.

    Parameters
    ----------
    x : Tensor
        Floating, any shape.
    grid : Grid
        Two scalars, or one entry a leading channel, shaped to broadcast.
    bits : int
        2 to 8.

    Returns
    -------
    Tensor
        ``dequantize(quantize(x))``. The gradient passes to `x` unchanged, also outside the range;
        none reaches the grid.

    Raises
    ------
    ConfigError
        If `bits` is outside 2 to 8.
    """
    rounded: Tensor = _StraightThrough.apply(x, *grid, bits)  # type: ignore[no-untyped-call]  # torch's stub
    return rounded


class _StraightThrough(torch.autograd.Function):
    """Three in-place passes over one new buffer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, bits: int) -> Tensor:  # noqa: ARG004
        code_min, code_max = code_bounds(bits)
        # clamp(r + z) - z == clamp(r, lo - z, hi - z): two passes fewer
        out = torch.div(x, scale).round_()
        if zero_point.ndim == 0 and x.device.type == "cpu":
            offset = zero_point.item()  # scalar bounds are faster, and cost no device sync here
            return out.clamp_(code_min - offset, code_max - offset).mul_(scale)
        return out.clamp_(code_min - zero_point, code_max - zero_point).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ARG004
        return grads[0], None, None, None


def weight_grid(weight: Tensor, bits: int) -> Grid:
    """Lay one grid over each output channel, from its least to its greatest value.

    Parameters
    ----------
    weight : Tensor
        (O, ...), of rank 2 or more.
    bits : int
        2 to 8.

    Returns
    -------
    Grid
        `scale` and `zero_point` of shape (O, 1, ..., 1), ready to broadcast over `weight`.

    Raises
    ------
    ConfigError
        If `bits` is outside 2 to 8.
    """
    w = weight.detach()
    dims = tuple(range(1, w.ndim))
    return range_grid(w.amin(dims, keepdim=True), w.amax(dims, keepdim=True), bits)


def weight_codes(weight: Tensor, bits: int) -> tuple[Tensor, Grid]:
    """Return the integer codes of a weight.

    Parameters
    ----------
    weight : Tensor
        (O, ...), of rank 2 or more.
    bits : int
        2 to 8.

    Returns
    -------
    tuple
        int8 codes in the shape of `weight`, and the `Grid` of `weight_grid`.

    Raises
    ------
    ConfigError
        If `bits` is outside 2 to 8.
    """
    grid = weight_grid(weight, bits)
    return quantize(weight.detach(), grid, bits).to(torch.int8), grid


Quantized = TypeVar("Quantized", bound="QuantizedConv2d | QuantizedLinear")


class QuantizedConv2d(nn.Conv2d):
    """A Conv2d whose float master weight is fake-quantised per output channel at every forward.

    The bias stays float. Made by `from_float`.
    """

    w_bits: int

    @classmethod
    def from_float(cls, layer: nn.Conv2d, bits: int) -> Self:
        """Take over the parameters of `layer` (no copy) with `bits` bits."""
        return _take_over(cls.__new__(cls), layer, bits)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, O, H', W')."""
        out: Tensor = self._conv_forward(x, _fake_quantized_weight(self), self.bias)
        return out


class QuantizedLinear(nn.Linear):
    """A Linear whose float master weight is fake-quantised per output row at every forward.

    The bias stays float. Made by `from_float`.
    """

    w_bits: int

    @classmethod
    def from_float(cls, layer: nn.Linear, bits: int) -> Self:
        """Take over the parameters of `layer` (no copy) with `bits` bits."""
        return _take_over(cls.__new__(cls), layer, bits)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., I) to (..., O)."""
        return nn.functional.linear(x, _fake_quantized_weight(self), self.bias)


def _take_over(made: Quantized, layer: nn.Module, bits: int) -> Quantized:
    code_bounds(bits)
    made.__dict__ = layer.__dict__.copy()
    made.w_bits = bits
    return made


def _fake_quantized_weight(layer: QuantizedConv2d | QuantizedLinear) -> Tensor:
    grid = weight_grid(layer.weight, layer.w_bits)
    return fake_quantize(layer.weight, grid, layer.w_bits)


class ActivationQuantizer(nn.Module):
    """Per-tensor fake quantiser whose range is an exponential average of batch minima and maxima.

    While `live`, every call updates ``m = beta * m + (1 - beta) * batch`` and uses ``m / (1 - beta**t)``; the
    bias-corrected value is never stored back into ``m`` (the released code does, which inflates short runs a
    thousandfold). The lower end is kept at or below zero so that 0.0, the value of padding and of a ReLU at
    rest, is exact.

    Parameters
    ----------
    bits : int
        2 to 8.
    beta : float
        Memory of the average, in [0, 1).

    Raises
    ------
    ConfigError
        If `bits` or `beta` is outside its range.
    """

    mean_low: Tensor
    mean_high: Tensor
    num_batches: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, bits: int, beta: float = 0.9) -> None:
        super().__init__()
        code_bounds(bits)
        if not 0 <= beta < 1:
            raise ConfigError(f"beta={beta} is outside [0, 1)")
        self.bits = bits
        self.beta = beta
        self.live = False
        for name in ("mean_low", "mean_high"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scale", torch.zeros(()))
        self.register_buffer("zero_point", torch.zeros(()))

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Take one batch into the average and renew `scale` and `zero_point`."""
        low, high = x.aminmax()
        for mean, new in ((self.mean_low, low), (self.mean_high, high)):
            mean.mul_(self.beta).add_(new.double(), alpha=1 - self.beta)
        self.num_batches += 1
        low, high = self.averaged_range()
        grid = range_grid(low.to(self.scale.dtype), high.to(self.scale.dtype), self.bits)
        self.scale.copy_(grid.scale)
        self.zero_point.copy_(grid.zero_point)

    def averaged_range(self) -> tuple[Tensor, Tensor]:
        """Return the bias-corrected ends as two float64 scalars; low <= 0 <= high.

        Raises
        ------
        NotFittedError
            If no batch was seen.
        """
        if not self.num_batches:
            raise NotFittedError(_UNSEEN)
        unbias = 1 - self.beta ** int(self.num_batches)
        return (self.mean_low / unbias).clamp_max(0), (self.mean_high / unbias).clamp_min(0)

    @property
    def grid(self) -> Grid:
        """The grid in use (two scalars)."""
        return Grid(self.scale, self.zero_point)

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise `x` of any shape, after observing it when live.

        Raises
        ------
        NotFittedError
            If the range was never set.
        """
        if self.live:
            self.observe(x)
        elif self.scale == 0:
            raise NotFittedError(_UNSEEN)
        return fake_quantize(x, self.grid, self.bits)

    def extra_repr(self) -> str:
        """Show bits and number of batches seen."""
        return f"bits={self.bits}, num_batches={int(self.num_batches)}"


def activation_quantizers(model: nn.Module) -> dict[str, ActivationQuantizer]:
    """Return the activation quantisers of a model.

    Parameters
    ----------
    model : nn.Module
        Usually a `QuantizedModel`.

    Returns
    -------
    dict
        Name to quantiser, in the order of the model.
    """
    return {n: m for n, m in model.named_modules() if isinstance(m, ActivationQuantizer)}


def quantized_layers(model: nn.Module) -> dict[str, QuantizedConv2d | QuantizedLinear]:
    """Return the layers of a model whose weights are quantised.

    Parameters
    ----------
    model : nn.Module
        Usually a `QuantizedModel`.

    Returns
    -------
    dict
        Name to layer, in the order of the model.
    """
    return {n: m for n, m in model.named_modules() if isinstance(m, QuantizedConv2d | QuantizedLinear)}


@contextmanager
def observing(model: nn.Module) -> Iterator[None]:
    """Let every activation range of a model follow the data inside the block; frozen again after it.

    Parameters
    ----------
    model : nn.Module
        Usually a `QuantizedModel`.
    """
    quantizers = activation_quantizers(model).values()
    for q in quantizers:
        q.live = True
    try:
        yield
    finally:
        for q in quantizers:
            q.live = False
