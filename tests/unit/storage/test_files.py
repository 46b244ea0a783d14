"""Partition files keep what was written, know its version, and count whole pages."""

from pathlib import Path

import numpy as np
import pytest

from shoestring.core.errors import StorageError
from shoestring.storage import FIXED, Key, PartitionFiles

SIZES = [5000, 0, 4096, 1]


def write(files: PartitionFiles, key: Key, value: int, version: int) -> None:
    buffer = files.engine.buffer(8192)
    buffer.array[:] = value
    files.write(key, buffer, version=version, link="host-storage", what="act").result()


def read(files: PartitionFiles, key: Key, version: int) -> bytes:
    buffer = files.engine.buffer(8192)
    files.read(key, buffer, version=version, link="host-storage", what="act").result()
    return bytes(buffer.array[: files.nbytes(key)])


def test_partitions_do_not_run_into_each_other(files: PartitionFiles) -> None:
    files.create("act", 1, SIZES)
    for part in range(4):
        write(files, Key("act", 1, part), part + 1, version=1)
    for part, size in enumerate(SIZES):
        assert read(files, Key("act", 1, part), version=1) == bytes([part + 1]) * size


def test_data_of_another_epoch_are_never_read(files: PartitionFiles) -> None:
    files.create("act", 1, SIZES)
    key = Key("act", 1, 0)
    with pytest.raises(StorageError, match="version -2, version 1 was wanted"):
        read(files, key, version=1)
    write(files, key, 7, version=1)
    with pytest.raises(StorageError, match="version 1, version 2 was wanted"):
        read(files, key, version=2)
    write(files, key, 8, version=2)
    assert read(files, key, version=2)[0] == 8
    assert files.version(key) == 2


def test_the_ledger_counts_whole_pages_and_nothing_for_an_empty_partition(files: PartitionFiles) -> None:
    files.create("act", 1, SIZES)
    for part in range(4):
        write(files, Key("act", 1, part), 1, version=1)
    assert files.ledger.storage_write_bytes == 8192 + 4096 + 4096
    read(files, Key("act", 1, 3), version=1)
    assert files.ledger.storage_read_bytes == 4096


def test_single_pages_come_packed_in_the_order_asked(files: PartitionFiles) -> None:
    files.create("act", 1, [4096, 5 * 4096])
    key = Key("act", 1, 1)
    buffer = files.engine.buffer(5 * 4096)
    buffer.array[:] = np.repeat(np.arange(5, dtype=np.uint8), 4096)
    files.write(key, buffer, version=1, link="host-storage", what="act").result()
    pages = files.engine.buffer(3 * 4096)
    files.read_pages(
        key, np.array([4, 0, 1]), pages, version=1, link="host-storage", what="act pages"
    ).result()
    assert pages.array[::4096].tolist() == [4, 0, 1]
    assert files.ledger.total(what="act pages") == 3 * 4096


def test_a_piece_lands_at_its_place(files: PartitionFiles) -> None:
    files.create("snapshot", 1, [3 * 4096])
    key = Key("snapshot", 1, 0)
    buffer = files.engine.buffer(4096)
    for k in range(3):
        buffer.array[:] = k + 1
        files.write_piece(key, k * 4096, buffer, 4096, version=3, link="host-storage", what="s").result()
    files.read_piece(key, 4096, buffer, 4096, version=3, link="host-storage", what="s").result()
    assert set(buffer.array.tolist()) == {2}


def test_attached_files_are_fixed_and_must_be_whole(files: PartitionFiles, tmp_path: Path) -> None:
    path = tmp_path / "features.bin"
    path.write_bytes(b"\3" * 8192)
    files.attach("act", 0, path, [4096, 10])
    assert read(files, Key("act", 0, 1), version=FIXED) == b"\3" * 10
    with pytest.raises(StorageError, match="cut short"):
        files.attach("act", 0, path, [4096, 4096, 4096])
