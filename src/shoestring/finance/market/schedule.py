"""When a strategy decides: rules over the sessions of an exchange, and the time of day of the job."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shoestring.core.errors import ConfigError
from shoestring.finance.market._exchanges import load_exchange

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RULES", "Schedule"]

RULES = {
    "B": "every session",
    "W": "first session of the week",
    "WE": "last session of the week",
    "BMS": "first session of the month",
    "BME": "last session of the month",
    "BQS": "first session of the quarter",
    "BQE": "last session of the quarter",
    "BYS": "first session of the year",
    "BYE": "last session of the year",
}
_PERIODS = {"W": "W", "BM": "M", "BQ": "Q", "BY": "Y"}
_FORM = re.compile(r"(?P<rule>[A-Z]+)(?:\+(?P<offset>\d+))?(?: (?P<time>\d\d:\d\d))?(?: (?P<zone>\S+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The dates on which a strategy decides, and when the job of a date runs.

    A date is one of the panel's sessions; the strategy sees everything up to that session's close.
    Whether a session is due never depends on a later row: the first session of a period is the one
    whose predecessor lies in an earlier period, and the last one is the one after which `calendar`
    has no further session in the period.
    """

    rule: str = "BMS"
    """One of `RULES`."""
    offset: int = 0
    """Sessions after the first of the period: ``BMS+2`` is the third session of the month."""
    time: str = "06:00"
    """Time of day at which the job of a date runs, ``HH:MM``: the first such time after the close."""
    timezone: str = "America/New_York"
    """IANA name of the zone of `time`."""
    calendar: str = "XNYS"
    """Exchange calendar that knows which sessions are to come; ``"weekday"`` for Monday to Friday."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"schedule {self.rule!r} is not known; allowed: {', '.join(RULES)}")
        if self.offset and not self.rule.endswith("S"):
            raise ConfigError(
                f"schedule {self.rule}+{self.offset}: only rules that start a period (BMS, BQS, BYS) count on"
            )
        try:
            dt.time.fromisoformat(self.time)
            ZoneInfo(self.timezone)
        except (ValueError, ZoneInfoNotFoundError) as e:
            raise ConfigError(
                f"schedule time {self.time!r} in {self.timezone!r} is not a time of day in a known zone; "
                "write it as in 'BMS 06:00 America/New_York'"
            ) from e

    @classmethod
    def parse(cls, text: "str | Schedule") -> "Schedule":
        """Read ``RULE[+k] [HH:MM [ZONE]]``, for example ``"BMS+2 06:00 America/New_York"``."""
        if isinstance(text, Schedule):
            return text
        match = _FORM.fullmatch(" ".join(str(text).split()))
        if match is None:
            raise ConfigError(
                f"schedule {text!r} is not of the form RULE[+k] [HH:MM [ZONE]], "
                f"as in 'BMS 06:00 America/New_York'; rules: {', '.join(RULES)}"
            )
        given = {"time": match["time"], "timezone": match["zone"]}
        return cls(
            rule=match["rule"],
            offset=int(match["offset"] or 0),
            **{name: value for name, value in given.items() if value},
        )

    def __str__(self) -> str:
        count = f"+{self.offset}" if self.offset else ""
        return f"{self.rule}{count} {self.time} {self.timezone}"

    @property
    def cron(self) -> str:
        """The time of day as a cron expression for every day; which days are due says `due`."""
        hour, minute = self.time.split(":")
        return f"{int(minute)} {int(hour)} * * *"

    def due(self, sessions: "pd.DatetimeIndex") -> "pd.DatetimeIndex":
        """Return those of `sessions` on which the strategy decides.

        Parameters
        ----------
        sessions : DatetimeIndex
            Increasing dates of the panel. The first one never starts a period: what came before it
            is not known.

        Returns
        -------
        DatetimeIndex
            A part of `sessions`; the part up to any date depends on nothing after that date.
        """
        if self.rule == "B" or len(sessions) == 0:
            return sessions
        period = _period_numbers(sessions, self._period)
        if self.rule.endswith("E"):
            following = _next_sessions(sessions, self.calendar)
            return _take(sessions, _period_numbers(following, self._period) != period)
        starts = (period[1:] != period[:-1]).nonzero()[0] + 1
        rows = starts + self.offset
        inside = rows[rows < len(sessions)]
        return _take(sessions, inside[period[inside] == period[starts[: len(inside)]]])

    def is_due(self, sessions: "pd.DatetimeIndex", date: Any) -> bool:
        """Whether the strategy decides at the close of `date`, given sessions up to that date or later."""
        import pandas as pd

        day = pd.Timestamp(date)
        known = sessions[sessions <= day]
        return bool(len(known)) and known[-1] == day and day in self.due(known)

    def runs_at(self, date: Any) -> "pd.Timestamp":
        """When the job of session `date` runs: the first `time` after 16:00 of that day in `timezone`."""
        import pandas as pd

        day = pd.Timestamp(date).normalize()
        if self.time < "16:00":
            day = day + pd.Timedelta(days=1)
        return pd.Timestamp(f"{day.date()} {self.time}").tz_localize(
            self.timezone, nonexistent="shift_forward", ambiguous=True
        )

    @property
    def _period(self) -> str:
        return _PERIODS[self.rule if self.rule == "W" else self.rule[:-1]]


def _take(sessions: "pd.DatetimeIndex", rows: Any) -> "pd.DatetimeIndex":
    import pandas as pd

    return pd.DatetimeIndex(sessions[rows])


def _period_numbers(dates: "pd.DatetimeIndex", period: str) -> Any:
    """Return the number of the period of every date, (T,) int64."""
    import numpy as np

    return np.asarray(dates.to_period(period).asi8)


def _next_sessions(sessions: "pd.DatetimeIndex", calendar: str) -> "pd.DatetimeIndex":
    """Return for every session the calendar's first session after it."""
    import pandas as pd

    if calendar == "weekday":
        return pd.DatetimeIndex(sessions + pd.offsets.BDay(1))
    known, _ = load_exchange(calendar)
    if sessions[0] < known[0]:
        raise ConfigError(
            f"the calendar {calendar!r} begins on {known[0].date()}, after {sessions[0].date()}; "
            "start later or use calendar='weekday'"
        )
    place = known.searchsorted(sessions, side="right")
    if place.max() >= len(known):
        raise ConfigError(
            f"the calendar {calendar!r} ends on {known[-1].date()}, before the session after "
            f"{sessions[-1].date()}; update exchange-calendars or use calendar='weekday'"
        )
    return pd.DatetimeIndex(known[place])
