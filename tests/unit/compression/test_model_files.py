import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shoestring.compression.model_files import load_factory, load_model, load_weights, read_state_dict
from shoestring.core.errors import ConfigError, DataError, StorageError

SOURCE = """
from dataclasses import dataclass

import torch
from torch import nn

from beside import WIDTH

@dataclass
class Size:
    width: int

def build(width: int = WIDTH, *, bias: bool = True) -> nn.Module:
    conv = nn.Conv2d(1, Size(width).width, 3, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.Dropout(0.5))

def weights_only():
    return build().state_dict()

instance = nn.Identity()
number = 3
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "beside.py").write_text("WIDTH = 2\n")
    (tmp_path / "net.py").write_text(SOURCE)
    return str(tmp_path / "net.py")


@pytest.fixture
def model(source: str) -> nn.Module:
    return load_model(f"{source}:build")


class Surprise:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_factory_in_a_file_with_imports_beside_it(source: str) -> None:
    before = list(sys.path)
    model = load_model(f"{source}:build")
    assert [type(m) for m in model.children()] == [nn.Conv2d, nn.BatchNorm2d, nn.Dropout]
    assert not model.training
    assert sys.path == before


def test_factory_in_a_module_and_keyword_arguments(source: str) -> None:
    model = load_model("shoestring.nn:cifar_resnet", None, {"depth": 8, "channels": 1})
    assert model.get_parameter("conv.weight").shape == (16, 1, 3, 3)
    assert (
        load_model(f"{source}:build", None, {"width": 5, "bias": False}).get_parameter("0.weight").shape[0]
        == 5
    )
    assert load_factory("shoestring.nn:cifar_resnet") is importlib.import_module("shoestring.nn").cifar_resnet


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        (":weights_only", {}, "returned OrderedDict; it must return a torch.nn.Module"),
        (":instance", {}, "is a Identity, not a function"),
        (":number", {}, "no function 'number'"),
        (":missing", {}, "no function 'missing'"),
        (":build", {"depth": 3}, r"cannot be called with depth=3.*'depth'.*\[factory\]"),
    ],
)
def test_unusable_factories_are_named(source: str, name: str, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_model(source + name, None, kwargs)


@pytest.mark.parametrize("name", ["no/such/file.py:build", "no_such_module_:build", "plain", "a b:c"])
def test_factories_that_do_not_exist_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=name.partition(":")[0]):
        load_model(name)


def test_an_error_inside_the_users_file_is_theirs(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import numpy\n1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load_model(f"{tmp_path / 'broken.py'}:build")
    assert "shoestring_user_broken" not in sys.modules


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_weights_in_the_usual_wrappings(
    source: str, model: nn.Module, prefix: str, wrapper: str | None, tmp_path: Path
) -> None:
    state: Any = {prefix + k: v + 1 for k, v in model.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pt")
    loaded = load_model(f"{source}:build", tmp_path / "w.pt")
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value + 1)


def test_weights_from_safetensors(source: str, model: nn.Module, tmp_path: Path) -> None:
    save_file({k: v + 1 for k, v in model.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = load_model(f"{source}:build", tmp_path / "w.safetensors")
    assert torch.equal(loaded.get_parameter("0.bias"), model.get_parameter("0.bias") + 1)


def test_old_files_without_batch_counters_and_half_precision_load(model: nn.Module, tmp_path: Path) -> None:
    state = {k: v.half() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    assert model.get_parameter("0.weight").dtype == torch.float32


def test_keys_that_do_not_fit_are_all_named(model: nn.Module, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = model.state_dict()
    del state["0.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["1.weight"] = torch.zeros(7)
    torch.save(state, tmp_path / "w.pt")
    words = (
        "Sequential: 1 missing: 0.bias; 1 unexpected: extra.weight; "
        r"1 of another shape: 1.weight \(file \(7,\), model \(2,\)\)"
    )
    with pytest.raises(DataError, match=words):
        load_weights(model, tmp_path / "w.pt")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_long_lists_of_keys_are_cut(model: nn.Module, tmp_path: Path) -> None:
    torch.save({f"k{i}": torch.zeros(1) for i in range(9)}, tmp_path / "w.pt")
    with pytest.raises(DataError, match="9 unexpected: k0, k1, k2 and 6 more"):
        load_weights(model, tmp_path / "w.pt")


def test_weights_that_are_not_finite_are_refused(model: nn.Module, tmp_path: Path) -> None:
    state = model.state_dict()
    state["0.bias"] = torch.tensor([0.0, float("inf")])
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"NaN or infinite values: 0\.bias"):
        load_weights(model, tmp_path / "w.pt")


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Surprise(tmp_path / "ran")}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"pickled Python objects.*weights_only=False\)\.state_dict"):
        read_state_dict(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_model_is_refused(model: nn.Module, tmp_path: Path) -> None:
    torch.save(model, tmp_path / "w.pt")
    with pytest.raises(DataError, match="convert it"):
        read_state_dict(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": torch.zeros(1), "epoch": 3}, "a mapping with epoch"),
        ({}, "an empty mapping"),
        ([torch.zeros(1)], "a list"),
    ],
)
def test_files_of_something_else_are_described(content: object, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DataError, match=words):
        read_state_dict(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\x00" * 64, b"PK\x03\x04 cut off"])
def test_damaged_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StorageError, match=name):
        read_state_dict(tmp_path / name)


def test_a_cut_off_torch_file_is_refused(model: nn.Module, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "w.pt")
    raw = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(StorageError, match="Copy or save it again"):
        read_state_dict(tmp_path / "w.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no file .*w\.pt"):
        read_state_dict(tmp_path / "w.pt")
