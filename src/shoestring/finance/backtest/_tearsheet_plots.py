"""The plots of a tear sheet, drawn as narrow as a phone and coloured by the page."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shoestring.core.figures import (
    CHAR,
    INK,
    LINE,
    MUTED,
    WIDTH,
    arm_ink,
    empty_axes,
    padded,
    quiet_matplotlib,
    svg_of,
    ticks,
)

__all__ = ["NUM_COLOURS", "Curve", "draw_bars", "draw_lines", "draw_stack"]

F = NDArray[np.float64]
Curve = tuple[str, int, "pd.Series[float]"]
"""Name, colour (index of ``--arm-N``) and values by date."""

NUM_COLOURS = 7
"""Colours of the page besides the grey of the benchmark."""
_MOST_POINTS = 240
_HEIGHT = 200.0
_TOP, _BOTTOM, _RIGHT = 14.0, 26.0, 12.0


def draw_lines(
    curves: Sequence[Curve],
    title: str,
    prefix: str,
    *,
    log: bool = False,
    percent: bool = False,
    show: tuple[float, float] | None = None,
) -> str:
    """Return an SVG element of values over time.

    Parameters
    ----------
    curves : sequence of Curve
        At least one; the first is drawn on top.
    title : str
        What a screen reader says.
    prefix : str
        Prefix of every id; unique in the page.
    log : bool
        Logarithmic axis; values must be positive, others are left out.
    percent : bool
        Label shares as percent.
    show : tuple of two floats or None
        Values that the axis must reach on both sides.
    """
    thin = [(colour, *_thinned(values, log=log)) for _, colour, values in curves]
    low = min((float(y.min()) for _, _, y in thin if len(y)), default=0.0)
    high = max((float(y.max()) for _, _, y in thin if len(y)), default=1.0)
    if show is not None:
        low, high = min(low, show[0]), max(high, show[1])
    with quiet_matplotlib():
        if log:
            low, high = (math.log10(v) for v in (low, high))
        span = padded(low, high, 0.05)
        places, labels = _log_ticks(*span) if log else _value_ticks(*span, percent=percent)
        figure, axes = _time_axes([x for _, x, _ in thin], span, places, labels)
        for order, (colour, x, y) in enumerate(thin):
            width = 1.8 if order == 0 else 1.3
            axes.plot(x, np.log10(y) if log else y, color=arm_ink(colour), linewidth=width, zorder=9 - order)
        if not log and low < 0 < high:
            axes.axhline(0.0, color=MUTED, linewidth=0.8, zorder=1)
        return svg_of(figure, title, prefix)


def draw_stack(layers: Sequence[Curve], title: str, prefix: str) -> str:
    """Return an SVG element of shares stacked over time; negative ones stack downwards.

    Parameters
    ----------
    layers : sequence of Curve
        At least one, all with the same dates; from the axis outwards.
    title, prefix : str
        As for `draw_lines`.
    """
    index = pd.DatetimeIndex(layers[0][2].index)
    rows = _spread_rows(len(index))
    x = _years(index[rows])
    values = np.stack([layer.to_numpy()[rows] for _, _, layer in layers])
    up, down = np.maximum(values, 0.0), np.minimum(values, 0.0)
    low, high = float(down.sum(axis=0).min()), float(up.sum(axis=0).max())
    with quiet_matplotlib():
        span = (low * 1.04, max(high * 1.04, 0.05))
        figure, axes = _time_axes([x], span, *_value_ticks(*span, percent=True))
        colours = [arm_ink(colour) for _, colour, _ in layers]
        # One edge a layer would leave hairlines between neighbours.
        for part in (up, down):
            if np.any(part != 0):
                axes.stackplot(x, part, colors=colours, linewidth=0, alpha=0.85)
        if low < 0:
            axes.axhline(0.0, color=INK, linewidth=0.8)
        return svg_of(figure, title, prefix)


def draw_bars(bars: Mapping[str, float], title: str, prefix: str, *, colour: int = 1) -> str:
    """Return an SVG element of bars with their labels below, as many as there is room for.

    Parameters
    ----------
    bars : mapping
        Label to height (0 or more); at least one.
    title, prefix : str
        As for `draw_lines`.
    colour : int
        Index of ``--arm-N``.
    """
    names, heights = list(bars), np.array(list(bars.values()))
    with quiet_matplotlib():
        span = (0.0, max(float(heights.max()) * 1.08, 1e-9))
        places, labels = _value_ticks(*span, percent=False)
        left = _margin(labels)
        figure, axes = empty_axes(_HEIGHT, (left, _RIGHT, _TOP, _BOTTOM))
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(*span)
        axes.set_yticks(places, labels)
        room = max(1, int((WIDTH - left - _RIGHT) / (CHAR * (max(map(len, names)) + 1.5))))
        step = -(-len(names) // room)
        axes.set_xticks(range(0, len(names), step), names[::step])
        axes.grid(axis="y", color=LINE, linewidth=1)
        axes.bar(np.arange(len(names)), heights, width=0.72, color=arm_ink(colour), linewidth=0)
        return svg_of(figure, title, prefix)


def _time_axes(xs: Sequence[F], span: tuple[float, float], places: list[float], labels: list[str]) -> Any:
    left = _margin(labels)
    figure, axes = empty_axes(_HEIGHT, (left, _RIGHT, _TOP, _BOTTOM))
    first = min((float(x[0]) for x in xs if len(x)), default=2000.0)
    last = max((float(x[-1]) for x in xs if len(x)), default=2001.0)
    axes.set_xlim(first, max(last, first + 1 / 366))
    axes.set_ylim(*span)
    axes.set_xticks(*_date_ticks(first, last, WIDTH - left - _RIGHT))
    axes.set_yticks(places, labels)
    axes.grid(axis="y", color=LINE, linewidth=1)
    return figure, axes


def _margin(labels: Sequence[str]) -> float:
    return 12 + max(map(len, labels), default=1) * CHAR * 0.95


def _thinned(values: "pd.Series[float]", *, log: bool) -> tuple[F, F]:
    """Return years and values of at most `_MOST_POINTS` dates, the extremes of every stretch among them."""
    y: F = np.asarray(values, dtype=np.float64)
    good = np.isfinite(y) & ((y > 0) | (not log))
    x, y = _years(pd.DatetimeIndex(values.index))[good], y[good]
    if len(y) <= _MOST_POINTS:
        return x, y
    edges = np.linspace(0, len(y), _MOST_POINTS // 2 + 1).astype(int)
    rows = {0, len(y) - 1}
    for lo, hi in pairwise(edges):
        rows |= {lo + int(np.argmin(y[lo:hi])), lo + int(np.argmax(y[lo:hi]))}
    chosen = np.array(sorted(rows))
    return x[chosen], y[chosen]


def _spread_rows(length: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, length - 1, min(length, _MOST_POINTS)).round().astype(np.intp))


def _years(index: pd.DatetimeIndex) -> F:
    """Return dates as years with a fraction."""
    return np.asarray(index.year + (index.day_of_year - 1) / 366.0, dtype=float)


def _date_ticks(first: float, last: float, room: float) -> tuple[list[float], list[str]]:
    """Return round years, or months where the range is short."""
    if last - first >= 2:
        most = max(2, int(room / (CHAR * 5.2)))
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100) if (last - first) / s <= most)
        years = np.arange(math.ceil(first / step) * step, last, step)
        return [float(y) for y in years], [f"{y:.0f}" for y in years]
    most = max(2, int(room / (CHAR * 9)))
    months = np.arange(math.ceil(first * 12), last * 12)
    chosen = months[:: max(1, -(-len(months) // most))]
    return [m / 12 for m in chosen], [f"{int(m // 12)}-{int(m % 12) + 1:02d}" for m in chosen]


def _value_ticks(low: float, high: float, *, percent: bool) -> tuple[list[float], list[str]]:
    scale = 100.0 if percent else 1.0
    places, labels = ticks(low * scale, high * scale, 48 * CHAR)
    return [p / scale for p in places], [f"{t} %" if percent else t for t in labels]


def _log_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Return round values on a logarithmic axis, given its range as powers of ten."""
    for digits in ((1, 2, 5), (1, 3), (1,)):
        powers = range(math.floor(low), math.ceil(high) + 1)
        values = [d * 10.0**p for p in powers for d in digits if low <= math.log10(d * 10.0**p) <= high]
        if len(values) <= 7:
            break
    if len(values) < 2:
        places, _ = ticks(10**low, 10**high, 24 * CHAR)
        values = [v for v in places if v > 0]
    return [math.log10(v) for v in values], [f"{v:g}" for v in values]
