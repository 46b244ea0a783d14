import re
import subprocess
import sys
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.core.figures import marker_path, padded, shorten, ticks
from shoestring.evidence.model import Arm, Plot, Series
from shoestring.evidence.report.lines import median_band, spread_out
from shoestring.evidence.report.plots import draw_plot
from shoestring.evidence.report.styles import NUM_COLOURS, arm_styles

HOSTILE = "<script>alert(1)</script> $\\frac{1$ \"quoted\" & 'single' \N{HIRAGANA LETTER A}\N{PILE OF POO}"


def draw(made_up: Any, plot: Plot, *, arms: Any = None, records: Any = None, prefix: str = "p") -> str | None:
    workload = made_up.workload(arms or made_up.ARMS)
    if records is None:
        records = made_up.verification().records
    return draw_plot(plot, workload, records, made_up.METRICS, arm_styles(workload.arms), prefix)


@pytest.fixture(params=["dots", "lines"])
def plot(made_up: Any, request: pytest.FixtureRequest) -> Plot:
    found: Plot = next(p for p in made_up.PLOTS if p.kind == request.param)
    return found


def test_a_plot_has_no_colour_font_or_size_of_its_own(made_up: Any, plot: Plot) -> None:
    svg = draw(made_up, plot)
    assert svg is not None
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", svg)
    assert "var(--muted)" in svg
    assert "var(--arm-1)" in svg
    assert "DejaVu" not in svg
    head = svg[: svg.index(">")]
    assert "width" not in head
    assert "height" not in head


def test_a_plot_is_well_formed_and_every_reference_has_its_target(made_up: Any, plot: Plot) -> None:
    svg = draw(made_up, plot, prefix="w1p2")
    assert svg is not None
    root = ET.fromstring(svg)
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids))
    assert all(i.startswith("w1p2-") for i in ids)
    targets = re.findall(r'href="#([^"]*)"', svg) + re.findall(r"url\(#([^)]*)\)", svg)
    assert targets
    assert set(targets) <= set(ids)


def test_the_same_input_gives_the_same_bytes(made_up: Any, plot: Plot) -> None:
    assert draw(made_up, plot) == draw(made_up, plot)


def test_settings_of_the_process_stay_as_they_were(made_up: Any, plot: Plot) -> None:
    with mpl.rc_context({"svg.hashsalt": "mine", "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        styled = draw(made_up, plot)
        assert dict(mpl.rcParams) == before
    assert styled == draw(made_up, plot), "settings of the user do not leak in"


def test_hostile_titles_stay_text(made_up: Any, plot: Plot) -> None:
    arms = [Arm(name=a.name, title=HOSTILE, role=a.role) for a in made_up.ARMS]
    named = Plot(
        title=HOSTILE, workload=plot.workload, kind=plot.kind, of=plot.of, x_title=HOSTILE, y_title=HOSTILE
    )
    svg = draw(made_up, named, arms=arms)
    assert svg is not None
    root = ET.fromstring(svg)
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert "script" not in {e.tag for e in root.iter()}
    assert root.attrib["aria-label"].startswith("<script>")


def test_an_arm_without_a_result_says_so(made_up: Any) -> None:
    records = [r for r in made_up.verification().records if r.arm != "gdfq"]
    svg = draw(made_up, made_up.PLOTS[0], records=records)
    assert svg is not None
    assert "no result" in svg
    assert "GDFQ" in svg


def test_a_plot_of_nothing_is_not_drawn(made_up: Any, plot: Plot) -> None:
    failed = [made_up.record("qimera", 0, "failed")]
    assert draw(made_up, plot, records=failed) is None
    empty = [made_up.record("qimera", 0, series={plot.of: Series(x=(), y=())}, metrics={})]
    assert draw(made_up, plot, records=empty) is None


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-9, 1e12])
def test_one_value_or_one_point_can_be_drawn(made_up: Any, plot: Plot, value: float) -> None:
    one = made_up.record(
        "qimera", 0, metrics={plot.of: value}, series={plot.of: Series(x=(1.0,), y=(value,))}
    )
    assert draw(made_up, plot, records=[one]) is not None


def test_only_the_named_arms_are_drawn(made_up: Any) -> None:
    svg = draw(made_up, made_up.PLOTS[1])
    assert svg is not None
    assert "ZeroQ" in svg
    assert "noise" not in svg


def test_sizes_are_drawn_in_binary_units(made_up: Any) -> None:
    svg = draw(made_up, Plot(title="Memory", workload="shapes_w4a4", kind="dots", of="peak_bytes"))
    assert svg is not None
    assert "Peak memory (MiB)" in svg


