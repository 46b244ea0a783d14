"""The digits of scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest

from shoestring.core.errors import ConfigError, MissingExtraError
from shoestring.data import load_digits


def test_all_images_are_in_exactly_one_split() -> None:
    splits = load_digits()
    assert len(splits.train) + len(splits.test) == 1797
    assert splits.train.images.shape[1:] == (16, 16, 1)
    assert splits.train.kind == splits.test.kind == "real"
    assert splits.num_classes == 10


def test_every_class_gives_its_share_to_the_test_set() -> None:
    splits = load_digits(size=8, test_fraction=0.25)
    whole = np.bincount(splits.train.labels) + np.bincount(splits.test.labels)
    np.testing.assert_allclose(np.bincount(splits.test.labels), whole * 0.25, atol=0.5)


def test_the_size_of_the_source_keeps_the_pixels() -> None:
    from sklearn import datasets

    splits = load_digits(size=8)
    levels = datasets.load_digits().images
    both = np.concatenate([splits.train.images, splits.test.images])[..., 0]
    expected = np.rint(levels * 255 / 16).astype(np.uint8)
    assert sorted(p.tobytes() for p in both) == sorted(p.tobytes() for p in expected)
    assert both.max() == 255


def test_the_shipped_file_and_scikit_learn_give_the_same_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    read = load_digits(size=8)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    imported = load_digits(size=8)
    for one, two in ((read.train, imported.train), (read.test, imported.test)):
        np.testing.assert_array_equal(one.images, two.images)
        np.testing.assert_array_equal(one.labels, two.labels)


def test_scikit_learn_is_not_imported_for_its_file() -> None:
    code = "import shoestring.data, sys; shoestring.data.load_digits(); sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_seed_gives_one_split_and_another_seed_another() -> None:
    one, same, other = (load_digits(size=8, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.test.images, same.test.images)
    assert one.mean == same.mean
    assert not np.array_equal(one.test.images, other.test.images)


@pytest.mark.parametrize("options", [{"size": 7}, {"test_fraction": 0.0}, {"test_fraction": 1.0}])
def test_options_outside_their_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        load_digits(**options)  # type: ignore[arg-type]  # one dict carries an int or a float


def test_a_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Absent(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"shoestring\[compression\]"):
        load_digits()


class _Absent:
    """A finder for which scikit-learn is not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:  # noqa: ARG004  # fixed by import
        if name.partition(".")[0] == "sklearn":
            raise ModuleNotFoundError(f"No module named {name!r}", name="sklearn")
