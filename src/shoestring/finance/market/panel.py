"""Daily prices of many assets: checked once, immutable, and cut so that later rows cannot be reached."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from shoestring.core.errors import DataError

__all__ = ["PricePanel", "as_panel"]


class _Fields(Mapping[str, pd.DataFrame]):
    """Frames by name; whoever writes to one that comes out writes to a copy."""

    def __init__(self, frames: Mapping[str, pd.DataFrame]) -> None:
        self._frames = dict(frames)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._frames[name].copy(deep=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


@dataclass(frozen=True, eq=False)
class PricePanel:
    """Fields of N assets on T dates, of which ``close`` is always there.

    Build one with `from_frame`, which checks everything that the rest of the family relies on.

    Attributes
    ----------
    fields : mapping of str to DataFrame
        Copies on write, each [T, N], float64, with the same index (midnight dates without a time zone,
        strictly increasing) and the same columns. NaN means: not listed, or no price on that date.

    Notes
    -----
    A date is the trading day of the exchange in its own time zone; a close counts as known at the end of
    that day. Half days are days. Assets of exchanges with different holidays share one index and have NaN
    on theirs.
    """

    fields: Mapping[str, pd.DataFrame]

    @classmethod
    def from_frame(cls, close: pd.DataFrame, **fields: pd.DataFrame) -> "PricePanel":
        """Check and copy frames of prices.

        Parameters
        ----------
        close : DataFrame, [T dates, N assets]
            Closing prices; positive or NaN. Adjust them for splits and dividends if returns should be total
            returns.
        **fields : DataFrame, [T, N]
            More fields by name, e.g. ``volume``, with the same dates and assets; finite or NaN. Fields named
            ``open``, ``high``, ``low`` or ending in ``close`` must be positive as well.

        Raises
        ------
        DataError
            For an index that is no date index, has a time zone, times of day, duplicates or disorder; for
            duplicate assets; for prices that are not numbers, not positive or infinite; for fields that do
            not match ``close``.
        """
        dates = _checked_dates(close)
        assets = _checked_assets(close)
        made = {"close": _checked_values("close", close, dates, assets)}
        for name, frame in fields.items():
            if not isinstance(frame, pd.DataFrame) or not frame.index.equals(close.index):
                raise DataError(f"field {name!r} has other dates than close; reindex it to close.index first")
            if set(frame.columns) != set(close.columns) or len(frame.columns) != len(close.columns):
                raise DataError(f"field {name!r} has other assets than close; reindex it to close.columns")
            made[name] = _checked_values(name, frame[close.columns], dates, assets)
        return cls(_Fields(made))

    @property
    def close(self) -> pd.DataFrame:
        """Closing prices, [T, N]; a copy on write."""
        return self.field("close")

    @cached_property
    def dates(self) -> pd.DatetimeIndex:
        """The T dates."""
        index = self.fields["close"].index
        assert isinstance(index, pd.DatetimeIndex)
        return index

    @cached_property
    def assets(self) -> tuple[str, ...]:
        """The N names."""
        return tuple(self.fields["close"].columns)

    def field(self, name: str) -> pd.DataFrame:
        """Return one field, [T, N]; a copy on write.

        Raises
        ------
        DataError
            If the panel has no such field.
        """
        if name not in self.fields:
            raise DataError(f"the panel has no field {name!r}; it has {', '.join(self.fields)}")
        return self.fields[name]

    def cut(self, as_of: str | pd.Timestamp) -> "PricePanel":
        """Return a copy of the rows up to and including `as_of`; later rows cannot be reached through it."""
        return self._rows(0, self._end(as_of))

    def between(self, start: str | pd.Timestamp | None, end: str | pd.Timestamp | None) -> "PricePanel":
        """Return a copy of the rows from `start` to `end`, both included; None means the panel's own end."""
        first = 0 if start is None else int(self.dates.searchsorted(pd.Timestamp(start), side="left"))
        last = len(self.dates) if end is None else self._end(end)
        return self._rows(first, last)

    def window(
        self, as_of: str | pd.Timestamp, lookback: int | None = None, field: str = "close"
    ) -> pd.DataFrame:
        """Return a copy of the last `lookback` rows of one field up to and including `as_of`.

        Cheaper than `cut` for a strategy that looks at a short window of a long panel.

        Parameters
        ----------
        as_of : str or Timestamp
            The last date that may be seen.
        lookback : int or None
            Rows; fewer come back where history is shorter. None gives all of it.
        field : str
            Name of the field.
        """
        if lookback is not None and lookback < 1:
            raise DataError(f"lookback={lookback} is no number of rows; give 1 or more, or None for all")
        last = self._end(as_of)
        first = 0 if lookback is None else max(0, last - lookback)
        return _copied(self.field(field), first, last)

    def select(self, assets: list[str] | tuple[str, ...]) -> "PricePanel":
        """Return a panel of some of the assets, in the order given."""
        known = set(self.assets)
        missing = [a for a in assets if a not in known]
        if missing:
            raise DataError(f"the panel has no asset {missing[0]!r}; its assets start {self.assets[:5]}")
        return PricePanel(_Fields({n: f[list(assets)] for n, f in self.fields.items()}))

    def __len__(self) -> int:
        return len(self.dates)

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __repr__(self) -> str:
        span = f"{self.dates[0]:%Y-%m-%d}..{self.dates[-1]:%Y-%m-%d}" if len(self) else "no dates"
        return f"PricePanel({len(self)} dates {span}, {len(self.assets)} assets, {', '.join(self.fields)})"

    def _end(self, as_of: str | pd.Timestamp) -> int:
        return int(self.dates.searchsorted(pd.Timestamp(as_of), side="right"))

    def _rows(self, first: int, last: int) -> "PricePanel":
        if last <= first:
            raise DataError(
                f"no date is left of {self!r}; give a range that overlaps it, start before or on its end"
            )
        made = {n: _copied(f, first, last, writeable=False) for n, f in self.fields.items()}
        return PricePanel(_Fields(made))


