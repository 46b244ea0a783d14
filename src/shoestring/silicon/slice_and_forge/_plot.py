"""The convergence of a run as SVG."""

import io
from typing import TYPE_CHECKING

from shoestring.core.optional import optional

if TYPE_CHECKING:
    from shoestring.silicon.slice_and_forge._simulate import Simulation

__all__ = ["convergence_svg"]


def convergence_svg(simulation: "Simulation") -> str:
    """Draw cycles a line of record and tiles, round after round.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    optional("matplotlib", extra="report")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = simulation.rows
    x = range(len(rows))
    with rc_context({"svg.hashsalt": "shoestring", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        top.step(x, [row.cost for row in rows], where="mid", color="#1f5a8a")
        best = min(row.cost for row in rows)
        top.axhline(best, color="#888888", linewidth=0.8, linestyle="--")
        top.set_ylabel("cycles a line of record")
        top.set_ylim(bottom=0)
        top.set_title(f"{simulation.topology.source}: {simulation.config.tiler}")
        bottom.step(x, [row.setting.tiles for row in rows], where="mid", color="#b5541c")
        bottom.set_yscale("log", base=2)
        bottom.set_ylabel("tiles")
        bottom.set_xlabel("round (slice after slice, layer after layer)")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