def test_drawing_does_not_touch_pyplot() -> None:
    code = (
        "import sys; from shoestring.core.figures import empty_axes, quiet_matplotlib, svg_of\n"
        "with quiet_matplotlib(): svg_of(empty_axes(100, (1, 1, 1, 1))[0], 't', 'p')\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


@given(
    st.lists(st.tuples(st.floats(-500, 500), st.floats(1, 60)), min_size=1, max_size=12), st.floats(0, 300)
)
def test_labels_never_overlap_and_stay_inside(labels: list[tuple[float, float]], spare: float) -> None:
    wanted, heights = [w for w, _ in labels], [h for _, h in labels]
    room = sum(heights) + spare
    placed = spread_out(wanted, heights, room)
    order = sorted(range(len(placed)), key=lambda i: placed[i])
    assert placed[order[0]] - heights[order[0]] / 2 >= -1e-6
    assert placed[order[-1]] + heights[order[-1]] / 2 <= room + 1e-6
    for a, b in pairwise(order):
        assert placed[b] - placed[a] >= (heights[a] + heights[b]) / 2 - 1e-6


def test_labels_with_room_stay_where_they_belong() -> None:
    assert spread_out([100.0, 10.0, 50.0], [10.0, 10.0, 10.0], 200.0) == [100.0, 10.0, 50.0]


values = st.floats(-1e6, 1e6)
points = st.lists(st.tuples(values, values), max_size=30)


@given(st.lists(points, max_size=4))
def test_a_median_lies_within_its_band(curves: list[list[tuple[float, float]]]) -> None:
    series = [Series(x=tuple(x for x, _ in c), y=tuple(y for _, y in c)) for c in curves]
    x, middle, low, high = median_band(series)
    assert len(x) == len(middle) == len(low) == len(high) <= 160
    assert np.all(np.diff(x) > 0)
    slack = 1e-6
    assert np.all(low <= middle + slack)
    assert np.all(middle <= high + slack)
    assert (len(x) > 0) == any(curves)


def test_curves_with_other_points_are_compared_where_both_are_known() -> None:
    one, two = Series(x=(0.0, 2.0, 4.0), y=(0.0, 2.0, 4.0)), Series(x=(1.0, 3.0), y=(3.0, 5.0))
    x, middle, low, high = median_band([one, two])
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert low.tolist() == [1.0, 2.0, 3.0]
    assert high.tolist() == [3.0, 4.0, 5.0]
    assert middle.tolist() == [2.0, 3.0, 4.0]


def test_points_that_are_not_finite_are_skipped() -> None:
    x, middle, _, _ = median_band([Series(x=(0.0, 1.0, 2.0), y=(1.0, float("nan"), 3.0))])
    assert x.tolist() == [0.0, 2.0]
    assert middle.tolist() == [1.0, 3.0]


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_lie_within_the_range_and_differ(low: float, width: float) -> None:
    high = low + width
    if high <= low:
        return
    places, labels = ticks(low, high, 300.0)
    assert all(low <= p <= high for p in places)
    assert len(places) == len(labels)


def test_tick_labels_share_their_decimals() -> None:
    assert ticks(0.0, 0.21, 300.0)[1] == ["0.00", "0.05", "0.10", "0.15", "0.20"]
    assert ticks(-1.0, 1.0, 120.0)[1] == ["\N{MINUS SIGN}1", "0", "1"]


def test_a_lone_value_gets_room() -> None:
    low, high = padded(5.0, 5.0, 0.05)
    assert low < 5.0 < high


def test_long_text_is_cut() -> None:
    assert shorten("a  b\nc", 10) == "a b c"
    assert shorten("x" * 20, 10) == "x" * 9 + "\N{HORIZONTAL ELLIPSIS}"


def test_arms_differ_in_colour_or_dash_and_in_marker() -> None:
    arms = [Arm(name=f"a{i}", title="t", role="baseline") for i in range(NUM_COLOURS + 5)]
    arms += [Arm(name="ours", title="t", role="system"), Arm(name="real", title="t", role="bound")]
    styles = arm_styles(arms)
    assert styles["ours"].colour == 1
    assert styles["real"].colour == 0
    lines = [(s.colour, str(s.dash)) for s in styles.values()]
    assert len(set(lines)) == len(lines)
    assert len({s.marker for s in list(styles.values())[:12]}) == 12


@pytest.mark.parametrize("marker", ["o", "s", "^", "D", "P", "X", "h"])
def test_a_marker_becomes_a_closed_path_in_its_box(marker: str) -> None:
    path = marker_path(marker)
    assert path.startswith("M")
    assert path.endswith("Z")
    assert all(abs(float(n)) <= 0.75 for n in re.findall(r"-?\d+\.\d+", path))
