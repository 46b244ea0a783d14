"""Which fit serves which date."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shoestring.finance.market.schedule import Schedule

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Fold", "folds"]

CHUNK = 64
"""Most dates in a fold: what a killed run loses at most, and what one stored table holds."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fold:
    """Consecutive decision dates that one fit serves."""

    fitted_on: "pd.Timestamp | None"
    """Date of the fit, before or on the first date; None if no refit date came before."""
    dates: "pd.DatetimeIndex"
    """At most `CHUNK` dates of one calendar year."""


def folds(sessions: "pd.DatetimeIndex", dates: "pd.DatetimeIndex", refit: str) -> list[Fold]:
    """Group decision dates by the fit in force and by year.

    Parameters
    ----------
    sessions : DatetimeIndex
        All dates of the panel up to the last decision.
    dates : DatetimeIndex
        Decision dates, a part of `sessions`.
    refit : str
        Rule of the refit dates, as in `Schedule`.

    Returns
    -------
    list of Fold
        In order of time. The fit in force at a date is the one of the latest refit date not after it: it
        depends on the calendar, not on where a backtest starts, so that a live run finds the same one.
    """
    import numpy as np
    import pandas as pd

    refits = Schedule.parse(refit).due(sessions)
    place = refits.searchsorted(dates, side="right")
    out: list[Fold] = []
    change = (np.diff(place) != 0) | (np.diff(dates.year) != 0)
    for rows in np.split(np.arange(len(dates)), np.flatnonzero(change) + 1) if len(dates) else []:
        number = int(place[rows[0]])
        fitted_on = refits[number - 1] if number else None
        index = pd.DatetimeIndex(dates[rows])
        out += [Fold(fitted_on=fitted_on, dates=index[i : i + CHUNK]) for i in range(0, len(index), CHUNK)]
    return out
