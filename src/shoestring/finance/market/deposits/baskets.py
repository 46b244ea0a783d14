"""Baskets of ETFs valued at prices, and scores of stocks pushed through them."""

# Shapes: D dates, E ETFs, N stocks, C cells (date x ETF) flattened, R components of all cells

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.market.panel import PricePanel

__all__ = ["Baskets", "aggregate_scores", "check_aggregation", "value_baskets"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PRICE_AGE_ROWS = 5  # a component without a price for longer is delisted, not halted
MAX_GROSS = 1.2  # assets above this multiple of net value are borrowed: a leveraged fund


@dataclass(frozen=True, eq=False)
class Baskets:
    """Baskets of E ETFs valued on D dates.

    Attributes
    ----------
    dates : DatetimeIndex, [D]
    etfs : tuple of str, E
    stocks : tuple of str, N
        Assets of the price panel.
    weights : csr_matrix [D * E, N]
        Share of net value in each priced component; cash is the rest.
    file_date : ndarray [D, E], datetime64[ns]
        Date of the file used; NaT for none.
    unpriced : ndarray [D, E], float64
        Share of the components without any price, by number.
    reason : ndarray [D, E], object
        Why the basket cannot be valued; the empty string where it can.
    """

    dates: pd.DatetimeIndex
    etfs: tuple[str, ...]
    stocks: tuple[str, ...]
    weights: sparse.csr_matrix
    file_date: npt.NDArray[np.datetime64]
    unpriced: Floats
    reason: npt.NDArray[np.object_]

    def at(self, day: int) -> sparse.csr_matrix:
        """Return W_t of the date number `day`, CSR [E, N]."""
        return self.weights[day * len(self.etfs) : (day + 1) * len(self.etfs)]


def value_baskets(
    rows: pd.DataFrame,
    files: pd.DataFrame,
    prices: PricePanel,
    dates: Sequence[pd.Timestamp] | pd.DatetimeIndex,
    *,
    max_age_days: int,
    multipliers: Mapping[str, float | None],
) -> Baskets:
    """Value the baskets of deposit files at the prices of each date; see `DepositFiles.baskets`."""
    when = pd.DatetimeIndex(list(dates))
    rows_D = prices.dates.get_indexer(when)
    if len(when) == 0 or (rows_D < 0).any() or not when.is_monotonic_increasing:
        raise DataError("the dates are empty, unsorted or not all in the prices; take them from prices.dates")
    etfs = tuple(sorted(files["etf"].unique()))
    file_C = _effective(files, when, etfs, max_age_days)
    cell_R, row_R = _expand(rows, file_C)
    stock = pd.Index(prices.assets).get_indexer(pd.Index(rows["ticker"]))[row_R]
    shares = rows["shares"].to_numpy()[row_R] * _split(
        files, prices, rows_D, file_C, cell_R, stock, len(etfs)
    )
    price_R, never_R = _prices_of(prices, rows_D[cell_R // len(etfs)], stock)
    value_R = np.where(np.isnan(price_R), 0.0, shares * np.nan_to_num(price_R))
    num_cells = len(file_C)
    priced, names, unknown, stocks_value = (
        np.bincount(cell_R, w, num_cells).astype(np.float64)
        for w in (value_R > 0, np.ones(len(cell_R)), never_R, value_R)
    )
    cash = np.where(file_C >= 0, files["cash"].to_numpy()[file_C], 0.0)
    net = stocks_value + stocks_value / np.maximum(priced, 1) * unknown + cash
    reason = _reasons(multipliers, max_age_days, etfs, file_C, priced, names, net, (stocks_value, cash))
    fine_R = (reason == "")[cell_R] & (value_R > 0)
    weight = value_R[fine_R] / net[cell_R[fine_R]]
    matrix = sparse.csr_matrix(
        (weight, (cell_R[fine_R], stock[fine_R])), shape=(num_cells, len(prices.assets))
    )
    shape = (len(when), len(etfs))
    dates_C = np.where(file_C >= 0, files["date"].to_numpy("datetime64[ns]")[file_C], np.datetime64("NaT"))
    return Baskets(
        when,
        etfs,
        prices.assets,
        matrix,
        dates_C.reshape(shape),
        (unknown / np.maximum(names, 1)).reshape(shape),
        reason.reshape(shape),
    )


def check_aggregation(min_coverage: float, shrink_names: float) -> None:
    """Refuse options of `aggregate_scores` out of range.

    Raises
    ------
    ConfigError
        For a coverage outside 0..1 or a negative number of names.
    """
    if not 0 <= min_coverage <= 1 or shrink_names < 0:
        raise ConfigError(
            f"min_coverage={min_coverage} must lie in 0..1 and shrink_names={shrink_names} must not be "
            "negative"
        )


def aggregate_scores(
    baskets: Baskets,
    scores: pd.DataFrame,
    multipliers: Mapping[str, float | None],
    *,
    min_coverage: float,
    shrink_names: float,
) -> pd.DataFrame:
    """Push scores [D, stocks] through the baskets of each date; see `DepositFiles.aggregate_many`."""
    num_etfs, num_dates = len(baskets.etfs), len(baskets.dates)
    score_DN = scores.reindex(columns=list(baskets.stocks)).to_numpy(np.float64)
    if np.isinf(score_DN).any():
        raise DataError("a score is infinite; give finite scores, NaN for stocks that are not scored")
    out = _weighted(baskets.weights, score_DN, num_etfs)
    score, coverage = out["score"].to_numpy(), out["coverage"].to_numpy()
    if shrink_names > 0:
        neff = out["neff"].to_numpy()
        score = score * np.sqrt(neff / (neff + shrink_names))
    factor = [multipliers.get(e) for e in baskets.etfs]
    score = score * np.tile([1.0 if f is None else f for f in factor], num_dates)
    reason = baskets.reason.reshape(-1).copy()
    low = (reason == "") & (coverage < min_coverage)
    reason[low] = [f"coverage {c:.2f} is below {min_coverage:g}" for c in coverage[low]]
    reason[(reason == "") & np.isnan(score)] = "no component is scored"
    out = out.assign(
        score=score, file_date=baskets.file_date.reshape(-1), eligible=reason == "", reason=reason
    )
    return out.set_index(pd.MultiIndex.from_product([baskets.dates, baskets.etfs], names=["date", "etf"]))


def _effective(files: pd.DataFrame, when: pd.DatetimeIndex, etfs: tuple[str, ...], max_age_days: int) -> Ints:
    """Return the file used in each cell, [D * E], -1 for none; a file counts from the next day."""
    place = pd.Index(etfs)
    left = pd.DataFrame(
        {
            "date": np.repeat(when.to_numpy("datetime64[ns]"), len(etfs)),
            "etf": np.tile(np.arange(len(etfs)), len(when)),
        }
    )
    right = pd.DataFrame(
        {
            "date": files["date"].to_numpy("datetime64[ns]"),
            "etf": place.get_indexer(pd.Index(files["etf"])),
            "file": files.index.to_numpy(),
        }
    )
    found = pd.merge_asof(
        left,
        right,
        on="date",
        by="etf",
        allow_exact_matches=False,
        tolerance=pd.Timedelta(days=max_age_days),
    )
    return found["file"].fillna(-1).to_numpy(np.int64)


def _expand(rows: pd.DataFrame, file_C: Ints) -> tuple[Ints, Ints]:
    """Return cell and row number of every component of every cell."""
    number = rows["file"].to_numpy()
    start = np.searchsorted(number, file_C, "left")
    count = np.where(file_C >= 0, np.searchsorted(number, file_C, "right") - start, 0)
    cell_R = np.repeat(np.arange(len(file_C)), count)
    first = np.repeat(start - np.concatenate([[0], np.cumsum(count)[:-1]]), count)
    return cell_R, first + np.arange(len(cell_R))


def _split(
    files: pd.DataFrame,
    prices: PricePanel,
    rows_D: Ints,
    file_C: Ints,
    cell_R: Ints,
    stock: Ints,
    num_etfs: int,
) -> Floats:
    """Return the shares of the date for one share of the file's date."""
    if "split_factor" not in prices.fields:
        return np.ones(len(cell_R))
    factor = prices.field("split_factor").to_numpy()
    dates = files["date"].to_numpy("datetime64[ns]")[file_C]
    row_C = np.maximum(prices.dates.searchsorted(dates, side="right") - 1, 0)
    ratio = factor[rows_D[cell_R // num_etfs], stock] / factor[row_C[cell_R], stock]
    return np.where((stock >= 0) & ~np.isnan(ratio), ratio, 1.0)


def _reasons(
    multipliers: Mapping[str, float | None],
    max_age_days: int,
    etfs: tuple[str, ...],
    file_C: Ints,
    priced: Floats,
    names: Floats,
    net: Floats,
    parts: tuple[Floats, Floats],
) -> npt.NDArray[np.object_]:
    """Say why a basket cannot be used; the first reason that applies."""
    stocks_value, _cash = parts
    etf_C = np.tile(np.arange(len(etfs)), len(file_C) // len(etfs))
    excluded = np.array([e in multipliers and multipliers[e] is None for e in etfs])
    allowed = np.array([multipliers.get(e) is not None for e in etfs])
    with np.errstate(divide="ignore", invalid="ignore"):
        geared = (stocks_value / net > MAX_GROSS) & ~allowed[etf_C]
    checks = (
        (excluded[etf_C], "leveraged or inverse, and no multiplier is given"),
        (file_C < 0, f"no deposit file of the last {max_age_days} days"),
        (names == 0, "cash only"),
        (priced == 0, "no component has a price"),
        (net <= 0, "net value is not positive"),
        (geared, "holds more than its net value: leveraged, and no multiplier is given"),
    )
    reason = np.full(len(file_C), "", dtype=object)
    for holds, text in checks:
        reason[(reason == "") & holds] = text
    return reason


def _weighted(weights: sparse.csr_matrix, score_DN: Floats, num_etfs: int) -> pd.DataFrame:
    """Return what follows from weights [C, N] and scores for each cell; NaN scores are left out."""
    entries = weights.tocoo()
    score_R = score_DN[entries.row // num_etfs, entries.col]
    use = ~np.isnan(score_R)
    cell, weight, value = entries.row[use], entries.data[use], score_R[use]

    def total(per_component: Floats) -> Floats:
        return np.bincount(cell, per_component, weights.shape[0]).astype(np.float64)

    coverage = total(weight)
    safe = np.where(coverage > 0, coverage, np.nan)
    score = total(weight * value) / safe
    return pd.DataFrame(
        {
            "score": score,
            "coverage": coverage,
            "n_names": total(np.ones_like(weight)).astype(np.int64),
            "neff": safe**2 / total(weight**2).clip(min=np.finfo(float).tiny),
            "dispersion": np.sqrt(total(weight * (value - score[cell]) ** 2) / safe),
        }
    )


def _prices_of(prices: PricePanel, row_R: Ints, stock: Ints) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the last price of at most five rows ago (NaN: none), and whether there never was one before."""
    name = "unadjusted_close" if "unadjusted_close" in prices.fields else "close"
    frame = prices.field(name)
    recent = frame.ffill(limit=PRICE_AGE_ROWS).to_numpy()
    first = np.where(frame.notna().any(), frame.notna().to_numpy().argmax(axis=0), len(frame))
    price = np.where(stock >= 0, recent[row_R, stock], np.nan)
    never = (stock < 0) | (first[stock] > row_R)
    return price, never
