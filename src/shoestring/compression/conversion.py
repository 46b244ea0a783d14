"""Turn a float convolutional classifier into its fake-quantised twin, through its torch.fx graph.

Every Conv2d and Linear (first and last included) gets quantised weights; every call of a ReLU or ReLU6, as a module,
function or method, gets an activation quantiser of its own right after it, so a ReLU module that is called twice has
two ranges. BatchNorm is not folded. Anything the method does not cover is refused by name.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from operator import add, floordiv, getitem, iadd, mul
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from shoestring.compression.quantizers import (
    ActivationQuantizer,
    QuantizedConv2d,
    QuantizedLinear,
    code_bounds,
)
from shoestring.core.errors import ConfigError, UnsupportedModelError

__all__ = ["QuantConfig", "QuantizedModel", "final_linear", "quantize_model", "require_batch_norm", "trace"]

RELU_MODULES = (nn.ReLU, nn.ReLU6)
RELU_FUNCTIONS = (F.relu, F.relu6, torch.relu, torch.relu_)
RELU_METHODS = ("relu", "relu_")
PLAIN_MODULES = (
    nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d,
)  # fmt: skip
PLAIN_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    add, iadd, torch.add, torch.flatten, torch.cat, torch.mean, F.pad, F.avg_pool2d, F.max_pool2d,
    F.adaptive_avg_pool2d, F.dropout, getattr, getitem, mul, floordiv,
)  # fmt: skip
PLAIN_METHODS = ("add", "add_", "flatten", "view", "reshape", "mean", "size", "contiguous")
LEAVES = (nn.Conv2d, nn.Linear, *RELU_MODULES, *PLAIN_MODULES, QuantizedConv2d, QuantizedLinear, ActivationQuantizer)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantConfig:
    """Widths of weights and activations."""

    w_bits: int = 4
    """Bits of every Conv2d and Linear weight, 2 to 8."""
    a_bits: int = 4
    """Bits after every ReLU, 2 to 8."""
    range_beta: float = 0.9
    """Memory of the activation-range average, in [0, 1)."""
    first_last: Literal["same", "8"] = "same"
    """Bits of the first convolution's and the last layer's weights: as all others (the paper), or 8."""

    def __post_init__(self) -> None:
        code_bounds(self.w_bits)
        code_bounds(self.a_bits)
        if not 0 <= self.range_beta < 1:
            raise ConfigError(f"range_beta={self.range_beta} is outside [0, 1)")


class QuantizedModel(nn.Module):
    """A fake-quantised classifier: (B, C, H, W) float images in, (B, classes) logits out.

    Always in evaluation mode (running statistics stay the teacher's), as the method requires; parameters, among them
    the float master weights, can be trained all the same. Parameter names are those of the float model.
    """

    def __init__(self, graph: fx.GraphModule, config: QuantConfig) -> None:
        super().__init__()
        self.graph_module = graph
        self.config = config
        self.train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of `images`."""
        logits: Tensor = self.graph_module(images)
        return logits

    def train(self, mode: bool = True) -> "QuantizedModel":  # noqa: ARG002  # the signature is torch's
        """Stay in evaluation mode whatever `mode` is."""
        return super().train(False)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.GraphModule:
    """Return the graph of a deep copy of `model`, in evaluation mode.

    Raises
    ------
    UnsupportedModelError
        If the forward pass depends on the data, or calls what cannot be traced.
    """
    copied = copy.deepcopy(model).eval()
    try:
        return fx.GraphModule(copied, _Tracer().trace(copied))
    except (fx.proxy.TraceError, TypeError, RuntimeError, NotImplementedError) as e:
        raise UnsupportedModelError(
            f"{type(model).__name__} cannot be traced by torch.fx: {e}. Its forward must not branch on tensor values; "
            "wrap such code away, or give a model of plain layers"
        ) from e


def quantize_model(model: nn.Module, config: QuantConfig) -> QuantizedModel:
    """Return the fake-quantised twin of `model`; `model` itself is left as it was.

    Parameters
    ----------
    model : nn.Module
        A classifier of Conv2d, Linear, BatchNorm2d, ReLU/ReLU6, pooling, additions, concatenations and dropout.
    config : QuantConfig
        Bits and range memory.

    Returns
    -------
    QuantizedModel
        With ranges still unset: run batches through it inside `observing`.

    Raises
    ------
    UnsupportedModelError
        Naming the layer or operation that is not covered, and what to do.
    """
    graph = trace(model)
    check_supported(graph)
    layers = [n for n in graph.graph.nodes if n.op == "call_module" and isinstance(_module(graph, n), nn.Conv2d | nn.Linear)]
    if not layers:
        raise UnsupportedModelError(f"{type(model).__name__} has no Conv2d or Linear to quantise; give a classifier")
    ends = {layers[0].target, layers[-1].target} if config.first_last == "8" else set()
    for name in dict.fromkeys(str(n.target) for n in layers):
        layer = graph.get_submodule(name)
        bits = 8 if name in ends else config.w_bits
        made = (QuantizedConv2d if isinstance(layer, nn.Conv2d) else QuantizedLinear).from_float(layer, bits)  # type: ignore[arg-type]  # checked in the line
        graph.set_submodule(name, made)
    _insert_activation_quantizers(graph, config)
    graph.graph.lint()
    graph.recompile()
    return QuantizedModel(graph, config)


def _insert_activation_quantizers(graph: fx.GraphModule, config: QuantConfig) -> None:
    sites = [n for n in graph.graph.nodes if is_relu(graph, n)]
    for i, node in enumerate(sites):
        name = f"activation_{i}"
        graph.add_submodule(name, ActivationQuantizer(config.a_bits, config.range_beta))
        with graph.graph.inserting_after(node):
            made = graph.graph.call_module(name, (node,))
        node.replace_all_uses_with(made, delete_user_cb=lambda user, made=made: user is not made)


def is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the node applies a ReLU or ReLU6."""
    if node.op == "call_module":
        return isinstance(_module(graph, node), RELU_MODULES)
    if node.op == "call_function":
        return node.target in RELU_FUNCTIONS
    return node.op == "call_method" and node.target in RELU_METHODS


def check_supported(graph: fx.GraphModule) -> None:
    """Refuse, by name, what the quantiser would leave in float without a word."""
    for node in graph.graph.nodes:
        if node.op == "call_module":
            _check_module(str(node.target), _module(graph, node))
        elif node.op in ("call_function", "call_method") and not is_relu(graph, node):
            allowed = PLAIN_FUNCTIONS if node.op == "call_function" else PLAIN_METHODS
            if node.target not in allowed:
                what = getattr(node.target, "__name__", node.target)
                raise UnsupportedModelError(
                    f"operation {what!r} (graph node {node.name!r}) is not supported; allowed are convolutions, linear "
                    "layers, BatchNorm2d, ReLU, ReLU6, pooling, addition, concatenation and reshaping. "
                    "Replace it, or quantise the model in parts"
                )
        elif node.op == "get_attr":
            raise UnsupportedModelError(
                f"the forward pass uses the tensor {node.target!r} directly; only layers may hold parameters. "
                "Wrap it in a Conv2d or Linear"
            )


def _check_module(name: str, layer: nn.Module) -> None:
    kind = type(layer).__name__
    if isinstance(layer, nn.MultiheadAttention | nn.LayerNorm):
        raise UnsupportedModelError(
            f"layer {name!r} ({kind}) belongs to a transformer; this method covers convolutional networks with "
            "BatchNorm2d. For transformers see MimiQ (AAAI 2025), or quantise weights only with another tool"
        )
    if not isinstance(layer, (nn.Conv2d, nn.Linear, *RELU_MODULES, *PLAIN_MODULES)):
        raise UnsupportedModelError(
            f"layer {name!r} ({kind}) is not supported; activations are quantised after ReLU or ReLU6 only. "
            "Replace it (e.g. SiLU or GELU by ReLU) and fine-tune the float model first"
        )
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        raise UnsupportedModelError(f"layer {name!r} pads with {layer.padding_mode!r}; only 'zeros' is supported")
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is None:
        raise UnsupportedModelError(
            f"layer {name!r} (BatchNorm2d) keeps no running statistics; train with track_running_stats=True"
        )


def require_batch_norm(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the model's BatchNorm2d layers, whose running statistics stand in for the data.

    Raises
    ------
    UnsupportedModelError
        If there is none: the model never had any, or they were folded into the convolutions.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    if layers:
        return layers
    convs = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    folded = f"convolution {convs[0]!r} has no BatchNorm2d after it (was it folded?)" if convs else "there is no Conv2d either"
    raise UnsupportedModelError(
        f"{type(model).__name__} has no BatchNorm2d, whose running statistics this method needs: {folded}. Export the model before "
        "folding, or calibrate with images (method 'real-calibration'); for transformers see MimiQ (AAAI 2025)"
    )


def final_linear(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return name and layer that makes the logits: the last Linear, or a 1x1 convolution head.

    Raises
    ------
    UnsupportedModelError
        If the last weighted layer is neither.
    """
    weighted = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if weighted:
        name, layer = weighted[-1]
        if isinstance(layer, nn.Linear) or layer.kernel_size == (1, 1):
            return name, layer
    raise UnsupportedModelError(
        f"{type(model).__name__} does not end in a Linear or 1x1 convolution, so its classes have no weight rows; "
        "set init_from_teacher=False"
    )


def _module(graph: fx.GraphModule, node: fx.Node) -> nn.Module:
    return graph.get_submodule(str(node.target))
