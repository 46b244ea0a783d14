"""What the verification of MAPS runs for one arm and seed, and what it measures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from shoestring.core.config import from_dict
from shoestring.core.errors import ConfigError
from shoestring.evidence.model import Context, Outcome, Series
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import Backtest, backtest
from shoestring.finance.backtest.metrics import annual_volatility, sharpe, sharpe_difference_interval
from shoestring.finance.maps._base import MapsBacktest, PortfolioEstimator
from shoestring.finance.maps._classifier import Classifier
from shoestring.finance.maps._estimator import MAPS
from shoestring.finance.maps._spans import rows_of_span
from shoestring.finance.maps.config import MapsConfig
from shoestring.finance.maps.functional import neutral_weights
from shoestring.finance.market.generators import WeakSignalsConfig, weak_signals
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.sources import load_market, load_us_market
from shoestring.finance.strategies.baselines import momentum_scores, reversal_scores

__all__ = ["measure_arm"]

COSTS_BPS = (0.0, 5.0, 10.0)
LEARNERS: Mapping[str, type[PortfolioEstimator]] = {"maps": MAPS, "classifier": Classifier}
RULES = ("equal_weight", "momentum", "reversal")
CURVE_EVERY = 5
Spans = Mapping[str, tuple[str, str]]


def measure_arm(context: Context) -> Outcome:
    """Run one arm on its market and measure it on the test dates.

    Parameters
    ----------
    context : Context
        With the options ``market`` (a name, or sizes of `weak_signals`), ``spans`` (train, valid, test;
        shares of the dates, or pairs of dates), ``method``, ``config``, optionally ``tuning`` (measure the
        validation dates only) and ``versus`` (further methods by name, compared by a bootstrap over days).

    Returns
    -------
    Outcome
        Metrics of the study, and the net asset value over the test dates.

    Raises
    ------
    ConfigError
        If a method is not known.
    """
    panel = load_panel(context)
    spans = dates_of_spans(panel.dates, context.options["spans"])
    options = context.options
    if options.get("tuning"):
        model = _fit(panel, spans, options, context)
        return Outcome(metrics={"valid_sharpe": model.valid_sharpe_, "updates": float(model.best_update_)})
    done, metrics = _run(panel, spans, options, context)
    for bps, result in done.items():
        metrics[f"sharpe_{bps:g}"] = sharpe(result.returns)
    free = done[0.0]
    metrics |= {
        "annual_return": 100 * free.metrics()["annual_return"],
        "volatility": 100 * annual_volatility(free.returns),
        "turnover": float(free.turnover.mean()),
    }
    for name, other in options.get("versus", {}).items():
        theirs, _ = _run(panel, spans, {**options, **other}, context)
        for bps in COSTS_BPS:
            interval = sharpe_difference_interval(done[bps].returns, theirs[bps].returns, seed=context.seed)
            metrics |= {
                f"gain_{name}_{bps:g}": interval.estimate,
                f"gain_{name}_{bps:g}_low": interval.low,
                f"gain_{name}_{bps:g}_high": interval.high,
            }
    finite = {name: float(value) for name, value in metrics.items() if np.isfinite(value)}
    return Outcome(metrics=finite, series={"nav": _curve(free)})


def load_panel(context: Context) -> PricePanel:
    """Return the prices that the options name."""
    market = context.options["market"]
    if isinstance(market, Mapping):
        return weak_signals(from_dict(WeakSignalsConfig, market), seed=context.seed).panel
    if context.data is not None:
        return load_us_market(context.data, market).panel
    return load_market(market, seed=context.seed).panel


def dates_of_spans(dates: pd.DatetimeIndex, spans: Mapping[str, Any]) -> Spans:
    """Return pairs of dates; pairs of shares of the dates are turned into them."""
    out = {}
    for name, (first, last) in spans.items():
        if isinstance(first, str):
            out[name] = (first, last)
        else:
            rows = round(first * len(dates)), round(last * len(dates)) - 1
            out[name] = (str(dates[rows[0]].date()), str(dates[rows[1]].date()))
    return out


def _fit(panel: PricePanel, spans: Spans, options: Mapping[str, Any], context: Context) -> PortfolioEstimator:
    method = options["method"]
    if method not in LEARNERS:
        raise ConfigError(f"method={method!r} is not known; allowed: {', '.join([*LEARNERS, *RULES])}")
    model = LEARNERS[method].from_config(from_dict(MapsConfig, options["config"]), seed=context.seed)
    return model.fit(
        panel,
        train=spans["train"],
        valid=spans["valid"],
        recorder=context.recorder,
        report_progress=context.report_progress,
    )


def _run(
    panel: PricePanel, spans: Spans, options: Mapping[str, Any], context: Context
) -> tuple[dict[float, Backtest], dict[str, float]]:
    """Backtests by costs on the test dates, and what only agents have."""
    if options["method"] in RULES:
        weights = rule_weights(panel, options["method"])
        first, last = rows_of_span(panel.dates, spans["test"], "test")
        return {bps: _book(panel, weights.iloc[first : last + 1], bps) for bps in COSTS_BPS}, {}
    model = _fit(panel, spans, options, context)
    free = model.backtest(panel, *spans["test"])
    done = {bps: _book(panel, free.system.targets, bps) for bps in COSTS_BPS[1:]}
    return {0.0: free.system, **done}, _of_agents(model, free)


def _of_agents(model: PortfolioEstimator, done: MapsBacktest) -> dict[str, float]:
    single = [done.agent_returns[agent] for agent in done.agent_returns]
    return {
        "valid_sharpe": model.valid_sharpe_,
        "updates": float(model.best_update_),
        "agent_sharpe": float(np.mean([sharpe(r) for r in single])),
        "agent_return": float(100 * 252 * np.mean([r.mean() for r in single])),
        "agent_correlation": done.agent_correlation,
        "confidence_correlation": done.confidence_correlation,
        "average_volatility": 100 * annual_volatility(done.average_returns),
    }


def rule_weights(panel: PricePanel, method: str) -> pd.DataFrame:
    """Return weights at every close, [T, N]: equal and long only, or of scores by the agents' portfolio rule.

    Raises
    ------
    ConfigError
        For an unknown method.
    """
    close = panel.close
    if method == "equal_weight":
        listed = close.notna().astype(float)
        return listed.div(listed.sum(axis=1).clip(lower=1.0), axis=0)
    if method not in RULES:
        raise ConfigError(f"method={method!r} is not known; allowed: {', '.join([*LEARNERS, *RULES])}")
    scores = momentum_scores(close) if method == "momentum" else reversal_scores(close)
    held = scores.where(close.notna()).to_numpy(dtype=np.float64, copy=True)
    weights = neutral_weights(torch.from_numpy(held)).numpy()
    return pd.DataFrame(weights, index=close.index, columns=close.columns)


def _book(panel: PricePanel, weights: pd.DataFrame, cost_bps: float) -> Backtest:
    first, last = weights.index[0], weights.index[-1]
    costs = Costs(commission_bps=cost_bps)
    return backtest(panel, weights, costs=costs, start=first, end=last, allow_short=True)


def _curve(done: Backtest) -> Series:
    nav = done.nav.iloc[::CURVE_EVERY]
    years = (nav.index - nav.index[0]).days / 365.25
    return Series(x=tuple(float(v) for v in years), y=tuple(float(v) for v in nav))
