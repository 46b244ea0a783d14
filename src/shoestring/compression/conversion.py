"""Turn a float convolutional classifier into its fake-quantised twin, through its torch.fx graph.

Every Conv2d and Linear (first and last included) gets quantised weights; every call of a ReLU or ReLU6, as a
module, function or method, gets an activation quantiser of its own right after it, so a ReLU module that is
called twice has two ranges. BatchNorm is not folded. Anything the method does not cover is refused by name.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from operator import add, floordiv, getitem, iadd, mul
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from shoestring.compression.quantizers import (
    ActivationQuantizer,
    QuantizedConv2d,
    QuantizedLinear,
    code_bounds,
)
from shoestring.core.errors import ConfigError, UnsupportedModelError

__all__ = [
    "QuantConfig",
    "QuantizedModel",
    "check_supported",
    "device_of",
    "final_linear",
    "is_relu",
    "quantize_model",
    "require_batch_norm",
    "reshape_views_",
    "trace",
]

WEIGHTED_MODULES = (nn.Conv2d, nn.Linear)
RELU_MODULES = (nn.ReLU, nn.ReLU6)
RELU_FUNCTIONS = (functional.relu, functional.relu6, torch.relu, torch.relu_)
RELU_METHODS = ("relu", "relu_")
PLAIN_MODULES = (
    nn.BatchNorm2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
)
PLAIN_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    add,
    iadd,
    getitem,
    torch.add,
    torch.flatten,
    torch.cat,
    torch.mean,
    functional.pad,
    functional.avg_pool2d,
    functional.max_pool2d,
    functional.adaptive_avg_pool2d,
    functional.dropout,
)
SIZE_FUNCTIONS: tuple[Callable[..., Any], ...] = (add, mul, floordiv, getitem)
PLAIN_METHODS = ("add", "add_", "flatten", "view", "reshape", "mean", "size", "contiguous")
LEAVES = (
    *WEIGHTED_MODULES,
    *RELU_MODULES,
    *PLAIN_MODULES,
    QuantizedConv2d,
    QuantizedLinear,
    ActivationQuantizer,
)


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
            raise ConfigError(f"range_beta={self.range_beta} is outside [0, 1); the paper has 0.9")
        if self.first_last not in ("same", "8"):
            raise ConfigError(f"first_last={self.first_last!r} is not known; give 'same' or '8'")


class QuantizedModel(nn.Module):
    """A fake-quantised classifier: (B, C, H, W) float images in, (B, classes) logits out.

    Always in evaluation mode (running statistics stay the teacher's), as the method requires; parameters,
    among them the float master weights, can be trained all the same. Parameters are named as in the float
    model, with ``graph_module.`` in front.

    Parameters
    ----------
    graph : fx.GraphModule
        With quantised layers in it.
    config : QuantConfig
        What it was made with.
    """

    def __init__(self, graph: fx.GraphModule, config: QuantConfig) -> None:
        super().__init__()
        self.graph_module = graph
        self.config = config
        self.train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of `images`."""
        logits: Tensor = self.graph_module(images)
        return logits

    def train(self, mode: bool = True) -> "QuantizedModel":  # noqa: ARG002  # the signature is torch's
        """Stay in evaluation mode whatever `mode` is."""
        return super().train(False)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, module_qualified_name)


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are.

    Parameters
    ----------
    model : nn.Module
        On one device.

    Returns
    -------
    torch.device
        The CPU for a model without parameters.
    """
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def trace(model: nn.Module) -> fx.GraphModule:
    """Return the graph of a deep copy of a model, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        Left as it is.

    Returns
    -------
    fx.GraphModule
        With every layer that the substrate knows as one node.

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
            f"{type(model).__name__} cannot be traced by torch.fx: {e}. Its forward must not branch on "
            "tensor values; wrap such code away, or give a model of plain layers"
        ) from e


def reshape_views_(graph: fx.GraphModule) -> bool:
    """Turn every ``x.view(shape)`` into ``x.reshape(shape)``; return whether there was one.

    Values are the same, and channels-last images pass too.
    """
    views = [n for n in graph.graph.nodes if n.op == "call_method" and n.target == "view"]
    for node in views:
        node.target = "reshape"
    graph.recompile()
    return bool(views)


