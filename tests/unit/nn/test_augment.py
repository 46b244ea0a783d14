"""Shifts and mirrors of a whole batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shoestring.nn._augment import Augmentation


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(num: int, height: int, width: int) -> Tensor:
    """Make images in which every pixel has a value of its own."""
    return torch.arange(num * height * width).view(num, height, width, 1)


def slow_reflect(image_HW: Tensor, down: int, right: int) -> Tensor:
    """Shift with a mirrored border by padding and cropping, as the reference."""
    pad = 4
    padded = torch.nn.functional.pad(image_HW[None, None].double(), (pad,) * 4, mode="reflect")[0, 0].long()
    height, width = image_HW.shape
    return padded[pad + down : pad + down + height, pad + right : pad + right + width]


def test_without_parts_the_images_are_only_picked() -> None:
    images = numbered(5, 8, 8)
    picked = Augmentation(5, pad=0, flip=False, generator=stream())(images, torch.tensor([3, 1]), 0, stream())
    assert torch.equal(picked, images[[3, 1]])


@settings(max_examples=40, deadline=None)
@given(height=st.integers(6, 12), width=st.integers(6, 12), seed=st.integers(0, 2**31))
def test_every_shift_equals_padding_and_cropping(height: int, width: int, seed: int) -> None:
    images = numbered(3, height, width)
    out = Augmentation(3, pad=4, flip=False, generator=stream())(images, torch.arange(3), 0, stream(seed))
    for image, changed in zip(images[..., 0], out[..., 0], strict=True):
        shifts = (slow_reflect(image, down, right) for down in range(-4, 5) for right in range(-4, 5))
        assert any(torch.equal(changed, shifted) for shifted in shifts)


def test_all_shifts_occur_about_equally_often() -> None:
    images = numbered(1, 16, 16)
    index = torch.zeros(8100, dtype=torch.int64)
    out = Augmentation(1, pad=4, flip=False, generator=stream())(images, index, 0, stream())
    counts = torch.unique(out[:, 8, 8, 0], return_counts=True)[1]
    assert len(counts) == 81
    assert 60 < int(counts.min()) <= int(counts.max()) < 145  # 100 expected, deviation 10


def test_two_epochs_show_both_sides_of_every_image() -> None:
    images, index = numbered(64, 4, 4), torch.arange(64)
    augment = Augmentation(64, pad=0, flip=True, generator=stream())
    first, second, third = (augment(images, index, epoch, stream()) for epoch in range(3))
    assert torch.equal(second, first.flip(2))
    assert torch.equal(third, first)
    mirrored = int((first != images).any(dim=(1, 2, 3)).sum())
    assert 16 < mirrored < 48  # 32 expected, deviation 4


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_dtype_and_colours_are_kept(dtype: torch.dtype) -> None:
    images = torch.randint(256, (6, 8, 8, 3), generator=stream()).to(dtype)
    out = Augmentation(6, pad=4, flip=True, generator=stream())(images, torch.arange(6), 0, stream())
    assert out.dtype == dtype
    known = {tuple(p) for p in images.reshape(-1, 3).tolist()}
    assert {tuple(p) for p in out.reshape(-1, 3).tolist()} <= known


def test_the_stream_decides_everything() -> None:
    images, index = numbered(8, 8, 8), torch.arange(8)
    augment = Augmentation(8, pad=4, flip=True, generator=stream())
    assert torch.equal(augment(images, index, 0, stream(3)), augment(images, index, 0, stream(3)))
    assert not torch.equal(augment(images, index, 0, stream(3)), augment(images, index, 0, stream(4)))
