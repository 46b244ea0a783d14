"""The one path from data to weights, which research, backtest, batch and live all take.

A mode chooses dates; what happens at a date is the same: the data are cut there, the latest fit is
looked up or made, `on_rebalance` is called, its weights are checked. Every step is a task with a key,
so a run that was killed goes on behind its last finished task, and a run that differs in one part
repeats only what follows from that part.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from shoestring.core.errors import ConfigError
from shoestring.finance.market.panel import PricePanel, as_panel
from shoestring.finance.market.view import KnownTable, NotEnoughHistoryError, Sources
from shoestring.finance.records.store import Store
from shoestring.finance.running._steps import StrategyRun
from shoestring.finance.running.keys import Digests
from shoestring.finance.running.tasks import Decisions
from shoestring.finance.strategies.context import State
from shoestring.finance.strategies.interface import Strategy

__all__ = ["Observed", "decide", "decisions", "observe", "run_strategy"]


def run_strategy(  # the words of one run
    strategy: Strategy,
    panel: PricePanel | pd.DataFrame,
    start: Any = None,
    end: Any = None,
    *,
    known: Mapping[str, KnownTable] | None = None,
    seed: int = 0,
    store: Store | None = None,
) -> pd.DataFrame:
    """Return the weights of every decision date from `start` to `end`; see `decisions`."""
    return decisions(strategy, panel, start, end, known=known, seed=seed, store=store).weights


def decide(  # the words of one run
    strategy: Strategy,
    panel: PricePanel | pd.DataFrame,
    date: Any,
    *,
    start: Any = None,
    known: Mapping[str, KnownTable] | None = None,
    seed: int = 0,
    store: Store | None = None,
) -> Decisions:
    """Return the weights of one date, from data cut there: what a live run does.

    Parameters
    ----------
    strategy, panel, known, seed, store
        As in `decisions`.
    date : date
        A session on which the strategy's schedule is due.
    start : date, optional
        First date of the path, for strategies that use previous weights.

    Raises
    ------
    ConfigError
        If the schedule is not due, or the strategy needs `start` and none is given.
    NotEnoughHistoryError
        If the history is too short.
    """
    day = pd.Timestamp(date)
    cut = as_panel(panel).cut(day)
    info = strategy.info
    if not info.schedule.is_due(cut.dates, day):
        raise ConfigError(
            f"{info.name} {info.version} decides by {info.schedule} and is not due on {day.date()}; the last "
            f"sessions of the data are {', '.join(str(d.date()) for d in cut.dates[-3:])}"
        )
    if info.uses_previous and start is None:
        raise ConfigError(
            f"{info.name} uses its previous weights, so its path must be replayed; give start=, "
            "the first date of that path"
        )
    first = start if info.uses_previous else day
    made = decisions(strategy, cut, first, day, known=known, seed=seed, store=store)
    if day not in made.weights.index:
        raise NotEnoughHistoryError(
            f"{info.name} {info.version}: the history before {day.date()} is too short; give longer data"
        )
    return dataclasses.replace(made, weights=made.weights.loc[[day]])


def decisions(  # noqa: PLR0913  # the words of one run
    strategy: Strategy,
    panel: PricePanel | pd.DataFrame,
    start: Any = None,
    end: Any = None,
    *,
    known: Mapping[str, KnownTable] | None = None,
    seed: int = 0,
    store: Store | None = None,
    digests: Digests | None = None,
    run_id: str = "",
    show_progress: bool = False,
) -> Decisions:
    """Run a strategy on its decision dates.

    Parameters
    ----------
    strategy : Strategy
        What decides.
    panel : PricePanel or DataFrame
        Prices; history before `start` is used as history.
    start, end : date, optional
        First and last decision, both included; None: all of the panel.
    known : mapping, optional
        Point-in-time tables by name.
    seed : int
        Seed of everything random.
    store : Store, optional
        Where steps are kept and found again; without one everything is computed.
    digests : Digests, optional
        Of this panel and these tables, to share among runs.
    run_id : str
        For messages.
    show_progress : bool
        One line on stderr, on a terminal.

    Raises
    ------
    DataError
        If the strategy returns weights that cannot be, or features that do not fit the panel.
    ConfigError
        If a table that the strategy declares is not given.

    Notes
    -----
    The weights of a date are a function of the strategy, its parameters, the seed and the data up to
    that date; unless the strategy uses its previous weights, not of `start`.
    """
    full = as_panel(panel)
    last = full.dates[-1] if end is None else pd.Timestamp(end)
    tables = dict(known or {})
    missing = set(strategy.info.data) - set(tables)
    if missing:
        raise ConfigError(
            f"{strategy.info.name} needs the table {sorted(missing)[0]!r}, and the run was given "
            f"{', '.join(sorted(tables)) or 'none'}; add it to known="
        )
    sessions = full.dates[full.dates <= last]
    due = strategy.info.schedule.due(sessions)
    dates = due if start is None else due[due >= pd.Timestamp(start)]
    run = StrategyRun(
        strategy, Sources(panel=full, known=tables), seed, store, digests, run_id, sessions, due
    )
    return run.weights_of(dates, show_progress)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observed:
    """Everything that a strategy made on the way to its weights, for checks."""

    weights: pd.DataFrame
    features: Mapping[str, pd.DataFrame]
    states: Mapping[pd.Timestamp, State | None]
    """What `fit` gave, by its date."""


def observe(
    strategy: Strategy,
    panel: PricePanel,
    dates: pd.DatetimeIndex,
    known: Mapping[str, KnownTable],
    seed: int,
) -> Observed:
    """Run a strategy on some of its dates, with features over the whole panel, and keep nothing.

    The same path as `decisions`; `dates` are due dates, the whole path up to the last one where the
    strategy uses its previous weights.
    """
    due = strategy.info.schedule.due(panel.dates)
    run = StrategyRun(strategy, Sources(panel=panel, known=known), seed, None, None, "", panel.dates, due)
    made = run.weights_of(dates, False)
    states = {date: state for date, (state, _) in run.log.states.items()}
    return Observed(weights=made.weights, features=run.sources.features, states=states)
