"""What the verification of ETF-NN runs for one arm and seed, and what it measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError
from shoestring.evidence.model import Context, Outcome, Series
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import Backtest
from shoestring.finance.backtest.engine import backtest as follow
from shoestring.finance.backtest.metrics import ic_summary, rank_ic, sharpe
from shoestring.finance.etf_nn._baselines import (
    boosting_grid,
    low_volatility,
    momentum,
    net_grid,
    ridge_grid,
    tuned_scores,
)
from shoestring.finance.etf_nn._generator import MarketConfig, synthetic_market
from shoestring.finance.etf_nn._models import QUALITY, VALUE, StatementComposite, StatementModel, StatementNet
from shoestring.finance.etf_nn._null import sign_flip_test
from shoestring.finance.etf_nn._portfolio import ETFPortfolio
from shoestring.finance.etf_nn._samples import sample_dates
from shoestring.finance.etf_nn._walk import (
    allocate_all,
    eligible_scores,
    etf_features,
    etf_rank_ic,
    followed_rank_ic,
    rebalance_schedule,
    refit_schedule,
    tradeable,
)
from shoestring.finance.etf_nn.config import NetworkConfig, TrainingConfig, horizon_months
from shoestring.finance.market.deposits.baskets import Baskets
from shoestring.finance.market.deposits.files import DepositFiles
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import FeatureConfig, feature_panel
from shoestring.finance.market.statements.table import Statements

__all__ = ["Problem", "measure_arm"]

COST_BPS = 10.0


@dataclass(frozen=True, eq=False)
class Problem:
    """Data of a workload, and what is asked of every arm."""

    prices: PricePanel
    statements: Statements
    files: DepositFiles
    young: tuple[str, ...]
    """ETFs without much history; their rank correlation is reported apart."""
    market: str
    """Name of the market's ETF; empty if there is none."""
    start: pd.Timestamp
    end: pd.Timestamp
    horizon: str
    features: FeatureConfig
    signal: pd.DataFrame | None = None
    """Planted truth [K, N], if there is one."""
    notes: tuple[str, ...] = ()
    rebalance: str = "1M"
    refit: str = "1Y"
    months: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "months", horizon_months(self.horizon))


def measure_arm(context: Context) -> Outcome:
    """Run one arm on the synthetic market (or on the user's US data) and measure it.

    Parameters
    ----------
    context : Context
        Options: ``method``; ``market`` (of `MarketConfig`) or ``set`` (``key_statistics``, ``annual``, with
        the workload's data); ``network``, ``training``, ``features`` over the defaults; ``ensemble``.

    Raises
    ------
    ConfigError
        For an unknown method.
    """
    import torch

    torch.set_num_threads(1)  # the matrices are small, and sums must not depend on the machine
    options = context.options
    context.report_progress(0.0, "data")
    problem = _problem(context)
    when = rebalance_schedule(
        problem.prices.cut(problem.end).dates, problem.start, horizon_months(problem.rebalance)
    )
    baskets = problem.files.baskets(problem.prices, when)
    context.report_progress(0.2, "scores")
    stock, etf_scores, notes = _scores(problem, options, when, context)
    table = _table(problem, stock, etf_scores, when, baskets)
    context.report_progress(0.9, "portfolio")
    metrics: dict[str, float] = {}
    if stock is not None:
        metrics |= _stock_figures(problem, stock)
    if options["method"] not in ("equal", "market"):
        metrics |= _etf_figures(problem, table)
        metrics |= _signal_figures(problem, stock, table, baskets)
    figures, nav = _portfolio_figures(problem, options["method"], table, baskets)
    days = np.linspace(0, len(nav) - 1, min(len(nav), 120)).astype(int)
    curve = Series(x=tuple(float(d) for d in days), y=tuple(float(v) for v in nav.to_numpy()[days]))
    return Outcome(metrics=metrics | figures, series={"nav": curve}, notes=(*problem.notes, *notes))


