"""Point-in-time tables: every value carries the date from which it was known."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from shoestring.core.errors import DataError
from shoestring.finance.market.calendars import usable_from

__all__ = ["KnownTable"]

_KEYS = ["asset", "period", "known_at"]


@dataclass(frozen=True, eq=False)
class KnownTable:
    """Values by asset and period, each with the first trading day on whose close it may be used.

    A period that is reported again (a restatement) has a row a report; which one counts depends on the date
    of the question. Build one with `from_frame`.

    Attributes
    ----------
    rows : DataFrame
        Columns ``asset`` (str), ``period`` and ``known_at`` (dates without a time zone), then the values
        (float64); sorted by ``known_at``, ``asset``, ``period``.
    """

    rows: pd.DataFrame

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        known_at: str = "known_at",
        asset: str = "asset",
        period: str = "period",
        exchange: str | None = None,
        delay_days: int = 0,
    ) -> "KnownTable":
        """Check a table with one row a report.

        Parameters
        ----------
        frame : DataFrame
            One row a report; every column besides the three named below is a value and must be numeric.
        known_at : str
            Column with the date, or the time, at which the report became public. A date without a time counts
            as known at the close of that day; times must carry a time zone.
        asset : str
            Column with the asset.
        period : str
            Column with the date that the values describe, e.g. the end of a quarter.
        exchange : str or None
            Exchange-calendars code, e.g. ``"XNYS"``; required for times. A report counts from the first
            session whose close is not before it, so one at 17:00 of a day, or at 14:00 of a half day, counts
            from the next session.
        delay_days : int
            Calendar days that are added to every date, for reports whose hour is unknown or filings that take
            time to arrive.

        Raises
        ------
        DataError
            For missing columns, missing keys, a report before the end of its period, two reports of one
            period on one date, times without a time zone or without `exchange`, values that are not numeric.
        """
        names = {asset: "asset", period: "period", known_at: "known_at"}
        absent = [n for n in names if n not in frame.columns]
        if absent or len(names) != 3:
            raise DataError(
                f"the table needs three columns for asset, period and date of publication; {absent} are not "
                f"among {list(frame.columns)}. Name them with asset=, period=, known_at="
            )
        if delay_days < 0:
            raise DataError(f"delay_days={delay_days} would use reports before they exist; give 0 or more")
        rows = frame.rename(columns=names).reset_index(drop=True)
        if rows[_KEYS].isna().to_numpy().any():
            column = rows[_KEYS].columns[int(np.argmax(rows[_KEYS].isna().any()))]
            raise DataError(f"a row has no {column}; drop it: its values cannot be placed in time")
        made = pd.DataFrame({"asset": rows["asset"].astype(str).astype(object)})
        made["period"] = _dates(rows["period"], "period")
        made["known_at"] = _known_dates(rows["known_at"], exchange) + pd.Timedelta(days=delay_days)
        for name in rows.columns.difference(_KEYS, sort=False):
            made[name] = _numbers(rows[name], str(name))
        _check_order(made)
        return cls(made.sort_values(["known_at", "asset", "period"], ignore_index=True))

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the values."""
        return tuple(c for c in self.rows.columns if c not in _KEYS)

    def as_of(self, date: str | pd.Timestamp) -> "KnownTable":
        """Return a copy of what was known at the close of a date; later reports cannot be reached by it."""
        last = int(self.rows["known_at"].searchsorted(pd.Timestamp(date), side="right"))
        return KnownTable(self.rows.iloc[:last].copy(deep=True))

    def frame(self) -> pd.DataFrame:
        """Return a copy of all rows."""
        return self.rows.copy(deep=True)

    def with_frame(self, frame: pd.DataFrame) -> "KnownTable":
        """Return a table of other rows, in the form of `frame`."""
        return KnownTable.from_frame(frame)

    def history(self, date: str | pd.Timestamp) -> pd.DataFrame:
        """Return every period as it was known on a date: its last report by then.

        Returns
        -------
        DataFrame
            Indexed by asset and period, sorted.
        """
        seen = self.as_of(date).rows
        last = seen.drop_duplicates(["asset", "period"], keep="last")
        return last.set_index(["asset", "period"]).sort_index()

    def latest(self, date: str | pd.Timestamp) -> pd.DataFrame:
        """Return the most recent period of every asset as it was known on a date, indexed by asset."""
        known = self.history(date).reset_index()
        return known.drop_duplicates("asset", keep="last").set_index("asset")

    def join(self, dates: pd.DatetimeIndex, value: str, *, max_age_days: int | None = None) -> pd.DataFrame:
        """Return one value of every asset on every date as it was known then; no loop over dates.

        Row t equals ``latest(dates[t])[value]``.

        Parameters
        ----------
        dates : DatetimeIndex, [T]
            Increasing dates, e.g. of a panel.
        value : str
            Name of the value.
        max_age_days : int or None
            Values whose period ended longer ago are NaN; None keeps them for good.

        Returns
        -------
        DataFrame, [T, assets]
            NaN where nothing was known yet, or the last report has no value.

        Notes
        -----
        A report takes effect if its period is not older than every period reported for the asset before: a
        late restatement of an old year changes no current value. O(R log R + T N) for R reports.
        """
        if value not in self.values:
            raise DataError(f"the table has no value {value!r}; it has {', '.join(self.values)}")
        if not dates.is_monotonic_increasing:
            raise DataError("the dates to join on are not sorted; sort them")
        assets = sorted(self.rows["asset"].unique())
        newest = self.rows["period"] >= self.rows.groupby("asset", sort=False)["period"].cummax()
        rows = self.rows[newest]
        place = np.searchsorted(dates.to_numpy(), rows["known_at"].to_numpy(), side="left")
        rows, place = rows[place < len(dates)], place[place < len(dates)]
        column = np.searchsorted(np.asarray(assets, dtype=object), rows["asset"].to_numpy(dtype=object))
        report = np.full((len(dates), len(assets)), -1, dtype=np.intp)
        report[place, column] = np.arange(len(rows))  # sorted by known_at and period: the last one stays
        np.maximum.accumulate(report, axis=0, out=report)
        if not len(rows):
            return pd.DataFrame(np.nan, index=dates, columns=assets)
        values = np.where(report >= 0, rows[value].to_numpy()[report], np.nan)
        if max_age_days is not None:
            age = dates.to_numpy()[:, None] - rows["period"].to_numpy()[report]
            values[age > np.timedelta64(max_age_days, "D")] = np.nan
        return pd.DataFrame(values, index=dates, columns=assets)


