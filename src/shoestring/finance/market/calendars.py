"""Sessions of exchanges: which days trade, when they close, and which of them a schedule means."""

import warnings

import pandas as pd

from shoestring.core.errors import DataError
from shoestring.finance.market._exchanges import load_exchange
from shoestring.finance.market.schedule import Schedule

__all__ = [
    "CalendarEndsWarning",
    "closes",
    "days_left",
    "nth_session",
    "rebalance_dates",
    "sessions",
    "usable_from",
]

ALERT_DAYS = 60
"""Warn when fewer calendar days than this are left of a calendar."""

Date = str | pd.Timestamp


class CalendarEndsWarning(UserWarning):
    """The sessions of an exchange that the installed package knows end soon."""


def sessions(exchange: str, start: Date, end: Date) -> pd.DatetimeIndex:
    """Return the trading days of an exchange from `start` to `end`, both included; half days are among them.

    Parameters
    ----------
    exchange : str
        Code of exchange-calendars, e.g. ``"XNYS"``.
    start, end : str or Timestamp
        Dates.

    Raises
    ------
    ConfigError
        For an unknown exchange.
    DataError
        If the calendar does not cover the dates.

    Warns
    -----
    CalendarEndsWarning
        If `end` lies in the last 60 days that the calendar knows.
    """
    days, _ = load_exchange(exchange)
    first, last = pd.Timestamp(start), pd.Timestamp(end)
    if first > last:
        raise DataError(f"the range {start}..{end} is empty; give start before end")
    if first < _opens(exchange) or last > days[-1]:
        raise DataError(
            f"the calendar {exchange} knows {_opens(exchange).date()}..{days[-1].date()}, not all of "
            f"{first.date()}..{last.date()}; shorten the range, or update exchange-calendars for later dates"
        )
    if days_left(exchange, last) < ALERT_DAYS:
        warnings.warn(
            f"the calendar {exchange} ends on {days[-1].date()}, {days_left(exchange, last)} days after "
            f"{last.date()}; update exchange-calendars",
            CalendarEndsWarning,
            stacklevel=2,
        )
    return days[days.searchsorted(first, side="left") : days.searchsorted(last, side="right")]


def days_left(exchange: str, date: Date) -> int:
    """Return how many calendar days after `date` the calendar of an exchange still knows."""
    return int((load_exchange(exchange)[0][-1] - pd.Timestamp(date)).days)


def closes(exchange: str, start: Date, end: Date) -> "pd.Series[pd.Timestamp]":
    """Return the closing times (UTC) of the sessions from `start` to `end`; early on half days."""
    days, times = load_exchange(exchange)
    wanted = sessions(exchange, start, end)
    return pd.Series(times[days.searchsorted(wanted)], index=wanted, name="close")


def nth_session(exchange: str, month: str | pd.Period, n: int) -> pd.Timestamp:
    """Return the n-th session of a month; n = 1 is the first, n = -1 the last.

    Parameters
    ----------
    exchange : str
        Code of exchange-calendars.
    month : str or Period
        E.g. ``"2026-03"``.
    n : int
        Not 0.

    Raises
    ------
    DataError
        If the month has no such session or the calendar does not cover it.
    """
    period = pd.Period(month, "M")
    days = sessions(exchange, period.start_time, period.end_time.normalize())
    if n == 0 or abs(n) > len(days):
        raise DataError(
            f"{period} has {len(days)} sessions at {exchange}, not a session n={n}; give 1..{len(days)}, or "
            f"-1..-{len(days)} from its end"
        )
    return pd.Timestamp(days[n - 1 if n > 0 else n])


def rebalance_dates(
    schedule: "str | Schedule", start: Date, end: Date, *, exchange: str = "XNYS"
) -> pd.DatetimeIndex:
    """Return the sessions from `start` to `end` on which a schedule is due.

    Parameters
    ----------
    schedule : str or Schedule
        E.g. ``"BMS 06:00 America/New_York"``: first session of every month; ``"B"`` daily, ``"W"`` weekly,
        ``"BMS+2"`` the third session of the month, ``"BQS"`` quarterly. See `Schedule`.
    start, end : str or Timestamp
        Dates, both included.
    exchange : str
        Code of exchange-calendars.

    Examples
    --------
    >>> [str(d.date()) for d in rebalance_dates("BMS+2", "2026-01-01", "2026-03-31")]
    ['2026-01-06', '2026-02-04', '2026-03-04']
    """
    wanted = sessions(exchange, start, end)
    days, _ = load_exchange(exchange)
    before = (
        max(0, int(days.searchsorted(wanted[0])) - 80) if len(wanted) else 0
    )  # a quarter: knows its start
    known = days[before : int(days.searchsorted(wanted[-1])) + 1] if len(wanted) else wanted
    due = Schedule.parse(schedule).due(pd.DatetimeIndex(known))
    return due[due >= pd.Timestamp(start)]


def usable_from(times: pd.DatetimeIndex, exchange: str) -> pd.DatetimeIndex:
    """Return the first session on whose close something that became public at a time can be used.

    Parameters
    ----------
    times : DatetimeIndex
        Times with a time zone.
    exchange : str
        Code of exchange-calendars; its half days close early.

    Raises
    ------
    DataError
        For times without a time zone or outside the calendar.
    """
    if times.tz is None:
        raise DataError("the times carry no time zone; localise them, e.g. times.tz_localize('UTC')")
    days, ends = load_exchange(exchange)
    place = ends.searchsorted(times.tz_convert("UTC"), side="left")
    if len(times) and (times.min() < ends[0] or place.max() >= len(days)):
        raise DataError(
            f"the calendar {exchange} knows {days[0].date()}..{days[-1].date()}, not all times from "
            f"{times.min()} to {times.max()}; drop them, or update exchange-calendars"
        )
    return days[place]


def _opens(exchange: str) -> pd.Timestamp:
    """Return the first date that a calendar covers: the month of its first session."""
    first = load_exchange(exchange)[0][0]
    return pd.Timestamp(first.year, first.month, 1)
