"""Images from a folder with one subfolder a class."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.optional import optional
from shoestring.core.progress import progress
from shoestring.core.seeds import derive_seed
from shoestring.data._images import ImageSet, ImageSplits, make_splits, stratified_mask

__all__ = ["load_image_folder"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_MODES = {1: "L", 3: "RGB"}


def load_image_folder(
    folder: str | Path, size: int, channels: int = 3, seed: int = 0, test_fraction: float = 0.2
) -> ImageSplits:
    """Load PNG, JPEG and BMP files from a folder with one subfolder a class.

    Parameters
    ----------
    folder : path
        Either ``train/CLASS/*.png`` and ``test/CLASS/*.png``, or ``CLASS/*.png``, which is split.
        Deeper folders and files of other kinds are left out; so are names that start with a dot.
    size : int
        Side in pixels; every image is resized to size x size (bilinear, aspect not kept).
    channels : int, default 3
        3 for colour, 1 for grey.
    seed : int, default 0
        Chooses the split where there are no ``train`` and ``test`` folders.
    test_fraction : float, default 0.2
        Share of every class that goes to the test set in that case.

    Returns
    -------
    ImageSplits
        ``kind="real"``; classes in alphabetical order of their folders, images in order of their names.

    Raises
    ------
    ConfigError
        If `size`, `channels` or `test_fraction` is outside its range.
    DataError
        If there are fewer than two classes, a class is empty (or has one image and is to be
        split), the class folders of train and test differ, or a file is no readable image; the
        message names the folder or file.
    MissingExtraError
        If Pillow is not installed.
    """
    if size < 1:
        raise ConfigError(f"size={size} is too small; give the side of the images in pixels")
    if channels not in _MODES:
        raise ConfigError(f"channels={channels} is not known; give 3 for colour or 1 for grey")
    if not 0 < test_fraction < 1:
        raise ConfigError(f"test_fraction={test_fraction} is outside 0 .. 1; 0.2 is usual")
    folder = Path(folder).expanduser()
    name = folder.name
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train = _read(folder / "train", f"{name}/train", size, channels)
        test = _read(folder / "test", f"{name}/test", size, channels)
        if train.classes != test.classes:
            odd = sorted(set(train.classes) ^ set(test.classes))
            raise DataError(
                f"{folder}: the class folder {odd[0]!r} is only in one of train and test; add or remove it"
            )
        return make_splits(train, test)
    whole = _read(folder, name, size, channels)
    counts = np.bincount(whole.labels, minlength=len(whole.classes))
    if counts.min() < 2:
        lonely = whole.classes[int(counts.argmin())]
        raise DataError(
            f"{folder / lonely} has one image, which cannot be split; "
            "add images, or make train and test folders"
        )
    in_test = stratified_mask(whole.labels, test_fraction, derive_seed(seed, "folder", "split"))
    train, test = (
        ImageSet(f"{name}/{part}", "real", whole.images[mask], whole.labels[mask], whole.classes)
        for part, mask in (("train", ~in_test), ("test", in_test))
    )
    return make_splits(train, test)


def _read(folder: Path, name: str, size: int, channels: int) -> ImageSet:
    """Read all classes below one folder."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give one that has a subfolder for each class")
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{folder} has {len(classes)} class folders; give at least two, each with its images")
    paths: list[Path] = []
    labels: list[int] = []
    for label, class_name in enumerate(classes):
        found = sorted(
            p
            for p in (folder / class_name).iterdir()
            if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".") and p.is_file()
        )
        if not found:
            raise DataError(
                f"{folder / class_name} has no {', '.join(_SUFFIXES)} file; add images or remove the folder"
            )
        paths += found
        labels += [label] * len(found)
    images = np.empty((len(paths), size, size, channels), dtype=np.uint8)
    for i, path in enumerate(progress(paths, f"read {name}")):
        images[i] = _open(path, size, channels)
    return ImageSet(name, "real", images, np.array(labels, dtype=np.int64), tuple(classes))


def _open(path: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """Read one image as (size, size, channels)."""
    pil = optional("PIL.Image", extra="compression")
    try:
        with pil.open(path, formats=("PNG", "JPEG", "BMP")) as picture:
            small = picture.convert(_MODES[channels]).resize((size, size), pil.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, pil.DecompressionBombError) as e:
        raise DataError(f"{path} cannot be read as an image: {e}. Replace or remove it") from e
    return np.asarray(small, dtype=np.uint8).reshape(size, size, channels)
