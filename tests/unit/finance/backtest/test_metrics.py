import math

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import DataError
from shoestring.finance.backtest import metrics

FLAT = [0.0, 0.0, 0.0]


def test_a_steady_gain_compounds() -> None:
    assert metrics.annual_return([0.001] * 252) == pytest.approx(1.001**252 - 1)
    assert metrics.annual_return([0.1, 0.1], periods=12) == pytest.approx(1.1**12 - 1)
    assert metrics.annual_return([0.5, -1.0, 0.5]) == -1.0


def test_ratios_of_constant_returns_do_not_exist() -> None:
    for constant in (FLAT, [0.01] * 9, [0.01]):
        assert math.isnan(metrics.sharpe(constant))
    assert math.isnan(metrics.sortino([0.01, 0.02]))
    assert math.isnan(metrics.hit_rate(FLAT))
    assert math.isnan(metrics.annual_volatility([0.01]))


def test_sharpe_is_mean_over_deviation() -> None:
    values = [0.01, -0.01, 0.03]
    assert metrics.sharpe(values, periods=1) == pytest.approx(0.01 / 0.02)
    assert metrics.sharpe(values, periods=4, risk_free=0.01) == pytest.approx(0.0)


def test_sortino_counts_shortfalls_over_all_periods() -> None:
    assert metrics.sortino([0.02, -0.01, 0.02], periods=1) == pytest.approx(0.01 / math.sqrt(0.0001 / 3))


def test_drawdowns_start_from_the_value_before_the_first_return() -> None:
    values = [-0.5, 1.0, 0.5, -0.2]
    np.testing.assert_allclose(metrics.drawdowns(values), [0.5, 0.0, 0.0, 0.2])
    assert metrics.max_drawdown(values) == pytest.approx(0.5)
    assert metrics.max_drawdown([0.1, 0.2]) == 0.0


@pytest.mark.parametrize(
    ("values", "periods"),
    [([0.1, 0.1], 0), ([-0.1, 0.1, 0.1, -0.1], 2), ([0.1, -0.5, 0.1, 0.1, 0.1], 4), ([-0.5, -0.5], 2)],
)
def test_the_longest_drawdown_counts_periods_below_a_high(values: list[float], periods: int) -> None:
    assert metrics.longest_drawdown(values) == periods


def test_hit_rate_leaves_out_days_without_a_move() -> None:
    assert metrics.hit_rate([0.1, 0.0, -0.1, 0.1]) == pytest.approx(2 / 3)


def test_months_compound_and_absent_ones_are_empty() -> None:
    dates = pd.to_datetime(["2020-01-30", "2020-01-31", "2020-03-02", "2021-12-31"])
    table = metrics.monthly_returns(pd.Series([0.1, 0.1, -0.5, 0.2], index=dates))
    assert table.loc[2020, 1] == pytest.approx(0.21)
    assert table.loc[2020, 3] == pytest.approx(-0.5)
    assert table.loc[2021, 12] == pytest.approx(0.2)
    assert table.notna().to_numpy().sum() == 3
    assert [int(str(m)) for m in table.columns] == list(range(1, 13))


def test_summary_has_turnover_and_costs_where_they_are_given() -> None:
    returns = pd.Series([0.01, -0.01] * 126)
    plain = metrics.summary(returns)
    assert "annual_turnover" not in plain
    full = metrics.summary(returns, turnover=pd.Series([1.0, 0.5]), costs_paid=pd.Series([0.001, 0.0005]))
    assert full["annual_turnover"] == pytest.approx(1.5)
    assert full["annual_costs"] == pytest.approx(0.0015)
    assert set(plain) < set(full)


def test_rank_correlations_of_perfect_and_reversed_orders() -> None:
    scores = pd.DataFrame([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [1.0, np.nan, 2.0]])
    outcomes = pd.DataFrame([[10.0, 20.0, 90.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    values = metrics.rank_ic(scores, outcomes)
    assert values.iloc[:2].tolist() == pytest.approx([1.0, -1.0])
    assert values.iloc[2:].isna().all()  # constant scores; two assets only


def test_rank_correlations_match_assets_by_name() -> None:
    scores = pd.DataFrame([[1.0, 2.0, 3.0]], columns=list("abc"))
    outcomes = pd.DataFrame([[9.0, 5.0, 1.0]], columns=list("cba"))
    assert metrics.rank_ic(scores, outcomes).tolist() == pytest.approx([1.0])


def test_the_summary_of_correlations_leaves_out_missing_ones() -> None:
    summary = metrics.ic_summary(pd.Series([0.1, np.nan, 0.3]))
    assert summary.dates == 2
    assert summary.mean == pytest.approx(0.2)
    with pytest.raises(DataError, match="1 coefficients"):
        metrics.ic_summary(pd.Series([0.1, np.nan]))


def test_the_difference_of_equal_series_is_zero() -> None:
    values = np.random.default_rng(0).normal(0, 0.01, 200)
    interval = metrics.sharpe_difference_interval(values, values)
    assert (interval.estimate, interval.low, interval.high) == (0.0, 0.0, 0.0)
    assert not interval.excludes_zero


def test_a_clear_difference_is_told_from_zero() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 1000)
    interval = metrics.sharpe_difference_interval(noise + 0.002, noise)
    assert interval.excludes_zero
    assert interval.low < interval.estimate < interval.high
    assert interval.block == 10  # the cube root of 1000


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(0, 0.01, 300)
    assert metrics.sharpe_interval(values, seed=1) == metrics.sharpe_interval(values, seed=1)
    assert metrics.sharpe_interval(values, seed=1) != metrics.sharpe_interval(values, seed=2)


def test_a_constant_series_has_no_interval() -> None:
    interval = metrics.sharpe_interval([0.0] * 20)
    assert math.isnan(interval.low)
    assert not interval.excludes_zero


def test_faulty_series_are_refused() -> None:
    with pytest.raises(DataError, match="return number 1 is nan"):
        metrics.sharpe([0.1, math.nan])
    with pytest.raises(DataError, match=r"shape \(0,\)"):
        metrics.annual_return([])
    with pytest.raises(DataError, match=r"3 and 2 returns"):
        metrics.sharpe_difference_interval([0.1, 0.2, 0.3], [0.1, 0.2])
    with pytest.raises(DataError, match="blocks of 9"):
        metrics.sharpe_interval([0.1, 0.2, 0.3], block=9)
    with pytest.raises(DataError, match="level=95"):
        metrics.mean_interval([0.1, 0.2, 0.3], level=95)
