import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.backtest.engine import backtest
from shoestring.finance.maps import MAPS, MapsStrategy
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.records.code_digest import code_modules
from shoestring.finance.running.run import decide, run_strategy

FAST = MapsStrategy(n_agents=2, updates=25, batch_size=64, min_history=150)


def weights_of(strategy: MapsStrategy, panel: PricePanel) -> pd.DataFrame:
    return run_strategy(strategy, panel, "2001-01-10", "2001-02-10", seed=3)


@pytest.fixture
def weights(panel: PricePanel) -> pd.DataFrame:
    return weights_of(FAST, panel)


def test_every_session_after_the_first_training_has_neutral_weights(
    weights: pd.DataFrame, panel: PricePanel
) -> None:
    assert list(weights.index) == list(panel.between("2001-01-10", "2001-02-10").dates)
    np.testing.assert_allclose(weights.sum(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(weights.abs().sum(axis=1), 1)


def test_the_weights_are_those_of_the_estimator_trained_on_the_same_dates(
    weights: pd.DataFrame, panel: PricePanel
) -> None:
    refit = panel.between("2001-01-01", None).dates[0]
    model = MAPS.from_config(FAST.config(), seed=3).fit(panel.cut(refit))
    assert (weights.loc["2001-02-01"] == model.predict(panel, "2001-02-01")).all()


def test_a_live_date_gives_the_bits_of_the_backtest(weights: pd.DataFrame, panel: PricePanel) -> None:
    live = decide(FAST, panel, "2001-02-01", seed=3).weights
    pd.testing.assert_frame_equal(live, weights.loc[["2001-02-01"]], check_exact=True)


def test_later_prices_change_nothing(weights: pd.DataFrame, panel: PricePanel) -> None:
    close = panel.close.copy()
    close.loc["2001-01-26":] *= np.linspace(0.5, 2, close.shape[1])
    other = weights_of(FAST, PricePanel.from_frame(close))
    pd.testing.assert_frame_equal(other.loc[:"2001-01-25"], weights.loc[:"2001-01-25"], check_exact=True)
    assert not np.allclose(other.loc["2001-01-29"], weights.loc["2001-01-29"])


def test_a_company_without_a_price_is_left_out(panel: PricePanel) -> None:
    close = panel.close.copy()
    close.loc["2001-01-20":, "C4"] = np.nan
    weights = weights_of(FAST, PricePanel.from_frame(close))
    assert (weights.loc["2001-01-22":, "C4"] == 0).all()
    assert (weights.loc[:"2001-01-18", "C4"] != 0).all()


def test_dates_before_the_first_training_are_warm_up(panel: PricePanel) -> None:
    late = MapsStrategy(n_agents=2, updates=25, batch_size=64, min_history=390)
    assert len(run_strategy(late, panel, "2001-01-10", "2001-02-10", seed=3)) == 0


def test_the_weights_can_be_booked(weights: pd.DataFrame, panel: PricePanel) -> None:
    done = backtest(panel, weights, allow_short=not FAST.info.long_only, max_gross=FAST.info.max_gross)
    assert np.isfinite(done.nav).all()


def test_a_change_of_the_learner_is_a_change_of_the_strategy() -> None:
    modules = code_modules(MapsStrategy)
    assert {"shoestring.finance.maps._learner", "shoestring.finance.maps.functional"} <= set(modules)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_agents=0"):
        MapsStrategy(n_agents=0)
    with pytest.raises(ConfigError, match="lam"):
        MapsStrategy.from_params({"lam": 3.0})
