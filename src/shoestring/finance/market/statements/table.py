"""Point-in-time financial statements: what was filed for which period, and from when it was known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from shoestring.core.errors import DataError

__all__ = ["Snapshots", "Statements", "as_of_index"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_KEYS = ("ticker", "period_end", "filed")
_SPAN = 1 << 20  # more quarters than any calendar has; keeps firm and quarter apart in one integer
_SHIFT = pd.Timedelta(days=15)  # a 52/53-week year ends a few days before or after the month does


@dataclass(frozen=True, eq=False)
class Snapshots:
    """What was known of a firm right after each of its filings.

    Attributes
    ----------
    firm : ndarray [E], int64
        Position of the firm in `Statements.tickers`.
    filed : ndarray [E], datetime64[ns]
        When the snapshot became known; ascending.
    values : ndarray [E, L, I], float64
        Items of the latest period known (lag 0) and of the L - 1 periods before it, each as last filed up to
        `filed`; NaN where unknown.
    sector : ndarray [E], object
        Sector as last filed; the empty string where unknown.
    """

    firm: Ints
    filed: npt.NDArray[np.datetime64]
    values: Floats
    sector: npt.NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class Statements:
    """Statements of many firms, one row a firm, period and filing; build one with `from_frame`.

    Attributes
    ----------
    rows : DataFrame
        Columns ``ticker``, ``period_end``, ``filed``, ``sector`` and the items, sorted by ``filed``. A
        restated period has a row a filing; each row holds the period as it was known from then on.
    items : tuple of str
        Names of the numeric columns.
    periods_per_year : int
        4 for quarterly statements, 1 for annual ones.
    filing_dates_assumed : int
        Rows without a filing date of their own, which got period end + `filing_lag_days`.

    Notes
    -----
    ``filed`` is the first date at whose close the statement may be used. For firms that file after the close
    give the next day.
    """

    rows: pd.DataFrame
    items: tuple[str, ...]
    periods_per_year: int
    filing_dates_assumed: int

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        filing_lag_days: int = 90,
        periods_per_year: int = 4,
        columns: Mapping[str, str] | None = None,
    ) -> "Statements":
        """Check statements in wide form (a column an item) or long form (columns ``item`` and ``value``).

        Parameters
        ----------
        frame : DataFrame
            Columns ``ticker`` (or a permanent id, the same as in prices and deposit files), ``period_end``,
            ``filed``, optionally ``sector``; then numeric items. A NaN item of a later filing means "not
            reported again": the value filed before stays.
        filing_lag_days : int
            Where ``filed`` is absent or NaT, a statement counts as known this many days after its period end.
        periods_per_year : int
            4 or 1.
        columns : mapping of str to str
            Renames columns first, from the frame's names to those above.

        Raises
        ------
        DataError
            For missing columns, empty input, times that are no dates or carry a time zone, a filing before
            its period's end, the same filing twice, items that are not numeric or infinite, a ticker missing.
        """
        if periods_per_year not in (1, 4):
            raise DataError(f"periods_per_year={periods_per_year} is not known; allowed are 4 and 1")
        if filing_lag_days < 0:
            raise DataError(
                f"filing_lag_days={filing_lag_days} would use statements before their period's end; "
                "give 0 or more"
            )
        rows = frame.rename(columns=dict(columns or {}))
        if "known_at" in rows.columns:  # the form of `frame`
            periods_per_year = int(rows["periods_per_year"].iloc[0]) if len(rows) else periods_per_year
            rows = rows.assign(filed=rows["known_at"]).drop(columns=["known_at", "periods_per_year"])
        rows, assumed = _with_keys(rows, filing_lag_days)
        if {"item", "value"} <= set(rows.columns):
            rows = _widen(rows)
        rows = _checked(rows)
        items = tuple(c for c in rows.columns if c not in (*_KEYS, "sector"))
        if not items:
            raise DataError(
                "the statements have no item; give numeric columns, or the columns item and value"
            )
        return cls(_carried(rows, items), items, periods_per_year, assumed)

    @property
    def tickers(self) -> tuple[str, ...]:
        """The firms, sorted."""
        return tuple(sorted(self.rows["ticker"].unique()))

    def cut(self, as_of: str | pd.Timestamp) -> "Statements":
        """Return the statements filed up to and including `as_of`."""
        kept = self.rows[self.rows["filed"] <= pd.Timestamp(as_of)].reset_index(drop=True)
        return Statements(kept, self.items, self.periods_per_year, self.filing_dates_assumed)

    def as_of(self, date: str | pd.Timestamp) -> "Statements":
        """Return `cut`: the statements are a point-in-time table of the strategy platform."""
        return self.cut(date)

    def frame(self) -> pd.DataFrame:
        """Return a copy of all rows, with ``known_at`` and ``periods_per_year``; `from_frame` takes it."""
        return self.rows.assign(known_at=self.rows["filed"], periods_per_year=self.periods_per_year)

    def with_frame(self, frame: pd.DataFrame) -> "Statements":
        """Return statements with other rows, in the form that `frame` gives."""
        return Statements.from_frame(frame, periods_per_year=self.periods_per_year)

    def snapshots(self, num_lags: int, tickers: Sequence[str] | None = None) -> Snapshots:
        """Return the state of knowledge after each filing; see `Snapshots`.

        Parameters
        ----------
        num_lags : int
            L, periods looked back, the latest included.
        tickers : sequence of str
            Firms to number 0, 1, ...; others are left out. `tickers` by default.

        Notes
        -----
        One as-of join a lag, O(L R log R) for R rows; E <= R snapshots.
        """
        place = {t: i for i, t in enumerate(self.tickers if tickers is None else tickers)}
        rows = self.rows[self.rows["ticker"].isin(list(place))]
        firm = rows["ticker"].map(place).to_numpy(np.int64)
        quarter = _quarter(rows["period_end"])
        filings = pd.DataFrame({"filed": rows["filed"].to_numpy(), "firm": firm, "quarter": quarter})
        filings["row"] = np.arange(len(rows))
        known = filings.assign(latest=filings.groupby("firm")["quarter"].cummax())
        known = known.drop_duplicates(["firm", "filed"], keep="last").reset_index(drop=True)
        step = 4 // self.periods_per_year
        values = np.full((len(known), num_lags, len(self.items)), np.nan)
        source = rows[list(self.items)].to_numpy(np.float64)
        right = filings.assign(key=filings["firm"] * _SPAN + filings["quarter"])[["filed", "key", "row"]]
        for lag in range(num_lags):
            key = known["firm"] * _SPAN + known["latest"] - lag * step
            left = pd.DataFrame({"filed": known["filed"], "key": key})
            found = pd.merge_asof(left, right, on="filed", by="key")["row"].to_numpy(np.float64)
            hit = ~np.isnan(found)
            values[hit, lag] = source[found[hit].astype(np.int64)]
        sector = rows["sector"].to_numpy(object)[known["row"].to_numpy()]
        return Snapshots(known["firm"].to_numpy(), known["filed"].to_numpy("datetime64[ns]"), values, sector)


def as_of_index(
    snapshots: Snapshots, dates: pd.DatetimeIndex, num_firms: int, max_age_days: int | None = None
) -> Ints:
    """Return for each date and firm the latest snapshot filed on or before the date, [D, N]; -1 for none.

    Parameters
    ----------
    snapshots : Snapshots
        From `Statements.snapshots`.
    dates : DatetimeIndex, [D]
        Ascending.
    num_firms : int
        N.
    max_age_days : int or None
        Snapshots filed longer ago count as none: the firm stopped reporting, or its ticker was reused.
    """
    left = pd.DataFrame(
        {
            "filed": np.repeat(dates.to_numpy("datetime64[ns]"), num_firms),
            "firm": np.tile(np.arange(num_firms), len(dates)),
        }
    )
    right = pd.DataFrame(
        {"filed": snapshots.filed, "firm": snapshots.firm, "event": np.arange(len(snapshots.firm))}
    )
    tolerance = None if max_age_days is None else pd.Timedelta(days=max_age_days)
    found = pd.merge_asof(left, right, on="filed", by="firm", tolerance=tolerance)["event"]
    return found.fillna(-1).to_numpy(np.int64).reshape(len(dates), num_firms)


def _quarter(period_end: pd.Series) -> Ints:
    """Count calendar quarters, tolerant of fiscal periods that end a few days off a month's end."""
    date = (period_end - _SHIFT).dt
    return np.asarray((date.year * 12 + date.month - 1) // 3, dtype=np.int64)


def _with_keys(rows: pd.DataFrame, lag_days: int) -> tuple[pd.DataFrame, int]:
    """Return the rows with checked keys, and the number of filing dates that had to be assumed."""
    for name in ("ticker", "period_end"):
        if name not in rows.columns:
            raise DataError(
                f"the statements have no column {name!r}; they have {', '.join(map(str, rows.columns[:8]))}. "
                "Rename with columns={'YOURS': '" + name + "'}"
            )
    if rows.columns.has_duplicates:
        twice = rows.columns[rows.columns.duplicated()][0]
        raise DataError(f"the column {twice!r} is there twice; keep one")
    if rows.empty:
        raise DataError("there is not one statement; give at least one row")
    if rows["ticker"].isna().any():
        raise DataError(f"{int(rows['ticker'].isna().sum())} rows have no ticker; drop them")
    period_end = _dates(rows["period_end"], "period_end")
    if period_end.isna().any():
        raise DataError(f"{int(period_end.isna().sum())} rows have no period_end; drop them")
    later = period_end + pd.Timedelta(days=lag_days)
    filed = _dates(rows["filed"], "filed").fillna(later) if "filed" in rows.columns else later
    assumed = int(rows["filed"].isna().sum()) if "filed" in rows.columns else len(rows)
    early = filed < period_end
    if early.any():
        bad = rows[early.to_numpy()].iloc[0]
        raise DataError(
            f"{bad['ticker']} filed {bad['filed']} before its period's end {bad['period_end']}; "
            "filed is the day on which the statement became public: correct it, or leave it empty"
        )
    made = rows.assign(ticker=rows["ticker"].astype(str), period_end=period_end, filed=filed)
    if "sector" in made.columns:
        known = made["sector"].notna()
        made["sector"] = made["sector"].where(known, "").astype(str).astype(object)
    else:
        made["sector"] = pd.Series("", index=made.index, dtype=object)
    return made, assumed


def _dates(column: pd.Series, name: str) -> pd.Series:
    try:
        dates = pd.to_datetime(column, format="ISO8601")
    except (ValueError, TypeError) as e:
        raise DataError(f"{name} holds values that are no dates ({e}); write them as YYYY-MM-DD") from e
    if getattr(dates.dt, "tz", None) is not None:
        raise DataError(f"{name} carries a time zone; give the exchange's own days without one")
    return dates.dt.normalize().astype("datetime64[ns]")


def _widen(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn long form into wide form."""
    keys = [*_KEYS, "item"]
    if rows.duplicated(keys).any():
        bad = rows[rows.duplicated(keys)].iloc[0]
        raise DataError(
            f"{bad['ticker']} filed {bad['item']!r} of {bad['period_end'].date()} twice on "
            f"{bad['filed'].date()}; keep one"
        )
    wide = rows.pivot(index=list(_KEYS), columns="item", values="value")  # checked for duplicates
    sector = rows.groupby(list(_KEYS))["sector"].max().astype(object)
    return wide.rename_axis(columns=None).assign(sector=sector).reset_index()


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    twice = rows.duplicated(list(_KEYS))
    if twice.any():
        bad = rows[twice].iloc[0]
        raise DataError(
            f"{bad['ticker']} filed the period {bad['period_end'].date()} twice on {bad['filed'].date()}; "
            "keep one row, or give each its own filing date"
        )
    out = rows.copy()
    for name in [c for c in rows.columns if c not in (*_KEYS, "sector")]:
        try:
            numbers: Any = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as e:
            raise DataError(f"the item {name!r} is not numeric ({e}); convert or drop it") from e
        if np.isinf(numbers).any():
            raise DataError(f"the item {name!r} holds infinite values; use NaN where it is unknown")
        out[name] = numbers
    return out


def _carried(rows: pd.DataFrame, items: tuple[str, ...]) -> pd.DataFrame:
    """Sort by filing, and carry what a later filing of the same period does not repeat."""
    rows = rows.sort_values(["filed", "ticker", "period_end"], kind="stable").reset_index(drop=True)
    rows[list(items)] = rows.groupby(["ticker", "period_end"])[list(items)].ffill()
    return rows[[*_KEYS, "sector", *items]]