def as_panel(prices: PricePanel | pd.DataFrame) -> PricePanel:
    """Return a panel as it is, and a frame of closing prices as a checked panel."""
    return prices if isinstance(prices, PricePanel) else PricePanel.from_frame(prices)


def _copied(frame: pd.DataFrame, first: int, last: int, *, writeable: bool = True) -> pd.DataFrame:
    """Copy rows into memory of their own: nothing hangs on the rest of the frame."""
    values = frame.to_numpy()[first:last].copy()
    values.flags.writeable = writeable
    index = pd.DatetimeIndex(frame.index.to_numpy()[first:last].copy(), name=frame.index.name)
    return pd.DataFrame(values, index=index, columns=frame.columns, copy=False)


def _checked_dates(close: pd.DataFrame) -> pd.DatetimeIndex:
    if not isinstance(close, pd.DataFrame):
        raise DataError(
            f"prices are a {type(close).__name__}; give a DataFrame with one row a date, one column an asset"
        )
    dates = close.index
    if not isinstance(dates, pd.DatetimeIndex):
        raise DataError(
            f"the rows are indexed by {type(dates).__name__}; give dates: frame.index = pd.to_datetime(...)"
        )
    if len(dates) == 0 or close.shape[1] == 0:
        raise DataError(f"prices have the shape {close.shape}; give at least one date and one asset")
    if dates.hasnans:
        raise DataError("the index has a row without a date (NaT); drop it")
    if dates.tz is not None:
        raise DataError(
            f"the dates carry the time zone {dates.tz}; give the exchange's own trading days without one: "
            "index.tz_convert(exchange_zone).tz_localize(None).normalize()"
        )
    if not (dates == dates.normalize()).all():
        raise DataError(f"the index has times of day, e.g. {_first(dates, dates != dates.normalize())}; "
                        "give one row a trading day: index.normalize()")  # fmt: skip
    if dates.has_duplicates:
        raise DataError(f"the date {_first(dates, dates.duplicated())} is there twice; keep one row a date")
    if not dates.is_monotonic_increasing:
        late = np.flatnonzero(np.diff(dates.to_numpy()) < np.timedelta64(0))[0] + 1
        raise DataError(f"the dates are not sorted: {dates[late].date()} comes late; use frame.sort_index()")
    return pd.DatetimeIndex(dates.to_numpy().astype("datetime64[ns]"), name="date")


def _checked_assets(close: pd.DataFrame) -> pd.Index:
    if isinstance(close.columns, pd.MultiIndex):
        raise DataError(
            "the columns have several levels; give one frame a field: from_frame(close, volume=...)"
        )
    names = [str(c) for c in close.columns]
    if len(set(names)) != len(names):
        twice = next(n for i, n in enumerate(names) if n in names[:i])
        raise DataError(f"the asset {twice!r} is there twice; give every column a name of its own")
    return pd.Index(names)


def _checked_values(
    name: str, frame: pd.DataFrame, dates: pd.DatetimeIndex, assets: pd.Index
) -> pd.DataFrame:
    try:
        values = np.array(frame.to_numpy(dtype=np.float64, na_value=np.nan), order="C")
    except (TypeError, ValueError) as e:
        raise DataError(
            f"{name} holds values that are no numbers ({e}); convert them, NaN where missing"
        ) from e
    if np.isinf(values).any():
        raise DataError(
            f"{name} of {_where(np.isinf(values), dates, assets)} is infinite; use NaN if unknown"
        )
    if (name in ("open", "high", "low") or name.endswith("close")) and (values <= 0).any():
        t, i = np.argwhere(values <= 0)[0]
        raise DataError(
            f"{name} of {assets[i]!r} on {dates[t].date()} is {values[t, i]:g}; prices must be positive. "
            "Use NaN where there is none"
        )
    values.flags.writeable = False
    return pd.DataFrame(values, index=dates, columns=assets, copy=False)


def _first(dates: pd.DatetimeIndex, where: np.ndarray) -> str:
    return str(dates[int(np.argmax(where))])


def _where(bad: np.ndarray, dates: pd.DatetimeIndex, assets: pd.Index) -> str:
    t, i = np.argwhere(bad)[0]
    return f"{assets[i]!r} on {dates[t].date()}"
