import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from shoestring.compression.conversion import QuantizedModel
from shoestring.compression.export import (
    ModelDescription,
    build_program,
    file_sizes,
    float_bytes,
    load_integer,
    reader_numpy,
    save_integer,
)
from shoestring.core.errors import ConfigError, DataError, StorageError
from shoestring.nn import cifar_resnet

SHAPE = (2, 8, 8)
Quantize = Callable[..., QuantizedModel]


@pytest.fixture
def saved(quantized: Quantize, small_net: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "q.safetensors"
    about = ModelDescription(method="noise", mean=(0.5, 0.25), std=(0.2, 0.1), classes=("a", "b", "\u00e7"))
    save_integer(quantized(small_net, w_bits=3, a_bits=4), path, SHAPE, about)
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest, as a program that is not ours might."""
    manifest = json.loads(path.with_suffix(".json").read_text())
    change(manifest)
    path.with_suffix(".json").write_text(json.dumps(manifest))


def replace_tensors(
    path: Path, change: Callable[[dict[str, Any]], object], head: Callable[[dict[str, Any]], object]
) -> None:
    """Change tensors and manifest, and make all checksums fit again."""
    tensors = load_file(path)
    change(tensors)
    manifest = json.loads(path.with_suffix(".json").read_text())
    del manifest["tensor_file"]
    head(manifest)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    save_file(tensors, path, {"manifest_sha256": hashlib.sha256(text.encode()).hexdigest()})
    manifest["tensor_file"] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_come_back(bits: int, quantized: Quantize, small_net: nn.Module, tmp_path: Path) -> None:
    model = quantized(small_net, w_bits=bits, a_bits=bits)
    save_integer(model, tmp_path / "q.safetensors", SHAPE)
    before, after = build_program(model, SHAPE), load_integer(tmp_path / "q.safetensors").program
    assert before.nodes == after.nodes
    assert (before.image_shape, before.num_classes) == (after.image_shape, after.num_classes)
    for name, weight in before.weights.items():
        read = after.weights[name]
        assert read.bits == weight.bits == bits
        for part in ("codes", "scale", "zero_point"):
            one, two = getattr(weight, part), getattr(read, part)
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)
    for name, tensor in before.tensors.items():
        np.testing.assert_array_equal(tensor, after.tensors[name])


def test_zero_points_beyond_32_bits_come_back(
    quantized: Quantize, small_net: nn.Module, tmp_path: Path
) -> None:
    with torch.no_grad():
        next(small_net.parameters())[0] = 7.5
    model = quantized(small_net, w_bits=8)
    save_integer(model, tmp_path / "q.safetensors", SHAPE)
    weight = load_integer(tmp_path / "q.safetensors").program.weights["0"]
    assert weight.zero_point[0] < -(2**31)
    restored = (weight.codes[0].astype(np.float64) - weight.zero_point[0]) * weight.scale[0].astype(
        np.float64
    )
    np.testing.assert_allclose(restored, 7.5, rtol=1e-6)


def test_saving_twice_gives_the_same_bytes(saved: Path, quantized: Quantize, small_net: nn.Module) -> None:
    before = saved.read_bytes(), saved.with_suffix(".json").read_text()
    about = ModelDescription(method="noise", mean=(0.5, 0.25), std=(0.2, 0.1), classes=("a", "b", "\u00e7"))
    save_integer(quantized(small_net, w_bits=3, a_bits=4), saved, SHAPE, about)
    assert (saved.read_bytes(), saved.with_suffix(".json").read_text()) == before


def test_manifest_says_what_is_in_the_file(saved: Path) -> None:
    manifest = json.loads(saved.with_suffix(".json").read_text())
    assert (manifest["format"], manifest["version"]) == ("shoestring-integer-model", 1)
    assert manifest["bits"] == {"weights": 3, "activations": 4, "first_last": "same"}
    assert manifest["input"] == {"shape": [2, 8, 8], "mean": [0.5, 0.25], "std": [0.2, 0.1]}
    assert manifest["classes"] == ["a", "b", "\u00e7"]
    assert manifest["method"] == "noise"
    assert manifest["tensor_file"]["bytes"] == saved.stat().st_size
    assert manifest["weights"]["0"] == {"bits": 3, "shape": [5, 2, 3, 3]}
    assert len(load_file(saved)["0.codes"]) == (5 * 2 * 9 * 3 + 7) // 8
    assert load_integer(saved).manifest == manifest


def test_loaded_model_computes_in_both_precisions_and_checks_its_images(saved: Path) -> None:
    model = load_integer(saved)
    images = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert model(images).dtype == torch.float32
    assert not list(model.parameters())
    doubled = load_integer(saved).double()
    assert doubled(images).dtype == torch.float64
    torch.testing.assert_close(doubled(images).float(), model(images))
    assert "images=2x8x8, classes=3" in repr(model)
    with pytest.raises(DataError, match=r"give \(N, 2, 8, 8\)"):
        model(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"give \(N, 2, 8, 8\)"):
        reader_numpy.run_integer_model(saved, np.zeros((1, 3, 8, 8)))
    assert reader_numpy.run_integer_model(saved, np.zeros((0, 2, 8, 8))).shape == (0, 3)


def test_cut_off_file_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:size])
        with pytest.raises(StorageError, match=r"checksum.*damaged"):
            load_integer(saved)
        with pytest.raises(ValueError, match="checksum"):
            reader_numpy.run_integer_model(saved, np.zeros((1, *SHAPE)))


def test_one_flipped_bit_is_refused(saved: Path) -> None:
    raw = bytearray(saved.read_bytes())
    raw[-3] ^= 4
    saved.write_bytes(raw)
    with pytest.raises(StorageError, match="checksum"):
        load_integer(saved)


def test_changed_manifest_is_refused(saved: Path) -> None:
    rewrite(saved, lambda m: m["program"][3]["attributes"].update(scale=1.0))
    with pytest.raises(StorageError, match="manifest was changed"):
        load_integer(saved)
    with pytest.raises(ValueError, match="was changed"):
        reader_numpy.read_integer_model(saved)


def test_files_of_two_models_are_not_mixed(
    saved: Path, quantized: Quantize, small_net: nn.Module, tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    save_integer(quantized(small_net, w_bits=4), other, SHAPE)
    saved.write_bytes(other.read_bytes())  # as a crash between the two writes leaves it
    with pytest.raises(StorageError, match="of another model"):
        load_integer(saved)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(version=2), "version 2; this library reads version 1"),
        (lambda m: m.update(format="gguf"), "format 'gguf'"),
        (lambda m: m.pop("format"), "format None"),
        (lambda m: m.pop("tensor_file"), "no checksum"),
    ],
)
def test_foreign_manifest_is_refused(
    saved: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    rewrite(saved, change)
    with pytest.raises(StorageError, match=words):
        load_integer(saved)
    with pytest.raises((ValueError, KeyError)):
        reader_numpy.read_integer_model(saved)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", '"x"'])
def test_manifest_that_is_no_json_object_is_refused(saved: Path, text: str) -> None:
    saved.with_suffix(".json").write_text(text)
    with pytest.raises(StorageError):
        load_integer(saved)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_missing_file_is_named(saved: Path, suffix: str) -> None:
    saved.with_suffix(suffix).unlink()
    with pytest.raises(StorageError, match=rf"could not read .*q\{suffix}"):
        load_integer(saved)


def keep(values: dict[str, Any]) -> None:
    """Change nothing."""


@pytest.mark.parametrize(
    ("tensors", "head", "words"),
    [
        (lambda t: t.pop("0.codes"), keep, "tensor '0.codes' is missing"),
        (lambda t: t.pop("5.bias"), keep, "tensor '5.bias' of operation '_5' is missing"),
        (lambda t: t.pop("1.parameters"), keep, "tensor '1.parameters'.* is missing"),
        (lambda t: t.update({"0.scale": t["0.scale"][:2]}), keep, r"'0.scale' is float32\(2,\)"),
        (lambda t: t.update({"0.codes": t["0.codes"][:-1]}), keep, "do not hold"),
        (lambda t: t.update({"5.bias": t["5.bias"][:2]}), keep, "does not run"),
        (keep, lambda m: m["program"][0].update(op="conv3d"), "conv3d.*unknown"),
        (keep, lambda m: m["program"][0]["attributes"].pop("groups"), "incomplete"),
        (keep, lambda m: m["program"][1].update(inputs=["later"]), "not made before"),
        (keep, lambda m: m.update(program=[]), "empty"),
        (keep, lambda m: m.pop("weights"), "lacks or misstates 'weights'"),
        (keep, lambda m: m["weights"]["0"].update(bits=9), "give 2 to 8"),
        (keep, lambda m: m.update(num_classes=4), r"makes \(1, 3\), not \(1, 4\)"),
    ],
)
def test_contradictions_are_found_behind_right_checksums(
    saved: Path,
    tensors: Callable[[dict[str, Any]], object],
    head: Callable[[dict[str, Any]], object],
    words: str,
) -> None:
    replace_tensors(saved, tensors, head)
    with pytest.raises(StorageError, match=words):
        load_integer(saved)


def test_no_file_appears_when_the_model_is_refused(
    quantized: Quantize, small_net: nn.Module, tmp_path: Path
) -> None:
    model = quantized(small_net)
    with pytest.raises(DataError):
        save_integer(model, tmp_path / "q.safetensors", (1, 8, 8))
    with pytest.raises(ConfigError, match=r"must end in \.safetensors"):
        save_integer(model, tmp_path / "q.bin", SHAPE)
    with pytest.raises(ConfigError, match="mean"):
        save_integer(model, tmp_path / "q.safetensors", SHAPE, ModelDescription(mean=(0.5,), std=(0.5,)))
    with pytest.raises(ConfigError, match="2 class names for 3 logits"):
        save_integer(model, tmp_path / "q.safetensors", SHAPE, ModelDescription(classes=("a", "b")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("depth", "channels", "size"), [(8, 1, 16), (20, 3, 32)])
def test_four_bits_take_less_than_a_fifth_of_the_float_file(
    depth: int, channels: int, size: int, quantized: Quantize, tmp_path: Path
) -> None:
    shape = (channels, size, size)
    model = quantized(cifar_resnet(depth, channels=channels), shape, w_bits=4, a_bits=4)
    sizes = save_integer(model, tmp_path / "model.safetensors", shape)
    assert sizes.ratio < 0.2
    assert sizes.tensor_bytes == (tmp_path / "model.safetensors").stat().st_size
    assert sizes.manifest_bytes == (tmp_path / "model.json").stat().st_size
    assert file_sizes(model, shape).float_bytes == sizes.float_bytes == float_bytes(model)


def test_float_bytes_are_those_of_the_float_model(
    quantized: Quantize, small_net: nn.Module, tmp_path: Path
) -> None:
    from safetensors.torch import save_file as save_torch_file

    save_torch_file(small_net.state_dict(), tmp_path / "float.safetensors")
    assert float_bytes(quantized(small_net)) == (tmp_path / "float.safetensors").stat().st_size