def _problem(context: Context) -> Problem:
    options = context.options
    if "set" in options:
        from shoestring.finance.etf_nn._real import load_problem

        assert context.data is not None  # the workload needs it
        return load_problem(options["set"], context.data)
    config = MarketConfig(**options.get("market", {}))
    market = synthetic_market(config, seed=context.seed)
    days = config.thematic_quarters * 63
    return Problem(
        prices=market.prices,
        statements=market.statements,
        files=market.files,
        young=market.thematic,
        market=market.market_etf,
        start=market.prices.dates[-days],
        end=market.prices.dates[-1],
        horizon="3M",
        features=FeatureConfig(),
        signal=market.signal if config.ic > 0 else None,
    )


def _scores(
    problem: Problem, options: Mapping[str, Any], when: pd.DatetimeIndex, context: Context
) -> tuple[pd.DataFrame | None, pd.DataFrame | None, tuple[str, ...]]:
    """Return scores of stocks, or of ETFs where the arm knows no stocks, and notes."""
    method = options["method"]
    names = [e for e in problem.files.etfs if e in set(problem.prices.assets)]
    if method in ("equal", "market"):
        return None, pd.DataFrame(0.0, index=when, columns=names), ()
    if method == "momentum":
        return None, momentum(problem.prices, names, when), ()
    if method == "low-volatility":
        return None, low_volatility(problem.prices, names, when), ()
    if method == "truth":
        assert problem.signal is not None
        return problem.signal.reindex(when, method="ffill"), None, ()
    features = replace(problem.features, **options.get("features", {}))
    training = TrainingConfig(**options.get("training", {}))
    grid = _grid(method, problem, features, training, context)
    prices = problem.prices.cut(problem.end)
    dates = sample_dates(prices.dates, training.sample_months).union(when)
    panel = feature_panel(problem.statements, prices, dates, grid[0].feature_config)
    if method == "etf-net":
        panel = etf_features(panel, problem.files.baskets(prices, dates))
    refits = refit_schedule(when, horizon_months(problem.refit))
    scores, best = tuned_scores(grid, panel, prices, refits, when, folder=context.folder)
    notes = (f"setting {best + 1} of {len(grid)} chosen on held-out dates",) if len(grid) > 1 else ()
    return (None, scores, notes) if method == "etf-net" else (scores, None, notes)


def _grid(
    method: str, problem: Problem, features: FeatureConfig, training: TrainingConfig, context: Context
) -> list[StatementModel]:
    options = context.options
    if method in ("etf-nn", "etf-net"):
        network = dict(options.get("network", {}))
        if "hidden" in network:
            network["hidden"] = tuple(network["hidden"])
        net = StatementNet(
            problem.horizon,
            ensemble=options.get("ensemble", 5),
            seed=context.seed,
            features=features,
            network=NetworkConfig(**network),
            training=training,
        )
        return net_grid(net, options["lrs"]) if "lrs" in options else net_grid(net)
    grids: dict[str, Callable[[], list[StatementModel]]] = {
        "ridge": lambda: ridge_grid(features, training),
        "boosting": lambda: boosting_grid(features, training, context.seed),
        "value": lambda: [StatementComposite(VALUE, features=features)],
        "quality": lambda: [StatementComposite(QUALITY, features=features)],
    }
    if method not in grids:
        raise ConfigError(f"method={method!r} is not known; allowed: etf-nn, etf-net, {', '.join(grids)}")
    grid = grids[method]()
    return [m.set_params(horizon=problem.horizon) if "horizon" in m.get_params() else m for m in grid]


def _table(
    problem: Problem,
    stock: pd.DataFrame | None,
    etf_scores: pd.DataFrame | None,
    when: pd.DatetimeIndex,
    baskets: Baskets,
) -> pd.DataFrame:
    """Return score and eligibility by (date, ETF); arms that score ETFs get the eligibility of the others."""
    if stock is not None:
        return tradeable(problem.files.aggregate_many(stock, problem.prices, baskets=baskets), problem.prices)
    assert etf_scores is not None
    panel = feature_panel(problem.statements, problem.prices, when, problem.features)
    flat = pd.DataFrame(np.where(panel.scored, 0.0, np.nan), index=when, columns=list(panel.tickers))
    table = tradeable(problem.files.aggregate_many(flat, problem.prices, baskets=baskets), problem.prices)
    score = etf_scores.stack(future_stack=True).reindex(table.index)
    return table.assign(score=score.to_numpy(float))


