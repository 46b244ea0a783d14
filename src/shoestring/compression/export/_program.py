"""The integer program: a classifier as a short list of plain operations, free of any framework.

Values are named; the first is ``"images"``, of shape (N, C, H, W). Every operation makes one value. Axes
count from the batch (0); padding is ``[top, bottom, left, right]``; pairs are ``[vertical, horizontal]``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["INPUT", "OPERATIONS", "IntegerWeight", "Node", "Program"]

INPUT = "images"
"""Name of the value that the program starts from."""

OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "conv2d": ("weight", "bias", "stride", "padding", "dilation", "groups"),
    "linear": ("weight", "bias"),
    "batch_norm": ("parameters", "eps"),
    "relu": (),
    "relu6": (),
    "quantize": ("bits", "scale", "zero_point", "low", "high"),
    "add": (),
    "concat": ("axis",),
    "max_pool": ("kernel", "stride", "padding", "dilation"),
    "avg_pool": ("kernel", "stride", "padding", "count_include_pad"),
    "global_avg_pool": (),
    "mean": ("axes", "keepdims"),
    "flatten": (),
    "reshape": ("shape",),
    "pad": ("pads", "value"),
    "slice": ("ranges",),
}
"""Every operation, and the attributes that it has.

``weight`` names an `IntegerWeight`; ``bias`` (or null) and ``parameters`` name a float tensor, the latter of
four rows: weight, bias, running mean, running variance. ``quantize`` maps x to ``(clip(round(x / scale) +
zero_point) - zero_point) * scale``, rounding half to even and clipping to codes of ``bits`` bits; ``low`` and
``high`` are the range it was made from. ``avg_pool`` divides by the number of pixels inside the image unless
``count_include_pad``. ``global_avg_pool`` keeps both axes (size 1). ``flatten`` keeps the batch and joins the
rest; ``reshape`` keeps the batch too, ``shape`` is the rest. ``pads`` is ``[before, after]`` and ``ranges``
``[start, stop, step]``, one for every axis but the batch.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One operation."""

    name: str
    """Name of the value it makes; unique."""
    op: str
    """A key of `OPERATIONS`."""
    inputs: tuple[str, ...]
    """Names of the values it takes, each made before."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """JSON values under the names that `OPERATIONS` lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegerWeight:
    """Codes of a weight with one grid an output channel: ``weight ~ (codes - zero_point) * scale``."""

    bits: int
    """2 to 8."""
    codes: NDArray[np.int8]
    """Shape (O, ...)."""
    scale: NDArray[np.float32]
    """Shape (O,)."""
    zero_point: NDArray[np.int64]
    """Shape (O,); far outside any small integer for a channel far from zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A whole classifier: (N, C, H, W) float images in, (N, classes) logits out."""

    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    num_classes: int
    nodes: tuple[Node, ...]
    """In an order in which they can run; the last makes the logits."""
    weights: Mapping[str, IntegerWeight]
    """Under the names of the layers."""
    tensors: Mapping[str, NDArray[np.float32]]
    """Biases and BatchNorm parameters."""
