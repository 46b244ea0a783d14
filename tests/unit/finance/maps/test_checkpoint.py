from pathlib import Path

import pytest
import torch

from shoestring.core.errors import StorageError
from shoestring.finance.maps._checkpoint import read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(7), "empty": torch.zeros(0, 3)}


def written(path: Path) -> Path:
    write_tensors(path, "model", TENSORS, {"x": [1, None], "name": "m"})
    return path


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    tensors, meta = read_tensors(written(tmp_path / "m"), "model")
    assert meta == {"x": [1, None], "name": "m"}
    assert all(torch.equal(tensors[k], v) for k, v in TENSORS.items())


def test_a_file_holds_no_pickle(tmp_path: Path) -> None:
    data = written(tmp_path / "m").read_bytes()
    assert data.startswith(b'{"format": "shoestring-maps"')
    assert b"torch" not in data


@pytest.mark.parametrize("at", [30, -3])
def test_one_changed_byte_is_found(tmp_path: Path, at: int) -> None:
    path = written(tmp_path / "m")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="make it anew"):
        read_tensors(path, "model")


def test_changed_metadata_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "m")
    path.write_bytes(path.read_bytes().replace(b'"name": "m"', b'"name": "q"'))
    with pytest.raises(StorageError, match="damaged"):
        read_tensors(path, "model")


@pytest.mark.parametrize("data", [b"", b"{}\n", b"not json\nxx", b'{"format": "shoestring-maps"'])
def test_another_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m"
    path.write_bytes(data)
    with pytest.raises(StorageError, match="MAPS"):
        read_tensors(path, "model")


def test_another_kind_and_a_cut_file_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m")
    with pytest.raises(StorageError, match="not a training file"):
        read_tensors(path, "training")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StorageError, match="damaged"):
        read_tensors(path, "model")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not read"):
        read_tensors(tmp_path / "none", "model")
