"""The drawn set of shapes."""

import numpy as np
import pytest

from shoestring.core.errors import ConfigError
from shoestring.data import SHAPE_CLASSES, synthetic_shapes


def test_the_set_is_marked_synthetic_and_has_ten_classes() -> None:
    splits = synthetic_shapes(60, 30)
    assert splits.train.kind == splits.test.kind == "synthetic"
    assert splits.train.images.shape == (60, 32, 32, 3)
    assert splits.train.classes == SHAPE_CLASSES
    assert splits.num_classes == 10


def test_classes_are_balanced_in_every_ten_images() -> None:
    labels = synthetic_shapes(300, 10).train.labels
    for ten in labels.reshape(-1, 10):
        assert sorted(ten) == list(range(10))


def test_one_seed_gives_the_same_bits_and_another_seed_others() -> None:
    one, same, other = (synthetic_shapes(20, 10, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train.images, same.train.images)
    np.testing.assert_array_equal(one.test.images, same.test.images)
    assert not np.array_equal(one.train.images, other.train.images)


def test_a_smaller_set_is_the_beginning_of_a_larger_one() -> None:
    small, large = synthetic_shapes(30, 10, seed=5), synthetic_shapes(270, 10, seed=5)
    np.testing.assert_array_equal(small.train.images, large.train.images[:30])
    np.testing.assert_array_equal(small.train.labels, large.train.labels[:30])


def test_train_and_test_share_no_image() -> None:
    splits = synthetic_shapes(250, 250)
    train = {image.tobytes() for image in splits.train.images}
    assert len(train) == 250
    assert not train & {image.tobytes() for image in splits.test.images}


def test_mean_colours_do_not_give_the_class_away() -> None:
    splits = synthetic_shapes(1000, 500)
    centre = np.stack([splits.train.images[splits.train.labels == k].mean((0, 1, 2)) for k in range(10)])
    colour = splits.test.images.mean((1, 2))
    guess = np.linalg.norm(colour[:, None] - centre[None], axis=2).argmin(1)
    # Chance is 10 %; 500 draws spread by 1.3 points, so 20 % is more than seven deviations away.
    assert (guess == splits.test.labels).mean() < 0.2


@pytest.mark.parametrize("size", [16, 48])
def test_other_sizes_are_drawn(size: int) -> None:
    assert synthetic_shapes(10, 10, size=size).size == size


@pytest.mark.parametrize("options", [{"num_train": 9}, {"num_test": 0}, {"size": 15}])
def test_numbers_that_are_too_small_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        synthetic_shapes(**{"num_train": 10, "num_test": 10, **options})
