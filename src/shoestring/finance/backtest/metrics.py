"""Figures of merit of return series and of forecasts.

Returns are simple returns a period (a trading day unless `periods` says otherwise), without NaN.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from shoestring.core.errors import DataError
from shoestring.core.seeds import derive_seed

__all__ = [
    "DAYS",
    "IcSummary",
    "Interval",
    "annual_return",
    "annual_volatility",
    "drawdowns",
    "hit_rate",
    "ic_summary",
    "longest_drawdown",
    "max_drawdown",
    "mean_interval",
    "monthly_returns",
    "rank_ic",
    "sharpe",
    "sharpe_difference_interval",
    "sharpe_interval",
    "sortino",
    "summary",
]

F = NDArray[np.float64]
I = NDArray[np.intp]  # noqa: E741  # beside F

DAYS = 252
"""Trading days of a year."""
_ZERO = 1e-14
"""A standard deviation below this is rounding: the series is constant."""


def annual_return(returns: ArrayLike, *, periods: int = DAYS) -> float:
    """Return the geometric mean return a year; -1 after a total loss."""
    values = _checked(returns)
    total = float(np.prod(1.0 + values))
    return float(total ** (periods / len(values)) - 1.0) if total > 0 else -1.0


def annual_volatility(returns: ArrayLike, *, periods: int = DAYS) -> float:
    """Return the standard deviation of returns (ddof 1) times the root of the periods of a year."""
    values = _checked(returns)
    return float(np.std(values, ddof=1) * periods**0.5) if len(values) > 1 else float("nan")


def sharpe(returns: ArrayLike, *, periods: int = DAYS, risk_free: float = 0.0) -> float:
    """Return the mean excess return over its standard deviation (ddof 1), annualised by the root of periods.

    Parameters
    ----------
    returns : array, [T]
        Returns a period.
    periods : int
        Periods of a year.
    risk_free : float
        Riskless return *a period*.

    Returns
    -------
    float
        NaN for constant returns or fewer than two.
    """
    values = _checked(returns) - risk_free
    if len(values) < 2:
        return float("nan")
    deviation = float(np.std(values, ddof=1))
    return float(np.mean(values) / deviation * periods**0.5) if deviation > _ZERO else float("nan")


def sortino(returns: ArrayLike, *, periods: int = DAYS, target: float = 0.0) -> float:
    """Return the mean return above `target` over the root mean square of shortfalls, annualised.

    The shortfall of a period is min(return - target, 0), and all periods count in its mean. NaN without any
    shortfall.
    """
    values = _checked(returns) - target
    shortfall = float(np.sqrt(np.mean(np.minimum(values, 0.0) ** 2)))
    return float(np.mean(values) / shortfall * periods**0.5) if shortfall > _ZERO else float("nan")


def drawdowns(returns: ArrayLike) -> F:
    """Return the loss from the highest value so far as a share of it, [T]; 0 at a high, positive below.

    The value before the first return counts as a high.
    """
    nav = np.concatenate([[1.0], np.cumprod(1.0 + _checked(returns))])
    lost: F = 1.0 - nav / np.maximum.accumulate(nav)
    return lost[1:]


def max_drawdown(returns: ArrayLike) -> float:
    """Return the largest of `drawdowns`, positive."""
    return float(np.max(drawdowns(returns)))


def longest_drawdown(returns: ArrayLike) -> int:
    """Return the most periods in a row that ended below an earlier high."""
    below = drawdowns(returns) > _ZERO
    rows = np.arange(1, len(below) + 1)
    last_high = np.maximum.accumulate(np.where(below, 0, rows))
    return int(np.max(rows - last_high))


def hit_rate(returns: ArrayLike) -> float:
    """Return the share of positive returns among those that are not 0; NaN if all are."""
    values = _checked(returns)
    moved = values[values != 0]
    return float(np.mean(moved > 0)) if len(moved) else float("nan")


def monthly_returns(returns: "pd.Series[float]") -> pd.DataFrame:
    """Return compounded returns by year (rows) and month (columns 1..12), NaN where there is no period."""
    index = pd.DatetimeIndex(returns.index)
    table = (1.0 + returns).groupby([index.year, index.month]).prod() - 1.0
    return table.unstack().reindex(columns=range(1, 13))


def summary(
    returns: "pd.Series[float]",
    *,
    turnover: "pd.Series[float] | None" = None,
    costs_paid: "pd.Series[float] | None" = None,
    periods: int = DAYS,
) -> dict[str, float]:
    """Return the usual figures by name.

    Parameters
    ----------
    returns : Series, [T]
        Returns a period.
    turnover, costs_paid : Series or None
        A rebalance, as shares of the net asset value; their sums a year are added.
    periods : int
        Periods of a year.
    """
    figures = {
        "total_return": float(np.prod(1.0 + _checked(returns)) - 1.0),
        "annual_return": annual_return(returns, periods=periods),
        "annual_volatility": annual_volatility(returns, periods=periods),
        "sharpe": sharpe(returns, periods=periods),
        "sortino": sortino(returns, periods=periods),
        "max_drawdown": max_drawdown(returns),
        "longest_drawdown": float(longest_drawdown(returns)),
        "hit_rate": hit_rate(returns),
    }
    extra: Mapping[str, pd.Series[float] | None] = {"annual_turnover": turnover, "annual_costs": costs_paid}
    for name, values in extra.items():
        if values is not None:
            figures[name] = float(values.sum()) * periods / len(returns)
    return figures


def rank_ic(scores: pd.DataFrame, outcomes: pd.DataFrame) -> "pd.Series[float]":
    """Return Spearman's correlation over assets of scores with what followed, for every date.

    Parameters
    ----------
    scores : DataFrame, [T, N]
        Forecasts at a date.
    outcomes : DataFrame, [T, N]
        What was to be forecast, in the row of the forecast: returns from that date on.

    Returns
    -------
    Series, [T]
        NaN on dates with fewer than three assets that have both, or with constant scores. Ties share their
        mean rank.
    """
    outcomes = outcomes.reindex_like(scores)
    both = scores.notna() & outcomes.notna()
    x = scores.where(both).rank(axis=1).to_numpy(dtype=float)
    y = outcomes.where(both).rank(axis=1).to_numpy(dtype=float)
    count = both.sum(axis=1).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        # Ranks of n assets have the mean (n + 1) / 2, ties or not.
        x, y = (np.nan_to_num(v - (count[:, None] + 1) / 2) for v in (x, y))
        scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
        correlation = (x * y).sum(axis=1) / scale
    correlation[(count < 3) | ~(scale > 0)] = np.nan
    return pd.Series(correlation, index=scores.index, name="rank_ic")


@dataclass(frozen=True, kw_only=True, slots=True)
class IcSummary:
    """A series of information coefficients in four figures."""

    mean: float
    """Mean over dates."""
    t: float
    """Mean over its standard error."""
    ir: float
    """Mean over the standard deviation of a date ("ICIR")."""
    dates: int
    """Dates that had one."""


def ic_summary(coefficients: "pd.Series[float]", *, overlap: int = 0) -> IcSummary:
    """Return mean, t and information ratio of a series of correlations; NaN entries are left out.

    Parameters
    ----------
    coefficients : Series, [T]
        As `rank_ic` gives them.
    overlap : int
        Dates by which neighbouring outcomes overlap (horizon minus 1); the standard error then adds that many
        autocovariances with falling weights (Newey and West 1987).

    Raises
    ------
    DataError
        For fewer than two coefficients.
    """
    values = coefficients.dropna().to_numpy(dtype=float)
    if len(values) < 2 or overlap < 0:
        raise DataError(
            f"{len(values)} coefficients with overlap={overlap} give no t; need 2 or more, and overlap >= 0"
        )
    mean = float(values.mean())
    centred = values - mean
    variance = float(centred @ centred)
    for lag in range(1, min(overlap, len(values) - 1) + 1):
        variance += 2 * (1 - lag / (overlap + 1)) * float(centred[lag:] @ centred[:-lag])
    error = np.sqrt(max(variance, 0.0) / (len(values) - 1) / len(values))
    deviation = float(values.std(ddof=1))
    return IcSummary(
        mean=mean,
        t=float(mean / error) if error > _ZERO else float("nan"),
        ir=mean / deviation if deviation > _ZERO else float("nan"),
        dates=len(values),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate with a bootstrap interval."""

    estimate: float
    """From the series itself."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    level: float
    """Share of resamples between them."""
    block: int
    """Length of the resampled blocks, in periods."""

    @property
    def excludes_zero(self) -> bool:
        """Whether both ends have one sign."""
        return self.low > 0 or self.high < 0


def mean_interval(
    values: ArrayLike,
    *,
    block: int | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of a series with a circular block bootstrap interval; see `sharpe_interval`."""
    series = _checked(values)
    resampled = _Blocks.draw(len(series), block, draws, seed)
    return _interval(float(series.mean()), resampled.means(series), level, resampled.length)


