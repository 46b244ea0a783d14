import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from shoestring.core.errors import ConfigError, DataError, NotFittedError, StorageError
from shoestring.finance.maps import (
    MAPS,
    Classifier,
    MapsConfig,
    NetworkConfig,
    PortfolioConfig,
    TrainingConfig,
)
from shoestring.finance.market.panel import PricePanel

SMALL = NetworkConfig(encoder=(12, 8), head=6)
SPANS: dict[str, Any] = {"train": ("2000-01", "2000-10"), "valid": ("2000-11", "2000-12")}


def maps(training: TrainingConfig, **options: Any) -> MAPS:
    return MAPS(**{"n_agents": 3, "network": SMALL, "training": training, **options})


@pytest.fixture
def fitted(panel: PricePanel, training: TrainingConfig) -> MAPS:
    return maps(training).fit(panel, **SPANS)


def test_parameters_are_kept_as_given_and_can_be_cloned_and_set(training: TrainingConfig) -> None:
    model = maps(training, lam=0.25)
    copy = clone(model)
    assert copy is not model
    assert {k: copy.get_params()[k] for k in ("n_agents", "lam", "training")} == {
        "n_agents": 3,
        "lam": 0.25,
        "training": training,
    }
    assert copy.set_params(n_agents=5).n_agents == 5
    assert model.n_agents == 3
    assert model.network is SMALL


def test_fit_returns_itself_and_fitted_attributes_end_in_an_underscore(
    panel: PricePanel, training: TrainingConfig
) -> None:
    model = maps(training)
    before = set(vars(model))
    assert model.fit(panel, **SPANS) is model
    assert all(name.endswith("_") for name in set(vars(model)) - before)
    assert str(model.seen_until_.date()) == "2000-12-29"
    assert np.isfinite(model.valid_sharpe_)


def test_weights_are_neutral_with_a_gross_sum_of_one(fitted: MAPS, panel: PricePanel) -> None:
    weight = fitted.predict(panel, "2001-03-01")
    assert tuple(weight.index) == panel.assets
    assert weight.sum() == pytest.approx(0, abs=1e-12)
    assert weight.abs().sum() == pytest.approx(1, abs=1e-12)
    agents = fitted.agent_weights(panel, "2001-03-01")
    assert agents.shape == (3, 8)
    total = agents.sum() / agents.sum().abs().sum()
    np.testing.assert_allclose(weight, total, atol=1e-12)


def test_one_date_equals_the_row_of_all_dates(fitted: MAPS, panel: PricePanel) -> None:
    every = fitted.weights(panel, "2001-01")
    for date in (every.index[0], every.index[-1]):
        np.testing.assert_allclose(fitted.predict(panel, date), every.loc[date], atol=1e-6)


def test_a_day_without_trading_means_the_last_one_before(fitted: MAPS, panel: PricePanel) -> None:
    saturday, friday = fitted.predict(panel, "2001-03-03"), fitted.predict(panel, "2001-03-02")
    pd.testing.assert_series_equal(saturday, friday)


def test_the_last_date_counts_when_none_is_given(fitted: MAPS, panel: PricePanel) -> None:
    pd.testing.assert_series_equal(fitted.predict(panel), fitted.predict(panel, panel.dates[-1]))


def perturbed(panel: PricePanel, after: str) -> PricePanel:
    close = panel.close.copy()
    rng = np.random.default_rng(9)
    later = close.index > pd.Timestamp(after)
    close.loc[later] *= np.exp(rng.normal(0, 0.3, (int(later.sum()), close.shape[1])))
    return PricePanel.from_frame(close)


def test_prices_after_a_date_do_not_change_its_weights(fitted: MAPS, panel: PricePanel) -> None:
    other = perturbed(panel, "2001-03-01")
    pd.testing.assert_series_equal(fitted.predict(panel, "2001-03-01"), fitted.predict(other, "2001-03-01"))
    one, two = (fitted.weights(p, "2001-01").loc[:"2001-03-01"] for p in (panel, other))
    pd.testing.assert_frame_equal(one, two)


def test_prices_after_validation_do_not_change_the_training(
    panel: PricePanel, training: TrainingConfig, fitted: MAPS
) -> None:
    other = maps(training).fit(perturbed(panel, "2000-12-31"), **SPANS)
    assert other.history_ == fitted.history_
    states = zip(other.network_.state_dict().values(), fitted.network_.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)


def test_validation_prices_choose_a_state_and_teach_nothing(
    panel: PricePanel, training: TrainingConfig, fitted: MAPS
) -> None:
    other = maps(training).fit(perturbed(panel, "2000-10-31"), **SPANS)
    assert [r["local_loss"] for r in other.history_] == [r["local_loss"] for r in fitted.history_]
    assert [r["valid_sharpe"] for r in other.history_] != [r["valid_sharpe"] for r in fitted.history_]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    panel: PricePanel, training: TrainingConfig, fitted: MAPS
) -> None:
    again, other = (maps(training, seed=s).fit(panel, **SPANS) for s in (0, 1))
    pd.testing.assert_frame_equal(again.weights(panel), fitted.weights(panel), check_exact=True)
    assert (other.weights(panel) - fitted.weights(panel)).abs().max().max() > 1e-3


