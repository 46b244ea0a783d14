import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import Backtest, backtest
from shoestring.finance.backtest.metrics import monthly_returns
from shoestring.finance.backtest.tearsheet import Notes, render_tearsheet, write_tearsheet
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.panel import PricePanel

VOID = {"meta", "br", "img", "path", "use", "hr", "link", "input"}


class Page(HTMLParser):
    """Ids, table rows and figures of a page; refuses tags that do not close and ids that are there twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.rows: list[list[str]] = []
        self.figures = 0
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("id")
        if name is not None:
            assert name not in self.ids, f"the id {name} is there twice"
            self.ids.add(name)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.figures += tag == "figure"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data.strip() + " "


@pytest.fixture(scope="module")
def panel() -> PricePanel:
    return gbm_panel(9, 900, seed=1, delisted=0.2, gaps=0.01)


def plan(panel: PricePanel, step: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dates = panel.dates[::step]
    return pd.DataFrame(rng.dirichlet(np.ones(9), len(dates)), dates, panel.assets)


@pytest.fixture(scope="module")
def runs(panel: PricePanel) -> dict[str, Backtest]:
    costs = Costs(commission_bps=5)
    short = plan(panel, 21, 2)
    short = short.sub(short.mean(axis=1), axis=0) / 2
    return {
        "monthly <b>": backtest(panel, plan(panel, 21, 1), costs=costs),
        "long-short": backtest(panel, short, costs=costs, allow_short=True),
        "market": backtest(panel, plan(panel, 900, 3), costs=costs),
    }


def test_the_page_is_well_formed_and_needs_no_network(runs: dict[str, Backtest]) -> None:
    text = render_tearsheet(runs, benchmark="market", notes=Notes(lineage={"data": "abc123"}))
    page = Page(text)
    assert not re.search(r"<(script|img|link|iframe|object)\b|@import|url\((?!#)", text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert {"figures", "value", "strategy-0", "strategy-1", "lineage"} <= page.ids
    assert "strategy-2" not in page.ids  # the benchmark has no section
    assert page.figures == 2 + 2 * 4
    assert "abc123" in text
    assert "monthly &lt;b&gt;" in text
    assert "<b>monthly <b>" not in text
    assert re.search(r"python</dt><dd><code>3\.", text)


def test_the_table_holds_the_figures_of_the_backtests(runs: dict[str, Backtest]) -> None:
    page = Page(render_tearsheet(runs, benchmark="market"))
    row = next(r for r in page.rows if r and r[0].startswith("long-short"))
    figures = runs["long-short"].metrics()
    shown = [v.split()[0].replace("\N{MINUS SIGN}", "-") for v in row[1:]]
    assert float(shown[0]) == pytest.approx(100 * figures["annual_return"], abs=0.05)
    assert float(shown[2]) == pytest.approx(figures["sharpe"], abs=0.005)
    expected = figures["sharpe"] - runs["market"].metrics()["sharpe"]
    assert float(shown[3]) == pytest.approx(expected, abs=0.005)
    assert float(shown[5]) == pytest.approx(100 * figures["max_drawdown"], abs=0.05)
    assert float(shown[8].rstrip("x")) == pytest.approx(figures["annual_turnover"], abs=0.005)
    assert "95 %" in row[3]


def test_backtests_that_start_on_other_days_say_so(panel: PricePanel) -> None:
    starts = [str(panel.dates[row].date()) for row in (0, 300)]
    runs = {f"from {s}": backtest(panel, plan(panel, 50, 3), start=s) for s in starts}
    head, *rows = Page(render_tearsheet(runs)).rows[:3]
    column = [cell.strip() for cell in head].index("First day")
    assert [row[column].strip() for row in rows] == starts
    alike = dict.fromkeys(("a", "b"), runs[f"from {starts[0]}"])
    assert "First day" not in render_tearsheet(alike)


def test_the_months_are_those_of_the_returns(runs: dict[str, Backtest]) -> None:
    page = Page(render_tearsheet({"market": runs["market"]}))
    table = monthly_returns(runs["market"].returns)
    year = int(str(table.index[1]))
    row = next(r for r in page.rows if r and r[0].strip() == str(year))
    shown = [float(v.replace("\N{MINUS SIGN}", "-")) for v in row[1:]]
    np.testing.assert_allclose(shown[:12], 100 * table.loc[year], atol=0.051)
    whole = np.prod(1 + table.loc[year].to_numpy()) - 1
    assert shown[12] == pytest.approx(100 * whole, abs=0.051)


def test_the_same_backtests_give_the_same_bytes(runs: dict[str, Backtest], tmp_path: Path) -> None:
    one, two = tmp_path / "one.html", tmp_path / "two.html"
    chosen = {name: runs[name] for name in ("long-short", "market")}
    write_tearsheet(one, chosen, benchmark="market")
    write_tearsheet(two, chosen, benchmark="market")
    assert one.read_bytes() == two.read_bytes()


def test_notes_are_shown(runs: dict[str, Backtest]) -> None:
    notes = Notes(
        title="A & B", data=["Real prices: from somewhere."], figures={"market": {"mean_rank": 3.126}}
    )
    text = render_tearsheet({"market": runs["market"]}, notes=notes)
    assert "<h1>A &amp; B</h1>" in text
    assert "Real prices: from somewhere." in text
    assert re.search(r"mean rank</dt><dd>3\.13", text)


def test_what_could_not_be_traded_and_ruin_are_said() -> None:
    dates = pd.bdate_range("2020-01-06", periods=30)
    prices = pd.DataFrame({"A": np.geomspace(1, 20, 30), "B": 1.0}, index=dates)
    prices.iloc[:5, 1] = np.nan
    ruined = backtest(
        prices, pd.DataFrame({"A": -1.0, "B": 0.5}, index=dates[[2]]), allow_short=True, max_gross=2.0
    )
    text = render_tearsheet({"bad": ruined})
    assert ruined.ruined_on is not None
    assert f"Nothing was left on {ruined.ruined_on:%Y-%m-%d}" in text
    assert "On 1 of 1 rebalances up to 50.0 % was wanted in assets without a price" in text
    Page(text)


@pytest.mark.parametrize("length", [1, 2, 40])
def test_short_backtests_have_a_page_too(panel: PricePanel, length: int) -> None:
    end = panel.dates[length - 1]
    done = backtest(panel, plan(panel, 7, 4), end=end)
    Page(render_tearsheet({"short": done}))
    Page(render_tearsheet({"idle": backtest(panel, plan(panel, 7, 4).iloc[:0], end=end)}))


def test_many_strategies_share_a_page(panel: PricePanel) -> None:
    end = panel.dates[90]
    many = {f"s{i}": backtest(panel, plan(panel, 63, i), end=end) for i in range(9)}
    text = render_tearsheet(many)
    page = Page(text)
    assert "strategy-5" in page.ids
    assert "strategy-6" not in page.ids
    assert "Without plots of their own: s6, s7, s8." in text
    assert all(any(r and r[0].strip() == name for r in page.rows) for name in many)


def test_faulty_calls_are_refused(runs: dict[str, Backtest]) -> None:
    with pytest.raises(ConfigError, match="at least one backtest"):
        render_tearsheet({})
    with pytest.raises(ConfigError, match="benchmark='spy' is none"):
        render_tearsheet(runs, benchmark="spy")
