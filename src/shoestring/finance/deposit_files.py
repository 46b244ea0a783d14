"""Portfolio deposit files of ETFs: which shares and how much cash make one creation unit on which day."""

# Shapes: D dates, E ETFs, N stocks, C cells (date x ETF) flattened, R components of all cells

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.panel import PricePanel

__all__ = ["Baskets", "DepositFiles"]

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
        when = pd.DatetimeIndex(list(dates))
        rows_D = prices.dates.get_indexer(when)
        if len(when) == 0 or (rows_D < 0).any() or not when.is_monotonic_increasing:
            raise DataError(
                "the dates are empty, unsorted or not all in the prices; take them from prices.dates"
            )
        etfs = self.etfs
        file_C = self._effective(when, etfs)
        cell_R, row_R = self._expand(file_C)
        stock = pd.Index(prices.assets).get_indexer(pd.Index(self.rows["ticker"]))[row_R]
        shares = self.rows["shares"].to_numpy()[row_R] * self._split(
            prices, rows_D, file_C, cell_R, stock, len(etfs)
        )
        price_R, never_R = _prices_of(prices, rows_D[cell_R // len(etfs)], stock)
        value_R = np.where(np.isnan(price_R), 0.0, shares * np.nan_to_num(price_R))
        num_cells = len(file_C)
        priced, names, unknown, stocks_value = (
            np.bincount(cell_R, w, num_cells).astype(np.float64)
            for w in (value_R > 0, np.ones(len(cell_R)), never_R, value_R)
        )
        cash = np.where(file_C >= 0, self.files["cash"].to_numpy()[file_C], 0.0)
        net = stocks_value + stocks_value / np.maximum(priced, 1) * unknown + cash
        reason = self._reasons(etfs, file_C, priced, names, net, (stocks_value, cash))
        fine_R = (reason == "")[cell_R] & (value_R > 0)
        weight = value_R[fine_R] / net[cell_R[fine_R]]
        matrix = sparse.csr_matrix(
            (weight, (cell_R[fine_R], stock[fine_R])), shape=(num_cells, len(prices.assets))
        )
        shape = (len(when), len(etfs))
        dates_C = np.where(
            file_C >= 0, self.files["date"].to_numpy("datetime64[ns]")[file_C], np.datetime64("NaT")
        )
        return Baskets(
            when,
            etfs,
            prices.assets,
            matrix,
            dates_C.reshape(shape),
            (unknown / np.maximum(names, 1)).reshape(shape),
            reason.reshape(shape),
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
        if not 0 <= min_coverage <= 1 or shrink_names < 0:
            raise ConfigError(
                f"min_coverage={min_coverage} must lie in 0..1 and shrink_names={shrink_names} must not be "
                "negative"
            )
        made = baskets if baskets is not None else self.baskets(prices, pd.DatetimeIndex(scores.index))
        num_etfs, num_dates = len(made.etfs), len(made.dates)
        score_DN = scores.reindex(columns=list(made.stocks)).to_numpy(np.float64)
        if np.isinf(score_DN).any():
            raise DataError("a score is infinite; give finite scores, NaN for stocks that are not scored")
        out = _weighted(made.weights, score_DN, num_etfs)
        score, coverage = out["score"].to_numpy(), out["coverage"].to_numpy()
        if shrink_names > 0:
            neff = out["neff"].to_numpy()
            score = score * np.sqrt(neff / (neff + shrink_names))
        factor = [self.multipliers.get(e) for e in made.etfs]
        score = score * np.tile([1.0 if f is None else f for f in factor], num_dates)
        reason = made.reason.reshape(-1).copy()
        low = (reason == "") & (coverage < min_coverage)
        reason[low] = [f"coverage {c:.2f} is below {min_coverage:g}" for c in coverage[low]]
        reason[(reason == "") & np.isnan(score)] = "no component is scored"
        out = out.assign(
            score=score, file_date=made.file_date.reshape(-1), eligible=reason == "", reason=reason
        )
        return out.set_index(pd.MultiIndex.from_product([made.dates, made.etfs], names=["date", "etf"]))

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

    def _effective(self, when: pd.DatetimeIndex, etfs: tuple[str, ...]) -> Ints:
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
                "date": self.files["date"].to_numpy("datetime64[ns]"),
                "etf": place.get_indexer(pd.Index(self.files["etf"])),
                "file": self.files.index.to_numpy(),
            }
        )
        found = pd.merge_asof(
            left,
            right,
            on="date",
            by="etf",
            allow_exact_matches=False,
            tolerance=pd.Timedelta(days=self.max_age_days),
        )
        return found["file"].fillna(-1).to_numpy(np.int64)

    def _expand(self, file_C: Ints) -> tuple[Ints, Ints]:
        """Return cell and row number of every component of every cell."""
        number = self.rows["file"].to_numpy()
        start = np.searchsorted(number, file_C, "left")
        count = np.where(file_C >= 0, np.searchsorted(number, file_C, "right") - start, 0)
        cell_R = np.repeat(np.arange(len(file_C)), count)
        first = np.repeat(start - np.concatenate([[0], np.cumsum(count)[:-1]]), count)
        return cell_R, first + np.arange(len(cell_R))

    def _split(
        self, prices: PricePanel, rows_D: Ints, file_C: Ints, cell_R: Ints, stock: Ints, num_etfs: int
    ) -> Floats:
        """Return the shares of the date for one share of the file's date."""
        if "split_factor" not in prices.fields:
            return np.ones(len(cell_R))
        factor = prices.field("split_factor").to_numpy()
        dates = self.files["date"].to_numpy("datetime64[ns]")[file_C]
        row_C = np.maximum(prices.dates.searchsorted(dates, side="right") - 1, 0)
        ratio = factor[rows_D[cell_R // num_etfs], stock] / factor[row_C[cell_R], stock]
        return np.where((stock >= 0) & ~np.isnan(ratio), ratio, 1.0)

    def _reasons(
        self,
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
        excluded = np.array([e in self.multipliers and self.multipliers[e] is None for e in etfs])
        allowed = np.array([self.multipliers.get(e) is not None for e in etfs])
        with np.errstate(divide="ignore", invalid="ignore"):
            geared = (stocks_value / net > MAX_GROSS) & ~allowed[etf_C]
        checks = (
            (excluded[etf_C], "leveraged or inverse, and no multiplier is given"),
            (file_C < 0, f"no deposit file of the last {self.max_age_days} days"),
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
