"""From the graph of a calibrated `QuantizedModel` to an integer program.

The model runs once with two images and once with three; shapes and sizes that both runs agree on are
constants, so any arithmetic on sizes is folded, and a `view` is judged by what it does rather than by how it
is written.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn import functional

from shoestring.compression.conversion import QuantizedModel, is_relu
from shoestring.compression.export._program import INPUT, IntegerWeight, Node, Program
from shoestring.compression.quantizers import (
    ActivationQuantizer,
    QuantizedConv2d,
    QuantizedLinear,
    activation_quantizers,
    weight_codes,
)
from shoestring.core.errors import DataError, NotFittedError, UnsupportedModelError

__all__ = ["build_program"]

_ADDS = (operator.add, operator.iadd, torch.add, "add", "add_")
_RESHAPES = (torch.flatten, "flatten", "view", "reshape")
_MAX_POOLS = (functional.max_pool2d, torch.max_pool2d)
_BATCHES = (2, 3)


def build_program(model: QuantizedModel, image_shape: tuple[int, int, int]) -> Program:
    """Turn a calibrated model into a framework-free integer program.

    Parameters
    ----------
    model : QuantizedModel
        With every activation range set.
    image_shape : tuple of three int
        Channels, height and width of the images.

    Returns
    -------
    Program
        Holds copies; the model can be trained on without changing it.

    Raises
    ------
    NotFittedError
        If an activation range has seen no batch.
    DataError
        If images of `image_shape` do not run through the model, or a weight or range is not finite.
    UnsupportedModelError
        If an operation has no counterpart in the program; the message names it and an alternative.
    """
    for name, quantizer in activation_quantizers(model.graph_module).items():
        if quantizer.scale == 0:
            raise NotFittedError(
                f"activation range {name!r} has seen no batch; calibrate the model before exporting it"
            )
    return _Lowering(model, image_shape).run()


class _Recorder(fx.Interpreter):
    """Runs the graph; keeps shapes, plain values, and which tensors share memory."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)  # no address is used twice while it runs
        self.values: dict[fx.Node, Any] = {}
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.places: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = value = super().run_node(n)
        if isinstance(value, Tensor):
            self.values[n] = value.to("meta")
            self.shapes[n] = tuple(value.shape)
            self.places[n] = value.untyped_storage().data_ptr()
        return value


