"""Write an integer program as ONNX with QuantizeLinear and DequantizeLinear."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.compression.conversion import QuantConfig, QuantizedModel
from shoestring.compression.export._graph import build_program
from shoestring.compression.export._packing import pack_codes
from shoestring.compression.export._program import INPUT, IntegerWeight, Node, Program
from shoestring.compression.export._safetensors import VERSION, ModelDescription
from shoestring.compression.quantizers import code_bounds
from shoestring.core.errors import ConfigError
from shoestring.core.files import write_bytes_atomic
from shoestring.core.optional import optional

__all__ = ["OPSETS", "encode_onnx", "save_onnx"]

OPSETS = (21, 24)
"""First and last ONNX operator set that can be asked for; INT4 came with 21."""
OUTPUT = "logits"


def save_onnx(
    model: QuantizedModel,
    path: str | Path,
    image_shape: tuple[int, int, int],
    description: ModelDescription | None = None,
    opset: int = 21,
) -> int:
    """Write a calibrated model as an ONNX file with integer weights, and return its bytes.

    Weights of 2 to 4 bits are INT4 initialisers, two codes a byte; wider ones INT8. Each passes a
    DequantizeLinear with one scale and zero point an output channel; where a channel lies so far from zero
    that its zero point leaves the type, the zero point is 0 and a constant is added instead. Activations pass
    QuantizeLinear and DequantizeLinear with UINT8 codes, clipped before to the range of their bits. BatchNorm
    stays; the batch axis is free.

    Parameters
    ----------
    model : QuantizedModel
        With every activation range set.
    path : path
        Must end in ``.onnx``.
    image_shape : tuple of three int
        Channels, height and width of the images.
    description : ModelDescription, optional
        Goes to the metadata of the file.
    opset : int, default 21
        ONNX operator set, 21 to 24.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    ConfigError
        If `path` has another ending or `opset` is outside its range.
    NotFittedError, DataError, UnsupportedModelError
        As `build_program`.
    StorageError
        If the folder cannot be written to.
    MissingExtraError
        If onnx is not installed.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ConfigError(f"path={str(path)!r} must end in .onnx")
    raw = encode_onnx(
        build_program(model, image_shape), model.config, description or ModelDescription(), opset
    )
    write_bytes_atomic(path, raw)
    return len(raw)


def encode_onnx(
    program: Program, config: QuantConfig, description: ModelDescription, opset: int = 21
) -> bytes:
    """Return the ONNX file of a program as bytes, checked by onnx.

    Parameters
    ----------
    program : Program
        From `build_program`.
    config : QuantConfig
        Widths, for the metadata.
    description : ModelDescription
        Method, normalisation and class names, for the metadata.
    opset : int, default 21
        ONNX operator set, 21 to 24.

    Raises
    ------
    ConfigError
        If `opset` is outside its range.
    MissingExtraError
        If onnx is not installed.
    """
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ConfigError(f"opset={opset} is not supported; give {OPSETS[0]} to {OPSETS[1]}")
    onnx = optional("onnx", extra="compression")
    builder = _Builder(onnx)
    for node in program.nodes:
        _EMIT[node.op](builder, node, program)
    proto = builder.model(program, opset)
    onnx.helper.set_model_props(
        proto,
        {
            "version": str(VERSION),
            "method": description.method,
            "weight_bits": str(config.w_bits),
            "activation_bits": str(config.a_bits),
            "first_last": config.first_last,
            "mean": " ".join(map(repr, description.mean)),
            "std": " ".join(map(repr, description.std)),
            "classes": "\n".join(description.classes),
        },
    )
    onnx.checker.check_model(proto, full_check=True)
    raw: bytes = proto.SerializeToString()
    return raw


