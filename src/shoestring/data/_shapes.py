"""A drawn set of coloured shapes, for trying methods where no photographs are at hand."""

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed
from shoestring.data._images import ImageSet, ImageSplits, make_splits

__all__ = ["SHAPE_CLASSES", "synthetic_shapes"]

SHAPE_CLASSES = tuple(
    f"{texture} {shape}"
    for shape in ("disc", "square", "triangle", "star", "cross")
    for texture in ("plain", "striped")
)
"""Class names: five outlines, each plain and striped."""

# Shapes: N images of a chunk, H height, W width, 3 colours
_Floats = NDArray[np.float32]
_CHUNK = 250
_NUM_OUTLINES = 5
_NUM_DISTRACTORS = 3


def synthetic_shapes(
    num_train: int = 8000, num_test: int = 2000, size: int = 32, seed: int = 0
) -> ImageSplits:
    """Draw a ten-class colour set: disc, square, triangle, star or cross, each plain or striped.

    Parameters
    ----------
    num_train, num_test : int
        Images of each set, at least 10. Classes are balanced in every 250 images.
    size : int, default 32
        Side in pixels, at least 16.
    seed : int, default 0
        A smaller set of the same seed and size is the beginning of a larger one.

    Returns
    -------
    ImageSplits
        Three channels, ``kind="synthetic"``.

    Raises
    ------
    ConfigError
        If a number is too small.

    Notes
    -----
    Place, size, angle and all colours are random; the ground has a colour
    gradient and a faint wave, and the figure stands out from it by 70 levels or more; three
    small outlines of any kind lie behind the figure and a thin bar may lie across it; pixel noise
    comes on top. Nothing but the outline and its texture depends on the class, so that the mean
    colour says nothing. 10,000 images of 32x32 take some seconds and 31 MB.
    """
    for name, value in (("num_train", num_train), ("num_test", num_test)):
        if value < len(SHAPE_CLASSES):
            raise ConfigError(
                f"{name}={value} is too small; give at least {len(SHAPE_CLASSES)}, one image a class"
            )
    if size < 16:
        raise ConfigError(f"size={size} is too small for the outlines; give at least 16")
    return make_splits(_draw_set("train", num_train, size, seed), _draw_set("test", num_test, size, seed))


def _draw_set(part: str, num: int, size: int, seed: int) -> ImageSet:
    images = np.empty((num, size, size, 3), dtype=np.uint8)
    labels = np.empty(num, dtype=np.int64)
    for chunk, start in enumerate(range(0, num, _CHUNK)):
        stop = min(start + _CHUNK, num)
        rng = np.random.default_rng(derive_seed(seed, "shapes", part, size, chunk))
        drawn, classes = _draw_chunk(rng, size)
        images[start:stop] = drawn[: stop - start]
        labels[start:stop] = classes[: stop - start]
    return ImageSet(f"shapes/{part}", "synthetic", images, labels, SHAPE_CLASSES)


