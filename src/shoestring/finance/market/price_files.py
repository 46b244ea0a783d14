"""Prices from CSV and Parquet files.

Four layouts are read, told apart by their columns; a column ``date`` (any case) is always there:

=========  =============================================  ==========================================
layout     columns                                        example
=========  =============================================  ==========================================
wide       date, one column an asset                      ``date,AAPL,MSFT``
labelled   date, ``ASSET|field``                          ``date,AAPL|close,AAPL|volume,MSFT|close``
long       date, asset (or ticker, symbol), fields        ``date,ticker,open,close,volume``
single     date, fields; the asset is the file's name     ``date,open,high,low,close,volume``
=========  =============================================  ==========================================

A folder holds one file a field, all wide (``close.parquet``, ``volume.parquet``), or one *single* file an
asset (``AAPL.csv``, ``MSFT.csv``). Where both ``close`` and ``adjclose`` (``adj close``, ``adj_close``) are
given, the adjusted one becomes ``close``, and open, high and low are adjusted by the same factor.
"""

from pathlib import Path

import pandas as pd

from shoestring.core.errors import DataError, StorageError
from shoestring.core.optional import optional
from shoestring.finance.market.panel import PricePanel

__all__ = ["FIELDS", "read_prices"]

FIELDS = ("open", "high", "low", "close", "adjclose", "volume", "dividends", "splits")
"""Names of fields that a file may have; others are refused, so that an asset is never taken for a field."""
_SAME = {
    "adj close": "adjclose",
    "adj_close": "adjclose",
    "adjusted_close": "adjclose",
    "stock_splits": "splits",
    "stock splits": "splits",
}
_ASSET = ("asset", "ticker", "symbol")
_ENDINGS = (".csv", ".csv.gz", ".parquet")


def read_prices(path: Path | str, *, zero_is_missing: bool = False) -> PricePanel:
    """Read a file, or a folder of files, into a checked panel.

    Parameters
    ----------
    path : Path or str
        A ``.csv``, ``.csv.gz`` or ``.parquet`` file, or a folder of them; layouts as described above.
    zero_is_missing : bool
        Take prices of 0 or less for missing instead of refusing them; for tables that mix in yields, or
        futures that once fell below 0.

    Raises
    ------
    StorageError
        If the path does not exist or a file cannot be read.
    DataError
        For a folder without prices, columns that fit no layout, or prices that `PricePanel` refuses.
    MissingExtraError
        If pyarrow is needed and not installed.
    """
    path = Path(path)
    fields = _adjusted(_read_folder(path) if path.is_dir() else _fields_of(_read_table(path), path))
    if zero_is_missing:
        fields["close"] = fields["close"].where(fields["close"] > 0)
    close = fields.pop("close", None)
    if close is None:
        raise DataError(f"{path} holds {', '.join(fields) or 'nothing'} but no close; add closing prices")
    return PricePanel.from_frame(close, **fields)


def _read_folder(folder: Path) -> dict[str, pd.DataFrame]:
    files = sorted(f for f in folder.iterdir() if f.name.lower().endswith(_ENDINGS))
    if not files:
        raise DataError(f"{folder} has no .csv, .csv.gz or .parquet file; give a folder of price files")
    names = [_same_name(_stem(f)) for f in files]
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
    if twice is not None:
        raise DataError(f"{folder} has two files of {twice!r}; keep one")
    if all(n in FIELDS for n in names):
        return _aligned({n: _indexed(_read_table(f), f) for n, f in zip(names, files, strict=True)})
    assets = [_adjusted(_single(_indexed(_read_table(f), f), f)) for f in files]
    present = dict.fromkeys(name for fields in assets for name in fields)
    return _aligned({n: pd.concat([a[n] for a in assets if n in a], axis=1) for n in present})


def _single(table: pd.DataFrame, path: Path) -> dict[str, pd.DataFrame]:
    """Split a file of a folder into fields of the one asset that it is named after."""
    table = table.rename(columns=_same_name)
    strange = [c for c in table.columns if c not in FIELDS]
    if strange:
        raise DataError(
            f"{path.parent} has several files, and {path.name} has the column {strange[0]!r}; such a folder "
            f"holds one file an asset with the columns date and {', '.join(FIELDS)}, or one file a field"
        )
    return {f: table[f].to_frame(_stem(path)) for f in table.columns}


def _fields_of(table: pd.DataFrame, path: Path) -> dict[str, pd.DataFrame]:
    """Split a table into fields by its layout."""
    lower = [str(c).lower() for c in table.columns]
    asset = next((c for c, low in zip(table.columns, lower, strict=True) if low in _ASSET), None)
    if asset is not None:
        return _long(table, path, asset)
    wide = _indexed(table, path)
    if all("|" in str(c) for c in wide.columns):
        return _labelled(wide)
    single = wide.rename(columns=_same_name)
    if "close" in single.columns or "adjclose" in single.columns:
        known = [c for c in single.columns if c in FIELDS]
        return {f: single[f].to_frame(_stem(path)) for f in known}
    return {"close": wide}


