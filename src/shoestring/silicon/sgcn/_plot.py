"""A plot of the layers: cycles of every system, bytes of every stream of the first one."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shoestring.core.figures import quiet_matplotlib
from shoestring.core.optional import optional

if TYPE_CHECKING:
    from shoestring.silicon.sgcn._simulate import Report

__all__ = ["layers_svg"]

_STREAMS = (
    ("feature_bytes", "features"),
    ("topology_bytes", "topology"),
    ("partial_write_bytes", "partial sums written"),
    ("partial_read_bytes", "partial sums read"),
    ("output_bytes", "output"),
    ("comb_read_bytes", "combination reads"),
    ("comb_write_bytes", "combination writes"),
)


def layers_svg(reports: "Mapping[str, Report]") -> str:
    """Return an SVG: lines of cycles, and stacked bytes of the first report; needs the ``report`` extra."""
    figure_module = optional("matplotlib.figure", "report")
    with quiet_matplotlib():
        figure = figure_module.Figure(figsize=(8, 6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True)
        for name, report in reports.items():
            numbers = [r.layer for r in report.rows]
            top.plot(numbers, [r.cycles / 1e6 for r in report.rows], marker="o", markersize=3, label=name)
        top.set_ylabel("modelled cycles (M)")
        top.set_ylim(bottom=0)
        top.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        first = next(iter(reports))
        rows = reports[first].rows
        base = [0.0] * len(rows)
        for field, title in _STREAMS:
            values = [getattr(r, field) / 1e6 for r in rows]
            bottom.bar([r.layer for r in rows], values, bottom=base, label=title)
            base = [a + b for a, b in zip(base, values, strict=True)]
        bottom.set_ylabel(f"DRAM, {first} (MB)")
        bottom.set_xlabel("layer")
        bottom.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
