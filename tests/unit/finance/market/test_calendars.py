import warnings

import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.market._exchanges import load_exchange
from shoestring.finance.market.calendars import (
    CalendarEndsWarning,
    closes,
    days_left,
    nth_session,
    rebalance_dates,
    sessions,
    usable_from,
)
from shoestring.finance.market.schedule import Schedule


def texts(index: pd.DatetimeIndex) -> list[str]:
    return [str(d.date()) for d in index]


def test_holidays_are_no_sessions_and_half_days_are() -> None:
    days = texts(sessions("XNYS", "2024-11-25", "2024-12-02"))
    assert days == ["2024-11-25", "2024-11-26", "2024-11-27", "2024-11-29", "2024-12-02"]  # Thanksgiving
    assert "2001-09-11" not in texts(sessions("XNYS", "2001-09-10", "2001-09-17"))
    assert len(sessions("XNYS", "2024-07-04", "2024-07-04")) == 0


def test_half_days_and_summer_time_move_the_close() -> None:
    times = closes("XNYS", "2024-03-08", "2024-03-11")  # clocks change in between
    assert [t.hour for t in times] == [21, 20]
    assert closes("XNYS", "2024-11-29", "2024-11-29").iloc[0] == pd.Timestamp("2024-11-29 18:00", tz="UTC")


@pytest.mark.parametrize(
    ("month", "n", "day"),
    [
        ("2026-03", 3, "2026-03-04"),
        ("2026-01", 1, "2026-01-02"),
        ("2026-05", -1, "2026-05-29"),
        ("2026-11", -2, "2026-11-27"),
    ],
)
def test_the_nth_session_of_a_month(month: str, n: int, day: str) -> None:
    assert str(nth_session("XNYS", month, n).date()) == day


@pytest.mark.parametrize("n", [0, 24, -24])
def test_a_session_that_the_month_does_not_have_is_refused(n: int) -> None:
    with pytest.raises(DataError, match="has 22 sessions at XNYS"):
        nth_session("XNYS", "2026-03", n)


def test_exchanges_differ() -> None:
    new_york = sessions("XNYS", "2024-05-01", "2024-05-31")
    london = sessions("XLON", "2024-05-01", "2024-05-31")
    assert "2024-05-06" in texts(new_york)
    assert "2024-05-06" not in texts(london)


@pytest.mark.parametrize(
    ("schedule", "days"),
    [
        (
            "B",
            [
                "2024-06-27",
                "2024-06-28",
                "2024-07-01",
                "2024-07-02",
                "2024-07-03",
                "2024-07-05",
                "2024-07-08",
            ],
        ),
        ("W", ["2024-07-01", "2024-07-08"]),
        ("BMS 06:00 America/New_York", ["2024-07-01"]),
        ("BMS+3", ["2024-07-05"]),
        ("BME", ["2024-06-28"]),
        ("BQS", ["2024-07-01"]),
    ],
)
def test_schedules_become_dates(schedule: str, days: list[str]) -> None:
    assert texts(rebalance_dates(schedule, "2024-06-27", "2024-07-08")) == days


def test_the_first_date_is_due_if_it_starts_a_period() -> None:
    assert texts(rebalance_dates("BQS", "2024-01-02", "2024-04-01")) == ["2024-01-02", "2024-04-01"]
    assert texts(rebalance_dates("BQS", "2024-01-03", "2024-03-29")) == []


def test_every_third_session_of_a_year_is_found_by_counting() -> None:
    found = texts(rebalance_dates("BMS+2", "2025-01-01", "2025-12-31"))
    counted = [str(nth_session("XNYS", f"2025-{m:02d}", 3).date()) for m in range(1, 13)]
    assert found == counted


def test_sessions_before_the_calendar_are_refused_where_it_must_be_asked() -> None:
    early = pd.bdate_range("1959-11-02", periods=80)
    assert len(Schedule(rule="BME", calendar="weekday").due(early)) == 3
    with pytest.raises(ConfigError, match=r"begins on 1960-01.*weekday"):
        Schedule(rule="BME").due(early)


def test_an_unknown_exchange_is_refused_with_a_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"'XNYX' is not known.*XNYS"):
        sessions("XNYX", "2020-01-01", "2020-02-01")


def test_dates_outside_the_calendar_are_refused() -> None:
    with pytest.raises(DataError, match="the calendar XNYS knows 1960-01-01"):
        sessions("XNYS", "1950-01-01", "1980-01-01")
    with pytest.raises(DataError, match="update exchange-calendars"):
        sessions("XNYS", "2020-01-01", "2150-01-01")
    with pytest.raises(DataError, match="give start before end"):
        sessions("XNYS", "2020-01-02", "2020-01-01")


def test_there_is_an_alert_before_the_calendar_ends() -> None:
    last = load_exchange("XNYS")[0][-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sessions("XNYS", "2024-01-02", last - pd.Timedelta(days=60))
    with pytest.warns(CalendarEndsWarning, match=r"59 days after .*; update exchange-calendars"):
        sessions("XNYS", "2024-01-02", last - pd.Timedelta(days=59))
    assert days_left("XNYS", last) == 0


def test_what_comes_after_the_close_is_used_on_the_next_session() -> None:
    times = pd.to_datetime(["2024-11-27 16:00", "2024-11-27 16:01", "2024-11-29 13:00", "2024-11-29 13:01"])
    used = usable_from(times.tz_localize("America/New_York"), "XNYS")
    assert texts(used) == ["2024-11-27", "2024-11-29", "2024-11-29", "2024-12-02"]
    with pytest.raises(DataError, match="no time zone"):
        usable_from(times, "XNYS")
    with pytest.raises(DataError, match="not all times"):
        usable_from(pd.to_datetime(["1950-01-03 10:00"]).tz_localize("UTC"), "XNYS")