class _Builder:
    """Collects nodes and initialisers."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.initialisers: dict[str, Any] = {}

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node and return the name of its value."""
        self.nodes.append(
            self.onnx.helper.make_node(op, inputs, [output], name=f"{op}_{output}", **attributes)
        )
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Store an array (float32 or an integer type) once."""
        if name not in self.initialisers:
            self.initialisers[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def codes(self, name: str, values: NDArray[np.int8], int4: bool) -> str:
        """Store int8 values, as INT4 if asked."""
        if not int4:
            return self.constant(name, values)
        packed = pack_codes(values, 4).tobytes()
        kind = self.onnx.TensorProto.INT4
        self.initialisers[name] = self.onnx.helper.make_tensor(name, kind, values.shape, packed, raw=True)
        return name

    def weight(self, name: str, weight: IntegerWeight) -> str:
        """Dequantised weight; made once, even if two operations use it."""
        output = f"{name}.weight"
        if f"{name}.codes" in self.initialisers:
            return output
        int4 = weight.bits <= 4
        low, high = code_bounds(4 if int4 else 8)
        inside = (weight.zero_point >= low) & (weight.zero_point <= high)
        zero_point = np.where(inside, weight.zero_point, 0).astype(np.int8)
        parts = [
            self.codes(f"{name}.codes", weight.codes, int4),
            self.constant(f"{name}.scale", weight.scale),
            self.codes(f"{name}.zero_point", zero_point, int4),
        ]
        if inside.all():
            return self.add("DequantizeLinear", parts, output, axis=0)
        shift = np.where(inside, 0.0, -weight.zero_point * weight.scale.astype(np.float64)).astype(np.float32)
        column = shift.reshape(-1, *[1] * (weight.codes.ndim - 1))
        near_zero = self.add("DequantizeLinear", parts, f"{name}.unshifted", axis=0)
        return self.add("Add", [near_zero, self.constant(f"{name}.shift", column)], output)

    def model(self, program: Program, opset: int) -> Any:
        """Close the graph; the last value becomes the output."""
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        self.add("Identity", [program.nodes[-1].name], OUTPUT)
        graph = helper.make_graph(
            self.nodes,
            "classifier",
            [helper.make_tensor_value_info(INPUT, kind, ["batch", *program.image_shape])],
            [helper.make_tensor_value_info(OUTPUT, kind, ["batch", program.num_classes])],
            list(self.initialisers.values()),
        )
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="shoestring",
        )


_Emit = Callable[[_Builder, Node, Program], object]


def _plain(op: str) -> _Emit:
    """Write an operation whose ONNX twin takes the same inputs and no attributes."""
    return lambda builder, node, _program: builder.add(op, list(node.inputs), node.name)


def _pads(padding: list[int]) -> list[int]:
    """From [top, bottom, left, right] to ONNX's [top, left, bottom, right]."""
    top, bottom, left, right = padding
    return [top, left, bottom, right]


def _conv2d(builder: _Builder, node: Node, program: Program) -> None:
    a = node.attributes
    weight = program.weights[a["weight"]]
    builder.add(
        "Conv",
        [node.inputs[0], builder.weight(a["weight"], weight)],
        node.name if a["bias"] is None else f"{node.name}.sum",
        kernel_shape=list(weight.codes.shape[2:]),
        strides=a["stride"],
        pads=_pads(a["padding"]),
        dilations=a["dilation"],
        group=a["groups"],
    )
    _add_bias(builder, node, program, (-1, 1, 1))


def _linear(builder: _Builder, node: Node, program: Program) -> None:
    a = node.attributes
    weight = program.weights[a["weight"]]
    # The third input, all zeros, keeps onnxruntime from an integer kernel that saturates on some processors.
    zeros = builder.constant(f"{a['weight']}.zeros", np.zeros(len(weight.codes), np.float32))
    inputs = [node.inputs[0], builder.weight(a["weight"], weight), zeros]
    builder.add("Gemm", inputs, node.name if a["bias"] is None else f"{node.name}.sum", transB=1)
    _add_bias(builder, node, program, (-1,))


def _add_bias(builder: _Builder, node: Node, program: Program, shape: tuple[int, ...]) -> None:
    """Add the bias by a node of its own: inside, onnxruntime rounds it to the steps of input times weight."""
    key = node.attributes["bias"]
    if key is not None:
        bias = builder.constant(key, program.tensors[key].reshape(shape))
        builder.add("Add", [f"{node.name}.sum", bias], node.name)


def _batch_norm(builder: _Builder, node: Node, program: Program) -> None:
    key = node.attributes["parameters"]
    rows = zip(("weight", "bias", "mean", "var"), program.tensors[key], strict=True)
    names = [builder.constant(f"{key}.{part}", row) for part, row in rows]
    builder.add("BatchNormalization", [node.inputs[0], *names], node.name, epsilon=node.attributes["eps"])


