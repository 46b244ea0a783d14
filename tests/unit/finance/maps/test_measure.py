from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.core.recorder import MemoryRecorder
from shoestring.evidence.model import Context
from shoestring.finance.backtest.metrics import sharpe
from shoestring.finance.maps import _measure
from shoestring.finance.maps.evidence import SHARES, study
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.strategies.baselines import reversal_scores

Make = Callable[..., Context]
TRAINING = {"updates": 8, "batch_size": 64, "collect": 20, "buffer_size": 256, "check_every": 4}
NETWORK = {"encoder": [12, 8], "head": 6}
MARKET = {"companies": 10, "days": 300}


@pytest.fixture
def make_context(tmp_path: Path) -> Make:
    def make(method: str, config: Any = None, **options: Any) -> Context:
        config = {"training": TRAINING, "network": NETWORK, **(config or {})}
        return Context(
            options={"market": MARKET, "spans": SHARES, "method": method, "config": config, **options},
            seed=0,
            folder=tmp_path,
            prepared=None,
            data=None,
            recorder=MemoryRecorder(),
            report_progress=lambda _share, _word: None,
        )

    return make


def test_agents_are_measured_in_every_way_that_the_study_prints(make_context: Make) -> None:
    rules = {"reversal": {"method": "reversal"}}
    outcome = _measure.measure_arm(make_context("maps", {"n_agents": 2}, versus=rules))
    printed = {m.name for m in study("full").metrics if not m.name.startswith("gain_")}
    assert printed <= set(outcome.metrics)
    assert {f"gain_reversal_{bps}{end}" for bps in (0, 5, 10) for end in ("", "_low", "_high")} <= set(
        outcome.metrics
    )
    assert outcome.metrics["sharpe_0"] > outcome.metrics["sharpe_5"] > outcome.metrics["sharpe_10"]
    assert outcome.metrics["gain_reversal_5_low"] < outcome.metrics["gain_reversal_5"]
    assert outcome.series["nav"].y[0] == 1


def test_one_agent_leaves_out_correlations(make_context: Make) -> None:
    metrics = _measure.measure_arm(make_context("maps", {"n_agents": 1})).metrics
    assert not {"agent_correlation", "confidence_correlation"} & set(metrics)
    assert metrics["average_volatility"] == pytest.approx(metrics["volatility"], rel=0.05)


def test_tuning_measures_the_validation_dates_only(make_context: Make) -> None:
    outcome = _measure.measure_arm(make_context("classifier", tuning=True))
    assert set(outcome.metrics) == {"valid_sharpe", "updates"}


@pytest.mark.parametrize("method", _measure.RULES)
def test_rules_are_measured_on_the_same_dates(make_context: Make, method: str) -> None:
    ours = _measure.measure_arm(make_context("maps", {"n_agents": 1}))
    rule = _measure.measure_arm(make_context(method))
    assert rule.series["nav"].x == ours.series["nav"].x
    assert {"sharpe_0", "sharpe_5", "sharpe_10", "volatility", "turnover"} <= set(rule.metrics)


def test_the_spans_do_not_overlap_and_cover_all_dates() -> None:
    dates = pd.bdate_range("2000-01-03", periods=333)
    spans = _measure.dates_of_spans(dates, SHARES)
    rows = {n: (dates.get_loc(a), dates.get_loc(b)) for n, (a, b) in spans.items()}
    assert rows == {"train": (0, 165), "valid": (166, 232), "test": (233, 332)}
    assert _measure.dates_of_spans(dates, {"test": ["2007", "2018"]}) == {"test": ("2007", "2018")}


def panel() -> PricePanel:
    rng = np.random.default_rng(0)
    close = pd.DataFrame(
        50 * np.exp(np.cumsum(rng.normal(0, 0.02, (300, 5)), axis=0)),
        index=pd.bdate_range("2000-01-03", periods=300),
        columns=list("abcde"),
    )
    close.iloc[100:, 3] = np.nan
    return PricePanel.from_frame(close)


def test_equal_weights_are_those_of_what_is_listed() -> None:
    weights = _measure.rule_weights(panel(), "equal_weight")
    assert weights.iloc[50].tolist() == [0.2] * 5
    assert weights.iloc[150].tolist() == [0.25, 0.25, 0.25, 0.0, 0.25]


@pytest.mark.parametrize("method", ["momentum", "reversal"])
def test_scores_become_portfolios_by_the_agents_rule(method: str) -> None:
    weights = _measure.rule_weights(panel(), method)
    late = weights.iloc[260:]
    np.testing.assert_allclose(late.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(late.abs().sum(axis=1), 1)
    assert (late["d"] == 0).all()
    if method == "reversal":
        score = reversal_scores(panel().close).iloc[50]
        centred = score - score.mean()
        np.testing.assert_allclose(weights.iloc[50], centred / centred.abs().sum())
    else:
        assert (weights.iloc[:252] == 0).all().all()


def test_a_gain_is_the_difference_of_the_two_arms(make_context: Make) -> None:
    one = _measure.measure_arm(
        make_context(
            "momentum", versus={"x": {"method": "equal_weight"}}, market={"companies": 10, "days": 1000}
        )
    )
    other = _measure.measure_arm(make_context("equal_weight", market={"companies": 10, "days": 1000}))
    expected = one.metrics["sharpe_5"] - other.metrics["sharpe_5"]
    assert one.metrics["gain_x_5"] == pytest.approx(expected)


def test_an_unknown_method_is_refused(make_context: Make) -> None:
    with pytest.raises(ConfigError, match="allowed: maps, classifier, equal_weight"):
        _measure.measure_arm(make_context("buy_low"))
    with pytest.raises(ConfigError, match="allowed: maps, classifier, equal_weight"):
        _measure.rule_weights(panel(), "buy_low")


def test_the_market_of_the_real_run_reaches_over_its_dates(make_context: Make) -> None:
    context = make_context("equal_weight", market="skfolio/sp500", spans={"test": ["2007", "2018"]})
    prices = _measure.load_panel(context)
    assert len(prices.assets) == 20
    assert (prices.dates[0].year, prices.dates[-1].year) == (1990, 2022)
    assert sharpe(prices.close["AAPL"].pct_change().dropna()) > 0
