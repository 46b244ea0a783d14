"""Both layouts of CIFAR-10, written small."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shoestring.core.errors import DataError
from shoestring.data import CIFAR10_CLASSES, load_cifar10

Pixels = NDArray[np.uint8]


def draw(num: int, seed: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Make smooth pictures (JPEG keeps them closely) with balanced labels."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(40, 216, size=(num, 1, 1, 3))
    slope = np.arange(32)[:, None, None] + np.arange(32)[None, :, None]
    return (corner + slope * 0.5).astype(np.uint8), np.arange(num, dtype=np.int64) % 10


def write_binary(folder: Path, per_file: int = 10) -> tuple[Pixels, NDArray[np.int64]]:
    """Write the official layout; return the training images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = draw(6 * per_file, seed=1)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    for i, name in enumerate(names):
        part = slice(i * per_file, (i + 1) * per_file)
        planes = images[part].transpose(0, 3, 1, 2).reshape(per_file, -1)
        (folder / name).write_bytes(np.hstack([labels[part, None].astype(np.uint8), planes]).tobytes())
    return images[: 5 * per_file], labels[: 5 * per_file]


def jpeg_bytes(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def write_jpeg(folder: Path, num: int = 20) -> tuple[Pixels, NDArray[np.int64]]:
    """Write the JPEG layout; return the training images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, part in ((2, "test"), (1, "train")):
        images, labels = draw(num, seed)
        save_archive(folder / f"{part}_jpeg.npz", [jpeg_bytes(p) for p in images], labels)
    return images, labels


def save_archive(path: Path, files: list[bytes], labels: NDArray[np.int64]) -> None:
    offsets = np.cumsum([0, *map(len, files)]).astype(np.int32)
    jpeg = np.frombuffer(b"".join(files), dtype=np.uint8)
    np.savez(path, jpeg=jpeg, offsets=offsets, labels=labels.astype(np.uint8))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOESTRING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("inside", [".", "cifar-10-batches-bin"])
def test_the_binary_layout_comes_back_exactly(tmp_path: Path, inside: str) -> None:
    images, labels = write_binary(tmp_path / inside)
    splits = load_cifar10(tmp_path)
    np.testing.assert_array_equal(splits.train.images, images)
    np.testing.assert_array_equal(splits.train.labels, labels)
    assert len(splits.test) == 10
    assert splits.train.classes == CIFAR10_CLASSES
    assert splits.train.kind == "real"
    assert splits.mean == pytest.approx(tuple((images / 255).mean((0, 1, 2))))


def test_the_binary_layout_needs_no_cache(tmp_path: Path, cache: Path) -> None:
    write_binary(tmp_path)
    load_cifar10(tmp_path)
    assert not cache.exists()


def test_the_jpeg_layout_comes_back_closely(tmp_path: Path) -> None:
    images, labels = write_jpeg(tmp_path)
    splits = load_cifar10(tmp_path)
    error = np.abs(splits.train.images.astype(int) - images)
    assert error.max() <= 8  # levels lost by JPEG of quality 95
    np.testing.assert_array_equal(splits.train.labels, labels)


def test_the_second_load_reads_the_cache_instead_of_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jpeg(tmp_path)
    first = load_cifar10(tmp_path)
    opened: list[object] = []
    monkeypatch.setattr(Image, "open", opened.append)
    second = load_cifar10(tmp_path)
    assert not opened
    np.testing.assert_array_equal(first.train.images, second.train.images)


def test_the_cache_can_be_switched_off(tmp_path: Path, cache: Path) -> None:
    write_jpeg(tmp_path)
    load_cifar10(tmp_path, cache=False)
    assert not cache.exists()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def make_a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(np.zeros(3)))


def lose_the_note(path: Path) -> None:
    path.with_suffix(".json").unlink()


def garble_the_note(path: Path) -> None:
    path.with_suffix(".json").write_bytes(b"\xff{")


def age_the_note(path: Path) -> None:
    note = path.with_suffix(".json")
    note.write_text(note.read_text().replace('"version": 1', '"version": 0'))


@pytest.mark.parametrize(
    "damage", [cut_short, flip_a_bit, empty, make_a_pickle, lose_the_note, garble_the_note, age_the_note]
)
def test_a_damaged_cache_is_decoded_again_and_mended(
    tmp_path: Path, cache: Path, damage: Callable[[Path], None]
) -> None:
    write_jpeg(tmp_path)
    good = load_cifar10(tmp_path)
    for entry in sorted((cache / "images").glob("*.npy")):
        damage(entry)
    again = load_cifar10(tmp_path)
    np.testing.assert_array_equal(good.train.images, again.train.images)
    np.testing.assert_array_equal(good.test.images, again.test.images)
    for entry in (cache / "images").glob("*.npy"):
        assert np.load(entry, allow_pickle=False).dtype == np.uint8
    assert len(list((cache / "images").iterdir())) == 4


def test_changed_source_bytes_are_not_served_from_the_cache(tmp_path: Path) -> None:
    write_jpeg(tmp_path)
    first = load_cifar10(tmp_path)
    images, labels = draw(20, seed=9)
    save_archive(tmp_path / "train_jpeg.npz", [jpeg_bytes(p) for p in images], labels)
    assert not np.array_equal(first.train.images, load_cifar10(tmp_path).train.images)


def test_a_cache_that_cannot_be_written_costs_a_warning_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images, _ = write_jpeg(tmp_path)
    blocker = tmp_path / "file"
    blocker.write_text("no folder")
    monkeypatch.setenv("SHOESTRING_CACHE", str(blocker))
    splits = load_cifar10(tmp_path)
    assert splits.train.images.shape == images.shape
    assert "not cached" in caplog.text


def test_the_pickled_layout_is_refused_by_naming_the_binary_archive(tmp_path: Path) -> None:
    inner = tmp_path / "cifar-10-batches-py"
    inner.mkdir()
    (inner / "data_batch_1").write_bytes(pickle.dumps({"data": 1}))
    for folder in (tmp_path, inner):
        with pytest.raises(DataError, match=r"pickled.*cifar-10-binary\.tar\.gz"):
            load_cifar10(folder)


def test_an_empty_folder_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither data_batch_1\.bin nor train_jpeg\.npz.*unpack"):
        load_cifar10(tmp_path)


def test_a_truncated_binary_file_is_named(tmp_path: Path) -> None:
    write_binary(tmp_path)
    cut_short(tmp_path / "data_batch_3.bin")
    with pytest.raises(DataError, match=r"data_batch_3\.bin has 30630 bytes.*truncated"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("name", ["data_batch_1.bin", "data_batch_4.bin", "test_batch.bin"])
def test_a_missing_binary_file_is_named(tmp_path: Path, name: str) -> None:
    write_binary(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing"):
        load_cifar10(tmp_path)


def test_a_binary_label_above_nine_is_refused(tmp_path: Path) -> None:
    write_binary(tmp_path)
    path = tmp_path / "test_batch.bin"
    path.write_bytes(b"\x0b" + path.read_bytes()[1:])
    with pytest.raises(DataError, match=r"test_batch\.bin holds the label 11"):
        load_cifar10(tmp_path)


def test_a_missing_jpeg_archive_is_named(tmp_path: Path) -> None:
    write_jpeg(tmp_path)
    (tmp_path / "test_jpeg.npz").unlink()
    with pytest.raises(DataError, match=r"test_jpeg\.npz is missing"):
        load_cifar10(tmp_path)


def test_a_broken_picture_is_named_by_its_number(tmp_path: Path) -> None:
    images, labels = write_jpeg(tmp_path)
    files = [jpeg_bytes(p) for p in images]
    files[7] = b"not a picture"
    save_archive(tmp_path / "train_jpeg.npz", files, labels)
    with pytest.raises(DataError, match=r"train_jpeg\.npz: image 7 cannot be decoded"):
        load_cifar10(tmp_path)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    images, labels = write_jpeg(tmp_path)
    files = [jpeg_bytes(p) for p in images]
    files[3] = jpeg_bytes(np.zeros((8, 8, 3), dtype=np.uint8))
    save_archive(tmp_path / "train_jpeg.npz", files, labels)
    with pytest.raises(DataError, match=r"image 3 has shape \(8, 8, 3\)"):
        load_cifar10(tmp_path)


def test_an_archive_of_other_arrays_is_refused(tmp_path: Path) -> None:
    write_jpeg(tmp_path)
    np.savez(tmp_path / "train_jpeg.npz", jpeg=np.zeros(3, dtype=np.uint8))
    with pytest.raises(DataError, match=r"train_jpeg\.npz is not an archive with the arrays"):
        load_cifar10(tmp_path)


def test_an_archive_with_a_pickled_array_is_refused(tmp_path: Path) -> None:
    write_jpeg(tmp_path)
    np.savez(tmp_path / "train_jpeg.npz", jpeg=np.array([{}], dtype=object), offsets=[0, 1], labels=[0])
    with pytest.raises(DataError, match=r"train_jpeg\.npz is not an archive"):
        load_cifar10(tmp_path)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    write_jpeg(tmp_path)
    cut_short(tmp_path / "train_jpeg.npz")
    with pytest.raises(DataError, match=r"train_jpeg\.npz is not an archive"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("offsets", "labels", "message"),
    [
        ([0, 5], [0, 1], "do not fit"),
        ([0.0, 5.0], [0], "do not fit"),
        ([0], [], "do not fit"),
        ([0, 9], [0], "do not rise from 0 to 5"),
        ([0, 3, 3, 5], [0, 1, 2], "do not rise"),
    ],
)
def test_arrays_that_contradict_one_another_are_refused(
    tmp_path: Path, offsets: list[float], labels: list[int], message: str
) -> None:
    write_jpeg(tmp_path)
    np.savez(
        tmp_path / "train_jpeg.npz",
        jpeg=np.zeros(5, dtype=np.uint8),
        offsets=np.array(offsets),
        labels=np.array(labels, dtype=np.uint8),
    )
    with pytest.raises(DataError, match=message):
        load_cifar10(tmp_path)


@pytest.mark.slow
def test_the_real_archive_has_the_known_statistics() -> None:
    root = os.environ.get("SHOESTRING_DATA")
    if not root or not (Path(root) / "cifar10" / "test_jpeg.npz").is_file():
        pytest.skip("set SHOESTRING_DATA to the folder that holds cifar10/ (train_jpeg.npz, test_jpeg.npz)")
    splits = load_cifar10(Path(root) / "cifar10")
    assert (len(splits.train), len(splits.test)) == (50_000, 10_000)
    np.testing.assert_array_equal(np.bincount(splits.test.labels), 1000)
    # Published means of the training pixels; JPEG moves them by less than 0.002.
    assert splits.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.002)
