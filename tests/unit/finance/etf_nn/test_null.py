"""What chance alone does to a mean rank correlation: against repeated markets and closed forms."""

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.backtest.metrics import rank_ic
from shoestring.finance.etf_nn._null import median_bound, sign_flip_test
from shoestring.finance.etf_nn._samples import forward_returns
from shoestring.finance.market.panel import PricePanel

DATES = pd.bdate_range("2010-01-01", periods=260)


def market(seed: int, num: int = 12, drift: float = 0.0) -> tuple[pd.DataFrame, PricePanel]:
    """Return constant scores, monthly, and prices that share two factors (and follow the scores)."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=num)
    shared = rng.normal(size=(len(DATES), 2)) @ rng.normal(size=(2, num))
    daily = 0.01 * (shared + rng.normal(size=(len(DATES), num)) + drift * score)
    names = [f"A{i:02d}" for i in range(num)]
    when = DATES[::21]
    scores = pd.DataFrame(np.tile(score, (len(when), 1)), when, names)
    return scores, PricePanel.from_frame(pd.DataFrame(np.exp(np.cumsum(daily, axis=0)), DATES, names))


def test_without_a_signal_t_spreads_like_a_standard_normal_number() -> None:
    found = [sign_flip_test(*market(seed), 3, draws=100) for seed in range(150)]
    # 150 draws know a deviation to 6 %
    assert np.std([f.t for f in found]) == pytest.approx(1.0, abs=0.2)
    assert abs(np.mean([f.t for f in found])) < 0.3
    assert np.mean([f.p <= 0.1 for f in found]) == pytest.approx(0.1, abs=0.08)


def test_a_signal_is_found() -> None:
    found = sign_flip_test(*market(0, drift=0.5), 3)
    assert found.t > 2
    assert found.p < 0.02


def test_the_mean_is_that_of_the_rank_correlation_and_gaps_are_left_out() -> None:
    scores, prices = market(1)
    scores.iloc[2, :4] = np.nan
    scores.iloc[3] = 1.0  # constant: no correlation on this date
    log, _ = forward_returns(prices, tuple(scores.columns), pd.DatetimeIndex(scores.index), 3)
    want = rank_ic(scores, pd.DataFrame(log, scores.index, scores.columns)).mean()
    found = sign_flip_test(scores, prices, 3, draws=20)
    assert found.mean == pytest.approx(want, rel=1e-12)
    assert found.error > 0


def test_a_market_whose_days_were_flipped_has_the_same_error() -> None:
    scores, prices = market(2, num=5)
    draws, rng = 7, np.random.default_rng(4)
    found = []
    for _ in range(draws):
        # the same test on a market whose days are flipped already must have the same spread
        daily = np.diff(np.log(prices.close.to_numpy()), axis=0)
        path = np.cumsum(daily * rng.choice([-1.0, 1.0], (len(daily), 1)), axis=0)
        flipped = pd.DataFrame(np.exp(np.vstack([np.zeros(5), path])), DATES, list(prices.assets))
        found.append(sign_flip_test(scores, PricePanel.from_frame(flipped), 3, draws=2000).error)
    first = sign_flip_test(scores, prices, 3, draws=2000).error
    np.testing.assert_allclose(found, first, rtol=0.08)  # 2,000 draws know it to 1.6 %


def test_the_same_seed_gives_the_same_figures() -> None:
    one, two = (sign_flip_test(*market(3), 3, draws=60, seed=5) for _ in range(2))
    assert one == two
    assert one != sign_flip_test(*market(3), 3, draws=60, seed=6)


def test_the_bound_of_one_number_is_the_normal_quantile_and_medians_obey_theirs() -> None:
    assert median_bound(1) == pytest.approx(NormalDist().inv_cdf(0.975))
    assert median_bound(1, tests=5) == pytest.approx(NormalDist().inv_cdf(0.995))
    medians = np.median(np.random.default_rng(0).normal(size=(100_000, 9)), axis=1)
    assert np.mean(np.abs(medians) > median_bound(9)) == pytest.approx(0.05, abs=0.004)


def test_bad_inputs_are_refused() -> None:
    scores, prices = market(0)
    with pytest.raises(ConfigError, match="draws=0"):
        sign_flip_test(scores, prices, 3, draws=0)
    with pytest.raises(DataError, match="no date"):
        sign_flip_test(scores * np.nan, prices, 3)
    with pytest.raises(ConfigError, match="num=4"):
        median_bound(4)
