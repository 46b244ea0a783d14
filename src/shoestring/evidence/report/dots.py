"""Dot plots: one metric, a row an arm."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shoestring.core.figures import (
    CHAR,
    INK,
    LINE,
    MUTED,
    NOTE,
    SURFACE,
    WIDTH,
    empty_axes,
    padded,
    shorten,
    ticks,
)
from shoestring.evidence.model import Metric, Plot
from shoestring.evidence.report.rows import ArmRow, Spread, format_metric
from shoestring.evidence.report.styles import ArmStyle

__all__ = ["draw_dots"]

_ROW = 46.0
_LEFT, _TOP, _BOTTOM = 2.0, 4.0, 41.0


def draw_dots(plot: Plot, rows: Sequence[ArmRow], metric: Metric, styles: Mapping[str, ArmStyle]) -> Any:
    """Return a figure with a row an arm: title above, seeds as marks, the median as a bar and in figures.

    Titles stand above their marks, not beside them, so that long ones need no margin and none overlaps.

    Parameters
    ----------
    plot : Plot
        Of kind ``dots``.
    rows : sequence of ArmRow
        At least one has the metric; the others say that they have no result.
    metric : Metric
        How figures are printed.
    styles : mapping
        Arm name to style.
    """
    scale, unit = (2.0**20, "MiB") if metric.unit == "bytes" else (1.0, metric.unit)
    spreads = [row.metrics.get(plot.of) for row in rows]
    texts = [format_metric(s.median, metric) if s else "" for s in spreads]
    values = [v / scale for s in spreads if s for _, v in s.values]
    right = 16 + max(map(len, texts)) * CHAR
    room = WIDTH - _LEFT - right
    figure, axes = empty_axes(_TOP + _BOTTOM + _ROW * len(rows), (_LEFT, right, _TOP, _BOTTOM))
    low, high = padded(min(values), max(values), 0.06)
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows), 0)
    axes.set_xticks(*ticks(low, high, room))
    axes.set_yticks([])
    axes.grid(axis="x", color=LINE, linewidth=1)
    wish = "" if metric.better == "neither" else f", {metric.better} is better"
    title = plot.x_title or metric.title + (f" ({unit})" if unit else "")
    axes.set_xlabel(shorten(title + wish, room / CHAR * 1.08), color=MUTED, fontsize=NOTE, labelpad=6)
    for i, (row, spread, text) in enumerate(zip(rows, spreads, texts, strict=True)):
        words = {"transform": axes.get_yaxis_transform(), "va": "center", "clip_on": False}
        weight = "bold" if row.arm.role == "system" else "normal"
        label = shorten(row.arm.title, (WIDTH - _LEFT - 8) / CHAR)
        axes.text(0, i + 0.23, label, color=INK, weight=weight, **words)
        y = i + 0.64
        axes.plot([0, 1], [y, y], transform=axes.get_yaxis_transform(), color=LINE, linewidth=1, zorder=1)
        if spread is None:
            axes.text(0.5, y, "no result", color=MUTED, fontsize=NOTE, ha="center", **words)
            continue
        _marks(axes, spread, y, scale, styles[row.arm.name])
        axes.text(1 + 10 / room, y, text, color=INK, weight=weight, **words)
    return figure


def _marks(axes: Any, spread: Spread, y: float, scale: float, style: ArmStyle) -> None:
    """Draw range, seeds (staggered, so that equal ones show) and median of one arm."""
    points = np.array([v for _, v in spread.values]) / scale
    ends = [spread.low / scale, spread.high / scale]
    axes.plot(ends, [y, y], color=style.ink, linewidth=2, alpha=0.55, solid_capstyle="round", zorder=2)
    axes.plot(
        points,
        y + np.linspace(-0.07, 0.07, len(points)) * (len(points) > 1),
        linestyle="",
        marker=style.marker,
        markersize=8,
        color=style.ink,
        markeredgecolor=SURFACE,
        zorder=3,
        clip_on=False,
    )
    middle = [spread.median / scale] * 2
    axes.plot(middle, [y - 0.23, y + 0.23], color=INK, linewidth=2.2, solid_capstyle="butt", zorder=4)