def test_a_company_that_is_gone_or_new_has_no_weight(fitted: MAPS, panel: PricePanel) -> None:
    close = panel.close.copy()
    close.loc["2001-03-01":, "C2"] = np.nan
    close.loc[:"2001-04-15", "C5"] = np.nan
    weight = fitted.weights(close, "2001-01")
    assert (weight.loc["2001-03-01":, "C2"] == 0).all()
    assert (weight.loc[:"2001-02-28", "C2"] != 0).all()
    assert (weight.loc[:"2001-05-10", "C5"] == 0).all()
    assert (weight.loc["2001-05-14":, "C5"] != 0).all()
    np.testing.assert_allclose(weight.abs().sum(axis=1), 1)


def test_a_missing_day_is_not_filled_forward(fitted: MAPS, panel: PricePanel) -> None:
    close = panel.close.copy()
    close.loc["2001-03-01", "C2"] = np.nan
    weight = fitted.weights(close, "2001-02")["C2"]
    rows = close.index.get_indexer(weight.index)
    hole = int(close.index.searchsorted(pd.Timestamp("2001-03-01")))
    assert list(rows[weight == 0]) == list(range(hole, hole + 20))


def test_the_backtest_earns_what_the_weights_earn(fitted: MAPS, panel: PricePanel) -> None:
    done = fitted.backtest(panel, "2001-01")
    earned = (done.system.targets.shift(1) * panel.close.pct_change()).loc["2001-01":].sum(axis=1).iloc[1:]
    np.testing.assert_allclose(done.returns.iloc[1:], earned, atol=1e-12)
    agents = fitted.agent_weights(panel, "2001-03-01")
    next_day = panel.close.pct_change().loc["2001-03-02"]
    np.testing.assert_allclose(done.agent_returns.loc["2001-03-02"], agents @ next_day, atol=1e-6)
    corr = done.agent_returns.corr().to_numpy()
    assert done.agent_correlation == pytest.approx((corr.sum() - 3) / 6)
    assert done.turnover > 0
    assert done.flat_share == 0


def test_costs_lower_the_returns_by_the_turnover(fitted: MAPS, panel: PricePanel) -> None:
    free, paid = (fitted.backtest(panel, "2001-01", cost_bps=b) for b in (0.0, 10.0))
    assert paid.system.costs_paid.sum() == pytest.approx(10e-4 * paid.system.turnover.sum())
    assert paid.sharpe < free.sharpe
    assert paid.returns.sum() < free.returns.sum()


def test_a_backtest_on_training_dates_warns(fitted: MAPS, panel: PricePanel) -> None:
    with pytest.warns(UserWarning, match="training saw prices until 2000-12-29"):
        fitted.backtest(panel, "2000-06")


def test_the_score_is_the_sharpe_ratio_over_all_dates(fitted: MAPS, panel: PricePanel) -> None:
    later = panel.between("2001-01-01", None)
    assert fitted.score(later) == fitted.backtest(later).sharpe


def test_one_agent_has_no_correlations(panel: PricePanel, training: TrainingConfig) -> None:
    done = maps(training, n_agents=1).fit(panel, **SPANS).backtest(panel, "2001-01")
    assert np.isnan(done.agent_correlation)
    assert np.isnan(done.confidence_correlation)
    np.testing.assert_allclose(done.agent_returns[0], done.returns.iloc[1:], atol=1e-9)


@pytest.mark.parametrize("rule", ["confidence", "action", "top_bottom"])
def test_every_rule_gives_portfolios(panel: PricePanel, training: TrainingConfig, rule: Any) -> None:
    portfolio = PortfolioConfig(rule=rule, top_share=0.25)
    longer = dataclasses.replace(training, updates=40, lr=0.02)
    weight = maps(longer, portfolio=portfolio).fit(panel, **SPANS).weights(panel, "2001-01")
    gross = weight.abs().sum(axis=1)
    assert (np.isclose(gross, 1) | (gross == 0)).all()
    assert (gross > 0).any()
    np.testing.assert_allclose(weight.sum(axis=1), 0, atol=1e-12)


def test_a_dead_network_stays_flat_in_the_backtest(fitted: MAPS, panel: PricePanel) -> None:
    with torch.no_grad():
        for parameter in fitted.network_.parameters():
            parameter.zero_()
    done = fitted.backtest(panel, "2001-01")
    assert (done.system.targets == 0).all().all()
    assert (done.returns == 0).all()
    assert done.agent_correlation == 0
    assert done.flat_share == 1


