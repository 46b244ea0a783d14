"""The handwritten digits that ship with scikit-learn."""

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.core.seeds import derive_seed
from shoestring.data._images import ImageSet, ImageSplits, make_splits, stratified_mask

__all__ = ["load_digits"]


def load_digits(size: int = 16, seed: int = 0, test_fraction: float = 0.2) -> ImageSplits:
    """Load the 1,797 grey 8x8 digits of scikit-learn, enlarged, split into train and test.

    Parameters
    ----------
    size : int, default 16
        Side of the images in pixels; 8 keeps them as they are, else bilinear.
    seed : int, default 0
        Chooses the split.
    test_fraction : float, default 0.2
        Share of every class that goes to the test set.

    Returns
    -------
    ImageSplits
        One channel, ten classes, ``kind="real"``. Levels 0..16 are scaled to 0..255.

    Raises
    ------
    ConfigError
        If `size` is below 8 or `test_fraction` leaves a set without a class.
    MissingExtraError
        If scikit-learn or Pillow is not installed.

    References
    ----------
    E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998 (the test part, as scikit-learn ships it).
    """
    if size < 8:
        raise ConfigError(f"size={size} is smaller than the digits; give at least 8")
    if not 0.01 <= test_fraction <= 0.99:
        raise ConfigError(f"test_fraction={test_fraction} is outside 0.01 .. 0.99; 0.2 is usual")
    levels, labels = _read_levels()
    pixels = np.rint(levels * (255.0 / 16.0)).astype(np.uint8)
    images = pixels if size == pixels.shape[1] else _resize(pixels, size)
    in_test = stratified_mask(labels, test_fraction, derive_seed(seed, "digits", "split"))
    classes = tuple(str(c) for c in range(10))
    train = ImageSet("digits/train", "real", images[~in_test][..., None], labels[~in_test], classes)
    test = ImageSet("digits/test", "real", images[in_test][..., None], labels[in_test], classes)
    return make_splits(train, test)


def _read_levels() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the grey levels 0..16, (N, 8, 8), and the labels, (N,).

    Read from the file that scikit-learn ships where it has its usual place: importing scikit-learn takes over
    a second, which every process of a verification would spend again.
    """
    try:
        spec = importlib.util.find_spec("sklearn")
    except ModuleNotFoundError:
        spec = None
    folders = () if spec is None else spec.submodule_search_locations or ()
    for folder in folders:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            rows = np.loadtxt(path, delimiter=",")
            return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
    bunch = optional("sklearn.datasets", extra="compression").load_digits()
    return np.asarray(bunch.images, dtype=np.float64), np.asarray(bunch.target, dtype=np.int64)


def _resize(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Enlarge (N, H, W) grey images to (N, size, size)."""
    pil = optional("PIL.Image", extra="compression")
    how = pil.Resampling.BILINEAR
    return np.stack([np.asarray(pil.fromarray(p).resize((size, size), how)) for p in pixels])
