import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.backtest.engine import backtest
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.view import view_of
from shoestring.finance.strategies import baselines
from shoestring.finance.strategies.baselines import (
    BuyAndHold,
    EqualWeight,
    MeanVariance,
    Momentum,
    Reversal,
    RiskParity,
    buy_and_hold,
    equal_weight,
    inverse_volatility,
    mean_variance,
    momentum,
    reversal,
    risk_parity,
)
from shoestring.finance.strategies.interface import Context, Sources, Strategy

NAN = np.nan


def frame(**columns: list[float]) -> pd.DataFrame:
    length = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=pd.bdate_range("2020-01-06", periods=length))


def walk(deviations: list[float], days: int = 600, seed: int = 0, common: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, common, (days, 1))
    steps = shared + rng.normal(0, 1, (days, len(deviations))) * deviations
    names = [f"a{i}" for i in range(len(deviations))]
    return pd.DataFrame(np.exp(np.cumsum(steps, axis=0)), pd.bdate_range("2010-01-04", periods=days), names)


def test_equal_weight_holds_what_has_a_price_now() -> None:
    weights = equal_weight(frame(A=[1.0, 1.0], B=[1.0, NAN], C=[NAN, 2.0]))
    assert weights.to_dict() == {"A": 0.5, "B": 0.0, "C": 0.5}


def test_buy_and_hold_never_trades_after_the_first_date() -> None:
    panel = gbm_panel(6, 250, seed=1)
    plan = pd.DataFrame({d: buy_and_hold(panel.window(d)) for d in panel.dates[::10]}).T
    done = backtest(panel, plan)
    assert done.turnover.iloc[1:].max() < 1e-12
    growth = (panel.close.iloc[-1] / panel.close.iloc[0]).mean()
    assert done.nav.iloc[-1] == pytest.approx(growth, rel=1e-12)


def test_momentum_holds_the_winners_of_the_window_without_its_end() -> None:
    px = frame(A=[1.0, 3.0, 1.0], B=[1.0, 2.0, 9.0], C=[1.0, 1.0, 1.0], D=[1.0, NAN, 9.0], E=[1.0, 4.0, NAN])
    weights = momentum(px, lookback=2, skip=1, share=0.34)
    assert weights.to_dict() == {"A": 1.0, "B": 0.0, "C": 0.0, "D": 0.0, "E": 0.0}
    assert momentum(px, lookback=2, skip=1, share=0.67)[["A", "B"]].tolist() == [0.5, 0.5]


def test_momentum_is_twelve_months_without_the_last() -> None:
    px = walk([0.02] * 10, days=253)
    scores = baselines.momentum_scores(px)
    expected = px.iloc[231] / px.iloc[0] - 1
    np.testing.assert_allclose(scores.iloc[-1], expected, rtol=1e-12)
    assert scores.iloc[:-1].isna().all(axis=None)
    assert set(momentum(px).nlargest(2).index) == set(expected.nlargest(2).index)


def test_reversal_holds_the_losers() -> None:
    px = frame(A=[1.0, 0.5], B=[1.0, 2.0], C=[1.0, 0.9])
    assert reversal(px, days=1, share=0.3).to_dict() == {"A": 1.0, "B": 0.0, "C": 0.0}


def test_inverse_volatility_needs_the_whole_window() -> None:
    px = walk([0.01, 0.02, 0.03])
    px.iloc[5, 2] = NAN
    weights = inverse_volatility(px)
    assert weights["a2"] == 0
    deviation = px[["a0", "a1"]].pct_change().std()
    assert weights["a0"] / weights["a1"] == pytest.approx(deviation["a1"] / deviation["a0"], rel=1e-9)


def test_risk_parity_gives_every_asset_the_same_share_of_variance() -> None:
    px = walk([0.01, 0.02, 0.04], common=0.008)
    weights = risk_parity(px)
    from skfolio.moments import LedoitWolf

    covariance = LedoitWolf().fit(px.pct_change().iloc[1:]).covariance_
    shares = weights.to_numpy() * (covariance @ weights.to_numpy())
    np.testing.assert_allclose(shares / shares.sum(), 1 / 3, atol=2e-3)


def test_mean_variance_reaches_the_closed_form_of_minimum_variance() -> None:
    px = walk([0.01, 0.012, 0.015], common=0.002)
    from skfolio.moments import LedoitWolf

    covariance = LedoitWolf().fit(px.pct_change().iloc[1:]).covariance_
    inverse = np.linalg.solve(covariance, np.ones(3))
    expected = inverse / inverse.sum()
    assert (expected > 0).all()  # so that the bound at 0 does not matter
    np.testing.assert_allclose(mean_variance(px, risk_aversion=1e6), expected, atol=2e-3)


def test_mean_variance_without_aversion_takes_the_best_mean() -> None:
    px = walk([0.01, 0.01, 0.01])
    px["a1"] *= 1.002 ** np.arange(len(px))
    assert mean_variance(px, risk_aversion=0.0)["a1"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("rule", [inverse_volatility, risk_parity, mean_variance])
def test_rules_cope_with_few_assets(rule) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # of three signatures
    px = walk([0.01, 0.02], days=60)
    alone = px.assign(a1=1.0)
    assert rule(alone).to_dict() == {"a0": 1.0, "a1": 0.0}
    assert rule(px * NAN).to_dict() == {"a0": 0.0, "a1": 0.0}
    assert rule(px).sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p: momentum(p, lookback=5, skip=5), "skip=5"),
        (lambda p: momentum(p, lookback=5, skip=1, share=0.0), "share=0"),
        (lambda p: reversal(p, days=0), "days=0"),
        (lambda p: mean_variance(p, risk_aversion=-1.0), "risk_aversion=-1"),
    ],
)
def test_options_out_of_range_are_refused(call, says: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # a lambda
    with pytest.raises(ConfigError, match=says):
        call(walk([0.01, 0.01], days=30))


STRATEGIES = [
    (EqualWeight(), equal_weight),
    (BuyAndHold(), buy_and_hold),
    (
        Momentum(lookback=60, skip=5, share=0.4),
        lambda p: momentum(p.iloc[-61:], lookback=60, skip=5, share=0.4),
    ),
    (Reversal(days=3), lambda p: reversal(p.iloc[-4:], days=3)),
    (RiskParity(lookback=60), lambda p: risk_parity(p.iloc[-61:])),
    (RiskParity(lookback=60, method="inverse_volatility"), lambda p: inverse_volatility(p.iloc[-61:])),
    (MeanVariance(lookback=60, risk_aversion=3.0), lambda p: mean_variance(p.iloc[-61:], risk_aversion=3.0)),
]


@pytest.mark.parametrize(("strategy", "rule"), STRATEGIES, ids=lambda v: getattr(type(v), "__name__", ""))
def test_a_strategy_calls_its_rule_on_data_up_to_its_date(strategy: Strategy, rule) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001  # a lambda
    close = walk([0.01, 0.015, 0.02, 0.012, 0.03], days=120)
    day = close.index[99]
    data = view_of(Sources(panel=PricePanel.from_frame(close)), day)
    weights = strategy.on_rebalance(Context(as_of=day), data)
    pd.testing.assert_series_equal(weights, rule(close.iloc[:100]), check_names=False)
    assert weights.sum() == pytest.approx(1.0)
