"""Run an integer program with torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from shoestring.compression.export._program import INPUT, IntegerWeight, Node, Program
from shoestring.compression.quantizers import code_bounds
from shoestring.core.errors import DataError

__all__ = ["IntegerModel"]


class IntegerModel(nn.Module):
    """A saved integer classifier: (N, C, H, W) float images in, (N, classes) logits out.

    Weights are kept as int8 codes and dequantised at every forward; activations are fake-quantised where the
    program says so. Arithmetic is in the dtype of the images' model: float32, or float64 after ``.double()``.
    There is nothing to train: use the `QuantizedModel` for that.

    Parameters
    ----------
    program : Program
        From `build_program`, or from a file (`load_integer`).
    manifest : mapping, optional
        The manifest of the file it came from.
    """

    _reference: Tensor

    def __init__(self, program: Program, manifest: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.program = program
        self.manifest = dict(manifest or {})
        self.register_buffer("_reference", torch.zeros(()), persistent=False)
        self._weights = {name: _Codes(weight) for name, weight in program.weights.items()}
        self._tensors = {
            name: _Constant(torch.from_numpy(value.copy())) for name, value in program.tensors.items()
        }
        self._held = nn.ModuleList([*self._weights.values(), *self._tensors.values()])
        self.train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of `images`.

        Parameters
        ----------
        images : Tensor of shape (N, C, H, W)
            Normalised as the manifest's ``input`` says; converted to the dtype of the model.

        Raises
        ------
        DataError
            If the shape is another than the program was made for.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.program.image_shape:
            wanted = ", ".join(map(str, self.program.image_shape))
            raise DataError(
                f"images of shape {tuple(images.shape)} do not fit this model; give (N, {wanted})"
            )
        values = {INPUT: images.to(self._reference.dtype)}
        for node in self.program.nodes:
            values[node.name] = _RUN[node.op](self, node, [values[name] for name in node.inputs])
        return values[self.program.nodes[-1].name]

    def extra_repr(self) -> str:
        """Shape, size and number of operations."""
        shape = "x".join(map(str, self.program.image_shape))
        return f"images={shape}, classes={self.program.num_classes}, operations={len(self.program.nodes)}"

    def weight(self, name: str) -> Tensor:
        """Return a layer's weight, ``(codes - zero_point) * scale``, in the dtype of the model."""
        held = self._weights[name]
        codes = held.codes.to(self._reference.dtype)
        shape = (-1, *[1] * (codes.ndim - 1))
        return (codes - held.zero_point.to(codes.dtype).view(shape)) * held.scale.view(shape)

    def tensor(self, name: str | None) -> Tensor | None:
        """Return a bias or the parameters of a BatchNorm, in the dtype of the model; None for None."""
        return None if name is None else self._tensors[name].value


class _Codes(nn.Module):
    """Buffers of one weight; ``.double()`` leaves the integers alone."""

    codes: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, weight: IntegerWeight) -> None:
        super().__init__()
        for name in ("codes", "scale", "zero_point"):
            self.register_buffer(name, torch.from_numpy(getattr(weight, name).copy()))


class _Constant(nn.Module):
    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)


def _conv2d(model: IntegerModel, node: Node, xs: Sequence[Tensor]) -> Tensor:
    a = node.attributes
    x, padding = _split_padding(xs[0], a["padding"], 0.0)
    weight, bias = model.weight(a["weight"]), model.tensor(a["bias"])
    return functional.conv2d(x, weight, bias, a["stride"], padding, a["dilation"], a["groups"])


def _batch_norm(model: IntegerModel, node: Node, xs: Sequence[Tensor]) -> Tensor:
    rows = model.tensor(node.attributes["parameters"])
    assert rows is not None, "checked when the program was read"
    weight, bias, mean, var = rows
    return functional.batch_norm(xs[0], mean, var, weight, bias, False, 0.0, node.attributes["eps"])


def _quantize(model: IntegerModel, node: Node, xs: Sequence[Tensor]) -> Tensor:  # noqa: ARG001
    a = node.attributes
    low, high = code_bounds(a["bits"])
    # scale is a float32 number, so dividing by the Python float rounds as dividing by the tensor does
    codes = torch.div(xs[0], a["scale"]).round_()
    return codes.clamp_(low - a["zero_point"], high - a["zero_point"]).mul_(a["scale"])


def _max_pool(model: IntegerModel, node: Node, xs: Sequence[Tensor]) -> Tensor:  # noqa: ARG001
    a = node.attributes
    x, padding = _split_padding(xs[0], a["padding"], float("-inf"))
    return functional.max_pool2d(x, a["kernel"], a["stride"], padding, a["dilation"])


def _avg_pool(model: IntegerModel, node: Node, xs: Sequence[Tensor]) -> Tensor:  # noqa: ARG001
    a = node.attributes
    top, bottom, left, right = a["padding"]
    if (top, left) == (bottom, right):
        return functional.avg_pool2d(
            xs[0], a["kernel"], a["stride"], (top, left), False, a["count_include_pad"]
        )
    mean = functional.avg_pool2d(functional.pad(xs[0], (left, right, top, bottom)), a["kernel"], a["stride"])
    if a["count_include_pad"]:
        return mean
    inside = functional.pad(torch.ones_like(xs[0][:1, :1]), (left, right, top, bottom))
    return mean / functional.avg_pool2d(inside, a["kernel"], a["stride"])


def _pad(model: IntegerModel, node: Node, xs: Sequence[Tensor]) -> Tensor:  # noqa: ARG001
    flat = [n for pair in reversed(node.attributes["pads"]) for n in pair]
    return functional.pad(xs[0], flat, value=node.attributes["value"])


def _slice(model: IntegerModel, node: Node, xs: Sequence[Tensor]) -> Tensor:  # noqa: ARG001
    return xs[0][(slice(None), *[slice(*r) for r in node.attributes["ranges"]])]


def _split_padding(x: Tensor, padding: Sequence[int], value: float) -> tuple[Tensor, tuple[int, int]]:
    """Leave even padding to the operation; apply uneven padding here."""
    top, bottom, left, right = padding
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom), value=value), (0, 0)


_RUN: Mapping[str, Callable[[IntegerModel, Node, Sequence[Tensor]], Tensor]] = {
    "conv2d": _conv2d,
    "linear": lambda m, n, xs: functional.linear(
        xs[0], m.weight(n.attributes["weight"]), m.tensor(n.attributes["bias"])
    ),
    "batch_norm": _batch_norm,
    "relu": lambda _m, _n, xs: functional.relu(xs[0]),
    "relu6": lambda _m, _n, xs: functional.relu6(xs[0]),
    "quantize": _quantize,
    "add": lambda _m, _n, xs: xs[0] + xs[1],
    "concat": lambda _m, n, xs: torch.cat(list(xs), n.attributes["axis"]),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": lambda _m, _n, xs: functional.adaptive_avg_pool2d(xs[0], 1),
    "mean": lambda _m, n, xs: xs[0].mean(n.attributes["axes"], n.attributes["keepdims"]),
    "flatten": lambda _m, _n, xs: xs[0].flatten(1),
    "reshape": lambda _m, n, xs: xs[0].reshape(len(xs[0]), *n.attributes["shape"]),
    "pad": _pad,
    "slice": _slice,
}
