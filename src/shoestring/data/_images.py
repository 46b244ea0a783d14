"""Sets of small images in memory, and their normalisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import DataError

__all__ = ["ImageSet", "ImageSplits", "channel_statistics", "normalise"]

Kind = Literal["real", "synthetic"]


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Labelled images of one size, in memory.

    Raises
    ------
    DataError
        If the arrays have another dtype or rank, lengths differ, the set is empty, or a label is
        outside ``0 .. len(classes) - 1``.
    """

    name: str
    """What the images are, e.g. ``"cifar10/train"``."""
    kind: Literal["real", "synthetic"]
    """"real" for recorded data, "synthetic" for images drawn by a program."""
    images: NDArray[np.uint8]
    """Pixels, uint8 of shape (N, H, W, C), 0..255."""
    labels: NDArray[np.int64]
    """Class numbers, int64 of shape (N,)."""
    classes: tuple[str, ...]
    """Name of each class, in the order of the numbers."""

    def __post_init__(self) -> None:
        if self.kind not in ("real", "synthetic"):
            raise DataError(f"{self.name}: kind={self.kind!r} is not known; give 'real' or 'synthetic'")
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataError(
                f"{self.name}: images have dtype {self.images.dtype} and shape {self.images.shape}; "
                "give uint8 of shape (N, H, W, C)"
            )
        if self.labels.dtype != np.int64 or self.labels.ndim != 1:
            raise DataError(
                f"{self.name}: labels have dtype {self.labels.dtype} and shape {self.labels.shape}; "
                "give int64 of shape (N,)"
            )
        if len(self.images) != len(self.labels):
            raise DataError(
                f"{self.name}: {len(self.images)} images but {len(self.labels)} labels; "
                "give one label an image"
            )
        if not self.images.size:
            raise DataError(
                f"{self.name}: images of shape {self.images.shape} hold nothing; give at least one"
            )
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= len(self.classes):
            raise DataError(
                f"{self.name}: labels go from {low} to {high}, but there are {len(self.classes)} classes; "
                "labels count from 0 and each needs a class name"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class ImageSplits:
    """A training and a test set that belong together, with the statistics of the training pixels.

    Raises
    ------
    DataError
        If the two sets differ in image shape, classes or kind, or the statistics do not fit the
        channels.
    """

    train: ImageSet
    """Images to fit on."""
    test: ImageSet
    """Images to score on."""
    mean: tuple[float, ...]
    """Mean of each channel over the training images, pixels scaled to 0..1."""
    std: tuple[float, ...]
    """Standard deviation of each channel over the training images, pixels scaled to 0..1."""

    def __post_init__(self) -> None:
        one, two = self.train, self.test
        if one.images.shape[1:] != two.images.shape[1:]:
            raise DataError(
                f"{one.name} has images of shape {one.images.shape[1:]}, "
                f"{two.name} of {two.images.shape[1:]}; resize one of them"
            )
        if one.classes != two.classes or one.kind != two.kind:
            raise DataError(
                f"{one.name} ({one.kind}, {len(one.classes)} classes) and {two.name} ({two.kind}, "
                f"{len(two.classes)} classes) do not belong together; give the same classes and kind"
            )
        if not len(self.mean) == len(self.std) == self.channels:
            raise DataError(
                f"{one.name}: {len(self.mean)} means and {len(self.std)} deviations "
                f"for {self.channels} channels; channel_statistics(train.images) gives fitting ones"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.train.classes)

    @property
    def channels(self) -> int:
        """Channels of an image: 1 for grey, 3 for colour."""
        return int(self.train.images.shape[3])

    @property
    def size(self) -> int:
        """Height of an image in pixels (all built-in sets are square)."""
        return int(self.train.images.shape[1])


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, pixels scaled to 0..1.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W, C)
        Pixels.

    Returns
    -------
    mean, std : tuple of C floats
        Exact sums over all pixels (integer histogram). A constant channel gets the deviation 1,
        so that dividing by it is harmless.

    Raises
    ------
    DataError
        If `images` is not a non-empty uint8 array of rank 4.
    """
    _check_pixels(images)
    levels = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(images.shape[3]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        share = counts / counts.sum()
        mean = float(share @ levels)
        std = float(np.sqrt(share @ (levels - mean) ** 2))
        means.append(mean)
        stds.append(std if std > 1e-8 else 1.0)
    return tuple(means), tuple(stds)


def normalise(images: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Standardise pixels: ``(images / 255 - mean) / std``, channels first.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W, C)
        Pixels, 0..255.
    mean, std : sequence of C floats
        Of the 0..1 scale, as in `ImageSplits`.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Contiguous.

    Raises
    ------
    DataError
        If `images` is not a uint8 array of rank 4, or the statistics do not fit its channels.

    Notes
    -----
    A pixel has 256 values, so each channel is one table look-up.
    """
    _check_pixels(images)
    channels = images.shape[3]
    if not len(mean) == len(std) == channels:
        raise DataError(
            f"{len(mean)} means and {len(std)} deviations for {channels} channels; give one of each a channel"
        )
    if min(std) <= 0:
        raise DataError(f"std={tuple(std)} must be positive; channel_statistics() never gives 0")
    out = np.empty((len(images), channels, *images.shape[1:3]), dtype=np.float32)
    levels = np.arange(256) / 255.0
    for channel in range(channels):
        table = ((levels - mean[channel]) / std[channel]).astype(np.float32)
        np.take(table, images[..., channel], out=out[:, channel])
    return out


def make_splits(train: ImageSet, test: ImageSet) -> ImageSplits:
    """Join two sets with the statistics of the first."""
    mean, std = channel_statistics(train.images)
    return ImageSplits(train, test, mean, std)


def stratified_mask(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Mark round(fraction * n) members of every class, at least one and never all."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        mask[members[:count]] = True
    return mask


def _check_pixels(images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise DataError(
            f"images have dtype {images.dtype} and shape {images.shape}; "
            "give non-empty uint8 of shape (N, H, W, C)"
        )