def quantize_model(model: nn.Module, config: QuantConfig) -> QuantizedModel:
    """Return the fake-quantised twin of a model.

    Parameters
    ----------
    model : nn.Module
        A classifier of Conv2d, Linear, BatchNorm2d, ReLU/ReLU6, pooling, additions, concatenations and
        dropout. It is left as it was.
    config : QuantConfig
        Bits and range memory.

    Returns
    -------
    QuantizedModel
        On the model's device, with ranges still unset: run batches through it inside `observing`.

    Raises
    ------
    UnsupportedModelError
        Naming the layer or operation that is not covered, and what to do.
    """
    graph = trace(model)
    check_supported(graph)
    reshape_views_(graph)
    names = list(dict.fromkeys(str(n.target) for n in graph.graph.nodes if _is_weighted(graph, n)))
    if not names:
        raise UnsupportedModelError(
            f"{type(model).__name__} has no Conv2d or Linear to quantise; give a classifier"
        )
    ends = {names[0], _last_weighted(graph)} if config.first_last == "8" else set()
    for name in names:
        layer = graph.get_submodule(name)
        bits = 8 if name in ends else config.w_bits
        if isinstance(layer, nn.Conv2d):
            graph.set_submodule(name, QuantizedConv2d.from_float(layer, bits))
        elif isinstance(layer, nn.Linear):
            graph.set_submodule(name, QuantizedLinear.from_float(layer, bits))
    _insert_activation_quantizers(graph, config, device_of(model))
    graph.graph.lint()
    graph.recompile()
    return QuantizedModel(graph, config)


def _insert_activation_quantizers(graph: fx.GraphModule, config: QuantConfig, device: torch.device) -> None:
    for i, node in enumerate([n for n in graph.graph.nodes if is_relu(graph, n)]):
        name = f"activation_{i}"
        while hasattr(graph, name):  # the model has a part of that name
            name += "_"
        graph.add_submodule(name, ActivationQuantizer(config.a_bits, config.range_beta).to(device))
        with graph.graph.inserting_after(node):
            made = graph.graph.call_module(name, (node,))
        node.replace_all_uses_with(made, delete_user_cb=lambda user, made=made: user is not made)


def is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Say whether a node applies a ReLU or ReLU6.

    Parameters
    ----------
    graph : fx.GraphModule
        Holds the node's module.
    node : fx.Node
        Any node of it.

    Returns
    -------
    bool
        True for the module, function and method forms.
    """
    if node.op == "call_module":
        return isinstance(_module(graph, node), RELU_MODULES)
    if node.op == "call_function":
        return node.target in RELU_FUNCTIONS
    return node.op == "call_method" and node.target in RELU_METHODS


def check_supported(graph: fx.GraphModule) -> None:
    """Refuse, by name, what the quantiser would leave in float without a word.

    Parameters
    ----------
    graph : fx.GraphModule
        As `trace` gives it.

    Raises
    ------
    UnsupportedModelError
        For the first layer, operation or tensor that is not covered.
    """
    for node in graph.graph.nodes:
        _check_in_place(graph, node)
        if node.op == "call_module":
            _check_module(str(node.target), _module(graph, node))
        elif node.op == "get_attr":
            raise UnsupportedModelError(
                f"the forward pass uses the tensor {node.target!r} directly; only layers may hold "
                "parameters. Wrap it in a Conv2d or Linear"
            )
        elif node.op in ("call_function", "call_method") and not _is_plain(graph, node):
            what = getattr(node.target, "__name__", node.target)
            raise UnsupportedModelError(
                f"operation {what!r} (graph node {node.name!r}) is not supported; allowed are convolutions, "
                "linear layers, BatchNorm2d, ReLU, ReLU6, pooling, addition, concatenation and reshaping. "
                "Replace it, or quantise the model in parts"
            )


def _check_in_place(graph: fx.GraphModule, node: fx.Node) -> None:
    """Refuse a ReLU in place whose input is read again: that read would miss the quantiser after the ReLU."""
    if not (is_relu(graph, node) and _is_in_place(graph, node)):
        return
    order = {n: i for i, n in enumerate(graph.graph.nodes)}
    for source in node.all_input_nodes:
        if any(order[user] > order[node] for user in source.users):
            raise UnsupportedModelError(
                f"graph node {node.name!r} applies a ReLU in place to {source.name!r}, which is read again "
                "later; use inplace=False, or read the result of the ReLU"
            )


def _is_in_place(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(_module(graph, node), "inplace", False))
    name = str(getattr(node.target, "__name__", node.target))
    return name.endswith("_") or node.kwargs.get("inplace") is True or node.args[1:] == (True,)


def _is_plain(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in PLAIN_METHODS or is_relu(graph, node)
    return node.target in PLAIN_FUNCTIONS or is_relu(graph, node) or _is_size(node)


def _is_size(node: fx.Node) -> bool:
    """Say whether a node is arithmetic on shapes, not on tensors."""
    if node.op == "call_method":
        return node.target == "size"
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim", "dtype", "device")
    inputs = node.all_input_nodes
    return node.target in SIZE_FUNCTIONS and bool(inputs) and all(_is_size(n) for n in inputs)


def _check_module(name: str, layer: nn.Module) -> None:
    kind = type(layer).__name__
    if isinstance(layer, nn.MultiheadAttention | nn.LayerNorm):
        raise UnsupportedModelError(
            f"layer {name!r} ({kind}) belongs to a transformer; this method covers convolutional networks "
            "with BatchNorm2d. For transformers see MimiQ (AAAI 2025), or quantise weights only with another "
            "tool"
        )
    if not isinstance(layer, (*WEIGHTED_MODULES, *RELU_MODULES, *PLAIN_MODULES)):
        raise UnsupportedModelError(
            f"layer {name!r} ({kind}) is not supported; allowed are Conv2d, Linear, BatchNorm2d, ReLU, "
            "ReLU6, pooling, Flatten, Identity and Dropout. Replace it (e.g. SiLU or GELU by ReLU) and "
            "fine-tune the float model first"
        )
    if isinstance(layer, WEIGHTED_MODULES) and not _computes_as_its_base(layer):
        raise UnsupportedModelError(
            f"layer {name!r} ({kind}) computes its weight or output in its own way, which would be lost; "
            "replace it by a plain Conv2d or Linear (torch.nn.utils.parametrize.remove_parametrizations "
            "bakes weights in)"
        )
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        raise UnsupportedModelError(
            f"layer {name!r} pads with {layer.padding_mode!r}; only 'zeros' is supported. Pad in front of it"
        )
    if isinstance(layer, nn.BatchNorm2d):
        _require_statistics(name, layer)


def _computes_as_its_base(layer: nn.Module) -> bool:
    """Say whether a Conv2d or Linear, or a subclass of one, has torch's own forward and weight."""
    if is_parametrized(layer):
        return False
    if isinstance(layer, nn.Conv2d):
        kind = type(layer)
        return (kind.forward, kind._conv_forward) == (nn.Conv2d.forward, nn.Conv2d._conv_forward)
    return type(layer).forward is nn.Linear.forward


