"""The ten-line rule as the script that it would be without a framework: what the lines are compared with.

Same rule, same dates, same costs and an order file; no cache, no resume, no lineage, no check for look-ahead.
"""

from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["run"]


def run(  # a script's constants
    close: pd.DataFrame,
    start: str,
    lookback: int = 252,
    k: int = 5,
    cost_bps: float = 5.0,
    orders: Path | None = None,
) -> "pd.Series[float]":
    """Return the net asset value of momentum less volatility, month by month."""
    months = pd.DatetimeIndex(close.index).to_period("M")
    first = close.index[np.flatnonzero(np.asarray(months[1:] != months[:-1])) + 1]
    dates = {date for date in first if date >= pd.Timestamp(start)}
    rate = cost_bps / 10_000
    shares = np.zeros(close.shape[1])
    cash, nav = 1.0, {}
    target: pd.Series[float] = pd.Series(dtype=float)
    for date in close.index[close.index >= min(dates)]:
        price = close.loc[date].to_numpy()
        value = cash + float((shares * price).sum())
        if date in dates:
            window = close.loc[:date].iloc[-lookback:]
            if len(window) < lookback:
                continue
            score = window.iloc[-21] / window.iloc[0] - 1 - window.pct_change().std() * 16
            best = score.dropna().sort_values(ascending=False, kind="stable").index[:k]
            target = pd.Series(1.0 / len(best), index=best)
            wanted = target.reindex(close.columns, fill_value=0.0).to_numpy()
            # Costs come out of the trade: who buys for 100 gets assets for 100 / (1 + rate).
            outlay = wanted * value - shares * price
            traded = np.where(wanted > 0, outlay / (1 + rate * np.sign(outlay)), -shares * price)
            cash -= float(traded.sum() + rate * np.abs(traded).sum())
            shares = shares + traded / price
            value = cash + float((shares * price).sum())
        nav[date] = value
    if orders is not None:
        target.to_csv(orders, header=["target_weight"], index_label="asset")
    return pd.Series(nav)
