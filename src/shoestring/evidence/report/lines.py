"""Line plots: one series, a line an arm."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.core.figures import (
    CHAR,
    LINE,
    MUTED,
    NOTE,
    SURFACE,
    TEXT,
    WIDTH,
    empty_axes,
    padded,
    shorten,
    ticks,
)
from shoestring.evidence.model import Arm, Plot, Series
from shoestring.evidence.report.styles import ArmStyle

__all__ = ["Band", "draw_lines", "median_band", "spread_out"]

Floats = NDArray[np.float64]
Band = tuple[Floats, Floats, Floats, Floats]
"""x, median, lowest and highest y."""
_MOST_POINTS = 160
_TOP, _BOTTOM = 28.0, 41.0
_LEAST_HEIGHT = 190.0
_LINE_HEIGHT = TEXT * 1.15


def draw_lines(plot: Plot, bands: Sequence[tuple[Arm, Band]], styles: Mapping[str, ArmStyle]) -> Any:
    """Return a figure with the median of every arm and its range over seeds; titles stand at the line ends.

    Parameters
    ----------
    plot : Plot
        Of kind ``lines``.
    bands : sequence of (Arm, Band)
        From `median_band`; at least one, none empty.
    styles : mapping
        Arm name to style.
    """
    labels = [_wrapped(arm.title) for arm, _ in bands]
    heights = [_LINE_HEIGHT * len(lines) + 5 for lines in labels]
    inner = max(_LEAST_HEIGHT, sum(heights) + 8)
    y_range = padded(min(b[2].min() for _, b in bands), max(b[3].max() for _, b in bands), 0.04)
    x_range = padded(min(b[0][0] for _, b in bands), max(b[0][-1] for _, b in bands), 0.0)
    y_places, y_texts = ticks(*y_range, 48 * CHAR)
    left = 14 + max(map(len, y_texts), default=1) * CHAR * 0.95
    right = 30 + max(len(line) for lines in labels for line in lines) * CHAR * 0.97
    room = WIDTH - left - right
    figure, axes = empty_axes(_TOP + inner + _BOTTOM, (left, right, _TOP, _BOTTOM))
    axes.set_xlim(*x_range)
    axes.set_ylim(*y_range)
    axes.set_xticks(*ticks(*x_range, room))
    axes.set_yticks(y_places, y_texts)
    axes.grid(axis="y", color=LINE, linewidth=1)
    axes.set_xlabel(shorten(plot.x_title, 40), color=MUTED, fontsize=NOTE, labelpad=6)
    top = 1 - 4 / (_TOP + inner + _BOTTOM)
    figure.text(2 / WIDTH, top, shorten(plot.y_title or plot.of, 50), color=MUTED, fontsize=NOTE, va="top")
    per_unit = inner / (y_range[1] - y_range[0])
    wanted = [(float(band[1][-1]) - y_range[0]) * per_unit for _, band in bands]
    places = spread_out(wanted, heights, inner)
    for (arm, band), lines, place in zip(bands, labels, places, strict=True):
        style = styles[arm.name]
        strong = arm.role == "system"
        _line(axes, band, style, strong)
        words = {"color": style.ink, "weight": "bold" if strong else "normal"}
        height = y_range[0] + place / per_unit
        _leader(axes, (float(band[0][-1]), float(band[1][-1])), (1 + 16 / room, height), style.ink)
        for n, text in enumerate(lines):
            shift = ((len(lines) - 1) / 2 - n) * _LINE_HEIGHT / per_unit
            spot = (1 + 20 / room, height + shift)
            axes.text(*spot, text, transform=axes.get_yaxis_transform(), va="center", clip_on=False, **words)
    return figure


def _wrapped(title: str) -> list[str]:
    """Break a title into at most three short lines."""
    mark = "\N{HORIZONTAL ELLIPSIS}"
    return textwrap.wrap(shorten(title, 44), 16, max_lines=3, placeholder=mark) or [" "]


def _line(axes: Any, band: Band, style: ArmStyle, strong: bool) -> None:
    x, middle, low, high = band
    if np.any(high > low):
        axes.fill_between(x, low, high, color=style.ink, alpha=0.16, linewidth=0, zorder=2)
    marked = sorted({round(i) for i in np.linspace(0, len(x) - 1, min(len(x), 7))})
    axes.plot(
        x,
        middle,
        color=style.ink,
        linewidth=2.4 if strong else 1.7,
        linestyle=style.dash,
        marker=style.marker,
        markersize=7,
        markeredgecolor=SURFACE,
        markevery=marked,
        zorder=4 if strong else 3,
        clip_on=False,
    )


def _leader(axes: Any, end: tuple[float, float], spot: tuple[float, float], ink: str) -> None:
    """Draw a thin line from the end of a curve to its title."""
    arrow = {"arrowstyle": "-", "color": ink, "linewidth": 1, "alpha": 0.7, "shrinkA": 0, "shrinkB": 5}
    place = {"xycoords": "data", "textcoords": axes.get_yaxis_transform(), "annotation_clip": False}
    axes.annotate("", end, xytext=spot, arrowprops=arrow, **place)


def median_band(curves: Sequence[Series]) -> Band:
    """Return x, median, lowest and highest y over curves.

    Curves with different x are interpolated on the union of their points, within the range that all
    share; where none is shared, the longest curve stands alone. Points that are not finite are left out.

    Parameters
    ----------
    curves : sequence of Series
        One curve a seed, of any length.

    Returns
    -------
    tuple of four arrays
        Of one shape, at most 160 points.
    """
    clean = [c for c in (_finite(s) for s in curves) if len(c[0])]
    if not clean:
        empty = np.empty(0)
        return empty, empty, empty, empty
    low, high = max(x[0] for x, _ in clean), min(x[-1] for x, _ in clean)
    if low > high:
        clean = [max(clean, key=lambda c: len(c[0]))]
        low, high = clean[0][0][0], clean[0][0][-1]
    grid = np.unique(np.concatenate([x for x, _ in clean]))
    grid = grid[(grid >= low) & (grid <= high)]
    if len(grid) > _MOST_POINTS:
        grid = grid[np.unique(np.linspace(0, len(grid) - 1, _MOST_POINTS).round().astype(int))]
    ys = np.stack([np.interp(grid, x, y) for x, y in clean])
    return grid, np.median(ys, axis=0), ys.min(axis=0), ys.max(axis=0)


def _finite(series: Series) -> tuple[Floats, Floats]:
    num = min(len(series.x), len(series.y))
    x, y = np.array(series.x[:num], dtype=np.float64), np.array(series.y[:num], dtype=np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[good], kind="stable")
    return x[good][order], y[good][order]


def spread_out(wanted: Sequence[float], heights: Sequence[float], room: float) -> list[float]:
    """Move label centres as little as needed (least squares) so that none overlaps.

    Parameters
    ----------
    wanted : sequence of float
        Where the centres would be best.
    heights : sequence of float
        Of the labels.
    room : float
        All labels stay within 0 and this; at least the sum of the heights.

    Returns
    -------
    list of float
        The centres, in the order of `wanted`.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    starts = np.concatenate([[0.0], np.cumsum([heights[i] for i in order])])
    slack = room - starts[-1]
    blocks: list[list[float]] = []  # sum and count of labels that touch
    for place, i in enumerate(order):
        blocks.append([wanted[i] - starts[place] - heights[i] / 2, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    shifts = [min(max(total / count, 0.0), slack) for total, count in blocks for _ in range(int(count))]
    placed = [0.0] * len(wanted)
    for place, (i, shift) in enumerate(zip(order, shifts, strict=True)):
        placed[i] = float(shift + starts[place] + heights[i] / 2)
    return placed
