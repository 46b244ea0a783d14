"""Images from one subfolder a class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shoestring.core.errors import ConfigError, DataError
from shoestring.data import load_image_folder


def fill(folder: Path, num: int = 5, suffix: str = ".png", side: int = 12) -> None:
    """Write `num` flat pictures of each of two classes: dark red ones and bright green ones."""
    for name, colour in (("apple", (90, 10, 10)), ("lime", (10, 240, 10))):
        (folder / name).mkdir(parents=True)
        for i in range(num):
            Image.new("RGB", (side + i, side), colour).save(folder / name / f"{i}{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".jpeg", ".PNG"])
def test_every_format_is_read_and_resized(tmp_path: Path, suffix: str) -> None:
    fill(tmp_path, suffix=suffix)
    splits = load_image_folder(tmp_path, 8)
    assert splits.train.images.shape == (8, 8, 8, 3)
    assert splits.test.images.shape == (2, 8, 8, 3)
    assert splits.train.classes == ("apple", "lime")
    apple = splits.train.images[splits.train.labels == 0]
    assert np.abs(apple.astype(int) - (90, 10, 10)).max() <= 3  # JPEG of a flat colour


def test_train_and_test_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    fill(tmp_path / "train", num=3)
    fill(tmp_path / "test", num=1)
    splits = load_image_folder(tmp_path, 8)
    assert (len(splits.train), len(splits.test)) == (6, 2)


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    fill(tmp_path)
    splits = load_image_folder(tmp_path, 8, channels=1)
    assert splits.channels == 1
    assert splits.train.images.shape == (8, 8, 8, 1)


def test_the_split_depends_on_the_seed_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype=np.uint8)).save(
                tmp_path / name / f"{i}.png"
            )
    one, same, other = (load_image_folder(tmp_path, 4, seed=seed).test.images for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "apple" / "notes.txt").write_text("no picture")
    (tmp_path / "apple" / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / ".cache").mkdir()
    splits = load_image_folder(tmp_path, 8)
    assert len(splits.train) + len(splits.test) == 10
    assert splits.num_classes == 2


@pytest.mark.parametrize("content", [b"", b"no picture", "half"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes | str) -> None:
    fill(tmp_path, side=40)
    path = tmp_path / "lime" / "3.png"
    path.write_bytes(path.read_bytes()[:60] if isinstance(content, str) else content)
    with pytest.raises(DataError, match=r"3\.png cannot be read as an image"):
        load_image_folder(tmp_path, 8)


def test_a_class_that_only_one_part_has_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test")
    (tmp_path / "test" / "plum").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "test" / "plum" / "0.png")
    with pytest.raises(DataError, match="'plum' is only in one"):
        load_image_folder(tmp_path, 8)


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "plum").mkdir()
    with pytest.raises(DataError, match=r"plum has no \.png"):
        load_image_folder(tmp_path, 8)


def test_a_class_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    fill(tmp_path, num=1)
    with pytest.raises(DataError, match="has one image"):
        load_image_folder(tmp_path, 8)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 0 class folders"):
        load_image_folder(tmp_path, 8)
    with pytest.raises(DataError, match="is not a folder"):
        load_image_folder(tmp_path / "absent", 8)


@pytest.mark.parametrize("options", [{"size": 0}, {"channels": 2}, {"test_fraction": 1.0}])
def test_options_outside_their_range_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        load_image_folder(tmp_path, **{"size": 8, **options})
