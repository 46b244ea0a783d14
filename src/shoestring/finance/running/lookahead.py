"""Does a strategy look ahead? Change everything after a date; nothing before it may change."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.market.panel import PricePanel, as_panel
from shoestring.finance.market.view import StrategyError
from shoestring.finance.records.objects import encode
from shoestring.finance.running.run import Observed, observe
from shoestring.finance.running.undeclared import held_data, watched_reads
from shoestring.finance.strategies.interface import KnownTable, Strategy

__all__ = ["Leak", "LookaheadReport", "check_lookahead"]

Kind = Literal["looks ahead", "differs from live", "undeclared input", "remembers", "not deterministic"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """One way in which weights depend on what they must not depend on."""

    kind: Kind
    """``looks ahead``: later data changed, earlier results too. ``differs from live``: with later rows
    removed instead. ``undeclared input``: data besides the view. ``remembers``: what ran before matters.
    ``not deterministic``: the same run again gives something else."""
    what: str
    """What changed (weights, a feature, a fit), or what was found."""
    date: str = ""
    """Date at which it showed."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}" + (f" at {self.date}" if self.date else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class LookaheadReport:
    """What was tried and found."""

    strategy: str
    dates: tuple[str, ...]
    """Dates after which data were changed."""
    leaks: tuple[Leak, ...]
    """At most one of a kind and subject."""

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.leaks


def check_lookahead(  # the words of one check
    strategy: Strategy,
    panel: PricePanel | pd.DataFrame,
    start: str | None = None,
    end: str | None = None,
    *,
    known: Mapping[str, KnownTable] | None = None,
    dates: int = 8,
    seed: int = 0,
) -> LookaheadReport:
    """Try a strategy on data that differ only after a date.

    Parameters
    ----------
    strategy : Strategy
        What is tried. Nothing is read from a store.
    panel : PricePanel or DataFrame
        Prices.
    start, end : date, optional
        Range of the decision dates.
    known : mapping, optional
        Point-in-time tables; their rows that became known after a date are changed as well.
    dates : int
        How many decision dates are tried, spread over the range.
    seed : int
        Of the changes, and of the strategy.

    Returns
    -------
    LookaheadReport

    Raises
    ------
    ConfigError
        If there are fewer than two decision dates with enough history.

    Notes
    -----
    For each date: prices after it are scaled by random walks (drifts differ by asset) and volumes shuffled,
    values known later are changed; then everything later is removed, which is what a live run sees. Weights,
    rows of features up to the date and fits up to it must be the same bit for bit. One date alone and all
    dates in one run must agree, and so must two runs. At the last date tried this is repeated with prices
    missing right before it (a strategy that refuses such data is not tried with them). Code is searched for
    data of its own, since those do not change with the panel. Costs 2 runs of all dates, 3 of each date
    tried and 2 more.

    A table whose ``known_at`` is wrong, and a universe chosen with hindsight, cannot be found like this.
    """
    full = as_panel(panel)
    tables = dict(known or {})
    whole = full.between(None, end)
    due = strategy.info.schedule.due(whole.dates)
    due = due if start is None else due[due >= pd.Timestamp(start)]
    base = observe(strategy, whole, due, tables, seed)
    with watched_reads() as reads:
        again = observe(strategy, whole, due, tables, seed)
    tried = _chosen(base.weights.index, whole.dates[-1], dates, strategy)
    found = _Found()
    for note in [*held_data(strategy, tried[0], len(whole)), *reads]:
        found.add("undeclared input", note)
    found.compare("not deterministic", base, again, whole.dates[-1])
    rng = np.random.default_rng(seed)
    for date in reversed(tried):  # latest first: what is remembered then comes from later
        path = due[due <= date] if strategy.info.uses_previous else pd.DatetimeIndex([date])
        found.compare("remembers", base, observe(strategy, whole, path, tables, seed), date)
        changed = _changed_panel(whole, date, rng), _changed_tables(tables, date, rng)
        found.compare("looks ahead", base, observe(strategy, changed[0], path, changed[1], seed), date)
        cut = whole.cut(date), _cut_tables(tables, date)
        found.compare("differs from live", base, observe(strategy, cut[0], path, cut[1], seed), date)
    _compare_with_gaps(strategy, whole, tables, tried[-1], due, found, (seed, rng))
    return LookaheadReport(
        strategy=f"{strategy.info.name} {strategy.info.version}",
        dates=tuple(str(d.date()) for d in tried),
        leaks=tuple(found.leaks.values()),
    )


def _compare_with_gaps(
    strategy: Strategy,
    panel: PricePanel,
    tables: Mapping[str, KnownTable],
    date: pd.Timestamp,
    due: pd.DatetimeIndex,
    found: "_Found",
    chance: tuple[int, np.random.Generator],
) -> None:
    """Take prices away right before a date: who fills gaps from later prices shows, whatever the data."""
    seed, rng = chance
    path = due[due <= date] if strategy.info.uses_previous else pd.DatetimeIndex([date])
    gapped = _gapped_panel(panel, date, rng)
    changed = _changed_panel(gapped, date, rng), _changed_tables(tables, date, rng)
    try:
        one = observe(strategy, gapped.cut(date), path, _cut_tables(tables, date), seed)
        other = observe(strategy, changed[0], path, changed[1], seed)
    except (DataError, StrategyError) as e:
        logging.getLogger(__name__).info("not tried with gaps: %s", e)
        return
    found.compare("looks ahead", one, other, date)


class _Found:
    """Leaks by kind and subject: the first date of each is enough."""

    def __init__(self) -> None:
        self.leaks: dict[tuple[str, str], Leak] = {}

    def add(self, kind: Kind, what: str, date: pd.Timestamp | None = None) -> None:
        day = "" if date is None else str(date.date())
        self.leaks.setdefault((kind, what), Leak(kind=kind, what=what, date=day))

    def compare(self, kind: Kind, one: Observed, other: Observed, date: pd.Timestamp) -> None:
        """Add what differs up to a date, bit for bit."""
        for what in _differences(one, other, date):
            self.add(kind, what, date)


def _differences(one: Observed, other: Observed, date: pd.Timestamp) -> Iterator[str]:
    for name in sorted(set(one.features) | set(other.features)):
        before, after = one.features.get(name), other.features.get(name)
        if before is None or after is None or not _same(before.loc[:date], after.loc[:date]):
            yield f"feature {name!r}"
    for day in sorted(set(one.states) & set(other.states)):
        if day <= date and encode(one.states[day]) != encode(other.states[day]):
            yield f"fit of {day.date()}"
    shared = one.weights.index.intersection(other.weights.index)
    missing = date in one.weights.index and date not in other.weights.index
    shared = shared[shared <= date]
    if missing or not _same(one.weights.loc[shared], other.weights.loc[shared]):
        yield "weights"


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    if one.shape != other.shape or list(one.columns) != list(other.columns):
        return False
    left, right = one.to_numpy(np.float64), other.to_numpy(np.float64)
    return bool(np.array_equal(left, right, equal_nan=True))


def _chosen(decided: pd.Index, last: pd.Timestamp, dates: int, strategy: Strategy) -> list[pd.Timestamp]:
    """Choose dates that have something after them, spread over the range."""
    if dates < 1:
        raise ConfigError(f"dates={dates}; try at least 1")
    usable = decided[decided < last]
    if len(usable) == 0:
        raise ConfigError(
            f"{strategy.info.name} decided on {len(decided)} dates with data after them on none; "
            "give longer data, or a wider range"
        )
    rows = np.unique(np.linspace(0, len(usable) - 1, min(dates, len(usable))).round().astype(int))
    return [pd.Timestamp(usable[row]) for row in rows]


def _changed_panel(panel: PricePanel, date: pd.Timestamp, rng: np.random.Generator) -> PricePanel:
    """Return a panel with other values after a date, listed where it was listed."""
    first = int(panel.dates.searchsorted(date, side="right"))
    rows, columns = len(panel) - first, len(panel.assets)
    steps = rng.normal(0.0, 0.05, (rows, columns)) + rng.normal(0.0, 0.5, columns) / max(rows, 1) ** 0.5
    factor = np.exp(np.clip(np.cumsum(steps, axis=0), -20.0, 20.0))
    fields = {}
    for name, frame in panel.fields.items():
        values = frame.to_numpy().copy()
        later = values[first:]
        is_price = name in ("open", "high", "low") or name.endswith("close")
        values[first:] = later * factor if is_price else rng.permuted(later, axis=0)
        fields[name] = pd.DataFrame(values, index=frame.index, columns=frame.columns)
    return PricePanel.from_frame(fields.pop("close"), **fields)


def _gapped_panel(panel: PricePanel, date: pd.Timestamp, rng: np.random.Generator) -> PricePanel:
    """Return a panel in which about a third of the assets have no price in the three rows up to a date."""
    last = int(panel.dates.searchsorted(date, side="right"))
    missing = rng.random(len(panel.assets)) < 1 / 3
    missing[int(rng.integers(len(missing)))] = True
    missing[int(rng.integers(len(missing)))] = False
    fields = {}
    for name, frame in panel.fields.items():
        values = frame.to_numpy().copy()
        values[max(last - 3, 0) : last, missing] = np.nan
        fields[name] = pd.DataFrame(values, index=frame.index, columns=frame.columns)
    return PricePanel.from_frame(fields.pop("close"), **fields)


def _changed_tables(
    tables: Mapping[str, KnownTable], date: pd.Timestamp, rng: np.random.Generator
) -> dict[str, KnownTable]:
    out = {}
    for name, table in tables.items():
        frame = _dated(name, table)
        later = frame["known_at"].to_numpy() > np.datetime64(date)
        for column in frame.columns[[t.kind == "f" for t in frame.dtypes]]:
            values = frame[column].to_numpy(copy=True)
            values[later] = rng.permutation(values[later]) * -1.5 + rng.normal(0.0, 1.0, int(later.sum()))
            frame[column] = values
        out[name] = table.with_frame(frame)
    return out


def _cut_tables(tables: Mapping[str, KnownTable], date: pd.Timestamp) -> dict[str, KnownTable]:
    out = {}
    for name, table in tables.items():
        frame = _dated(name, table)
        out[name] = table.with_frame(frame[frame["known_at"] <= date].reset_index(drop=True))
    return out


def _dated(name: str, table: KnownTable) -> pd.DataFrame:
    frame = table.frame()
    if "known_at" not in frame.columns:
        raise DataError(f"the table {name!r} has no column known_at in frame(); give it one")
    return frame
