"""Decision dates: rules over sessions, none of which looks ahead."""

import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.market.schedule import RULES, Schedule

SESSIONS = pd.DatetimeIndex(
    [
        d
        for d in pd.bdate_range("2023-12-20", "2024-07-10")
        if str(d.date()) not in {"2024-03-29", "2024-05-27"}
    ]
)  # without two of the exchange's holidays


def days(index: pd.DatetimeIndex) -> list[str]:
    return [str(d.date()) for d in index]


def test_the_first_session_of_a_month_is_the_one_after_another_month() -> None:
    due = Schedule.parse("BMS").due(SESSIONS)
    assert days(due)[:4] == ["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"]


def test_the_first_row_starts_no_period_because_what_came_before_is_unknown() -> None:
    assert SESSIONS[0] not in Schedule.parse("BMS").due(SESSIONS)
    assert SESSIONS[0] not in Schedule.parse("W").due(SESSIONS)


def test_the_third_session_of_the_month_counts_sessions_not_days() -> None:
    assert days(Schedule.parse("BMS+2").due(SESSIONS))[1:3] == ["2024-02-05", "2024-03-05"]


def test_the_last_session_of_march_2024_is_the_thursday_before_good_friday() -> None:
    assert "2024-03-28" in days(Schedule.parse("BME").due(SESSIONS))


def test_weekdays_alone_know_no_holidays() -> None:
    schedule = Schedule(rule="BME", calendar="weekday")
    assert days(schedule.due(SESSIONS))[:3] == ["2023-12-29", "2024-01-31", "2024-02-29"]
    assert "2024-03-28" not in days(schedule.due(SESSIONS))


@pytest.mark.parametrize("rule", [*RULES, "BMS+3", "BQS+1"])
def test_due_dates_up_to_a_date_do_not_depend_on_later_sessions(rule: str) -> None:
    schedule = Schedule.parse(rule)
    whole = schedule.due(SESSIONS)
    for end in (40, 57, 69, 90, len(SESSIONS) - 1):
        cut = schedule.due(SESSIONS[:end])
        assert cut.equals(whole[whole <= SESSIONS[end - 1]])


@pytest.mark.parametrize("rule", list(RULES))
def test_is_due_agrees_with_due(rule: str) -> None:
    schedule = Schedule.parse(rule)
    due = schedule.due(SESSIONS)
    assert [schedule.is_due(SESSIONS, d) for d in SESSIONS[1:60]] == [d in due for d in SESSIONS[1:60]]


def test_a_date_without_a_session_is_never_due() -> None:
    assert not Schedule.parse("B").is_due(SESSIONS, "2024-03-29")


def test_text_and_schedule_are_the_same() -> None:
    schedule = Schedule.parse("BMS+2 07:30 Europe/Berlin")
    assert (schedule.rule, schedule.offset, schedule.time, schedule.timezone) == (
        "BMS",
        2,
        "07:30",
        "Europe/Berlin",
    )
    assert Schedule.parse(str(schedule)) == schedule
    assert schedule.cron == "30 7 * * *"


@pytest.mark.parametrize("text", ["monthly", "BMS 6am", "BME+2", "BMS 06:00 Mars/Olympus", "", "BMS 25:00"])
def test_a_bad_schedule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError):
        Schedule.parse(text)


def test_a_morning_job_runs_on_the_day_after_the_close_and_an_evening_job_on_the_day() -> None:
    assert str(Schedule.parse("B 06:00").runs_at("2024-07-05")) == "2024-07-06 06:00:00-04:00"
    assert str(Schedule.parse("B 18:00").runs_at("2024-07-05")) == "2024-07-05 18:00:00-04:00"


def test_a_job_in_the_hour_that_a_clock_change_skips_runs_after_it() -> None:
    assert str(Schedule.parse("B 02:30").runs_at("2024-03-09")) == "2024-03-10 03:00:00-04:00"


def test_an_unknown_calendar_is_refused() -> None:
    with pytest.raises(ConfigError, match="MOON"):
        Schedule(rule="BME", calendar="MOON").due(SESSIONS)
