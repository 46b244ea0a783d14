"""Aggregation through deposit files against a slow, dense one that follows the definition row by row."""

import numpy as np
import pandas as pd
import pytest

from shoestring.finance.market.deposits.files import DepositFiles
from shoestring.finance.market.panel import PricePanel

DATES = pd.bdate_range("2021-01-01", periods=40)
STOCKS = [f"S{i}" for i in range(8)]


def dense(
    frame: pd.DataFrame, close: pd.DataFrame, scores: pd.Series, date: pd.Timestamp, etf: str
) -> tuple[float, float, float]:
    """Score, coverage and effective number of names, straight from the definition."""
    mine = frame[(frame["etf"] == etf) & (frame["date"] < date)]
    mine = mine[mine["date"] >= date - pd.Timedelta(days=30)]
    if mine.empty:
        return np.nan, 0.0, np.nan
    today = mine[mine["date"] == mine["date"].max()]
    value = {r.ticker: r.shares * close.loc[date, r.ticker] for r in today.itertuples()}
    net = sum(value.values()) + today["cash"].iloc[0]
    scored = {t: v / net for t, v in value.items() if not np.isnan(scores[t])}
    coverage = sum(scored.values())
    if coverage == 0:
        return np.nan, 0.0, np.nan
    score = sum(w * scores[t] for t, w in scored.items()) / coverage
    neff = 1 / sum((w / coverage) ** 2 for w in scored.values())
    return score, coverage, neff


@pytest.mark.parametrize("seed", range(3))
def test_the_sparse_product_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    close = pd.DataFrame(rng.uniform(5, 50, (40, 8)), DATES, STOCKS)
    rows = [
        (date, etf, stock, float(rng.integers(1, 100)), cash)
        for etf in ("E1", "E2", "E3")
        for date in DATES[rng.choice(40, 6, replace=False)]
        for cash in [float(rng.uniform(0, 500))]
        for stock in rng.choice(STOCKS, rng.integers(2, 7), replace=False)
    ]
    frame = pd.DataFrame(rows, columns=["date", "etf", "ticker", "shares", "cash"])
    files = DepositFiles.from_frame(frame)
    panel = PricePanel.from_frame(close)
    values = rng.normal(size=(40, 8))
    values[rng.random(values.shape) < 0.25] = np.nan
    scores = pd.DataFrame(values, DATES, STOCKS)
    got = files.aggregate_many(scores, panel)
    for date, etf in got.index.to_list():
        row = got.loc[(date, etf)]
        today = pd.Series(values[DATES.get_indexer(pd.DatetimeIndex([date]))[0]], STOCKS)
        score, coverage, neff = dense(frame, close, today, date, etf)
        np.testing.assert_allclose(row["score"], score, rtol=1e-10)
        np.testing.assert_allclose(row["coverage"], coverage, rtol=1e-10)
        np.testing.assert_allclose(row["neff"], neff, rtol=1e-10)
        assert row["eligible"] == (coverage >= 0.7)
