"""Training samples: a firm (or an ETF) on a date, its features, and how it did against the others."""

# Shapes: D dates, N firms, R rows (a firm on a date), Q quarters, F features

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from shoestring.core.errors import DataError
from shoestring.finance.etf_nn.config import TargetKind
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import FeaturePanel, group_ranks
from shoestring.finance.market.view import NotEnoughHistoryError

__all__ = ["Samples", "forward_returns", "make_samples", "sample_dates", "split_dates"]

MIN_FIRMS = 5  # of one date; fewer say nothing about order
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows sorted by date.

    Attributes
    ----------
    x : ndarray [R, Q, F], float32
    y : ndarray [R], float32
    dates : DatetimeIndex, [D]
        Dates with rows.
    start : ndarray [D + 1], int64
        Row at which each date begins.
    known_at : DatetimeIndex, [D]
        When the targets of each date were known.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.float32]
    dates: pd.DatetimeIndex
    start: npt.NDArray[np.int64]
    known_at: pd.DatetimeIndex

    def take(self, days: npt.NDArray[np.int64]) -> "Samples":
        """Return some of the dates, by ascending number."""
        rows = np.concatenate([np.arange(self.start[d], self.start[d + 1]) for d in days])
        sizes = np.diff(self.start)[days]
        start = np.concatenate([[0], np.cumsum(sizes)])
        return Samples(self.x[rows], self.y[rows], self.dates[days], start, self.known_at[days])

    @property
    def day(self) -> npt.NDArray[np.int64]:
        """Number of the date of each row, [R]."""
        return np.repeat(np.arange(len(self.dates)), np.diff(self.start))


def sample_dates(dates: pd.DatetimeIndex, months: int, end: pd.Timestamp | None = None) -> pd.DatetimeIndex:
    """Return the last session of every `months`-th calendar month (3: March, June, ...) up to `end`."""
    seen = dates if end is None else dates[dates <= end]
    if len(seen) == 0:
        raise DataError(f"there is no session up to {end}; give an end inside the prices")
    month = seen.year * 12 + seen.month
    last = np.flatnonzero(np.diff(month, append=month[-1] + 1))
    kept = last[month[last] % months == 0]
    return seen[kept]


def forward_returns(
    prices: PricePanel, assets: tuple[str, ...], dates: pd.DatetimeIndex, months: int
) -> tuple[Floats, pd.DatetimeIndex]:
    """Return log returns over the next `months` months [D, N], and the session on which each was known.

    An asset that is delisted on the way keeps its last price. NaN (and NaT) where the span is not over yet.
    """
    row = prices.dates.get_indexer(dates)
    until = prices.dates.searchsorted(pd.DatetimeIndex(dates + pd.DateOffset(months=months)))
    over = until < len(prices.dates)
    until = np.minimum(until, len(prices.dates) - 1)
    close = prices.close[list(assets)]
    filled = close.ffill().to_numpy()
    log = np.log(filled[until]) - np.log(close.to_numpy()[row])
    log[~over] = np.nan
    known = prices.dates[until].where(over)
    return log, pd.DatetimeIndex(known)


def make_samples(
    panel: FeaturePanel,
    prices: PricePanel,
    months: int,
    kind: TargetKind,
    *,
    sector_neutral: bool,
    end: pd.Timestamp,
) -> Samples:
    """Join features with targets that were known on or before `end`.

    Parameters
    ----------
    panel : FeaturePanel
        Features.
    prices : PricePanel
        Of the same assets; only rows up to `end` are looked at.
    months : int
        Horizon.
    kind : str
        ``rank`` in [-0.5, 0.5], ``excess`` log return over the mean of its group, or ``class`` 1 above the
        median.
    sector_neutral : bool
        Compare inside sectors.
    end : Timestamp
        Last date whose prices may be used.

    Raises
    ------
    NotEnoughHistoryError
        If no date is left.
    """
    seen = panel.dates[panel.dates <= end]
    if len(seen) == 0:
        raise NotEnoughHistoryError(f"no feature date lies before {end.date()}; give a later end")
    log, known = forward_returns(prices.cut(end), panel.tickers, seen, months)
    count = len(known)
    use = panel.scored[:count] & ~np.isnan(log)
    use &= (use.sum(axis=1) >= MIN_FIRMS)[:, None]
    day, firm = np.nonzero(use)
    if len(day) == 0:
        raise NotEnoughHistoryError(
            f"no training date before {end.date()} has {MIN_FIRMS} scored assets whose next {months} months "
            "are over; give a longer history or a later end"
        )
    sector = panel.group[day, firm] + 1 if sector_neutral else 0
    group = day * (panel.group.max(initial=0) + 2) + sector
    target = _target(log[day, firm], group, kind)
    days, sizes = np.unique(day, return_counts=True)
    start = np.concatenate([[0], np.cumsum(sizes)])
    return Samples(panel.values[day, firm], target.astype(np.float32), panel.dates[days], start, known[days])


def split_dates(samples: Samples, holdout: float, *, embargo: bool) -> tuple[Samples, Samples | None]:
    """Split off the last dates; with the embargo no training target reaches past the first of them.

    Raises
    ------
    NotEnoughHistoryError
        If no training date is left.
    """
    held = round(holdout * len(samples.dates))
    if held == 0:
        return samples, None
    first = len(samples.dates) - held
    days = np.arange(first)
    if embargo:
        days = days[samples.known_at[days] <= samples.dates[first]]
    if len(days) == 0:
        raise NotEnoughHistoryError(
            f"{len(samples.dates)} training dates leave none before the held-out ones; give a longer "
            "history, or holdout=0"
        )
    return samples.take(days), samples.take(np.arange(first, len(samples.dates)))


def _target(log_R: Floats, group: npt.NDArray[np.int64], kind: TargetKind) -> Floats:
    if kind == "excess":
        by = pd.Series(log_R).groupby(group)
        return np.asarray(log_R - by.transform("mean").to_numpy())
    rank = group_ranks(log_R[:, None], group)[:, 0]
    return rank if kind == "rank" else (rank > 0).astype(np.float64)
