"""Checkpoint files: what goes in comes out, and nothing else is taken."""

from pathlib import Path

import pytest
import torch

from shoestring.compression.checkpoints import read_checkpoint, write_checkpoint
from shoestring.core.errors import StorageError

META = {"done": 3, "best": 0.1 + 0.2, "history": [{"a": 1.0}]}


def tensors() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "plain": torch.randn(3, 4, generator=rng),
        "last": torch.randn(2, 3, 4, 5, generator=rng).to(memory_format=torch.channels_last),
        "one-channel": torch.randn(2, 1, 4, 4, generator=rng).to(memory_format=torch.channels_last),
        "turned": torch.randn(3, 5, generator=rng).t(),
        "scalar": torch.tensor(3, dtype=torch.int64),
        "double": torch.tensor(0.1, dtype=torch.float64),
    }


def test_values_types_and_memory_layouts_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.ckpt"
    write_checkpoint(path, tensors(), META)
    back, meta = read_checkpoint(path)
    assert meta == META
    assert set(back) == set(tensors())
    for name, value in tensors().items():
        assert torch.equal(back[name], value)
        assert back[name].dtype == value.dtype
        assert back[name].stride() == value.stride()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent\.ckpt"):
        read_checkpoint(tmp_path / "absent.ckpt")


@pytest.mark.parametrize("where", [0.001, 0.3, 0.6, 0.999])
def test_one_flipped_bit_is_noticed(tmp_path: Path, where: float) -> None:
    path = tmp_path / "run.ckpt"
    write_checkpoint(path, tensors(), META)
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="delete it to start afresh"):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_torn_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "run.ckpt"
    write_checkpoint(path, tensors(), META)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(StorageError, match="delete it to start afresh"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [b"{}\n", b"[1]\nx", b"PK\x03\x04", b'{"format": "other", "version": 2}\n']
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.ckpt"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="delete it"):
        read_checkpoint(path)


def test_an_older_version_is_refused_with_the_expected_one(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    write_checkpoint(path, tensors(), META)
    path.write_bytes(path.read_bytes().replace(b'"version": 2', b'"version": 1', 1))
    with pytest.raises(StorageError, match="expected version 2"):
        read_checkpoint(path)
