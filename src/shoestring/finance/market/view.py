"""What a strategy sees at a date: prices, features and point-in-time tables, all cut there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from shoestring.core.errors import ConfigError, DataError, ShoestringError

if TYPE_CHECKING:
    import pandas as pd

    from shoestring.finance.market.panel import PricePanel

__all__ = ["DataView", "KnownTable", "NotEnoughHistoryError", "Sources", "StrategyError", "view_of"]


class NotEnoughHistoryError(DataError):
    """The panel is too short at this date; the run then skips the date, as warm-up."""


class StrategyError(ShoestringError, RuntimeError):
    """A method of a strategy raised something of its own; the message says which, when and where."""


class KnownTable(Protocol):
    """Rows that each say since when they are known; `shoestring.finance.market.known` has the general one."""

    def as_of(self, date: "pd.Timestamp") -> Any:
        """Return what was known at the close of `date`; the kind of table is the class's own affair."""
        ...

    def frame(self) -> "pd.DataFrame":
        """Return all rows with a column ``known_at`` (for the store's keys and the look-ahead detector)."""
        ...

    def with_frame(self, frame: "pd.DataFrame") -> "KnownTable":
        """Return the same kind of table with other rows, in the form that `frame` gives."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Everything that a run may look at, before it is cut."""

    panel: "PricePanel"
    """Prices."""
    known: Mapping[str, KnownTable] = field(default_factory=dict)
    """Point-in-time tables by name."""
    features: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    """Frames that the strategy's own `features` made, each [T, N] by date and asset."""
    name: str = ""
    """What the data are called, for records."""
    about: tuple[str, ...] = ()
    """Sentences on the data: real or synthetic, how the assets were chosen, licence."""


# Not an attribute of the view: what hangs on the view can be reached from the view.
_SOURCES: "WeakKeyDictionary[DataView, Sources]" = WeakKeyDictionary()