def _require_statistics(name: str, layer: nn.BatchNorm2d) -> None:
    if layer.running_mean is None:
        raise UnsupportedModelError(
            f"layer {name!r} (BatchNorm2d) keeps no running statistics; train with track_running_stats=True"
        )


def require_batch_norm(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the model's BatchNorm2d layers, whose running statistics stand in for the data.

    Parameters
    ----------
    model : nn.Module
        A trained classifier.

    Returns
    -------
    list of nn.BatchNorm2d
        At least one; each keeps running statistics.

    Raises
    ------
    UnsupportedModelError
        If there is none: the model never had any, or they were folded into the convolutions. Or if one keeps
        no running statistics.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    for name, layer in layers.items():
        _require_statistics(name, layer)
    if layers:
        return list(layers.values())
    convs = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    why = (
        f"convolution {convs[0]!r} has no BatchNorm2d after it (was it folded?)"
        if convs
        else "there is no Conv2d either"
    )
    raise UnsupportedModelError(
        f"{type(model).__name__} has no BatchNorm2d, whose running statistics this method needs: {why}. "
        "Export the model before folding, or calibrate with images (method 'real-calibration'); for "
        "transformers see MimiQ (AAAI 2025)"
    )


def final_linear(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return the layer that makes the logits: the last Linear, or a 1x1 convolution head.

    Parameters
    ----------
    model : nn.Module
        A classifier that `trace` takes.

    Returns
    -------
    tuple
        Name and layer; its weight has one row a class.

    Raises
    ------
    UnsupportedModelError
        If the last weighted layer before the output is neither, or the model cannot be traced.
    """
    name = _last_weighted(trace(model))
    if name is not None:
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
            return name, layer
    raise UnsupportedModelError(
        f"{type(model).__name__} does not end in a Linear or 1x1 convolution, so its classes have no weight "
        "rows; set init_from_teacher=False"
    )


def _last_weighted(graph: fx.GraphModule) -> str | None:
    """Name of the Conv2d or Linear nearest to the output, among those that the output depends on."""
    wanted: set[fx.Node] = set()
    for node in reversed(graph.graph.nodes):
        if node in wanted and _is_weighted(graph, node):
            return str(node.target)
        if node in wanted or node.op == "output":
            wanted.update(node.all_input_nodes)
    return None


def _is_weighted(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(_module(graph, node), WEIGHTED_MODULES)


def _module(graph: fx.GraphModule, node: fx.Node) -> nn.Module:
    return graph.get_submodule(str(node.target))
