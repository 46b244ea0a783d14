"""How arms look, the same in every plot and table of a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shoestring.core.figures import arm_ink
from shoestring.evidence.model import Arm

__all__ = ["NUM_COLOURS", "ArmStyle", "arm_styles"]

NUM_COLOURS = 7
"""Colours of the page besides the grey of bounds."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "<", ">", "d")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (6, 2, 1.5, 2)))
_BOUND_DASH = (0, (1.5, 1.5))


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmStyle:
    """How an arm looks in every plot and table of a page."""

    colour: int
    """Index of the CSS variable ``--arm-N``; 0 is the grey of bounds."""
    marker: str
    """Matplotlib's letter of the marker."""
    dash: Any
    """Matplotlib's line style."""

    @property
    def ink(self) -> str:
        """Colour that stands for ``var(--arm-N)`` until the SVG is finished."""
        return arm_ink(self.colour)


def arm_styles(arms: Sequence[Arm]) -> dict[str, ArmStyle]:
    """Give every arm a colour, a marker and a dash pattern; the system comes first, bounds are grey.

    Parameters
    ----------
    arms : sequence of Arm
        All arms of a page; an arm on several workloads keeps one style.
    """
    unique = {a.name: a for a in arms}.values()
    ordered = sorted(unique, key=lambda a: ("system", "ablation", "baseline", "bound").index(a.role))
    styles: dict[str, ArmStyle] = {}
    coloured = 0
    for i, arm in enumerate(ordered):
        colour = 0 if arm.role == "bound" else 1 + coloured % NUM_COLOURS
        dash = _BOUND_DASH if arm.role == "bound" else _DASHES[coloured // NUM_COLOURS % len(_DASHES)]
        styles[arm.name] = ArmStyle(colour=colour, marker=_MARKERS[i % len(_MARKERS)], dash=dash)
        coloured += arm.role != "bound"
    return styles