class _Lowering:
    """One pass over the graph."""

    def __init__(self, model: QuantizedModel, image_shape: tuple[int, int, int]) -> None:
        self.graph = model.graph_module
        self.image_shape = image_shape
        self.two, self.three = (_record(self.graph, n, image_shape) for n in _BATCHES)
        self.names: dict[fx.Node, str] = {}
        self.nodes: list[Node] = []
        self.weights: dict[str, IntegerWeight] = {}
        self.tensors: dict[str, NDArray[np.float32]] = {}

    def run(self) -> Program:
        _refuse_overwritten_values(self.graph, self.two)
        num_classes = 0
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self._input(node)
            elif node.op == "output":
                num_classes = self._output(node)
            elif isinstance(self.two.values[node], Tensor):
                self._tensor_node(node)
        return Program(
            image_shape=self.image_shape,
            num_classes=num_classes,
            nodes=tuple(self.nodes),
            weights=self.weights,
            tensors=self.tensors,
        )

    # ends

    def _input(self, node: fx.Node) -> None:
        if INPUT not in self.names.values():
            self.names[node] = INPUT
        elif node.users:
            raise UnsupportedModelError(
                f"the model takes a second input {node.name!r}; only one tensor of images is supported. "
                "Fix the other in a wrapper"
            )

    def _output(self, node: fx.Node) -> int:
        value = node.args[0]
        if not isinstance(value, fx.Node) or value not in self.two.shapes:
            raise UnsupportedModelError(
                f"the model returns {type(self.two.values[node]).__name__}; only a tensor of logits is "
                "supported. Wrap the model so that it returns the logits alone"
            )
        shape = self.two.shapes[value]
        if len(shape) != 2 or shape[0] != _BATCHES[0]:
            raise UnsupportedModelError(
                f"the model returns shape (N, {shape[1:]}); logits of shape (N, classes) are needed"
            )
        self._keep_what_leads_to(self.names[value])
        return shape[1]

    def _keep_what_leads_to(self, output: str) -> None:
        wanted, kept = {output}, []
        for node in reversed(self.nodes):
            if node.name in wanted:
                wanted.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        used = {v for n in kept for v in n.attributes.values() if isinstance(v, str)}
        self.weights = {k: v for k, v in self.weights.items() if k in used}
        self.tensors = {k: v for k, v in self.tensors.items() if k in used}

    # one node that makes a tensor

    def _tensor_node(self, node: fx.Node) -> None:
        if node.op == "call_module":
            self._module(node, str(node.target), self.graph.get_submodule(str(node.target)))
        elif is_relu(self.graph, node):
            self.emit(node, "relu6" if node.target is functional.relu6 else "relu")
        else:
            rule = _RULES.get(node.target)
            if rule is None:
                raise self.unsupported(
                    node, "Use convolutions, linear layers, ReLU, pooling, sums and concatenations"
                )
            rule(self, node)

    def _module(self, node: fx.Node, name: str, layer: nn.Module) -> None:
        rule = _MODULE_RULES.get(type(layer))
        if rule is None:
            raise UnsupportedModelError(
                f"layer {name!r} ({type(layer).__name__}) cannot be exported; replace it by a layer that the "
                "quantiser covers"
            )
        rule(self, node, name, layer)

    def emit(
        self, node: fx.Node, op: str, inputs: Sequence[fx.Node] | None = None, /, **attributes: Any
    ) -> None:
        made = [self.names[n] for n in (inputs if inputs is not None else node.all_input_nodes[:1])]
        self.nodes.append(Node(name=node.name, op=op, inputs=tuple(made), attributes=attributes))
        self.names[node] = node.name

    def alias(self, node: fx.Node) -> None:
        self.names[node] = self.names[node.all_input_nodes[0]]

    # helpers of the rules

    def unsupported(self, node: fx.Node, advice: str) -> UnsupportedModelError:
        what = getattr(node.target, "__name__", str(node.target))
        return UnsupportedModelError(f"{what!r} (graph node {node.name!r}) cannot be exported. {advice}")

    def constant(self, node: fx.Node, value: Any) -> Any:
        """Resolve an argument: a plain value, or sizes that do not depend on the batch."""
        two = fx.node.map_arg(value, self.two.values.__getitem__)
        three = fx.node.map_arg(value, self.three.values.__getitem__)
        if _has_tensor(two) or two != three:
            raise self.unsupported(node, "Its arguments must not depend on the batch or on tensor values")
        return two

    def arguments(self, node: fx.Node, **defaults: Any) -> dict[str, Any]:
        """Bind all arguments but the first tensor to names, in the order of `defaults`; fold sizes."""
        given = {**dict(zip(defaults, node.args[1:], strict=False)), **node.kwargs}
        return {name: self.constant(node, given.get(name, default)) for name, default in defaults.items()}

    def shape_in(self, node: fx.Node) -> tuple[int, ...]:
        return self.two.shapes[node.all_input_nodes[0]]

    # layers

    def conv(self, node: fx.Node, name: str, layer: Any) -> None:
        padding = layer.padding
        if isinstance(padding, str):
            left, right, top, bottom = layer._reversed_padding_repeated_twice
        else:
            top = bottom = padding[0]
            left = right = padding[1]
        self.emit(
            node,
            "conv2d",
            weight=self._weight(name, layer),
            bias=self._bias(name, layer),
            stride=list(layer.stride),
            padding=[top, bottom, left, right],
            dilation=list(layer.dilation),
            groups=layer.groups,
        )

    def linear(self, node: fx.Node, name: str, layer: Any) -> None:
        if len(self.shape_in(node)) != 2:
            raise UnsupportedModelError(
                f"layer {name!r} (Linear) gets a tensor of rank {len(self.shape_in(node))}; "
                "flatten it to (N, features) first"
            )
        self.emit(node, "linear", weight=self._weight(name, layer), bias=self._bias(name, layer))

    def _weight(self, name: str, layer: QuantizedConv2d | QuantizedLinear) -> str:
        if name not in self.weights:
            weight = _finite(name, layer.weight)
            codes, grid = weight_codes(weight, layer.w_bits)
            self.weights[name] = IntegerWeight(
                bits=layer.w_bits,
                codes=codes.numpy(),
                scale=grid.scale.flatten().numpy(),
                zero_point=grid.zero_point.flatten().numpy().astype(np.int64),
            )
        return name

    def _bias(self, name: str, layer: QuantizedConv2d | QuantizedLinear) -> str | None:
        if layer.bias is None:
            return None
        self.tensors[f"{name}.bias"] = _finite(name, layer.bias).numpy().copy()
        return f"{name}.bias"

    def batch_norm(self, node: fx.Node, name: str, layer: Any) -> None:
        ones = torch.ones(layer.num_features)
        rows = (
            ones if layer.weight is None else layer.weight,
            ones * 0 if layer.bias is None else layer.bias,
            layer.running_mean,
            layer.running_var,
        )
        key = f"{name}.parameters"
        self.tensors[key] = torch.stack([_finite(name, row) for row in rows]).numpy()
        self.emit(node, "batch_norm", parameters=key, eps=layer.eps)

    def quantizer(self, node: fx.Node, name: str, layer: Any) -> None:
        low, high = (float(_finite(name, end)) for end in layer.averaged_range())
        scale, zero_point = (float(_finite(name, v)) for v in layer.grid)
        self.emit(
            node, "quantize", bits=layer.bits, scale=scale, zero_point=int(zero_point), low=low, high=high
        )

    # pooling

    def max_pool(self, node: fx.Node, values: Mapping[str, Any]) -> None:
        if values["return_indices"]:
            raise self.unsupported(node, "Set return_indices=False")
        kernel, padding = _pair(values["kernel_size"]), _pair(values["padding"])
        stride = _pair(values["stride"]) if values["stride"] not in (None, [], ()) else kernel
        dilation = _pair(values["dilation"])
        pads, _ = self._explicit_padding(node, kernel, stride, padding, dilation)
        self.emit(node, "max_pool", kernel=kernel, stride=stride, padding=pads, dilation=dilation)

    def avg_pool(self, node: fx.Node, values: Mapping[str, Any]) -> None:
        if values["divisor_override"] is not None:
            raise self.unsupported(node, "Leave divisor_override out")
        kernel, padding = _pair(values["kernel_size"]), _pair(values["padding"])
        stride = _pair(values["stride"]) if values["stride"] not in (None, [], ()) else kernel
        pads, ragged = self._explicit_padding(node, kernel, stride, padding, [1, 1])
        include = bool(values["count_include_pad"]) and any(padding)
        if ragged and include:
            raise self.unsupported(node, "With ceil_mode=True set count_include_pad=False, or padding=0")
        self.emit(node, "avg_pool", kernel=kernel, stride=stride, padding=pads, count_include_pad=include)

    def _explicit_padding(
        self, node: fx.Node, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int]
    ) -> tuple[list[int], bool]:
        """Return padding that gives the known output size, and whether it is more than was asked."""
        pads, ragged = [], False
        for axis in range(2):
            size, out = self.shape_in(node)[2 + axis], self.two.shapes[node][2 + axis]
            reach = (out - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
            after = max(padding[axis], reach - size - padding[axis])
            ragged |= after > padding[axis]
            pads += [padding[axis], after]
        return pads, ragged

    def adaptive_pool(self, node: fx.Node) -> None:
        _, _, *size = self.shape_in(node)
        _, _, *out = self.two.shapes[node]
        if out == [1, 1]:
            self.emit(node, "global_avg_pool")
        elif out == size:
            self.alias(node)
        elif size[0] % out[0] or size[1] % out[1]:
            raise self.unsupported(
                node,
                f"Adaptive pooling of {size[0]}x{size[1]} to {out[0]}x{out[1]} has windows of unequal size; "
                "choose an output size that divides the input, or 1",
            )
        else:
            kernel = [size[0] // out[0], size[1] // out[1]]
            self.emit(
                node, "avg_pool", kernel=kernel, stride=kernel, padding=[0, 0, 0, 0], count_include_pad=False
            )

    # functions and methods

    def add(self, node: fx.Node) -> None:
        terms = [a for a in node.args if isinstance(a, fx.Node) and a in self.two.shapes]
        if "other" in node.kwargs and isinstance(node.kwargs["other"], fx.Node):
            terms.append(node.kwargs["other"])
        if len(terms) != 2 or node.kwargs.get("alpha", 1) != 1:
            raise self.unsupported(
                node, "Only the sum of two tensors is covered; fold a constant into the layer before"
            )
        self.emit(node, "add", terms)

    def concat(self, node: fx.Node) -> None:
        parts: Any = node.args[0] if node.args else node.kwargs["tensors"]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        axis = int(self.constant(node, dim)) % len(self.two.shapes[node])
        if axis == 0:
            raise self.unsupported(node, "Concatenate channels (dim=1), not the batch")
        self.emit(node, "concat", list(parts), axis=axis)

    def mean(self, node: fx.Node) -> None:
        values = self.arguments(node, dim=None, keepdim=False, dtype=None)
        rank = len(self.shape_in(node))
        dims = values["dim"]
        if "axis" in node.kwargs:
            dims = self.constant(node, node.kwargs["axis"])
        axes = sorted(d % rank for d in ([dims] if isinstance(dims, int) else dims or []))
        if not axes or 0 in axes:
            raise self.unsupported(node, "Give the axes to average, without the batch, e.g. mean((2, 3))")
        self.emit(node, "mean", axes=axes, keepdims=bool(values["keepdim"]))

    def pad(self, node: fx.Node) -> None:
        values = self.arguments(node, pad=(), mode="constant", value=None)
        if values["mode"] != "constant":
            raise self.unsupported(node, f"Padding mode {values['mode']!r} is not covered; use 'constant'")
        rank, flat = len(self.shape_in(node)), list(values["pad"])
        pads = [[0, 0] for _ in range(rank)]
        for i in range(len(flat) // 2):  # torch counts from the last axis
            pads[rank - 1 - i] = [int(flat[2 * i]), int(flat[2 * i + 1])]
        if any(pads[0]) or min(map(min, pads)) < 0:
            raise self.unsupported(
                node, "Pad neither the batch nor by a negative amount; cut with a slice instead"
            )
        self.emit(node, "pad", pads=pads[1:], value=float(values["value"] or 0.0))

    def take_slice(self, node: fx.Node) -> None:
        shape = self.shape_in(node)
        index = self.constant(node, node.args[1])
        parts = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in parts:
            at = parts.index(Ellipsis)
            parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
        parts += [slice(None)] * (len(shape) - len(parts))
        if not all(isinstance(p, slice) for p in parts) or parts[0] != slice(None):
            raise self.unsupported(
                node, "Only slices of all axes but the batch are covered, e.g. x[:, :, ::2, ::2]"
            )
        ranges = [list(p.indices(n)) for p, n in zip(parts[1:], shape[1:], strict=True)]
        self.emit(node, "slice", ranges=ranges)

    def reshape(self, node: fx.Node) -> None:
        before, after, other = self.shape_in(node), self.two.shapes[node], self.three.shapes[node]
        if after == before:
            self.alias(node)
        elif not after or (after[0], other[0]) != _BATCHES or after[1:] != other[1:]:
            raise self.unsupported(
                node, "It mixes the batch with other axes; keep the batch first, e.g. flatten(1)"
            )
        elif len(after) == 2:
            self.emit(node, "flatten")
        else:
            self.emit(node, "reshape", shape=list(after[1:]))

    def dropout(self, node: fx.Node) -> None:
        if self.arguments(node, p=0.5, training=True, inplace=False)["training"]:
            raise self.unsupported(node, "It drops values at inference too; pass training=self.training")
        self.alias(node)

    def functional_max_pool(self, node: fx.Node) -> None:
        names = {
            "kernel_size": None,
            "stride": None,
            "padding": 0,
            "dilation": 1,
            "ceil_mode": False,
            "return_indices": False,
        }
        self.max_pool(node, self.arguments(node, **names))

    def functional_avg_pool(self, node: fx.Node) -> None:
        names = {"kernel_size": None, "stride": None, "padding": 0, "ceil_mode": False}
        self.avg_pool(node, self.arguments(node, **names, count_include_pad=True, divisor_override=None))


_Rule = Callable[[_Lowering, fx.Node], None]
_ModuleRule = Callable[[_Lowering, fx.Node, str, Any], None]

_RULES: dict[Any, _Rule] = {
    **dict.fromkeys(_ADDS, _Lowering.add),
    **dict.fromkeys(_RESHAPES, _Lowering.reshape),
    **dict.fromkeys(_MAX_POOLS, _Lowering.functional_max_pool),
    functional.avg_pool2d: _Lowering.functional_avg_pool,
    functional.adaptive_avg_pool2d: _Lowering.adaptive_pool,
    functional.pad: _Lowering.pad,
    functional.dropout: _Lowering.dropout,
    torch.cat: _Lowering.concat,
    torch.mean: _Lowering.mean,
    "mean": _Lowering.mean,
    operator.getitem: _Lowering.take_slice,
    "contiguous": _Lowering.alias,
}

_MODULE_RULES: dict[type[nn.Module], _ModuleRule] = {
    QuantizedConv2d: _Lowering.conv,
    QuantizedLinear: _Lowering.linear,
    nn.BatchNorm2d: _Lowering.batch_norm,
    ActivationQuantizer: _Lowering.quantizer,
    nn.ReLU: lambda low, node, _name, _layer: low.emit(node, "relu"),
    nn.ReLU6: lambda low, node, _name, _layer: low.emit(node, "relu6"),
    nn.MaxPool2d: lambda low, node, _name, layer: low.max_pool(node, vars(layer)),
    nn.AvgPool2d: lambda low, node, _name, layer: low.avg_pool(node, vars(layer)),
    nn.AdaptiveAvgPool2d: lambda low, node, _name, _layer: low.adaptive_pool(node),
    nn.Flatten: lambda low, node, _name, _layer: low.reshape(node),
    **dict.fromkeys(
        (nn.Identity, nn.Dropout, nn.Dropout2d), lambda low, node, _name, _layer: low.alias(node)
    ),
}


def _record(graph: fx.GraphModule, num_images: int, image_shape: tuple[int, int, int]) -> _Recorder:
    recorder = _Recorder(graph)
    parameter = next(graph.parameters())
    images = torch.zeros(num_images, *image_shape, dtype=parameter.dtype, device=parameter.device)
    try:
        with torch.no_grad():
            recorder.run(images)
        recorder.env.clear()
    except (RuntimeError, ValueError, TypeError, IndexError) as e:
        reason = " ".join(str(e).partition("While executing")[0].split())  # what torch.fx adds is no help
        raise DataError(
            f"images of shape {'x'.join(map(str, image_shape))} do not run through the model: {reason}. "
            "Give the shape (channels x height x width) that it was trained on"
        ) from e
    return recorder


def _refuse_overwritten_values(graph: fx.GraphModule, run: _Recorder) -> None:
    """Refuse an in-place operation that changes what a later one still reads: programs share no memory."""
    order = {n: i for i, n in enumerate(graph.graph.nodes)}
    for node in graph.graph.nodes:
        if not _writes_in_place(graph, node):
            continue
        place = run.places[node]
        for other in run.shapes:
            shared = order[other] < order[node] and run.places[other] == place
            if shared and any(order[user] > order[node] for user in other.users):
                raise UnsupportedModelError(
                    f"graph node {node.name!r} overwrites the value of {other.name!r}, which is read again "
                    "later; make the operation out of place (inplace=False, a + b) before quantising"
                )


def _writes_in_place(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(graph.get_submodule(str(node.target)), "inplace", False))
    if node.op not in ("call_function", "call_method"):
        return False
    named = node.target in (operator.iadd, torch.relu_) or (
        isinstance(node.target, str) and node.target.endswith("_")
    )
    positional = node.target in (functional.relu, functional.relu6) and len(node.args) > 1 and node.args[1]
    return bool(named or positional or node.kwargs.get("inplace", False))


def _finite(name: str, value: Tensor) -> Tensor:
    """Detached float32 on the CPU, checked."""
    plain = value.detach().to("cpu", torch.float32)
    if not torch.isfinite(plain).all():
        raise DataError(
            f"{name!r} holds NaN or infinite values; repair or retrain the model before exporting it"
        )
    return plain


def _pair(value: Any) -> list[int]:
    one, two = (
        (value, value) if isinstance(value, int) else value if len(value) == 2 else (value[0], value[0])
    )
    return [int(one), int(two)]


def _has_tensor(value: Any) -> bool:
    found: list[Tensor] = []
    fx.node.map_aggregate(value, lambda v: found.append(v) if isinstance(v, Tensor) else None)
    return bool(found)
