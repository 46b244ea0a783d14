"""How far a rank correlation strays where nothing can be known: days with random signs, medians of chance."""

# Shapes: D dates, N assets, T days, B draws, S segments of days between dates

from dataclasses import dataclass
from math import comb
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.seeds import derive_seed
from shoestring.finance.backtest.metrics import rank_ic
from shoestring.finance.etf_nn._samples import forward_returns
from shoestring.finance.market.panel import PricePanel

__all__ = ["NullTest", "median_bound", "sign_flip_test"]

Floats = npt.NDArray[np.float64]
CHUNK = 50  # draws at a time, which bounds the memory


@dataclass(frozen=True, kw_only=True, slots=True)
class NullTest:
    """A mean rank correlation against its distribution without a signal."""

    mean: float
    """Mean over dates of the rank correlation."""
    error: float
    """Root mean square of it over the draws: its standard error where scores say nothing."""
    p: float
    """Share of draws, the measured one among them, that stray at least as far from 0."""

    @property
    def t(self) -> float:
        """Mean over its error."""
        return self.mean / self.error


def sign_flip_test(
    scores: pd.DataFrame, prices: PricePanel, months: int, *, draws: int = 500, seed: int = 0
) -> NullTest:
    """Test the mean rank correlation of scores with the returns of the next months.

    Each day's log returns of *all* assets get one random sign, and the returns over the horizon are put
    together again from these days. That keeps the dependence between assets (funds with the same stocks), the
    days that neighbouring horizons share, and the persistence of the scores; it breaks nothing but the tie
    between scores and later returns.

    Parameters
    ----------
    scores : DataFrame [D, N]
        NaN: not scored.
    prices : PricePanel
        Of the same assets; horizons that end after it do not count.
    months : int
        Horizon.
    draws : int
        B.
    seed : int
        Same seed, same signs.

    Raises
    ------
    ConfigError
        For no draw.
    DataError
        If no date has a rank correlation.

    Notes
    -----
    Exact if, without a signal, days are independent and each day's returns, less what all assets share, are
    as likely as their opposite. O(B D N log N) time.
    """
    if draws < 1:
        raise ConfigError(f"draws={draws} must be 1 or more; 500 give the error to about 3 %")
    when = pd.DatetimeIndex(scores.index)
    assets = tuple(scores.columns)
    log_DN, known_at = forward_returns(prices, assets, when, months)
    measured = rank_ic(scores, pd.DataFrame(log_DN, index=scores.index, columns=scores.columns))
    use = np.flatnonzero(measured.notna())
    if len(use) == 0:
        raise DataError("no date has three assets with a score and a return; give longer prices")
    known_DN = scores.notna().to_numpy() & ~np.isnan(log_DN)
    start_D = prices.dates.get_indexer(when[use])
    stop_D = prices.dates.get_indexer(known_at[use])
    marks_S, segments = _segments(prices, assets, start_D, stop_D)
    place = np.searchsorted(marks_S, start_D), np.searchsorted(marks_S, stop_D)
    score_DN = scores.to_numpy(np.float64)[use]
    rng = np.random.default_rng(derive_seed(seed, "signs"))
    found_B = np.concatenate(
        [
            _mean_correlations(score_DN, known_DN[use], _flipped(segments, min(CHUNK, draws - b), rng), place)
            for b in range(0, draws, CHUNK)
        ]
    )
    mean = float(measured.mean())
    far = int((np.abs(found_B) >= abs(mean) - 1e-12).sum())
    return NullTest(mean=mean, error=float(np.sqrt(np.mean(found_B**2))), p=(1 + far) / (1 + draws))


def median_bound(num: int, tests: int = 1, level: float = 0.95) -> float:
    """Return how far from 0 the median of `num` independent standard normal numbers may lie by chance.

    With `tests` such medians all of them stay within it with a probability of at least `level` (Bonferroni).

    Parameters
    ----------
    num : int
        Odd, so that the median is one of the numbers.

    Raises
    ------
    ConfigError
        For an even or negative number, or a level outside (0, 1).
    """
    if num < 1 or num % 2 == 0 or tests < 1 or not 0 < level < 1:
        raise ConfigError(
            f"num={num} must be odd, tests={tests} 1 or more and level={level} in (0, 1); add or drop a seed"
        )
    tail = (1 - level) / tests / 2

    def median_above(share: float) -> float:  # probability, if a number lies above with this one
        most = range(num // 2 + 1, num + 1)
        return sum(comb(num, k) * share**k * (1 - share) ** (num - k) for k in most)

    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if median_above(middle) < tail else (low, middle)
    return -NormalDist().inv_cdf(low)


def _segments(
    prices: PricePanel,
    assets: tuple[str, ...],
    start_D: npt.NDArray[np.int64],
    stop_D: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], list[Floats]]:
    """Return the rows where horizons start or stop, and the daily log returns between each two, [T, N]."""
    marks_S = np.unique(np.concatenate([start_D, stop_D]))
    close = prices.close[list(assets)].ffill().iloc[marks_S[0] : marks_S[-1] + 1]
    daily = np.nan_to_num(np.diff(np.log(close.to_numpy(np.float64)), axis=0))
    return marks_S, np.split(daily, marks_S[1:-1] - marks_S[0])


def _flipped(segments: list[Floats], draws: int, rng: np.random.Generator) -> Floats:
    """Return the cumulated log returns at each mark with every day's sign drawn, [B, S + 1, N]."""
    sums = [(2.0 * rng.integers(0, 2, (draws, len(part))) - 1) @ part for part in segments]
    first = np.zeros_like(sums[0])
    out: Floats = np.cumsum(np.stack([first, *sums], axis=1), axis=1)
    return out


def _mean_correlations(
    score_DN: Floats,
    known_DN: npt.NDArray[np.bool_],
    path_BSN: Floats,
    place: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> Floats:
    """Return the mean over dates of the rank correlation with the horizons' returns of each draw, [B]."""
    total = np.zeros(len(path_BSN))
    for day, (one, two) in enumerate(zip(*place, strict=True)):
        known = known_DN[day]
        score = _unit_ranks(score_DN[day, known])
        total += _unit_ranks(path_BSN[:, two, known] - path_BSN[:, one, known]) @ score
    return total / len(score_DN)


def _unit_ranks(value: Floats) -> Floats:
    """Return ranks along the last axis, centred and with length 1."""
    rank = rankdata(value, axis=-1)
    rank -= rank.mean(axis=-1, keepdims=True)
    out: Floats = rank / np.sqrt((rank**2).sum(axis=-1, keepdims=True))
    return out
