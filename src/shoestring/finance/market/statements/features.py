"""Statements as features: ratios, growth and yields as of any date, ranked across the firms of that date."""

# Shapes: D dates, N firms, E snapshots, L lags, Q quarters stacked, F features

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.table import Snapshots, Statements, as_of_index
from shoestring.finance.market.view import NotEnoughHistoryError

__all__ = [
    "ITEMS",
    "FeatureConfig",
    "FeaturePanel",
    "feature_panel",
    "group_ranks",
    "statement_ratios",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FLOWS = (
    "revenue",
    "cost_of_revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "operating_cash_flow",
)
LEVELS = (
    "total_assets",
    "equity",
    "total_debt",
    "current_assets",
    "current_liabilities",
    "inventory",
    "payables",
    "shares",
)
ITEMS = (*FLOWS, *LEVELS)
"""What `statement_ratios` knows: flows of one period, and levels at its end. Money in one currency."""

MIN_FLOWS = 2  # of the last four quarters; their mean stands for the others
YIELDS = {
    "earnings_yield": "net_income",
    "sales_yield": "revenue",
    "book_yield": "equity",
    "cash_flow_yield": "operating_cash_flow",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureConfig:
    """How statements become features."""

    quarters: int = 1
    """Q, periods stacked, 1 to 4: the latest known and those before it."""
    sector_neutral: bool = True
    """Rank inside each sector instead of across all firms; needs the column ``sector``."""
    ranks: bool = True
    """Rank to [-0.5, 0.5]; False: standardise across the firms, clipped at three deviations."""
    missing_flags: bool = True
    """Add a column a feature that is 1 where it is missing. Missing itself is always 0, the middle."""
    changes: bool = True
    """Growth and changes over four quarters, beside the levels."""
    yields: bool = True
    """Valuation as earnings/price and so on; False: price/earnings, which flips at zero earnings."""
    max_age_days: int = 200
    """A firm whose last filing is older than this, in days, is not scored. Use 500 for annual statements."""

    def __post_init__(self) -> None:
        if not 1 <= self.quarters <= 4:
            raise ConfigError(f"quarters={self.quarters} is outside 1..4; 1 uses the latest period alone")
        if self.max_age_days < 1:
            raise ConfigError(f"max_age_days={self.max_age_days} leaves no statement; give at least 1")


@dataclass(frozen=True, eq=False)
class FeaturePanel:
    """Features of N firms on D dates.

    Attributes
    ----------
    dates : DatetimeIndex, [D]
    tickers : tuple of str, N
    names : tuple of str, F
        Names of the features, the missing flags last.
    values : ndarray [D, N, Q, F], float32
        Quarter 0 is the latest. Zero wherever a firm is not scored.
    scored : ndarray [D, N], bool
        Firms with a price and a recent statement on that date.
    group : ndarray [D, N], int64
        Sector number, -1 where unknown or not scored.
    """

    dates: pd.DatetimeIndex
    tickers: tuple[str, ...]
    names: tuple[str, ...]
    values: npt.NDArray[np.float32]
    scored: Bools
    group: Ints

    def take(self, dates: pd.DatetimeIndex) -> "FeaturePanel":
        """Return the panel of some of its dates.

        Raises
        ------
        DataError
            If one is not there.
        """
        day = self.dates.get_indexer(dates)
        if (day < 0).any():
            raise DataError(f"there are no features of {dates[day < 0][0].date()}; build them for all dates")
        return FeaturePanel(
            dates, self.tickers, self.names, self.values[day], self.scored[day], self.group[day]
        )

    def raw_names(self) -> tuple[str, ...]:
        """Return the names without the missing flags."""
        return tuple(n for n in self.names if not n.startswith("missing:"))


def feature_panel(
    statements: Statements,
    prices: PricePanel,
    dates: Sequence[pd.Timestamp] | pd.DatetimeIndex,
    config: FeatureConfig,
) -> FeaturePanel:
    """Return features as they were known at the close of each date.

    Parameters
    ----------
    statements : Statements
        With items of `ITEMS`, or with any other numeric columns: these count as ready-made ratios.
    prices : PricePanel
        ``close``; where it is adjusted also ``unadjusted_close`` and ``split_factor`` (shares today a share
        of the first date), so that market value is price times shares on one basis.
    dates : sequence of Timestamp
        Ascending; each a date of `prices`.
    config : FeatureConfig
        What to build.

    Raises
    ------
    NotEnoughHistoryError
        If no statement was filed yet.
    DataError
        If no firm has both statements and prices, a date is not in `prices`, or sectors are asked for and
        absent.

    Notes
    -----
    Row t depends on statements filed up to t and prices up to t only; ranks are taken inside each date.
    O(D N F log N) time, 8 D N Q F bytes.
    """
    when = pd.DatetimeIndex(list(dates))
    rows_D = prices.dates.get_indexer(when).astype(np.int64)
    if len(when) == 0 or (rows_D < 0).any() or not when.is_monotonic_increasing:
        missing = when[rows_D < 0]
        what = (
            f"{missing[0].date()} is not a date of the prices"
            if len(missing)
            else "dates are empty or unsorted"
        )
        raise DataError(f"{what}; give ascending dates from prices.dates")
    if statements.rows.empty:
        raise NotEnoughHistoryError("no statement was filed by then; start later or give longer data")
    firms = set(statements.tickers)
    tickers = tuple(t for t in prices.assets if t in firms)
    if not tickers:
        raise DataError(
            f"no firm has both statements ({sorted(firms)[:3]}...) and prices ({prices.assets[:3]}...); "
            "use the same tickers or permanent ids in both"
        )
    if config.sector_neutral and not (statements.rows["sector"] != "").any():
        raise DataError(
            "the statements have no sector, which sector_neutral=True ranks in; add the column 'sector', or "
            "set sector_neutral=False"
        )
    per_year = statements.periods_per_year
    change = per_year  # periods in a year
    snaps = statements.snapshots(config.quarters + change + per_year - 1, tickers)
    event_DN = as_of_index(snaps, when, len(tickers), config.max_age_days)
    columns = pd.Index(prices.assets).get_indexer(pd.Index(tickers)).astype(np.int64)
    listed_DN = ~np.isnan(prices.close.to_numpy()[np.ix_(rows_D, columns)])
    known_DN = (event_DN >= 0) & listed_DN
    items = {name: snaps.values[:, :, i] for i, name in enumerate(statements.items)}
    raw = _event_features(items, statements, config)
    gathered = {n: np.where(known_DN[:, :, None], v[event_DN], np.nan) for n, v in raw.items()}
    value_DN = _market_value(items, snaps, prices, (rows_D, columns), event_DN)
    gathered |= _yields(items, event_DN, value_DN, config, per_year)
    names = tuple(gathered)
    raw_DNQF = np.stack([gathered[n] for n in names], axis=-1)
    scored_DN = known_DN & ~np.isnan(raw_DNQF).all(axis=(2, 3))
    group_DN = _sector_numbers(snaps, event_DN, scored_DN)
    values, names = _preprocess(raw_DNQF, names, scored_DN, group_DN, config)
    return FeaturePanel(when, tickers, names, values, scored_DN, group_DN)


def statement_ratios(items: Mapping[str, Floats], periods_per_year: int) -> dict[str, Floats]:
    """Return ratios of each period from items [E, L] (lag 0 first), as arrays of the same shape.

    Flows are summed over a year: four quarters where all are known, four times the mean of those known where
    at least two are. Ratios whose denominator is zero, or whose meaning flips below zero (equity, debt to
    equity), are NaN there.

    Parameters
    ----------
    items : mapping of str to ndarray [E, L]
        Any of `ITEMS`; a ratio whose items are absent is left out.
    periods_per_year : int
        4 or 1.
    """
    year = {n: _trailing_year(v, periods_per_year) if n in FLOWS else v for n, v in items.items()}
    if "gross_profit" not in year and {"revenue", "cost_of_revenue"} <= set(year):
        year["gross_profit"] = year["revenue"] - year["cost_of_revenue"]
    out = {}
    for name, (needs, formula) in _RATIOS.items():
        if all(n in year for n in needs):
            out[name] = formula(*(year[n] for n in needs))
    return out


def group_ranks(values: Floats, group: Ints) -> Floats:
    """Rank each column inside each group to [-0.5, 0.5]; ties share their mean rank, NaN stays NaN.

    Parameters
    ----------
    values : ndarray [R, F]
        Rows of all dates.
    group : ndarray [R]
        Number of the date (and sector) of each row.

    Returns
    -------
    ndarray [R, F]
        ``(rank - 1) / (n - 1) - 0.5`` over the n known values of the group; 0 where n is 1.
    """
    order = np.argsort(group, kind="stable")
    sizes = np.unique(group[order], return_counts=True)[1]
    start = np.repeat(np.cumsum(sizes) - sizes, sizes)
    out = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        out[order, column] = _ranks_of_sorted(
            values[order, column], np.repeat(np.arange(len(sizes)), sizes), start
        )
    return out


def _ranks_of_sorted(value: Floats, group: Ints, start: Ints) -> Floats:
    """Rank one column whose rows are sorted by group; `start` is the row at which each row's group begins."""
    order = np.lexsort((value, group))  # NaN last in its group
    sorted_value = value[order]
    known = ~np.isnan(sorted_value)
    count = np.bincount(group, ~np.isnan(value), int(group[-1]) + 1 if len(group) else 0)[group]
    new = np.ones(len(value), dtype=bool)
    new[1:] = (sorted_value[1:] != sorted_value[:-1]) | (group[1:] != group[:-1])
    tie = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(value)) - 1
    middle = (first + last)[tie] / 2 - start  # mean place of the tie, from 0
    centred = np.where(count > 1, middle / np.maximum(count - 1, 1) - 0.5, 0.0)
    out = np.full(len(value), np.nan)
    out[order] = np.where(known, centred, np.nan)
    return out


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)


