"""Image sets, their statistics and their normalisation."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from shoestring.core.errors import DataError
from shoestring.data import ImageSet, ImageSplits, channel_statistics, normalise

CLASSES = ("cat", "dog")


def make_set(**changes: Any) -> ImageSet:
    rng = np.random.default_rng(0)
    given_: dict[str, Any] = {
        "name": "toy",
        "kind": "real",
        "images": rng.integers(256, size=(4, 6, 6, 3), dtype=np.uint8),
        "labels": np.array([0, 1, 0, 1], dtype=np.int64),
        "classes": CLASSES,
    }
    return ImageSet(**{**given_, **changes})


def test_a_valid_set_knows_its_length() -> None:
    assert len(make_set()) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "photo"}, "kind='photo'"),
        ({"images": np.zeros((4, 6, 6, 3), dtype=np.float32)}, "float32"),
        ({"images": np.zeros((4, 6, 6), dtype=np.uint8)}, r"\(4, 6, 6\)"),
        ({"labels": np.zeros(4, dtype=np.int32)}, "int32"),
        ({"labels": np.zeros((4, 1), dtype=np.int64)}, r"\(4, 1\)"),
        ({"labels": np.zeros(3, dtype=np.int64)}, "4 images but 3 labels"),
        ({"labels": np.array([0, 1, 2, 0])}, "from 0 to 2, but there are 2 classes"),
        ({"labels": np.array([0, -1, 1, 0])}, "from -1 to 1"),
        (
            {"images": np.zeros((0, 6, 6, 3), dtype=np.uint8), "labels": np.zeros(0, dtype=np.int64)},
            "hold nothing",
        ),
    ],
)
def test_a_set_refuses_arrays_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_set(**changes)


def test_splits_give_classes_channels_and_size() -> None:
    splits = ImageSplits(make_set(), make_set(), (0.5,) * 3, (0.2,) * 3)
    assert (splits.num_classes, splits.channels, splits.size) == (2, 3, 6)


@pytest.mark.parametrize(
    ("test", "mean", "message"),
    [
        ({"images": np.zeros((4, 5, 5, 3), dtype=np.uint8)}, (0.5,) * 3, "resize"),
        ({"classes": ("cat", "cow")}, (0.5,) * 3, "do not belong together"),
        ({"kind": "synthetic"}, (0.5,) * 3, "do not belong together"),
        ({}, (0.5,), "1 means and 3 deviations for 3 channels"),
    ],
)
def test_splits_refuse_sets_that_do_not_belong_together(
    test: dict[str, Any], mean: tuple[float, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ImageSplits(make_set(), make_set(**test), mean, (0.2,) * 3)


def test_statistics_equal_the_direct_computation() -> None:
    images = make_set().images
    mean, std = channel_statistics(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), rtol=1e-12)  # float64 sums of 144 numbers
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), rtol=1e-12)


def test_a_constant_channel_gets_the_deviation_one() -> None:
    mean, std = channel_statistics(np.full((2, 3, 3, 1), 51, dtype=np.uint8))
    assert mean == pytest.approx((0.2,))
    assert std == (1.0,)


@settings(max_examples=30, deadline=None)
@given(
    images=hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))
    )
)
def test_normalised_pixels_can_be_turned_back(images: NDArray[np.uint8]) -> None:
    mean, std = channel_statistics(images)
    out = normalise(images, mean, std)
    assert out.dtype == np.float32
    assert out.flags["C_CONTIGUOUS"]
    shape = (1, -1, 1, 1)
    back = (out * np.reshape(std, shape) + np.reshape(mean, shape)) * 255
    np.testing.assert_array_equal(np.rint(back).astype(np.uint8), images.transpose(0, 3, 1, 2))


def test_training_pixels_become_standard() -> None:
    images = make_set().images
    out = normalise(images, *channel_statistics(images))
    np.testing.assert_allclose(out.mean((0, 2, 3)), 0, atol=1e-5)  # float32 tables
    np.testing.assert_allclose(out.std((0, 2, 3)), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "mean", "std", "message"),
    [
        (np.zeros((1, 2, 2, 3), dtype=np.uint8), (0.5,), (0.2,), "1 means and 1 deviations for 3 channels"),
        (np.zeros((1, 2, 2, 1), dtype=np.uint8), (0.5,), (0.0,), "must be positive"),
        (np.zeros((1, 2, 2, 1), dtype=np.float32), (0.5,), (0.2,), "float32"),
        (np.zeros((0, 2, 2, 1), dtype=np.uint8), (0.5,), (0.2,), "non-empty"),
    ],
)
def test_normalise_refuses_what_does_not_fit(
    images: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        normalise(images, mean, std)
