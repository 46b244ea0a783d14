"""Choose what a plot shows and draw it."""

from collections.abc import Mapping, Sequence

from shoestring.core.figures import quiet_matplotlib, svg_of
from shoestring.evidence.model import Metric, Plot, Record, Series, Workload
from shoestring.evidence.report.dots import draw_dots
from shoestring.evidence.report.lines import draw_lines, median_band
from shoestring.evidence.report.rows import arm_rows, find_metric
from shoestring.evidence.report.styles import ArmStyle

__all__ = ["draw_plot"]


def draw_plot(
    plot: Plot,
    workload: Workload,
    records: Sequence[Record],
    metrics: Sequence[Metric],
    styles: Mapping[str, ArmStyle],
    prefix: str,
) -> str | None:
    """Draw one plot.

    Parameters
    ----------
    plot : Plot
        What to draw.
    workload : Workload
        The workload of the plot.
    records : sequence of Record
        Records of the verification.
    metrics : sequence of Metric
        Titles, units and digits for ``dots``.
    styles : mapping
        From `arm_styles`.
    prefix : str
        Prefix of every id in the SVG; unique in the page.

    Returns
    -------
    str or None
        An ``<svg>`` element, the same bytes for the same input, or None when nothing was measured.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    arms = [a for a in workload.arms if not plot.arms or a.name in plot.arms]
    if plot.kind == "dots":
        rows = [r for r in arm_rows(workload, records) if r.arm in arms]
        if not any(plot.of in r.metrics for r in rows):
            return None
        with quiet_matplotlib():
            return svg_of(draw_dots(plot, rows, find_metric(plot.of, metrics), styles), plot.title, prefix)
    curves: dict[str, list[Series]] = {}
    for r in records:
        if r.workload == workload.name and r.status == "ok" and plot.of in r.series:
            curves.setdefault(r.arm, []).append(r.series[plot.of])
    bands = [(arm, median_band(curves.get(arm.name, ()))) for arm in arms]
    bands = [(arm, band) for arm, band in bands if len(band[0])]
    if not bands:
        return None
    with quiet_matplotlib():
        return svg_of(draw_lines(plot, bands, styles), plot.title, prefix)
