"""Portfolio deposit files of ETFs: which shares and how much cash make one creation unit on which day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.market.deposits.baskets import (
    Baskets,
    aggregate_scores,
    check_aggregation,
    value_baskets,
)
from shoestring.finance.market.panel import PricePanel

__all__ = ["DepositFiles"]


@dataclass(frozen=True, eq=False)
class DepositFiles:
    """Deposit files of many ETFs; build with `from_frame` or `from_dir`.

    Attributes
    ----------
    rows : DataFrame
        Columns ``file`` (number), ``ticker`` and ``shares`` of each component.
    files : DataFrame
        A row a file, sorted by ``date``: ``date``, ``etf``, ``cash``.
    multipliers : mapping of str to (float or None)
        Leveraged and inverse ETFs; see `from_frame`.
    max_age_days : int
        Files older than this, in days, are not used.

    Notes
    -----
    A file dated d is used from the day after d on. Shares are unadjusted, as the file has them.
    """

    rows: pd.DataFrame
    files: pd.DataFrame
    multipliers: Mapping[str, float | None]
    max_age_days: int

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        max_age_days: int = 30,
        multipliers: Mapping[str, float | None] | None = None,
    ) -> "DepositFiles":
        """Check deposit files.

        Parameters
        ----------
        frame : DataFrame
            Columns ``date``, ``etf``, ``ticker``, ``shares``, optionally ``cash``: a row a component. Cash of
            a creation unit stands on any or all rows of its file, or on one row without a ticker; negative
            cash is a debt. A file with a row without ticker only is a cash-only basket.
        max_age_days : int
            Where a day has no file the latest earlier one is used, if it is at most this old.
        multipliers : mapping of str to (float or None)
            Leveraged or inverse ETFs, e.g. ``{"SSO": 2.0, "SH": -1.0}``: the score is multiplied. None as a
            multiplier excludes the ETF.

        Raises
        ------
        DataError
            For missing columns, no row, dates that are none, negative, infinite or missing shares, two
            different amounts of cash in one file, one component twice in a file, or no ETF name.
        """
        if max_age_days < 1:
            raise ConfigError(f"max_age_days={max_age_days} leaves no file to use; give at least 1")
        if "known_at" in frame.columns and len(frame):  # the form of `frame`
            max_age_days = int(frame["max_age_days"].iloc[0])
            given = frame.loc[frame["multiplier"] != "", ["etf", "multiplier"]].drop_duplicates("etf")
            pairs = zip(given["etf"], given["multiplier"], strict=True)
            multipliers = {str(e): None if m == "none" else float(m) for e, m in pairs}
            frame = frame.assign(date=frame["known_at"] - pd.Timedelta(days=1))
        rows = _checked_rows(frame)
        keys = ["date", "etf"]
        cash = rows.groupby(keys)["cash"].agg(["min", "max"])
        split = cash["min"] < cash["max"]
        if split.any():
            day, etf = cash.index[int(split.to_numpy().argmax())]
            raise DataError(
                f"the file of {etf} on {day.date()} has two amounts of cash; write one amount a file"
            )
        files = cash["max"].fillna(0.0).rename("cash").reset_index().sort_values(keys, kind="stable")
        files = files.reset_index(drop=True)
        number = files.reset_index(names="file")[[*keys, "file"]]
        parts = rows[rows["ticker"] != ""].merge(number, on=keys, how="left")
        parts = parts[["file", "ticker", "shares"]].sort_values(["file", "ticker"], kind="stable")
        twice = parts.duplicated(["file", "ticker"])
        if twice.any():
            bad = parts[twice].iloc[0]
            where = files.iloc[int(bad["file"])]
            raise DataError(
                f"{bad['ticker']} is twice in the file of {where['etf']} on {where['date'].date()}; "
                "add up or drop the second row"
            )
        return cls(parts.reset_index(drop=True), files, dict(multipliers or {}), max_age_days)

    @classmethod
    def from_dir(
        cls,
        folder: str | Path,
        *,
        max_age_days: int = 30,
        multipliers: Mapping[str, float | None] | None = None,
    ) -> "DepositFiles":
        """Read all ``*.csv``, ``*.csv.gz`` and ``*.parquet`` files of a folder, in the order of their names.

        Raises
        ------
        DataError
            If there is none, one cannot be read, or the rows are wrong; see `from_frame`.
        """
        place = Path(folder)
        paths = sorted(p for p in place.glob("*") if p.name.endswith((".csv", ".csv.gz", ".parquet")))
        if not paths:
            raise DataError(
                f"{place} holds no .csv, .csv.gz or .parquet file; give the folder of the deposit files"
            )
        frames = [_read(p) for p in paths]
        return cls.from_frame(
            pd.concat(frames, ignore_index=True), max_age_days=max_age_days, multipliers=multipliers
        )

    @property
    def etfs(self) -> tuple[str, ...]:
        """The ETFs, sorted."""
        return tuple(sorted(self.files["etf"].unique()))

    def cut(self, as_of: str | pd.Timestamp) -> "DepositFiles":
        """Return the files that are effective at the close of `as_of`: those dated before it."""
        kept = self.files["date"] < pd.Timestamp(as_of)
        rows = self.rows[kept.to_numpy()[self.rows["file"].to_numpy()]]
        return DepositFiles(
            rows.reset_index(drop=True), self.files[kept], self.multipliers, self.max_age_days
        )

    def as_of(self, date: str | pd.Timestamp) -> "DepositFiles":
        """Return `cut`: the files are a point-in-time table of the strategy platform."""
        return self.cut(date)

    def frame(self) -> pd.DataFrame:
        """Return all rows in the form of `from_frame`, with ``known_at``, the day after the file's date."""
        parts = self.rows.merge(self.files.reset_index(names="file"), on="file", how="right")
        made = parts[["date", "etf", "ticker", "shares", "cash"]].reset_index(drop=True)
        factor = {e: "none" if m is None else repr(float(m)) for e, m in self.multipliers.items()}
        return made.assign(
            known_at=made["date"] + pd.Timedelta(days=1),
            max_age_days=self.max_age_days,
            multiplier=[factor.get(e, "") for e in made["etf"]],
        )

    def with_frame(self, frame: pd.DataFrame) -> "DepositFiles":
        """Return files with other rows, in the form that `frame` gives.

        The platform's look-ahead detector shakes numbers without knowing what they mean: shares lose their
        sign here, and a file takes its first amount of cash.
        """
        first = frame.groupby(["known_at", "etf"])["cash"].transform("first")
        rows = frame.assign(shares=frame["shares"].abs(), cash=first)
        return DepositFiles.from_frame(rows, max_age_days=self.max_age_days, multipliers=self.multipliers)

    def baskets(self, prices: PricePanel, dates: Sequence[pd.Timestamp] | pd.DatetimeIndex) -> Baskets:
        """Value every ETF's basket at the prices of each date.

        Parameters
        ----------
        prices : PricePanel
            ``unadjusted_close`` where it has that field, else ``close``; ``split_factor`` puts the shares of
            an older file on the basis of the date.
        dates : sequence of Timestamp
            Ascending dates of `prices`.

        Returns
        -------
        Baskets
            A component that never had a price is taken to weigh as much as the mean of the priced ones. One
            that had a price and lost it more than five rows ago is delisted and weighs nothing.

        Notes
        -----
        One as-of join and one sort; O(R) for R components of all dates.
        """
        return value_baskets(
            self.rows,
            self.files,
            prices,
            dates,
            max_age_days=self.max_age_days,
            multipliers=self.multipliers,
        )

    def aggregate_many(
        self,
        scores: pd.DataFrame,
        prices: PricePanel,
        *,
        min_coverage: float = 0.7,
        shrink_names: float = 0.0,
        baskets: Baskets | None = None,
    ) -> pd.DataFrame:
        """Push scores of stocks through the baskets of each date.

        Parameters
        ----------
        scores : DataFrame [D dates, stocks]
            NaN: not scored, and left out of the mean, never counted as 0.
        prices : PricePanel
            Of the components.
        min_coverage : float
            Least share of net value in scored components.
        shrink_names : float
            n0 > 0 multiplies the score by sqrt(neff / (neff + n0)): few names, less confidence. 0 is off.
        baskets : Baskets or None
            Of the same dates, if they were valued already.

        Returns
        -------
        DataFrame
            Index (``date``, ``etf``); columns ``score`` (NaN if nothing is scored), ``coverage``,
            ``n_names`` (scored components), ``neff`` (1 / sum of squared weights among them),
            ``dispersion`` (weighted deviation of their scores), ``file_date``, ``eligible``, ``reason``.
        """
        check_aggregation(min_coverage, shrink_names)
        made = baskets if baskets is not None else self.baskets(prices, pd.DatetimeIndex(scores.index))
        return aggregate_scores(
            made, scores, self.multipliers, min_coverage=min_coverage, shrink_names=shrink_names
        )

    def aggregate(
        self,
        scores: pd.Series,
        prices: PricePanel,
        date: str | pd.Timestamp,
        *,
        min_coverage: float = 0.7,
        shrink_names: float = 0.0,
    ) -> pd.DataFrame:
        """Push one date's scores (a Series over stocks) through the baskets; see `aggregate_many`.

        Returns
        -------
        DataFrame
            Indexed by ``etf``.
        """
        if scores.index.has_duplicates:
            raise DataError(f"{scores.index[scores.index.duplicated()][0]!r} is scored twice; keep one score")
        frame = pd.DataFrame([scores.to_numpy(np.float64)], [pd.Timestamp(date)], list(scores.index))
        many = self.aggregate_many(frame, prices, min_coverage=min_coverage, shrink_names=shrink_names)
        return many.droplevel("date")


