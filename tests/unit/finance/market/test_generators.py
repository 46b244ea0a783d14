import numpy as np
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.market.generators import (
    COMPONENTS,
    WeakSignals,
    WeakSignalsConfig,
    gbm_panel,
    weak_signals,
)


@pytest.fixture(scope="module")
def market() -> WeakSignals:
    return weak_signals(WeakSignalsConfig(companies=300, days=1500, ic=0.04, regime_days=40), seed=3)


def test_components_work_while_they_are_active_and_not_otherwise(market: WeakSignals) -> None:
    """Regress next returns on the six scores, date by date: the coefficients are what was planted."""
    returns = np.diff(np.log(market.panel.close.to_numpy()), axis=0)
    returns -= returns.mean(axis=1, keepdims=True)
    returns /= returns.std(axis=0)
    scores = np.stack([market.signals[n].to_numpy()[:-1] for n in COMPONENTS], axis=2)
    transposed = scores.swapaxes(1, 2)
    coefficients = np.linalg.solve(transposed @ scores, transposed @ returns[..., None])[..., 0]
    for j, name in enumerate(COMPONENTS):
        active = market.active[name].to_numpy()[:-1]
        assert 0.3 < active.mean() < 0.7
        # ic / active = 0.08; 300 companies on some 700 dates leave a standard error of about 0.003.
        assert coefficients[active, j].mean() == pytest.approx(0.08, abs=0.012), name
        assert coefficients[~active, j].mean() == pytest.approx(0.0, abs=0.012), name


def test_scores_are_standardised_over_companies(market: WeakSignals) -> None:
    for scores in market.signals.values():
        np.testing.assert_allclose(scores.mean(axis=1), 0, atol=1e-10)
        np.testing.assert_allclose(scores.std(axis=1, ddof=0), 1, rtol=1e-10)


def test_scores_come_from_past_prices_alone(market: WeakSignals) -> None:
    close = market.panel.close
    returns = (close / close.shift()).map(np.log)
    at = 700
    expected = -returns.iloc[at - 4 : at].sum()  # the four before the last one
    expected = (expected - expected.mean()) / expected.std(ddof=0)
    np.testing.assert_allclose(market.signals["reversal_5"].iloc[at], expected, atol=1e-8)


def test_the_planted_part_is_what_the_active_components_say(market: WeakSignals) -> None:
    at = 500
    on = [n for n in COMPONENTS if market.active[n].iloc[at]]
    total = sum(market.signals[n].iloc[at] for n in on)
    ratio = market.expected.iloc[at] / total
    later = market.expected.iloc[at + 300] / sum(
        market.signals[n].iloc[at + 300] for n in COMPONENTS if market.active[n].iloc[at + 300]
    )
    np.testing.assert_allclose(ratio, later, rtol=1e-8)  # a company's own volatility times the strength


def test_without_strength_nothing_is_planted() -> None:
    market = weak_signals(WeakSignalsConfig(companies=40, days=120, ic=0.0))
    assert (market.expected == 0).all(axis=None)


def test_the_same_seed_gives_the_same_market() -> None:
    config = WeakSignalsConfig(companies=20, days=60)
    one, two, other = (weak_signals(config, seed=s).panel.close for s in (1, 1, 2))
    assert one.equals(two)
    assert not one.equals(other)


def test_defaults_are_the_market_of_the_experiment() -> None:
    config = WeakSignalsConfig()
    assert (config.companies, config.days, config.ic) == (300, 2500, 0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"companies": 5},
        {"companies": 2},
        {"days": 1},
        {"active": 0.0},
        {"ic": 0.3},
        {"ic": -0.1},
        {"regime_days": 0.5},
        {"volatility": 0.0},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        WeakSignalsConfig(**options)  # type: ignore[arg-type]  # of mixed kinds


def test_a_panel_of_random_walks_has_the_holes_that_were_asked_for() -> None:
    panel = gbm_panel(60, 500, seed=4, late=0.5, delisted=0.5, gaps=0.01)
    missing = panel.close.isna()
    assert 15 <= missing.iloc[0].sum() <= 45
    assert 15 <= missing.iloc[-1].sum() <= 45
    assert missing.to_numpy().any()
    inner = panel.close.apply(lambda c: c.loc[c.first_valid_index() : c.last_valid_index()].isna().mean())
    assert inner.mean() == pytest.approx(0.01, abs=0.005)
    assert gbm_panel(3, 50).close.notna().all(axis=None)


def test_random_walks_have_the_drift_and_the_volatility() -> None:
    logs = np.diff(np.log(gbm_panel(200, 2000, drift=0.1, volatility=0.3).close.to_numpy()), axis=0)
    assert logs.std() * 252**0.5 == pytest.approx(0.3, rel=0.01)
    assert logs.mean() * 252 == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("options", [{"late": 1.0}, {"delisted": -0.1}, {"gaps": 2.0}])
def test_shares_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        gbm_panel(3, 10, **options)  # type: ignore[arg-type]  # of mixed kinds
    with pytest.raises(ConfigError, match="assets=0"):
        gbm_panel(0, 10)
