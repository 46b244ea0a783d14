"""The detector finds every planted leak, passes every clean strategy, and says what it saw."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.market.known import KnownTable
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.running.lookahead import check_lookahead
from shoestring.finance.running.undeclared import held_data, watched_reads
from shoestring.finance.shai_am._seeded import CLEAN, LEAKS, seeded_market
from shoestring.finance.strategies.interface import Context, DataView, Strategy, strategy, top_k

Market = tuple[PricePanel, dict[str, KnownTable]]
KINDS = {
    "memory across dates": "remembers",
    "panel in a closure": "undeclared input",
    "prices from a file": "undeclared input",
    "unseeded numbers": "not deterministic",
}


@pytest.fixture(scope="module")
def market() -> Market:
    panel, known = seeded_market(1)
    return panel.cut(panel.dates[400]), known


@pytest.mark.parametrize("name", list(LEAKS))
def test_a_planted_leak_is_found_and_named(market: Market, name: str) -> None:
    panel, known = market
    report = check_lookahead(LEAKS[name](*market), panel, "2000-09-01", known=known, dates=4)
    assert not report.passed
    assert KINDS.get(name, "looks ahead") in {leak.kind for leak in report.leaks}


@pytest.mark.parametrize("name", list(CLEAN))
def test_a_clean_strategy_passes(market: Market, name: str) -> None:
    panel, known = market
    report = check_lookahead(CLEAN[name](*market), panel, "2001-01-01", known=known, dates=1)
    assert [str(leak) for leak in report.leaks] == []


def test_there_are_five_leaks_and_ten_clean_strategies_at_least() -> None:
    assert len(LEAKS) >= 5
    assert len(CLEAN) >= 10


@strategy(name="flat", version="1")
class LeakWithoutWeights(Strategy):
    """A feature that leaks although the weights never show it."""

    def features(self, ctx: Context, data: DataView) -> Mapping[str, pd.DataFrame]:  # noqa: ARG002  # a hook
        return {"x": data.prices(listed=False) / data.prices(listed=False).iloc[-1]}

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        return pd.Series(1 / len(data.assets), index=list(data.assets))


def test_a_feature_that_leaks_is_found_although_no_weight_shows_it(market: Market) -> None:
    report = check_lookahead(LeakWithoutWeights(), market[0], "2001-01-01", dates=1)
    assert {leak.what for leak in report.leaks} == {"feature 'x'"}


def test_it_says_which_dates_were_tried_and_where_a_leak_showed(market: Market) -> None:
    report = check_lookahead(LEAKS["shift(-1)"](*market), market[0], "2001-01-01", dates=2)
    assert len(report.dates) == 2
    assert {leak.date for leak in report.leaks} <= set(report.dates)
    assert "looks ahead: feature 'x' at" in str(report.leaks[0])


def test_too_few_dates_are_an_error_not_a_pass(market: Market) -> None:
    panel = market[0].cut(market[0].dates[30])
    with pytest.raises(ConfigError, match="longer data"):
        check_lookahead(CLEAN["momentum"](*market), panel)


GLOBAL_PANEL = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.DatetimeIndex(["2020-01-01", "2030-01-01"]))


def helper() -> float:
    return float(GLOBAL_PANEL["a"].iloc[-1])


@strategy(name="by_helper", version="1")
class ByHelper(Strategy):
    """Reaches a global through a helper function."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        return top_k(pd.Series(helper(), index=list(data.assets)), 1).equal_weight()


def test_data_behind_a_helper_are_found() -> None:
    found = held_data(ByHelper(), pd.Timestamp("2025-01-01"), 500)
    assert found == ["ByHelper.on_rebalance -> helper -> GLOBAL_PANEL holds a DataFrame up to 2030-01-01"]
    assert held_data(ByHelper(), pd.Timestamp("2030-01-01"), 500) == []


prices = GLOBAL_PANEL


@strategy(name="by_name", version="1")
class ByName(Strategy):
    """Calls a method that has the name of a global."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        return data.prices().iloc[-1] * 0


def test_a_method_is_not_a_global_of_the_same_name() -> None:
    assert held_data(ByName(), pd.Timestamp("2025-01-01"), 500) == []


def test_long_arrays_count_and_small_tables_do_not() -> None:
    table, series = pd.DataFrame({"sector": ["x", "y"]}), np.zeros((600, 3))

    @strategy(name="arrays", version="1")
    class Arrays(Strategy):
        def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
            return pd.Series(series[0, 0] * len(table), index=list(data.assets))

    assert held_data(Arrays(), pd.Timestamp("2020-01-01"), 600) == [
        "Arrays.on_rebalance -> series holds an array of shape (600, 3)"
    ]


def test_reads_are_watched_inside_only_and_writes_are_not(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("x")
    with watched_reads() as seen:
        path.read_text()
        (tmp_path / "out.txt").write_text("y")
    path.read_bytes()
    assert seen == [f"opens {path}"]