def _stock_figures(problem: Problem, stock: pd.DataFrame) -> dict[str, float]:
    prices = problem.prices.cut(problem.end)
    return _ic_figures("stock_ic", stock, prices, problem.months)


def _etf_figures(problem: Problem, table: pd.DataFrame) -> dict[str, float]:
    prices = problem.prices.cut(problem.end)
    eligible = table["eligible"].to_numpy(bool)
    figures = _ic_figures("rank_ic", eligible_scores(table, prices), prices, problem.months)
    old = [e for e in problem.files.etfs if e not in set(problem.young)]
    for name, among in (("rank_ic_young", problem.young), ("rank_ic_old", old)):
        ic = etf_rank_ic(table, prices, problem.months, among).dropna()
        if len(ic) >= 2 and len(among) >= 3:
            figures[name] = float(ic.mean())
    figures["scored_share"] = 100 * float(table["score"].notna().to_numpy()[eligible].mean())
    figures["coverage"] = 100 * float(table["coverage"].to_numpy()[eligible].mean())
    figures["eligible"] = 100 * float(eligible.mean())
    return figures


def _signal_figures(
    problem: Problem, stock: pd.DataFrame | None, table: pd.DataFrame, baskets: Baskets
) -> dict[str, float]:
    """Return the rank correlation of scores with the planted signal, of which returns show little.

    The signal goes through the same baskets; nothing without a signal that moves prices.
    """
    if problem.signal is None:
        return {}
    truth = problem.signal.reindex(baskets.dates, method="ffill")
    pushed = problem.files.aggregate_many(truth, problem.prices, baskets=baskets)["score"].unstack("etf")
    score = eligible_scores(table, problem.prices)
    found = {"signal_etf": rank_ic(score, pushed[score.columns])}
    if stock is not None:
        found["signal_stock"] = rank_ic(stock, truth[stock.columns])
    return {name: float(ic.mean()) for name, ic in found.items() if ic.notna().any()}


def _ic_figures(name: str, scores: pd.DataFrame, prices: PricePanel, months: int) -> dict[str, float]:
    """Return the mean rank correlation, what it is measured against without a signal, and its ICIR."""
    ic = followed_rank_ic(scores, prices, months).dropna()
    if len(ic) < 2:
        return {}
    test = sign_flip_test(scores, prices, months)
    made = {
        name: test.mean,
        f"{name}_error": test.error,
        f"{name}_t": test.t,
        f"{name}_ir": ic_summary(ic).ir,
        f"{name}_has_0": float(test.p > 0.05),
    }
    return {k: v for k, v in made.items() if np.isfinite(v)}


def _portfolio_figures(
    problem: Problem, method: str, table: pd.DataFrame, baskets: Baskets
) -> tuple[dict[str, float], "pd.Series[float]"]:
    """Hold the best fifth (or what the arm's name says) with costs; compare with all eligible ETFs."""
    everyone = ETFPortfolio(top=len(problem.files.etfs))
    flat = table.assign(score=0.0)
    equal = _follow(problem, allocate_all(everyone, flat, baskets, problem.prices))
    if method == "market":
        weights = pd.DataFrame(1.0, index=baskets.dates, columns=[problem.market])
        book = _follow(problem, weights)
    elif method == "equal":
        book = equal
    else:
        book = _follow(problem, allocate_all(ETFPortfolio(top=0.2), table, baskets, problem.prices))
    figures = book.metrics()
    active = book.returns - equal.returns
    out = {
        "annual_return": 100 * figures["annual_return"],
        "annual_volatility": 100 * figures["annual_volatility"],
        "sharpe": figures["sharpe"],
        "max_drawdown": 100 * figures["max_drawdown"],
        "turnover": figures.get("annual_turnover", float("nan")),
    }
    if active.std() > 1e-12:
        out["active_sharpe"] = sharpe(active)
        out["active_return"] = 100 * 252 * float(active.mean())
    return {k: v for k, v in out.items() if np.isfinite(v)}, book.nav


def _follow(problem: Problem, weights: pd.DataFrame) -> Backtest:
    funds = problem.prices.select([a for a in problem.prices.assets if a in set(weights.columns)])
    return follow(
        funds, weights, costs=Costs(commission_bps=COST_BPS), start=weights.index[0], end=problem.end
    )
