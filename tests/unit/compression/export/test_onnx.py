from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from shoestring.compression.conversion import QuantizedModel
from shoestring.compression.export import ModelDescription, build_program, save_onnx
from shoestring.core.errors import ConfigError

SHAPE = (2, 8, 8)
Quantize = Callable[..., QuantizedModel]


@pytest.mark.parametrize(
    ("bits", "kind"),
    [(2, TensorProto.INT4), (4, TensorProto.INT4), (5, TensorProto.INT8), (8, TensorProto.INT8)],
)
def test_weights_are_kept_as_integers(
    bits: int, kind: int, quantized: Quantize, small_net: nn.Module, tmp_path: Path
) -> None:
    model = quantized(small_net, w_bits=bits, a_bits=bits)
    size = save_onnx(model, tmp_path / "q.onnx", SHAPE)
    assert size == (tmp_path / "q.onnx").stat().st_size
    proto = onnx.load(tmp_path / "q.onnx")
    stored = {i.name: i for i in proto.graph.initializer}
    for name, weight in build_program(model, SHAPE).weights.items():
        codes = stored[f"{name}.codes"]
        assert codes.data_type == kind
        assert (
            len(codes.raw_data) == (weight.codes.size + 1) // 2
            if kind == TensorProto.INT4
            else weight.codes.size
        )
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(codes).astype(np.int8), weight.codes)
    floats = sum(np.prod(i.dims) for i in stored.values() if i.data_type == TensorProto.FLOAT)
    assert floats < 60  # scales, BatchNorm and biases only
    ops = [n.op_type for n in proto.graph.node]
    assert ops.count("QuantizeLinear") == 1
    assert ("Clip" in ops) == (bits < 8)
    assert "BatchNormalization" in ops


def test_channels_far_from_zero_are_shifted(
    quantized: Quantize, small_net: nn.Module, tmp_path: Path
) -> None:
    with torch.no_grad():
        next(small_net.parameters())[1].abs_().add_(2)
    save_onnx(quantized(small_net), tmp_path / "q.onnx", SHAPE)
    stored = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(tmp_path / "q.onnx").graph.initializer}
    assert stored["0.shift"].shape == (5, 1, 1, 1)
    assert (stored["0.shift"].ravel() != 0).tolist() == [False, True, False, False, False]
    assert "5.shift" not in stored


def test_metadata_and_shapes(quantized: Quantize, small_net: nn.Module, tmp_path: Path) -> None:
    about = ModelDescription(method="gdfq", mean=(0.5, 0.5), std=(1.0, 1.0), classes=("a", "b", "c"))
    save_onnx(quantized(small_net, w_bits=3, a_bits=5), tmp_path / "q.onnx", SHAPE, about, opset=22)
    proto = onnx.load(tmp_path / "q.onnx")
    props = {p.key: p.value for p in proto.metadata_props}
    assert (props["version"], props["method"], props["weight_bits"], props["activation_bits"]) == (
        "1",
        "gdfq",
        "3",
        "5",
    )
    assert (props["mean"], props["classes"]) == ("0.5 0.5", "a\nb\nc")
    assert proto.opset_import[0].version == 22
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert (dims[0].dim_param, [d.dim_value for d in dims[1:]]) == ("batch", [2, 8, 8])


def test_wrong_requests_write_nothing(quantized: Quantize, small_net: nn.Module, tmp_path: Path) -> None:
    model = quantized(small_net)
    for opset in (20, 25):
        with pytest.raises(ConfigError, match="give 21 to 24"):
            save_onnx(model, tmp_path / "q.onnx", SHAPE, opset=opset)
    with pytest.raises(ConfigError, match=r"must end in \.onnx"):
        save_onnx(model, tmp_path / "q.safetensors", SHAPE)
    assert not list(tmp_path.iterdir())