def _over_positive(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


_RATIOS: dict[str, tuple[tuple[str, ...], Callable[..., Floats]]] = {
    "roa": (("net_income", "total_assets"), _over_positive),
    "roe": (("net_income", "equity"), _over_positive),
    "gross_margin": (("gross_profit", "revenue"), _over_positive),
    "operating_margin": (("operating_income", "revenue"), _over_positive),
    "net_margin": (("net_income", "revenue"), _over_positive),
    "debt_to_assets": (("total_debt", "total_assets"), _over_positive),
    "debt_to_equity": (("total_debt", "equity"), _over_positive),
    "current_ratio": (("current_assets", "current_liabilities"), _over_positive),
    "quick_ratio": (
        ("current_assets", "inventory", "current_liabilities"),
        lambda a, i, c: _over_positive(a - i, c),
    ),
    "working_capital": (
        ("current_assets", "current_liabilities", "total_assets"),
        lambda a, c, t: _over_positive(a - c, t),
    ),
    "inventory_days": (("inventory", "cost_of_revenue"), lambda i, c: 365 * _over_positive(i, c)),
    "payable_days": (("payables", "cost_of_revenue"), lambda p, c: 365 * _over_positive(p, c)),
}
_GROWTH = ("revenue", "eps", "total_assets")
_CHANGED = ("roa", "net_margin")


def _trailing_year(flow_EL: Floats, periods_per_year: int) -> Floats:
    """Sum the flow of a year up to each lag; the oldest lags, without a whole year behind them, are NaN."""
    if periods_per_year == 1:
        return flow_EL
    window = np.lib.stride_tricks.sliding_window_view(flow_EL, 4, axis=1)
    known = (~np.isnan(window)).sum(axis=2)
    total = np.nansum(window, axis=2) * 4 / np.maximum(known, 1)
    out = np.full_like(flow_EL, np.nan)
    out[:, : window.shape[1]] = np.where(known >= MIN_FLOWS, total, np.nan)
    return out


def _symmetric_change(value_EL: Floats, lags: int, quarters: int) -> Floats:
    """Return 2 (a - b) / (|a| + |b|): ranks like growth, and stays defined through zero and losses."""
    now, then = value_EL[:, :quarters], value_EL[:, lags : lags + quarters]
    return 2 * _ratio(now - then, np.abs(now) + np.abs(then))


def _event_features(
    items: Mapping[str, Floats], statements: Statements, config: FeatureConfig
) -> dict[str, Floats]:
    """Features that need no price, [E, Q]."""
    quarters, per_year = config.quarters, statements.periods_per_year
    ratios = statement_ratios(items, per_year)
    ready = {n: v for n, v in items.items() if n not in ITEMS}
    out = {n: v[:, :quarters] for n, v in {**ratios, **ready}.items()}
    if not config.changes:
        return out
    level = {n: _trailing_year(v, per_year) if n in FLOWS else v for n, v in items.items()}
    if {"net_income", "shares"} <= set(level):
        level["eps"] = _over_positive(level["net_income"], level["shares"])
    for name in _GROWTH:
        if name in level:
            out[f"{name}_growth"] = _symmetric_change(level[name], per_year, quarters)
    for name in (*_CHANGED, *ready):
        value = ratios.get(name, ready.get(name))
        if value is not None:
            out[f"{name}_change"] = value[:, :quarters] - value[:, per_year : per_year + quarters]
    return out


def _market_value(
    items: Mapping[str, Floats],
    snaps: Snapshots,
    prices: PricePanel,
    place: tuple[Ints, Ints],
    event_DN: Ints,
) -> Floats | None:
    """Price of the date times shares, both on the date's basis, [D, N]."""
    if "shares" not in items:
        return None
    rows_D, columns = place
    name = "unadjusted_close" if "unadjusted_close" in prices.fields else "close"
    price_DN = prices.field(name).to_numpy()[np.ix_(rows_D, columns)]
    shares_DN = items["shares"][:, 0][event_DN]
    if "split_factor" in prices.fields:
        factor = prices.field("split_factor").to_numpy()
        row_E = np.maximum(prices.dates.searchsorted(snaps.filed, side="right") - 1, 0)
        then_DN = factor[row_E, columns[snaps.firm]][event_DN]
        shares_DN = shares_DN * factor[np.ix_(rows_D, columns)] / then_DN
    return np.where((event_DN >= 0) & (shares_DN > 0), price_DN * shares_DN, np.nan)


def _yields(
    items: Mapping[str, Floats],
    event_DN: Ints,
    value_DN: Floats | None,
    config: FeatureConfig,
    periods_per_year: int,
) -> dict[str, Floats]:
    """Valuation of each stacked quarter at the price of the date, [D, N, Q]."""
    if value_DN is None:
        return {}
    out = {}
    for name, item in YIELDS.items():
        if item in items:
            source = items[item]
            year = _trailing_year(source, periods_per_year) if item in FLOWS else source
            total = year[:, : config.quarters][event_DN]
            share = total / value_DN[:, :, None]
            if config.yields:
                out[name] = share
            else:
                out[f"price_to_{item}"] = _ratio(np.ones_like(share), share)
    return out


def _sector_numbers(snaps: Snapshots, event_DN: Ints, scored_DN: Bools) -> Ints:
    names = sorted(set(snaps.sector) - {""})
    number = np.array([names.index(s) if s else -1 for s in snaps.sector], dtype=np.int64)
    return np.where(scored_DN, number[event_DN], -1)


def _preprocess(
    raw_DNQF: Floats, names: tuple[str, ...], scored_DN: Bools, group_DN: Ints, config: FeatureConfig
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Rank (or standardise) inside dates, fill what is missing, add the flags."""
    num_dates, num_firms, quarters, num_features = raw_DNQF.shape
    day_R, firm_R = np.nonzero(scored_DN)
    flat = raw_DNQF[day_R, firm_R].reshape(len(day_R), -1)
    sector_R = group_DN[day_R, firm_R] + 1 if config.sector_neutral else 0
    group_R = day_R * (group_DN.max(initial=0) + 2) + sector_R
    made = group_ranks(flat, group_R) if config.ranks else _standardised(flat, group_R)
    missing = np.isnan(made).reshape(-1, quarters, num_features)
    filled = np.nan_to_num(made).reshape(-1, quarters, num_features)
    if config.missing_flags:
        filled = np.concatenate([filled, missing], axis=-1)
        names = (*names, *(f"missing:{n}" for n in names))
    out = np.zeros((num_dates, num_firms, quarters, len(names)), dtype=np.float32)
    out[day_R, firm_R] = filled
    return out, names


def _standardised(values: Floats, group: Ints) -> Floats:
    """Z-scores inside each group, clipped at three deviations."""
    by = pd.DataFrame(values).groupby(group, sort=False)
    spread = by.transform("std", ddof=0).to_numpy()
    score = _ratio(values - by.transform("mean").to_numpy(), np.where(np.isnan(spread), 0.0, spread))
    return np.clip(score, -3.0, 3.0)