def _read(path: Path) -> pd.DataFrame:
    try:
        return (
            pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"ticker": str})
        )
    except (OSError, ValueError) as e:
        raise DataError(f"could not read the deposit file {path} ({e}); give CSV or Parquet") from e


def _checked_rows(frame: pd.DataFrame) -> pd.DataFrame:
    missing = [c for c in ("date", "etf", "ticker", "shares") if c not in frame.columns]
    if missing:
        raise DataError(
            f"the deposit files have no column {missing[0]!r}; they have "
            f"{', '.join(map(str, frame.columns[:8]))}. Rename or add it"
        )
    if frame.empty:
        raise DataError("the deposit files are empty; give at least one row")
    if frame["etf"].isna().any():
        raise DataError(f"{int(frame['etf'].isna().sum())} rows name no ETF; drop them")
    try:
        dates = pd.to_datetime(frame["date"], format="ISO8601").dt.normalize().astype("datetime64[ns]")
        shares = frame["shares"].to_numpy(dtype=np.float64, na_value=np.nan)
        cash = (
            frame["cash"].to_numpy(dtype=np.float64, na_value=np.nan)
            if "cash" in frame.columns
            else np.full(len(frame), np.nan)
        )
    except (ValueError, TypeError, AttributeError) as e:
        raise DataError(f"date, shares or cash hold values of another kind ({e}); correct the rows") from e
    ticker = frame["ticker"].where(frame["ticker"].notna(), "").astype(str).str.strip()
    rows = pd.DataFrame(
        {"date": dates.to_numpy(), "etf": frame["etf"].astype(str).to_numpy(), "ticker": ticker.to_numpy()}
    ).assign(shares=shares, cash=cash)
    component = rows["ticker"] != ""
    bad = component & ~(np.isfinite(rows["shares"]) & (rows["shares"] >= 0))
    if rows["date"].isna().any():
        raise DataError(f"{int(rows['date'].isna().sum())} rows have no date; drop them")
    if bad.any():
        row = rows[bad].iloc[0]
        raise DataError(
            f"{row['etf']} on {row['date'].date()} has {row['shares']} shares of {row['ticker']}; they must "
            "be finite and not negative. Leave out funds that are short, or give a multiplier"
        )
    if np.isinf(cash).any():
        raise DataError("an amount of cash is infinite; correct the row")
    return rows