def sharpe_interval(
    returns: ArrayLike,
    *,
    periods: int = DAYS,
    block: int | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the Sharpe ratio with a circular block bootstrap interval.

    Parameters
    ----------
    returns : array, [T]
        Returns a period.
    periods : int
        Periods of a year.
    block : int or None
        Length of the blocks that keep neighbouring returns together; None takes the cube root of T, rounded
        up.
    draws : int
        Resamples.
    level : float
        Share of resamples inside the interval (percentiles).
    seed : int
        Same seed, same interval.

    References
    ----------
    Politis and Romano (1992), A circular block-resampling procedure for stationary data. Ledoit and Wolf
    (2008), Robust performance hypothesis testing with the Sharpe ratio, uses it on pairs.
    """
    series = _checked(returns)
    resampled = _Blocks.draw(len(series), block, draws, seed)
    return _interval(
        sharpe(series, periods=periods), resampled.sharpes(series, periods), level, resampled.length
    )


def sharpe_difference_interval(
    returns: ArrayLike,
    other: ArrayLike,
    *,
    periods: int = DAYS,
    block: int | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return Sharpe(returns) - Sharpe(other) with an interval from resampling both on the same blocks.

    Parameters as in `sharpe_interval`; both series are of the same T dates.
    """
    one, two = _checked(returns), _checked(other)
    if len(one) != len(two):
        raise DataError(f"the series have {len(one)} and {len(two)} returns; give them on the same dates")
    resampled = _Blocks.draw(len(one), block, draws, seed)
    estimate = sharpe(one, periods=periods) - sharpe(two, periods=periods)
    differences = resampled.sharpes(one, periods) - resampled.sharpes(two, periods)
    return _interval(estimate, differences, level, resampled.length)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Resamples of T periods as circular blocks; sums over blocks come from one cumulated sum."""

    starts: I
    """[draws, blocks]; the last block is cut so that all lengths add up to T."""
    length: int
    total: int

    @classmethod
    def draw(cls, total: int, block: int | None, draws: int, seed: int) -> "_Blocks":
        length = int(np.ceil(total ** (1 / 3))) if block is None else block
        if not 1 <= length <= total or draws < 1:
            raise DataError(
                f"blocks of {length} from {total} returns, {draws} draws: give 1 <= block <= {total} and at "
                "least one draw"
            )
        rng = np.random.default_rng(derive_seed(seed, "blocks"))
        return cls(rng.integers(0, total, (draws, -(-total // length))), length, total)

    def means(self, series: F) -> F:
        sums = np.concatenate([[0.0], np.cumsum(np.concatenate([series, series[: self.length]]))])
        whole = sums[self.starts[:, :-1] + self.length] - sums[self.starts[:, :-1]]
        rest = self.total - self.length * (self.starts.shape[1] - 1)
        last = sums[self.starts[:, -1] + rest] - sums[self.starts[:, -1]]
        means: F = (whole.sum(axis=1) + last) / self.total
        return means

    def sharpes(self, series: F, periods: int) -> F:
        centre = series.mean()  # keeps the variance from cancelling
        mean = self.means(series - centre)
        square = self.means((series - centre) ** 2)
        variance = np.maximum(square - mean**2, 0.0) * self.total / max(self.total - 1, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio: F = (mean + centre) / np.sqrt(variance) * periods**0.5
        return ratio


def _interval(estimate: float, draws: F, level: float, block: int) -> Interval:
    if not 0 < level < 1:
        raise DataError(f"level={level} is no share; give a number in (0, 1) such as 0.95")
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return Interval(estimate=estimate, low=np.nan, high=np.nan, level=level, block=block)
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate=estimate, low=float(low), high=float(high), level=level, block=block)


def _checked(returns: ArrayLike) -> F:
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise DataError(f"returns have the shape {values.shape}; give one series with at least one entry")
    if not np.isfinite(values).all():
        bad = int(np.argmin(np.isfinite(values)))
        raise DataError(f"return number {bad} is {values[bad]}; drop or fill missing ones first")
    return values
