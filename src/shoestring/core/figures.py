"""Empty figures for a report, and how they become SVG that follows the page.

Colours leave matplotlib as marker values and become CSS variables (``var(--arm-1)``, ``currentColor``),
so that one figure serves light and dark pages. Figures are drawn as narrow as a phone and scaled up,
which keeps text legible on small screens.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from shoestring.core.optional import optional

__all__ = [
    "CHAR",
    "INK",
    "LINE",
    "MUTED",
    "NOTE",
    "SURFACE",
    "TEXT",
    "WIDTH",
    "arm_ink",
    "empty_axes",
    "marker_path",
    "padded",
    "quiet_matplotlib",
    "shorten",
    "svg_of",
    "ticks",
]

WIDTH = 350.0
"""Width of every figure, in units of its viewBox (CSS pixels on a phone)."""
TEXT = 12.0
"""Size of text, in the same units."""
NOTE = 11.0
"""Size of tick labels and axis titles."""
CHAR = 0.6 * TEXT
"""A generous width of one character."""
INK, MUTED, LINE, SURFACE = "#010101", "#020202", "#030303", "#040404"
"""Marker values of text, secondary text, grid lines and the background."""
_CSS = ("currentColor", "var(--muted)", "var(--line)", "var(--surface)")


def arm_ink(colour: int) -> str:
    """Return the marker value that becomes ``var(--arm-N)``."""
    return f"#0a0a{colour:02x}"


@contextmanager
def quiet_matplotlib() -> Iterator[None]:
    """Set what a figure depends on, for its time only.

    Warnings are ignored: a glyph that matplotlib's font lacks is one that the page's font may have.
    """
    matplotlib = optional("matplotlib", "report")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "shoestring",
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
        "font.size": TEXT,
        "axes.unicode_minus": True,
        "path.simplify": True,
    }
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def empty_axes(height: float, margins: tuple[float, float, float, float]) -> tuple[Any, Any]:
    """Return a figure of `WIDTH` x `height` and its axes without frame.

    Parameters
    ----------
    height : float
        In units.
    margins : tuple of four floats
        Left, right, top, bottom of the axes, in units.
    """
    left, right, top, bottom = margins
    figure_module = optional("matplotlib.figure", "report")
    figure = figure_module.Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")
    box = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (top + bottom) / height)
    axes = figure.add_axes(box, facecolor="none")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=NOTE, pad=5)
    axes.tick_params(axis="x", pad=8)
    axes.set_axisbelow(True)
    return figure, axes


def ticks(low: float, high: float, room: float) -> tuple[list[float], list[str]]:
    """Return round positions within a range, as many as leave half of `room` empty, and their labels."""
    make = optional("matplotlib.ticker", "report").MaxNLocator
    for num in range(6, 1, -1):
        locator = make(nbins=num, steps=[1, 2, 2.5, 5, 10], min_n_ticks=2)
        places = [float(t) for t in locator.tick_values(low, high) if low <= t <= high]
        labels = _tick_labels(places)
        if sum(map(len, labels)) * CHAR <= room / 2:
            break
    return places, labels


def _tick_labels(places: Sequence[float]) -> list[str]:
    """Give labels that all have the same number of decimals."""
    step = min((b - a for a, b in pairwise(places)), default=1.0)
    digits = next((d for d in range(5) if math.isclose(round(step, d), step, rel_tol=1e-6)), None)
    plain = digits is not None and all(abs(t) < 1e6 for t in places)
    texts = [f"{t + 0.0:.{digits}f}" if plain else f"{t:.3g}" for t in places]
    return [t.replace("-", "\N{MINUS SIGN}") for t in texts]


def padded(low: float, high: float, share: float) -> tuple[float, float]:
    """Return the range widened on both sides by a share of it; a single value gets some room."""
    width = (high - low) or max(abs(high), 1.0) * 0.1
    return low - share * width, high + share * width


def shorten(text: str, most: float) -> str:
    """Return `text` on one line without control characters, cut to `most` characters with an ellipsis."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= most else text[: max(1, int(most) - 1)].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def marker_path(marker: str) -> str:
    """Return a marker as SVG path data in a box from -0.5 to 0.5, y pointing down."""
    style = optional("matplotlib.markers", "report").MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    parts = []
    for points, code in path.iter_segments(simplify=False, curves=True):
        if code == path.CLOSEPOLY:
            parts.append("Z")
            continue
        letter = {path.MOVETO: "M", path.LINETO: "L", path.CURVE3: "Q", path.CURVE4: "C"}[code]
        xy = np.asarray(points).reshape(-1, 2) * (1, -1)
        parts.append(letter + " ".join(f"{x:.3f},{y:.3f}" for x, y in xy + 0.0))
    return "".join(parts)


def svg_of(figure: Any, title: str, prefix: str) -> str:
    """Return a figure as an SVG element without fixed colours, fonts or size.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Drawn with the marker values of this module.
    title : str
        What a screen reader says.
    prefix : str
        Prefix of every id; unique in the page.
    """
    backend = optional("matplotlib.backends.backend_svg", "report")
    buffer = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    backend.FigureCanvasSVG(figure).print_svg(buffer, metadata=empty)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, count=1, flags=re.S)
    view = re.search(r'viewBox="([^"]*)"', text)
    body = text[text.index(">") + 1 :]
    if view is None:
        raise AssertionError("matplotlib wrote an SVG without a viewBox")
    return _adopt(
        f'<svg class="plot" viewBox="{view[1]}" role="img" aria-label="{_attribute(title)}">{body}'.strip(),
        prefix,
    )


def _adopt(svg: str, prefix: str) -> str:
    """Ids of its own, colours and fonts of the page."""
    svg = re.sub(r'(\sid=")', rf"\1{prefix}-", svg)
    svg = re.sub(r'xlink:href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    for marker, css in zip((INK, MUTED, LINE, SURFACE), _CSS, strict=True):
        svg = svg.replace(marker, css)
    svg = re.sub(r"#0a0a([0-9a-f]{2})", lambda m: f"var(--arm-{int(m[1], 16)})", svg)
    svg = re.sub(r"font: ([^;\"']*?)([\d.]+px) [^;\"]*", _font, svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    return re.sub(r"\n\s*", "\n", svg).strip()


def _font(match: re.Match[str]) -> str:
    """Replace the shorthand, which some versions of matplotlib write, by size and weight."""
    weight = re.search(r"\b(bold|\d{3})\b", match[1])
    return f"font-size: {match[2]}" + (f"; font-weight: {weight[1]}" if weight else "")


def _attribute(text: str) -> str:
    for raw, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(raw, safe)
    return " ".join(text.split())