def test_a_loaded_model_gives_the_same_bits(fitted: MAPS, panel: PricePanel, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    loaded = MAPS.load(tmp_path / "m.safetensors")
    pd.testing.assert_frame_equal(loaded.weights(panel), fitted.weights(panel), check_exact=True)
    assert loaded.get_params()["n_agents"] == 3
    assert (loaded.history_, loaded.best_update_) == (fitted.history_, fitted.best_update_)
    assert loaded.seen_until_ == fitted.seen_until_


def test_a_model_of_another_class_is_refused(fitted: MAPS, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    with pytest.raises(StorageError, match="holds a 'maps'"):
        Classifier.load(tmp_path / "m.safetensors")


def test_an_interrupted_fit_goes_on_to_the_same_bits(
    panel: PricePanel, training: TrainingConfig, fitted: MAPS, tmp_path: Path
) -> None:
    def stop(fraction: float, _word: str) -> None:
        if fraction > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        maps(training).fit(panel, **SPANS, checkpoint=tmp_path / "c", report_progress=stop)
    resumed = maps(training).fit(panel, **SPANS, checkpoint=tmp_path / "c")
    pd.testing.assert_frame_equal(resumed.weights(panel), fitted.weights(panel), check_exact=True)
    with pytest.raises(StorageError, match="another run"):
        maps(training, seed=1).fit(panel, **SPANS, checkpoint=tmp_path / "c")


def test_without_spans_the_last_fifth_of_the_dates_validates(
    panel: PricePanel, training: TrainingConfig
) -> None:
    by_hand = maps(training).fit(
        panel, train=(panel.dates[0], panel.dates[319]), valid=(panel.dates[320], panel.dates[399])
    )
    assert maps(training).fit(panel).history_ == by_hand.history_


def test_without_validation_all_updates_are_made(panel: PricePanel, training: TrainingConfig) -> None:
    model = maps(training).fit(panel, train=("2000-01", "2000-10"))
    assert model.best_update_ == 12
    assert np.isnan(model.valid_sharpe_)
    model = maps(training).fit(panel, valid=("2000-11", "2000-12"))
    assert np.isfinite(model.valid_sharpe_)


def test_the_classifier_has_the_same_interface(
    panel: PricePanel, training: TrainingConfig, tmp_path: Path
) -> None:
    model = Classifier(2, network=SMALL, training=training).fit(panel, **SPANS)
    assert clone(model).n_members == 2
    assert model.predict(panel).abs().sum() == pytest.approx(1)
    model.save(tmp_path / "c")
    pd.testing.assert_series_equal(Classifier.load(tmp_path / "c").predict(panel), model.predict(panel))


def test_options_of_a_config_come_back(training: TrainingConfig) -> None:
    config = MapsConfig(n_agents=4, lam=0.1, training=training, portfolio=PortfolioConfig(neutral=False))
    assert MAPS.from_config(config, seed=3)._config() == config
    assert MAPS.from_config(config, seed=3).seed == 3


# ---- bad input ----


def test_nothing_works_before_fit(panel: PricePanel, tmp_path: Path) -> None:
    for call in (
        lambda: MAPS().predict(panel),
        lambda: MAPS().weights(panel),
        lambda: MAPS().backtest(panel),
        lambda: MAPS().save(tmp_path / "x"),
    ):
        with pytest.raises(NotFittedError, match="call fit"):
            call()


@pytest.mark.parametrize(
    ("spans", "text"),
    [
        ({"train": ("2000-01", "2000-10"), "valid": ("2000-08", "2000-12")}, "not after the end of train"),
        ({"train": ("2000-10", "2000-01")}, r"train=\('2000-10', '2000-01'\) holds 0"),
        ({"train": ("1990", "1991")}, "holds 0 of the dates 2000-01-03"),
        ({"train": ("soon", "later")}, "is no pair of dates"),
    ],
)
def test_spans_that_make_no_sense_are_refused(
    panel: PricePanel, training: TrainingConfig, spans: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        maps(training).fit(panel, **spans)


def test_a_window_longer_than_the_history_is_refused(panel: PricePanel, training: TrainingConfig) -> None:
    with pytest.raises(DataError, match="a window needs 500"):
        maps(training, window=500).fit(panel)
    with pytest.raises(DataError, match="no window of 350 prices"):
        maps(training, window=350).fit(panel)


def test_a_date_before_the_first_window_is_refused(fitted: MAPS, panel: PricePanel) -> None:
    with pytest.raises(DataError, match="a window needs 20"):
        fitted.predict(panel, "2000-01-20")
    with pytest.raises(DataError, match="before two dates with a window"):
        fitted.weights(panel, "2000-01-03", "2000-01-14")


def test_bad_prices_are_refused(panel: PricePanel, training: TrainingConfig) -> None:
    close = panel.close.copy()
    close.iloc[5, 2] = -1.0
    with pytest.raises(DataError, match="must be positive"):
        maps(training).fit(close)
    twice = panel.close.iloc[[0, 1, 1, 2]]
    with pytest.raises(DataError, match="there twice"):
        maps(training).fit(twice)


def test_bad_options_are_refused_when_fitting(panel: PricePanel) -> None:
    with pytest.raises(ConfigError, match="n_agents=0"):
        MAPS(n_agents=0).fit(panel)


def test_one_company_warns_and_stays_flat(panel: PricePanel, training: TrainingConfig) -> None:
    one = panel.select(["C0"])
    with pytest.warns(UserWarning, match="cannot be held market-neutrally"):
        model = maps(training).fit(one, **SPANS)
    assert model.predict(one).tolist() == [0.0]
