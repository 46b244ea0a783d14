"""CIFAR-10 from the official binary archive or from an archive of JPEG files."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import DataError
from shoestring.core.optional import optional
from shoestring.core.progress import progress
from shoestring.data._cache import cached_pixels
from shoestring.data._images import ImageSet, ImageSplits, make_splits

__all__ = ["CIFAR10_CLASSES", "load_cifar10"]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Class names in the order of the labels."""

_SIDE = 32
_RECORD = 1 + 3 * _SIDE * _SIDE
_TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_ADVICE = "Get cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it there"


def load_cifar10(folder: str | Path, cache: bool = True) -> ImageSplits:
    """Load CIFAR-10 from a folder.

    Parameters
    ----------
    folder : path
        Holds, itself or in ``cifar-10-batches-bin/``, the official binary files
        ``data_batch_1.bin`` .. ``data_batch_5.bin`` and ``test_batch.bin``; or the JPEG archives
        ``train_jpeg.npz`` and ``test_jpeg.npz`` with the arrays ``jpeg`` (uint8, all files one
        after another), ``offsets`` (n + 1 integers) and ``labels`` (0..9).
    cache : bool, default True
        Keep decoded JPEG pixels in `cache_folder` (about 184 MB for the whole set). The binary
        files need none.

    Returns
    -------
    ImageSplits
        Three channels of 32x32, ten classes, ``kind="real"``, images in the order of the files.

    Raises
    ------
    DataError
        If no known layout is there, if it is the pickled Python one (reading a pickle can run any
        code), or if a file is truncated or malformed; the message names the file.
    MissingExtraError
        If JPEG files are to be decoded and Pillow is not installed.

    References
    ----------
    A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    folder = Path(folder).expanduser()
    for place in (folder, folder / "cifar-10-batches-bin"):
        if (place / "test_batch.bin").is_file() or (place / _TRAIN_FILES[0]).is_file():
            train = _read_binary("cifar10/train", [place / name for name in _TRAIN_FILES])
            return make_splits(train, _read_binary("cifar10/test", [place / "test_batch.bin"]))
    if (folder / "train_jpeg.npz").is_file() or (folder / "test_jpeg.npz").is_file():
        train = _read_jpeg("cifar10/train", folder / "train_jpeg.npz", cache)
        return make_splits(train, _read_jpeg("cifar10/test", folder / "test_jpeg.npz", cache))
    for place in (folder, folder / "cifar-10-batches-py"):
        if (place / "data_batch_1").is_file():
            raise DataError(
                f"{place} holds the pickled Python archive of CIFAR-10, and reading a pickle "
                f"can run any code. {_ADVICE}"
            )
    raise DataError(f"{folder} holds neither data_batch_1.bin nor train_jpeg.npz. {_ADVICE}")


def _read_binary(name: str, paths: list[Path]) -> ImageSet:
    """Read records of one label byte and three planes of 32x32 bytes."""
    parts = []
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is missing. {_ADVICE}")
        raw = np.fromfile(path, dtype=np.uint8)
        if not raw.size or raw.size % _RECORD:
            raise DataError(
                f"{path} has {raw.size} bytes, which is no multiple of {_RECORD}: it is truncated. {_ADVICE}"
            )
        records = raw.reshape(-1, _RECORD)
        if (highest := int(records[:, 0].max())) >= len(CIFAR10_CLASSES):
            raise DataError(
                f"{path} holds the label {highest}, allowed are 0..9: this is not CIFAR-10. {_ADVICE}"
            )
        parts.append(records)
    records = np.concatenate(parts)
    images = records[:, 1:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return ImageSet(
        name, "real", np.ascontiguousarray(images), records[:, 0].astype(np.int64), CIFAR10_CLASSES
    )


def _read_jpeg(name: str, path: Path, cache: bool) -> ImageSet:
    """Read an archive of JPEG files."""
    if not path.is_file():
        raise DataError(f"{path} is missing; the JPEG layout has train_jpeg.npz and test_jpeg.npz")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            jpeg, offsets, labels = (archive[key] for key in ("jpeg", "offsets", "labels"))
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise DataError(
            f"{path} is not an archive with the arrays jpeg, offsets and labels: {e}. Copy it again"
        ) from e
    _check_archive(path, jpeg, offsets, labels)

    def decode() -> NDArray[np.uint8]:
        return _decode(path, jpeg.tobytes(), offsets)

    images = cached_pixels(path, decode) if cache else decode()
    return ImageSet(name, "real", images, labels.astype(np.int64), CIFAR10_CLASSES)


def _check_archive(
    path: Path, jpeg: NDArray[np.uint8], offsets: NDArray[np.int64], labels: NDArray[np.int64]
) -> None:
    """Refuse arrays that do not fit one another."""
    whole = all(np.issubdtype(a.dtype, np.integer) and a.ndim == 1 for a in (jpeg, offsets, labels))
    if not whole or jpeg.dtype != np.uint8 or len(offsets) != len(labels) + 1 or not len(labels):
        raise DataError(
            f"{path}: jpeg {jpeg.dtype}{jpeg.shape}, offsets {offsets.dtype}{offsets.shape} and labels "
            f"{labels.dtype}{labels.shape} do not fit; expected uint8 bytes, n + 1 integers and n integers"
        )
    if offsets[0] != 0 or offsets[-1] != len(jpeg) or (np.diff(offsets.astype(np.int64)) <= 0).any():
        raise DataError(
            f"{path}: offsets do not rise from 0 to {len(jpeg)}, the number of bytes. Copy the file again"
        )


def _decode(path: Path, data: bytes, offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Decode every file to (32, 32, 3)."""
    pil = optional("PIL.Image", extra="compression")
    images = np.empty((len(offsets) - 1, _SIDE, _SIDE, 3), dtype=np.uint8)
    for i in progress(range(len(images)), f"decode {path.name}"):
        try:
            with pil.open(io.BytesIO(data[offsets[i] : offsets[i + 1]])) as picture:
                pixels = np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as e:
            raise DataError(f"{path}: image {i} cannot be decoded: {e}. Copy the file again") from e
        if pixels.shape != images.shape[1:]:
            raise DataError(
                f"{path}: image {i} has shape {pixels.shape}, expected {images.shape[1:]}: not CIFAR-10"
            )
        images[i] = pixels
    return images