def _draw_chunk(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw one chunk of images and their labels; both are in balanced order of tens."""
    tens = np.tile(np.arange(len(SHAPE_CLASSES)), (_CHUNK // len(SHAPE_CLASSES), 1))
    label_N = rng.permuted(tens, axis=1).reshape(-1).astype(np.int64)
    row_HW, column_HW = (g.astype(np.float32) + 0.5 for g in np.mgrid[:size, :size])
    canvas_NHW3, middle_N3 = _ground(rng, row_HW / size, column_HW / size)

    for _ in range(_NUM_DISTRACTORS):
        centre_N2 = _uniform(rng, 0.0, size, 2)
        kind_N = rng.integers(_NUM_OUTLINES, size=_CHUNK)
        radius_N = _uniform(rng, 0.05 * size, 0.11 * size)
        u, v = _local(row_HW, column_HW, centre_N2, radius_N, _uniform(rng, 0, 2 * np.pi))
        _paint(canvas_NHW3, _cover(kind_N, u, v, radius_N), _uniform(rng, 0, 255, 3)[:, None, None])

    radius_N = _uniform(rng, 0.28 * size, 0.4 * size)
    centre_N2 = size / 2 + _uniform(rng, -0.12 * size, 0.12 * size, 2)
    u, v = _local(row_HW, column_HW, centre_N2, radius_N, _uniform(rng, 0, 2 * np.pi))
    fill_N113 = _apart(rng, middle_N3)[:, None, None]
    away_N113 = np.where(
        fill_N113 < 128, _uniform(rng, 40, 110, 3)[:, None, None], -_uniform(rng, 40, 110, 3)[:, None, None]
    )
    wave_NHW = _waves(rng, u, v, radius_N)
    striped_N = (label_N % 2).astype(np.float32)
    share_NHW = wave_NHW * striped_N[:, None, None]
    colour_NHW3 = fill_N113 + share_NHW[..., None] * away_N113
    _paint(canvas_NHW3, _cover(label_N // 2, u, v, radius_N), colour_NHW3)

    _paint(canvas_NHW3, _bar(rng, row_HW, column_HW, size), _uniform(rng, 0, 255, 3)[:, None, None])
    level_N = _uniform(rng, 2, 12)
    canvas_NHW3 += level_N[:, None, None, None] * rng.standard_normal(canvas_NHW3.shape, dtype=np.float32)
    return np.clip(np.rint(canvas_NHW3), 0, 255).astype(np.uint8), label_N


def _ground(rng: np.random.Generator, row_HW: _Floats, column_HW: _Floats) -> tuple[_Floats, _Floats]:
    """Colour gradient in a random direction with a wave in one colour; also its colour in the middle."""
    angle_N = _uniform(rng, 0, 2 * np.pi)[:, None, None]
    along_NHW = (row_HW - 0.5) * np.sin(angle_N) + (column_HW - 0.5) * np.cos(angle_N)
    middle_N3 = _uniform(rng, 40, 215, 3)
    slope_N113, wave_N113 = (_uniform(rng, -80, 80, 3)[:, None, None] for _ in range(2))
    turns_N11, phase_N11 = _uniform(rng, 1, 7)[:, None, None], _uniform(rng, 0, 2 * np.pi)[:, None, None]
    tilt_N11 = _uniform(rng, 0, 2 * np.pi)[:, None, None]
    across_NHW = row_HW * np.cos(tilt_N11) + column_HW * np.sin(tilt_N11)
    wave_NHW = np.sin(2 * np.pi * turns_N11 * across_NHW + phase_N11)
    strength_N11 = _uniform(rng, 0, 0.12)[:, None, None]
    out: _Floats = middle_N3[:, None, None] + slope_N113 * along_NHW[..., None]
    out += (strength_N11 * wave_NHW)[..., None] * wave_N113
    return out, middle_N3


def _apart(rng: np.random.Generator, colour_N3: _Floats) -> _Floats:
    """Draw colours that stand out: 70 to 140 levels away, less only at the ends of the scale."""
    step_N3 = _uniform(rng, 70, 140, 3)
    up_N3 = np.where(
        colour_N3 + step_N3 > 255, False, (colour_N3 < step_N3) | (rng.random(step_N3.shape) < 0.5)
    )
    return np.clip(np.where(up_N3, colour_N3 + step_N3, colour_N3 - step_N3), 0, 255).astype(np.float32)


def _local(
    row_HW: _Floats, column_HW: _Floats, centre_N2: _Floats, radius_N: _Floats, angle_N: _Floats
) -> tuple[_Floats, _Floats]:
    """Return coordinates (N, H, W) in the frame of each figure, in units of its radius."""
    y_NHW = (row_HW - centre_N2[:, 0, None, None]) / radius_N[:, None, None]
    x_NHW = (column_HW - centre_N2[:, 1, None, None]) / radius_N[:, None, None]
    cos_N11, sin_N11 = np.cos(angle_N)[:, None, None], np.sin(angle_N)[:, None, None]
    return x_NHW * cos_N11 + y_NHW * sin_N11, y_NHW * cos_N11 - x_NHW * sin_N11


def _cover(kind_N: NDArray[np.int64], u_NHW: _Floats, v_NHW: _Floats, radius_N: _Floats) -> _Floats:
    """Return how much of each pixel the outline covers, 0..1."""
    out_NHW = np.empty_like(u_NHW)
    for kind in range(_NUM_OUTLINES):
        chosen = kind_N == kind
        edge = _distance(kind, u_NHW[chosen], v_NHW[chosen])
        out_NHW[chosen] = np.clip(0.5 - edge * radius_N[chosen, None, None], 0, 1)
    return out_NHW


def _distance(kind: int, u: _Floats, v: _Floats) -> _Floats:
    """Return about the distance from the outline, in radii, negative inside; areas are alike."""
    if kind == 0:
        edge = np.hypot(u, v) - np.float32(0.85)
    elif kind == 1:
        edge = np.maximum(np.abs(u), np.abs(v)) - np.float32(0.75)
    elif kind == 2:
        slant = np.float32(3**0.5 / 2) * np.abs(u) - np.float32(0.5) * v
        edge = np.maximum(slant, v) - np.float32(0.55)
    elif kind == 3:
        edge = np.hypot(u, v) - np.float32(0.78) - np.float32(0.3) * np.cos(5 * np.arctan2(v, u))
    else:
        wide, narrow = np.float32(1.0), np.float32(0.34)
        flat = np.maximum(np.abs(u) - wide, np.abs(v) - narrow)
        upright = np.maximum(np.abs(u) - narrow, np.abs(v) - wide)
        edge = np.minimum(flat, upright)
    return edge.astype(np.float32, copy=False)


def _waves(rng: np.random.Generator, u_NHW: _Floats, v_NHW: _Floats, radius_N: _Floats) -> _Floats:
    """Return stripes of a random direction with a period of 4 to 6.5 pixels, values 0..1."""
    tilt_N11, phase_N11 = _uniform(rng, 0, np.pi)[:, None, None], _uniform(rng, 0, 2 * np.pi)[:, None, None]
    turns_N11 = (radius_N / _uniform(rng, 4.0, 6.5))[:, None, None]
    along_NHW = u_NHW * np.cos(tilt_N11) + v_NHW * np.sin(tilt_N11)
    wave_NHW = 0.5 + np.sin(2 * np.pi * turns_N11 * along_NHW + phase_N11)
    return np.clip(wave_NHW, 0, 1).astype(np.float32, copy=False)


def _bar(rng: np.random.Generator, row_HW: _Floats, column_HW: _Floats, size: int) -> _Floats:
    """Return the cover of a thin bar across the picture; half of the images have none."""
    angle_N11 = _uniform(rng, 0, np.pi)[:, None, None]
    shift_N11 = _uniform(rng, -0.35 * size, 0.35 * size)[:, None, None]
    across_NHW = (
        (row_HW - size / 2) * np.cos(angle_N11) + (column_HW - size / 2) * np.sin(angle_N11) - shift_N11
    )
    present_N11 = (rng.random(_CHUNK) < 0.5)[:, None, None]
    return (np.clip(1.2 - np.abs(across_NHW), 0, 1) * present_N11).astype(np.float32, copy=False)


def _paint(canvas_NHW3: _Floats, cover_NHW: _Floats, colour: _Floats) -> None:
    """Lay a colour over the canvas, in place."""
    canvas_NHW3 += cover_NHW[..., None] * (colour - canvas_NHW3)


def _uniform(rng: np.random.Generator, low: float, high: float, width: int = 0) -> _Floats:
    """Draw one number (or `width` numbers) for each image of a chunk."""
    shape = (_CHUNK, width) if width else (_CHUNK,)
    return (low + (high - low) * rng.random(shape, dtype=np.float32)).astype(np.float32)
