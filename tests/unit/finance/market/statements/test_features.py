"""Ratios, growth, yields and ranks as of a date."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import (
    FeatureConfig,
    feature_panel,
    group_ranks,
    statement_ratios,
)
from shoestring.finance.market.statements.table import Statements

NAN = float("nan")
DATES = pd.bdate_range("2019-01-01", "2021-12-31")
PLAIN = FeatureConfig(sector_neutral=False)


def make(num_firms: int = 6, seed: int = 0) -> tuple[Statements, PricePanel, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    ends = pd.date_range("2018-03-31", periods=15, freq="QE")
    rows = pd.DataFrame(
        [(f"F{i}", e) for i in range(num_firms) for e in ends], columns=["ticker", "period_end"]
    )
    rows["filed"] = rows["period_end"] + pd.Timedelta(days=45)
    rows["sector"] = np.where(rows["ticker"].isin(["F0", "F1", "F2"]), "a", "b")
    for name in ("revenue", "net_income", "total_assets", "equity", "shares"):
        rows[name] = rng.uniform(1, 2, len(rows))
    close = pd.DataFrame(
        rng.uniform(10, 20, (len(DATES), num_firms)), DATES, [f"F{i}" for i in range(num_firms)]
    )
    return Statements.from_frame(rows), PricePanel.from_frame(close), rows


def test_ranks_equal_scipy_inside_each_group() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 6, (60, 4)).astype(float)  # with ties
    values[rng.random(values.shape) < 0.2] = NAN
    group = rng.integers(0, 5, 60)
    got = group_ranks(values, group)
    for g in range(5):
        for column in range(4):
            part = values[group == g, column]
            known = ~np.isnan(part)
            want = (rankdata(part[known]) - 1) / (known.sum() - 1) - 0.5
            np.testing.assert_allclose(got[group == g, column][known], want, atol=1e-15)
            assert np.isnan(got[group == g, column][~known]).all()


def test_one_alone_ranks_in_the_middle() -> None:
    assert group_ranks(np.array([[3.0], [NAN]]), np.array([0, 0]))[:, 0].tolist()[0] == 0.0


def test_ratios_by_hand() -> None:
    lags = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    items = {"net_income": lags, "total_assets": np.full((1, 5), 20.0), "equity": np.array([[-1.0] * 5])}
    ratios = statement_ratios(items, 4)
    assert ratios["roa"][0, :2].tolist() == [10 / 20, 14 / 20]  # sums over a year
    assert np.isnan(ratios["roa"][0, 2:]).all()  # no whole year behind them
    assert np.isnan(ratios["roe"]).all()  # equity below zero would turn it round


def test_two_known_quarters_stand_for_the_year_and_one_does_not() -> None:
    flow = np.array([[1.0, NAN, 3.0, NAN], [1.0, NAN, NAN, NAN]])
    ratios = statement_ratios({"net_income": flow, "total_assets": np.ones((2, 4))}, 4)
    assert ratios["roa"][0, 0] == 8.0
    assert np.isnan(ratios["roa"][1, 0])


def test_a_zero_denominator_is_missing_and_never_infinite() -> None:
    ratios = statement_ratios({"net_income": np.ones((1, 1)), "revenue": np.zeros((1, 1))}, 1)
    assert np.isnan(ratios["net_margin"]).all()


def test_a_feature_by_hand_with_price_and_rank() -> None:
    statements, prices, rows = make()
    date = DATES[400]
    panel = feature_panel(statements, prices, [date], PLAIN)
    known = rows[rows["filed"] <= date]
    want = []
    for ticker in panel.tickers:
        mine = known[known["ticker"] == ticker].sort_values("period_end")
        year = mine["net_income"].iloc[-4:].sum()
        want.append(year / (mine["shares"].iloc[-1] * prices.close.loc[date, ticker]))
    order = rankdata(want)
    got = panel.values[0, :, 0, panel.names.index("earnings_yield")]
    np.testing.assert_allclose(got, (order - 1) / 5 - 0.5, atol=1e-6)


def test_ranks_inside_sectors_are_ranks_of_each_sector_alone() -> None:
    statements, prices, _ = make()
    neutral = feature_panel(statements, prices, [DATES[500]], FeatureConfig())
    alone = feature_panel(statements, prices.select(["F0", "F1", "F2"]), [DATES[500]], PLAIN)
    np.testing.assert_array_equal(neutral.values[0, :3], alone.values[0])


def test_what_is_missing_is_zero_and_flagged() -> None:
    _, prices, rows = make()
    gone = rows.assign(total_assets=rows["total_assets"].where(rows["ticker"] != "F3"))
    panel = feature_panel(Statements.from_frame(gone), prices, [DATES[500]], PLAIN)
    roa = panel.names.index("roa")
    flag = panel.names.index("missing:roa")
    assert panel.values[0, 3, 0, roa] == 0.0
    assert panel.values[0, :, 0, flag].tolist() == [0, 0, 0, 1, 0, 0]
    assert panel.scored.all()


def test_flags_changes_and_yields_can_be_switched_off() -> None:
    statements, prices, _ = make()
    config = replace(PLAIN, missing_flags=False, changes=False, yields=False)
    names = feature_panel(statements, prices, [DATES[500]], config).names
    assert set(names) == {
        "roa",
        "roe",
        "net_margin",
        "price_to_net_income",
        "price_to_revenue",
        "price_to_equity",
    }


def test_standardised_features_have_no_mean_and_stay_inside_three() -> None:
    statements, prices, _ = make(30)
    config = replace(PLAIN, ranks=False, missing_flags=False)
    values = feature_panel(statements, prices, [DATES[500]], config).values[0, :, 0]
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.05)
    assert np.abs(values).max() <= 3


def test_stacked_quarters_are_the_features_of_the_quarters_before() -> None:
    statements, prices, _ = make()
    config = replace(PLAIN, quarters=3, yields=True)
    now = feature_panel(statements, prices, [DATES[500]], config)
    earlier = feature_panel(statements, prices, [DATES[500] - pd.offsets.BDay(64)], config)
    roa = now.names.index("roa")
    np.testing.assert_array_equal(now.values[0, :, 1, roa], earlier.values[0, :, 0, roa])


def test_nothing_filed_or_traded_later_changes_a_row() -> None:
    statements, prices, rows = make()
    date = DATES[400]
    later = rows["filed"] > date
    changed = rows.copy()
    changed.loc[later, ["revenue", "net_income", "total_assets", "equity", "shares"]] *= 17.0
    moved = prices.close.copy()
    moved.loc[moved.index > date] = 3.0
    one = feature_panel(statements, prices, [date], FeatureConfig(quarters=2))
    two = feature_panel(
        Statements.from_frame(changed), PricePanel.from_frame(moved), [date], FeatureConfig(quarters=2)
    )
    np.testing.assert_array_equal(one.values, two.values)


def test_using_the_periods_end_instead_of_the_filing_date_is_detected() -> None:
    """The same perturbation changes features once the filing date is thrown away: the test above can fail."""
    statements, prices, rows = make()
    date = pd.Timestamp("2020-07-15")  # the quarter is over, its statement is not filed
    wrong = rows.assign(filed=rows["period_end"])
    changed = wrong.copy()
    unfiled = rows["filed"] > date
    changed.loc[unfiled, "net_income"] *= -5.0
    one = feature_panel(Statements.from_frame(wrong), prices, [date], PLAIN)
    two = feature_panel(Statements.from_frame(changed), prices, [date], PLAIN)
    assert not np.array_equal(one.values, two.values)
    right = feature_panel(statements, prices, [date], PLAIN)
    assert not np.array_equal(one.values, right.values)


def test_rows_do_not_depend_on_which_other_dates_are_asked_for() -> None:
    statements, prices, _ = make()
    many = feature_panel(statements, prices, DATES[300:500:10], FeatureConfig())
    one = feature_panel(statements, prices, [DATES[400]], FeatureConfig())
    np.testing.assert_array_equal(many.values[10], one.values[0])
    np.testing.assert_array_equal(many.take(pd.DatetimeIndex([DATES[400]])).values, one.values)


def test_a_split_between_filing_and_date_does_not_move_the_yield() -> None:
    statements, prices, _ = make()
    day = 400
    factor = pd.DataFrame(1.0, DATES, list(prices.assets))
    factor.loc[DATES[395] :, "F1"] = 2.0  # two for one, days after the last filing
    raw = prices.close / factor
    split = PricePanel.from_frame(prices.close, unadjusted_close=raw, split_factor=factor)
    one = feature_panel(statements, prices, [DATES[day]], PLAIN)
    two = feature_panel(statements, split, [DATES[day]], PLAIN)
    np.testing.assert_array_equal(one.values, two.values)
    wrong = PricePanel.from_frame(prices.close, unadjusted_close=raw)  # another basis than the shares
    assert not np.array_equal(one.values, feature_panel(statements, wrong, [DATES[day]], PLAIN).values)


def test_firms_without_a_price_or_a_recent_statement_are_not_scored() -> None:
    statements, prices, _ = make()
    close = prices.close.copy()
    close.loc[DATES[450] :, "F2"] = NAN
    old = statements.rows[(statements.rows["ticker"] != "F4") | (statements.rows["filed"] < "2019-06-01")]
    panel = feature_panel(
        Statements.from_frame(old.drop(columns=[])), PricePanel.from_frame(close), [DATES[500]], PLAIN
    )
    assert panel.scored[0].tolist() == [True, True, False, True, False, True]
    assert (panel.values[0, [2, 4]] == 0).all()


def test_ready_made_ratios_are_features_as_they_are() -> None:
    _, prices, rows = make()
    ready = rows[["ticker", "period_end", "filed"]].assign(pe_like=np.arange(len(rows), dtype=float))
    panel = feature_panel(Statements.from_frame(ready), prices, [DATES[500]], PLAIN)
    assert panel.raw_names() == ("pe_like", "pe_like_change")
    np.testing.assert_allclose(panel.values[0, :, 0, 0], np.linspace(-0.5, 0.5, 6), atol=1e-6)


def test_what_cannot_be_built_is_refused() -> None:
    statements, prices, rows = make()
    with pytest.raises(DataError, match="not a date of the prices"):
        feature_panel(statements, prices, [pd.Timestamp("2030-01-01")], PLAIN)
    with pytest.raises(DataError, match="no sector"):
        feature_panel(
            Statements.from_frame(rows.drop(columns="sector")), prices, [DATES[500]], FeatureConfig()
        )
    renamed = Statements.from_frame(rows.assign(ticker="Z" + rows["ticker"]))
    with pytest.raises(DataError, match="no firm has both"):
        feature_panel(renamed, prices, [DATES[500]], PLAIN)
    with pytest.raises(DataError, match="no features of"):
        feature_panel(statements, prices, [DATES[500]], PLAIN).take(pd.DatetimeIndex([DATES[3]]))
    with pytest.raises(ConfigError, match="quarters=5"):
        FeatureConfig(quarters=5)
    with pytest.raises(ConfigError, match="max_age_days=0"):
        FeatureConfig(max_age_days=0)