def _relu6(builder: _Builder, node: Node, program: Program) -> None:  # noqa: ARG001
    bounds = [builder.constant(f"relu6.{end}", np.array(end, np.float32)) for end in (0.0, 6.0)]
    builder.add("Clip", [node.inputs[0], *bounds], node.name)


def _quantize(builder: _Builder, node: Node, program: Program) -> None:  # noqa: ARG001
    a, name, source = node.attributes, node.name, node.inputs[0]
    scale = np.float32(a["scale"])
    low, high = code_bounds(a["bits"])
    if a["bits"] < 8:
        ends = [np.array(end - a["zero_point"], np.float32) * scale for end in (low, high)]
        bounds = [
            builder.constant(f"{name}.{end}", v)
            for end, v in zip(("low", "high"), map(np.asarray, ends), strict=True)
        ]
        source = builder.add("Clip", [source, *bounds], f"{name}.clipped")
    # Codes counted from 0, as uint8: onnxruntime (1.32) fails on int8 ones that pass a Slice.
    grid = [
        builder.constant(f"{name}.scale", np.array(scale)),
        builder.constant(f"{name}.zero_point", np.array(a["zero_point"] - low, np.uint8)),
    ]
    codes = builder.add("QuantizeLinear", [source, *grid], f"{name}.codes")
    builder.add("DequantizeLinear", [codes, *grid], name)


def _max_pool(builder: _Builder, node: Node, program: Program) -> None:  # noqa: ARG001
    a = node.attributes
    window = {
        "kernel_shape": a["kernel"],
        "strides": a["stride"],
        "pads": _pads(a["padding"]),
        "dilations": a["dilation"],
    }
    builder.add("MaxPool", list(node.inputs), node.name, **window)


def _avg_pool(builder: _Builder, node: Node, program: Program) -> None:  # noqa: ARG001
    a = node.attributes
    window = {"kernel_shape": a["kernel"], "strides": a["stride"], "pads": _pads(a["padding"])}
    builder.add(
        "AveragePool", list(node.inputs), node.name, **window, count_include_pad=int(a["count_include_pad"])
    )


def _mean(builder: _Builder, node: Node, program: Program) -> None:  # noqa: ARG001
    axes = builder.constant(f"{node.name}.axes", np.array(node.attributes["axes"], np.int64))
    builder.add("ReduceMean", [node.inputs[0], axes], node.name, keepdims=int(node.attributes["keepdims"]))


def _reshape(builder: _Builder, node: Node, program: Program) -> None:  # noqa: ARG001
    shape = builder.constant(f"{node.name}.shape", np.array([0, *node.attributes["shape"]], np.int64))
    builder.add("Reshape", [node.inputs[0], shape], node.name)


def _pad(builder: _Builder, node: Node, program: Program) -> None:  # noqa: ARG001
    pairs = [[0, 0], *node.attributes["pads"]]
    pads = builder.constant(f"{node.name}.pads", np.array(pairs, np.int64).T.ravel())
    value = builder.constant(f"{node.name}.value", np.array(node.attributes["value"], np.float32))
    builder.add("Pad", [node.inputs[0], pads, value], node.name)


def _slice(builder: _Builder, node: Node, program: Program) -> None:  # noqa: ARG001
    ranges = np.array(node.attributes["ranges"], np.int64)
    axes = np.arange(1, len(ranges) + 1, dtype=np.int64)
    parts = zip(
        ("starts", "ends", "axes", "steps"), (ranges[:, 0], ranges[:, 1], axes, ranges[:, 2]), strict=True
    )
    inputs = [builder.constant(f"{node.name}.{part}", value) for part, value in parts]
    builder.add("Slice", [node.inputs[0], *inputs], node.name)


_EMIT: Mapping[str, _Emit] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "relu": _plain("Relu"),
    "relu6": _relu6,
    "quantize": _quantize,
    "add": _plain("Add"),
    "concat": lambda b, n, _p: b.add("Concat", list(n.inputs), n.name, axis=n.attributes["axis"]),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": _plain("GlobalAveragePool"),
    "mean": _mean,
    "flatten": _plain("Flatten"),
    "reshape": _reshape,
    "pad": _pad,
    "slice": _slice,
}