class DataView:
    """Data cut at one date: what came later cannot be reached through it.

    Attributes
    ----------
    as_of : Timestamp
        The date; its close is the last thing that is seen.

    Notes
    -----
    Every frame that comes back is a copy of the rows up to `as_of`, never a view into a longer array.
    """

    __slots__ = ("__weakref__", "_assets", "_universe", "as_of")

    def __init__(self, as_of: "pd.Timestamp", universe: tuple[str, ...] | None) -> None:
        self.as_of = as_of
        self._universe = universe
        self._assets: tuple[str, ...] | None = None

    @property
    def universe(self) -> tuple[str, ...]:
        """Every asset that the strategy may hold at some time, listed now or not."""
        return self._universe or _SOURCES[self].panel.assets

    @property
    def assets(self) -> tuple[str, ...]:
        """Assets of the universe that have a price at `as_of`."""
        if self._assets is None:
            last = _SOURCES[self].panel.window(self.as_of, 1)
            prices = zip(last.columns, last.to_numpy()[-1].tolist(), strict=True)
            listed = {asset for asset, price in prices if not math.isnan(price)}
            self._assets = tuple(a for a in self.universe if a in listed)
        return self._assets

    @property
    def dates(self) -> "pd.DatetimeIndex":
        """Sessions up to `as_of`."""
        import pandas as pd

        dates = _SOURCES[self].panel.dates
        end = int(dates.searchsorted(self.as_of, side="right"))
        return pd.DatetimeIndex(dates.to_numpy()[:end].copy(), name=dates.name)

    def prices(
        self, field: str = "close", lookback: int | None = None, *, listed: bool = True
    ) -> "pd.DataFrame":
        """Return the last rows of one field, [lookback, N] by date and asset, NaN where there is no price.

        Parameters
        ----------
        field : str
            A field of the panel; ``close`` is always there.
        lookback : int, optional
            Number of rows up to and with `as_of`; all when omitted.
        listed : bool
            True: only `assets`, those with a price now. False: the whole `universe`, also what is
            gone since; a training set without those has survivorship bias.

        Raises
        ------
        NotEnoughHistoryError
            If fewer than `lookback` rows exist; the run skips such dates.
        DataError
            If the panel has no such field.
        """
        rows = _SOURCES[self].panel.window(self.as_of, lookback, field)
        self._enough(rows, lookback, f"prices({field!r})")
        names = self.assets if listed else self.universe
        return rows if names == tuple(rows.columns) else rows[list(names)]

    def returns(self, lookback: int | None = None, *, listed: bool = True) -> "pd.DataFrame":
        """Return the last simple returns of ``close``, [lookback, N]; NaN where a price is missing."""
        prices = self.prices("close", None if lookback is None else lookback + 1, listed=listed)
        return prices.pct_change(fill_method=None).iloc[1:]

    def feature(self, name: str, lookback: int | None = None) -> "pd.DataFrame":
        """Return the last rows of a frame that the strategy's own `features` made, whole universe.

        Raises
        ------
        DataError
            If there is no such feature.
        NotEnoughHistoryError
            If fewer than `lookback` rows exist.
        """
        made = _SOURCES[self].features
        if name not in made:
            raise DataError(
                f"there is no feature {name!r}; the strategy's features() gave "
                f"{', '.join(sorted(made)) or 'none'}"
            )
        frame = made[name]
        end = int(frame.index.searchsorted(self.as_of, side="right"))
        first = 0 if lookback is None else max(end - lookback, 0)
        rows = _copied(frame, first, end)
        self._enough(rows, lookback, f"feature({name!r})")
        return rows[[a for a in self.universe if a in rows.columns]]

    def known(self, name: str) -> Any:
        """Return a point-in-time table as it was known at the close of `as_of`.

        Raises
        ------
        DataError
            If the run was given no such table.
        """
        tables = _SOURCES[self].known
        if name not in tables:
            raise DataError(
                f"there is no table {name!r}; this run was given {', '.join(sorted(tables)) or 'none'}"
            )
        return tables[name].as_of(self.as_of)

    def at(self, date: Any) -> "DataView":
        """Return the view at an earlier date, for training sets made as they would have been made then.

        Raises
        ------
        ConfigError
            If `date` is after `as_of`.
        """
        import pandas as pd

        day = pd.Timestamp(date)
        if day > self.as_of:
            raise ConfigError(
                f"view.at({day.date()}) lies after the view's own date {self.as_of.date()}; "
                "give that date or an earlier one"
            )
        return view_of(_SOURCES[self], day, self._universe)

    def _enough(self, rows: "pd.DataFrame", lookback: int | None, what: str) -> None:
        if len(rows) < (lookback or 1):
            raise NotEnoughHistoryError(
                f"{what} with lookback={lookback} at {self.as_of.date()}: only {len(rows)} rows exist; "
                "start later or give longer data"
            )


def _copied(frame: "pd.DataFrame", first: int, end: int) -> "pd.DataFrame":
    """Copy rows into memory of their own, in one layout: the last bit of a sum depends on the layout."""
    import numpy as np
    import pandas as pd

    values = np.array(frame.to_numpy()[first:end], dtype=np.float64, order="C")
    index = pd.DatetimeIndex(frame.index.to_numpy()[first:end].copy(), name=frame.index.name)
    return pd.DataFrame(values, index=index, columns=frame.columns, copy=False)


def view_of(sources: Sources, as_of: "pd.Timestamp", universe: Sequence[str] | None = None) -> DataView:
    """Return `sources` as seen at the close of `as_of`, restricted to `universe`.

    Raises
    ------
    DataError
        If the universe names an asset that the panel does not have, or names one twice.
    """
    names = None if universe is None else tuple(universe)
    if names is not None:
        unknown = set(names) - set(sources.panel.assets)
        if unknown or len(set(names)) != len(names) or not names:
            raise DataError(
                f"the universe of {len(names)} assets at {as_of.date()} is empty, names one twice, or names "
                f"{sorted(unknown)[:3]}, which the panel does not have; choose from data.assets"
            )
    view = DataView(as_of, names)
    _SOURCES[view] = sources
    return view
