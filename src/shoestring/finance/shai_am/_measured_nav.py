"""Net asset values of random schedules by an account of shares and cash, day by day, or by bt."""

from typing import Any

import numpy as np
import pandas as pd

from shoestring.core.optional import optional
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import backtest

__all__ = ["nav_gap"]

_CAPITAL = 1e6
_RATE_BPS = 7.5


def nav_gap(against: str, seed: int) -> dict[str, float]:
    """Return the largest relative gap by schedule between `backtest` and ``"loop"`` or ``"bt"``."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2004-01-01", periods=400, name="date")
    steps = rng.normal(0.0003, 0.015, (400, 8))
    names = [f"a{i}" for i in range(8)]
    prices = pd.DataFrame(rng.uniform(5, 300, 8) * np.exp(np.cumsum(steps, axis=0)), dates, names)
    gaps = {}
    for name, weights in _schedules(prices, rng).items():
        ours = backtest(
            prices, weights, costs=Costs(commission_bps=_RATE_BPS), allow_short=True, max_gross=2.0
        ).nav
        theirs = _bt(prices, weights) if against == "bt" else _loop(prices, weights)
        gaps[name] = float(np.abs(ours / theirs - 1).max())
    return gaps


def _schedules(prices: pd.DataFrame, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    def every(step: int) -> pd.DataFrame:
        dates = prices.index[::step]
        return pd.DataFrame(rng.dirichlet(np.ones(prices.shape[1]), len(dates)), dates, prices.columns)

    weekly, monthly = every(5), every(21)
    neutral = every(10).sub(1 / prices.shape[1])
    return {
        "daily": every(1),
        "weekly": weekly,
        "monthly": monthly,
        "once": every(1).iloc[[3]],
        "half in cash": every(5).mul(rng.uniform(0.1, 0.9, len(weekly)), axis=0),
        "two at a time": (every(21).rank(axis=1) > prices.shape[1] - 2).astype(float) / 2,
        "long and short": neutral.div(neutral.abs().sum(axis=1), axis=0),
    }


def _loop(prices: pd.DataFrame, weights: pd.DataFrame) -> "pd.Series[float]":
    rate = _RATE_BPS * 1e-4
    shares, cash, nav = np.zeros(prices.shape[1]), 1.0, {}
    wanted = {date: row.to_numpy() for date, row in weights.iterrows()}
    for date, row in prices.iterrows():
        price = row.to_numpy()
        value = cash + float(shares @ price)
        if date in wanted:
            # Who buys for 100 gets assets for 100 / (1 + rate); a target of 0 sells all there is.
            outlay = wanted[date] * value - shares * price
            traded = np.where(wanted[date] != 0, outlay / (1 + rate * np.sign(outlay)), -shares * price)
            cash -= float(traded.sum() + rate * np.abs(traded).sum())
            shares = shares + traded / price
            value = cash + float(shares @ price)
        nav[date] = value
    return pd.Series(nav)


def _bt(prices: pd.DataFrame, weights: pd.DataFrame) -> "pd.Series[float]":
    bt: Any = optional("bt", "dev")
    rate = _RATE_BPS * 1e-4
    run = bt.Backtest(
        bt.Strategy("s", [bt.algos.WeighTarget(weights), bt.algos.Rebalance()]),
        prices,
        initial_capital=_CAPITAL,
        commissions=lambda quantity, price: abs(quantity) * price * rate,
        integer_positions=False,
        progress_bar=False,
    )
    run.run()
    nav: pd.Series[float] = run.strategy.values / _CAPITAL
    return nav.iloc[1:]  # bt puts a date with the capital alone before the first
