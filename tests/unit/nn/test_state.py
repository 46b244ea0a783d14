"""Weights in files."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from shoestring.core.errors import DataError, StorageError
from shoestring.nn import CifarResNet, cifar_resnet, load_state, save_state


def make(seed: int = 0, depth: int = 8) -> CifarResNet:
    return cifar_resnet(depth, channels=1, widths=(4, 4, 8), seed=seed)


def same(one: nn.Module, two: nn.Module) -> bool:
    other = two.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


def test_weights_and_buffers_come_back_bit_for_bit(tmp_path: Path) -> None:
    source, target = make(1), make(2)
    source(torch.randn(4, 1, 8, 8))  # moves the statistics of batch norm
    save_state(source, tmp_path / "new" / "model.safetensors")
    load_state(target, tmp_path / "new" / "model.safetensors")
    assert same(source, target)


def test_metadata_are_kept_in_the_file(tmp_path: Path) -> None:
    save_state(make(), tmp_path / "m.safetensors", {"recipe": "digits"})
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert file.metadata() == {"recipe": "digits"}


def test_channels_last_and_tied_weights_can_be_saved(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[2].weight = model[1].weight
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
    save_state(model, tmp_path / "m.safetensors")
    other = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    load_state(other, tmp_path / "m.safetensors")
    assert same(model, other)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_plain_state_dict_of_torch_is_read(tmp_path: Path, wrapped: bool) -> None:
    source, target = make(1), make(2)
    content = source.state_dict()
    torch.save({"state_dict": content} if wrapped else content, tmp_path / "m.pt")
    load_state(target, tmp_path / "m.pt")
    assert same(source, target)


def test_the_prefix_of_a_parallel_wrapper_is_dropped(tmp_path: Path) -> None:
    source, target = make(1), make(2)
    torch.save({f"module.{name}": value for name, value in source.state_dict().items()}, tmp_path / "m.pt")
    load_state(target, tmp_path / "m.pt")
    assert same(source, target)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.mark,))


def test_code_in_a_file_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Trap(mark)))
    torch.save({"weight": Trap(mark)}, tmp_path / "zip.pt")
    torch.save({"weight": Trap(mark)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name, message in (
        ("plain.pkl", "plain pickle"),
        ("zip.pt", "plain state dict"),
        ("old.pt", "plain pickle"),
    ):
        with pytest.raises(DataError, match=message):
            load_state(make(), tmp_path / name)
    assert not mark.exists()


def test_a_saved_model_object_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save(make(), tmp_path / "m.pt")
    with pytest.raises(DataError, match=r"Save model\.state_dict\(\), not the model"):
        load_state(make(), tmp_path / "m.pt")


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(1)], {"state_dict": {"a": 1}}])
def test_other_content_of_torch_files_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(DataError, match="more than named tensors"):
        load_state(make(), tmp_path / "m.pt")


def test_weights_of_another_architecture_are_named_and_nothing_changes(tmp_path: Path) -> None:
    save_state(make(depth=14), tmp_path / "deep.safetensors")
    model, before = make(3), make(3)
    with pytest.raises(
        DataError, match=r"does not fit CifarResNet: unexpected stages\.0\.1\.bn1\.bias.* and \d+ more"
    ):
        load_state(model, tmp_path / "deep.safetensors")
    assert same(model, before)
    save_state(make(), tmp_path / "shallow.safetensors")
    with pytest.raises(DataError, match=r"missing stages\.0\.1\.bn1"):
        load_state(make(depth=14), tmp_path / "shallow.safetensors")


def test_misshapen_weights_are_named(tmp_path: Path) -> None:
    save_state(make(), tmp_path / "m.safetensors")
    wide = cifar_resnet(8, channels=1, widths=(4, 4, 8), num_classes=3)
    with pytest.raises(DataError, match=r"misshapen linear\.bias \(10,\) instead of \(3,\)"):
        load_state(wide, tmp_path / "m.safetensors")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_state(make(), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="damaged safetensors"):
        load_state(make(), path)
    torch.save(make().state_dict(), tmp_path / "m.pt")
    (tmp_path / "m.pt").write_bytes((tmp_path / "m.pt").read_bytes()[:-1000])
    with pytest.raises(DataError, match="plain state dict"):
        load_state(make(), tmp_path / "m.pt")


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent\.safetensors"):
        load_state(make(), tmp_path / "absent.safetensors")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_state(make(1), path)
    old = path.read_bytes()
    with pytest.raises(StorageError):
        save_state(make(2), path / "inside")
    assert path.read_bytes() == old
