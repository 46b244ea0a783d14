"""Figures of merit against ffn, skfolio, SciPy and closed forms."""

import math

import ffn  # type: ignore[import-untyped]  # has no types
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import skfolio.measures

from shoestring.finance.backtest import metrics


@pytest.fixture(scope="module")
def returns() -> "pd.Series[float]":
    rng = np.random.default_rng(5)
    return pd.Series(rng.normal(0.0004, 0.011, 700), index=pd.bdate_range("2015-01-01", periods=700))


def test_ratios_equal_ffn(returns: "pd.Series[float]") -> None:
    nav = pd.concat([pd.Series([1.0], [pd.Timestamp("2014-12-31")]), (1 + returns).cumprod()])
    assert metrics.sharpe(returns) == pytest.approx(ffn.calc_sharpe(returns, nperiods=252), rel=1e-12)
    assert metrics.max_drawdown(returns) == pytest.approx(-ffn.calc_max_drawdown(nav), rel=1e-12)
    np.testing.assert_allclose(metrics.drawdowns(returns), -ffn.to_drawdown_series(nav).iloc[1:], atol=1e-14)


def test_ratios_equal_skfolio(returns: "pd.Series[float]") -> None:
    values = returns.to_numpy()
    downside = skfolio.measures.semi_deviation(values, min_acceptable_return=0.0, biased=True)
    assert metrics.sortino(returns) == pytest.approx(values.mean() / downside * 252**0.5, rel=1e-10)
    deviation = skfolio.measures.standard_deviation(values)
    assert metrics.annual_volatility(returns) == pytest.approx(deviation * 252**0.5, rel=1e-12)


def test_rank_correlation_equals_scipy_with_ties_and_holes() -> None:
    rng = np.random.default_rng(1)
    scores = pd.DataFrame(rng.integers(0, 6, (40, 12)).astype(float))
    outcomes = pd.DataFrame(rng.normal(size=(40, 12)))
    scores = scores.mask(rng.random(scores.shape) < 0.2)
    outcomes = outcomes.mask(rng.random(outcomes.shape) < 0.2)
    ours = metrics.rank_ic(scores, outcomes)
    for t in range(40):
        x, y = scores.to_numpy()[t], outcomes.to_numpy()[t]
        both = ~np.isnan(x) & ~np.isnan(y)
        theirs = scipy.stats.spearmanr(x[both], y[both]).statistic
        assert ours[t] == pytest.approx(theirs, abs=1e-12)


def test_t_of_a_series_of_correlations_equals_scipy() -> None:
    values = pd.Series(np.random.default_rng(2).normal(0.02, 0.1, 150))
    summary = metrics.ic_summary(values)
    assert summary.t == pytest.approx(scipy.stats.ttest_1samp(values, 0).statistic, rel=1e-12)
    assert summary.ir == pytest.approx(summary.t / math.sqrt(150), rel=1e-12)


def test_newey_west_equals_its_formula() -> None:
    values = np.random.default_rng(3).normal(0.02, 0.1, 90)
    values[1:] += 0.6 * values[:-1]
    lags, n, centred = 4, 90, values - values.mean()
    autocovariance = [sum(centred[i] * centred[i - k] for i in range(k, n)) / n for k in range(lags + 1)]
    long_run = autocovariance[0] + 2 * sum(
        (1 - k / (lags + 1)) * autocovariance[k] for k in range(1, lags + 1)
    )
    expected = values.mean() / math.sqrt(long_run / n * n / (n - 1))
    assert metrics.ic_summary(pd.Series(values), overlap=lags).t == pytest.approx(expected, rel=1e-12)
    assert metrics.ic_summary(pd.Series(values)).t > metrics.ic_summary(pd.Series(values), overlap=lags).t


def test_the_bootstrap_interval_equals_the_normal_one_for_independent_returns() -> None:
    values = np.random.default_rng(4).normal(0.0005, 0.01, 2000)
    interval = metrics.sharpe_interval(values, block=1, draws=3000)
    daily = metrics.sharpe(values, periods=1)
    error = math.sqrt((1 + daily**2 / 2) / 2000) * 252**0.5  # Lo (2002), independent normal returns
    assert interval.low == pytest.approx(interval.estimate - 1.96 * error, abs=0.08 * error * 2)
    assert interval.high == pytest.approx(interval.estimate + 1.96 * error, abs=0.08 * error * 2)


def test_blocks_keep_the_dependence_of_neighbours() -> None:
    rng = np.random.default_rng(6)
    noise = rng.normal(0, 0.01, 5010)
    moving = np.convolve(noise, np.ones(10), "valid")[:5000] / math.sqrt(10)
    short = metrics.mean_interval(moving, block=1)
    long = metrics.mean_interval(moving, block=100)
    # The variance of the mean of such a moving average is 10 times that of independent values.
    ratio = (long.high - long.low) / (short.high - short.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.25)


def test_resamples_equal_those_drawn_one_by_one() -> None:
    values = np.random.default_rng(7).normal(0.001, 0.02, 53)
    blocks = metrics._Blocks.draw(53, 7, 40, seed=9)
    for starts, mean, ratio in zip(
        blocks.starts, blocks.means(values), blocks.sharpes(values, 252), strict=True
    ):
        rows = np.concatenate([(s + np.arange(7)) % 53 for s in starts])[:53]
        assert mean == pytest.approx(values[rows].mean(), rel=1e-10)
        assert ratio == pytest.approx(metrics.sharpe(values[rows]), rel=1e-9)