def _labelled(wide: pd.DataFrame) -> dict[str, pd.DataFrame]:
    labels = [str(c).rpartition("|") for c in wide.columns]
    fields: dict[str, pd.DataFrame] = {}
    for field in dict.fromkeys(label[2] for label in labels):
        places = [i for i, label in enumerate(labels) if label[2] == field]
        assets = [labels[i][0] for i in places]
        fields[_same_name(field)] = wide.iloc[:, places].set_axis(assets, axis="columns")
    return fields


def _long(table: pd.DataFrame, path: Path, asset: str) -> dict[str, pd.DataFrame]:
    rows = table.rename(columns={asset: "asset"})
    rows = rows.rename(columns={c: _same_name(c) for c in rows.columns if c != "asset"})
    if "date" not in rows.columns:
        raise DataError(f"{path} has no column date; it has {list(table.columns)[:8]}")
    nameless = rows["asset"].isna() | (rows["asset"] == "")
    if nameless.any():
        raise DataError(f"{path} has a row without {asset} on {rows['date'][nameless].iloc[0]}; name it")
    rows["date"] = _as_dates(rows["date"], path)
    twice = rows.duplicated(["date", "asset"])
    if twice.any():
        bad = rows[twice].iloc[0]
        raise DataError(f"{path} has two rows of {bad['asset']!r} on {bad['date'].date()}; keep one")
    known = [c for c in rows.columns if c in FIELDS]
    return {f: rows.pivot(index="date", columns="asset", values=f).sort_index() for f in known}


def _adjusted(fields: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Make the adjusted close the close, and adjust the other prices alike."""
    adjusted = fields.pop("adjclose", None)
    if adjusted is None:
        return fields
    plain = fields.get("close")
    if plain is not None:
        factor = adjusted / plain
        for name in ("open", "high", "low"):
            if name in fields:
                fields[name] = fields[name] * factor
    fields["close"] = adjusted
    return fields


def _aligned(fields: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Give all fields the union of dates and assets."""
    dates = pd.DatetimeIndex([])
    assets: list[str] = []
    for frame in fields.values():
        dates = dates.union(pd.DatetimeIndex(frame.index))
        assets += [c for c in frame.columns if c not in assets]
    return {n: f.reindex(index=dates, columns=assets) for n, f in fields.items()}


def _read_table(path: Path) -> pd.DataFrame:
    if not path.name.lower().endswith(_ENDINGS):
        raise DataError(f"{path} is no price file; give .csv, .csv.gz or .parquet")
    try:
        if path.suffix == ".parquet":
            optional("pyarrow", "finance")
            table = pd.read_parquet(path)
            return table.reset_index() if isinstance(table.index, pd.DatetimeIndex) else table
        return _read_csv(path)
    except OSError as e:
        raise StorageError(e.errno, f"could not read {path}: {e}; check the path and its permissions") from e
    except ValueError as e:
        raise DataError(f"{path} is no readable table ({e}); check the file") from e


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a file without what pandas guesses of names: NA is an asset, 000660 no number, A.1 no second A."""
    head = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
    twice = head[head.duplicated() & (head != "")]
    if len(twice):
        raise DataError(f"{path} has two columns {twice.iloc[0]!r}; keep one")
    table = pd.read_csv(path)
    for name in (n for n in head if n.lower() in _ASSET):
        table[name] = pd.read_csv(path, usecols=[name], dtype=str, keep_default_na=False)[name]
    return table


def _indexed(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a table with its dates as sorted index."""
    date = next((c for c in table.columns if str(c).lower() == "date"), None)
    if date is None:
        raise DataError(f"{path} has no column date; it has {list(table.columns)[:8]}")
    dates = _as_dates(table[date], path)
    if dates.duplicated().any():
        raise DataError(
            f"{path} has the date {dates[dates.duplicated()].iloc[0].date()} twice; keep one row a date"
        )
    return table.drop(columns=[date]).set_index(pd.DatetimeIndex(dates, name="date")).sort_index()


def _as_dates(values: "pd.Series[str]", path: Path) -> "pd.Series[pd.Timestamp]":
    try:
        dates = pd.to_datetime(values, format="ISO8601")
        if dates.dt.tz is not None:
            raise DataError(
                f"{path}: the dates carry the time zone {dates.dt.tz}; write the exchange's own trading days "
                "without one, as in 2015-03-31"
            )
        return dates.astype("datetime64[ns]")
    except (ValueError, TypeError) as e:
        raise DataError(f"{path}: the column date holds what is no date ({e}); write 2015-03-31") from e


def _same_name(name: object) -> str:
    """Return the one spelling of a field's name."""
    text = str(name).strip().lower()
    known = _SAME.get(text, text)
    return known if known in (*FIELDS, "date") else str(name)


def _stem(path: Path) -> str:
    """Return the name of a file without its ending; BRK.B.csv is BRK.B."""
    ending = next(e for e in sorted(_ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e))
    return path.name[: -len(ending)]