def _dates(values: "pd.Series[pd.Timestamp]", name: str) -> "pd.Series[pd.Timestamp]":
    try:
        dates = pd.to_datetime(values, format="ISO8601")
    except (TypeError, ValueError) as e:
        raise DataError(f"{name} holds what is no date ({e}); give dates such as 2015-03-31") from e
    if dates.dt.tz is not None:
        raise DataError(f"{name} carries the time zone {dates.dt.tz}; give plain dates")
    timed = dates[dates != dates.dt.normalize()]
    if len(timed):
        raise DataError(
            f"{name} has times of day without a time zone, e.g. {timed.iloc[0]}; localise them, or give dates"
        )
    return dates.astype("datetime64[ns]")


def _known_dates(values: "pd.Series[pd.Timestamp]", exchange: str | None) -> "pd.Series[pd.Timestamp]":
    if not isinstance(values.dtype, pd.DatetimeTZDtype):
        return _dates(values, "known_at")
    if exchange is None:
        raise DataError(
            "known_at holds times; say whose closes they are compared with: exchange='XNYS', "
            "or give dates without a time"
        )
    return pd.Series(usable_from(pd.DatetimeIndex(values), exchange), index=values.index)


def _numbers(values: "pd.Series[float]", name: str) -> "pd.Series[float]":
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as e:
        raise DataError(f"the value {name!r} is not numeric ({e}); convert it or drop the column") from e
    if np.isinf(numbers).any():
        raise DataError(f"the value {name!r} is infinite for a report; use NaN where it is unknown")
    return numbers


def _check_order(rows: pd.DataFrame) -> None:
    early = rows["known_at"] < rows["period"]
    if early.any():
        bad = rows[early].iloc[0]
        raise DataError(
            f"{bad['asset']!r} reports the period {bad['period'].date()} on {bad['known_at'].date()}, before "
            "it ended; swap the columns or correct the dates"
        )
    twice = rows.duplicated(_KEYS)
    if twice.any():
        bad = rows[twice].iloc[0]
        raise DataError(
            f"{bad['asset']!r} has two reports of {bad['period'].date()} on {bad['known_at'].date()}; "
            "keep the one that counts"
        )
