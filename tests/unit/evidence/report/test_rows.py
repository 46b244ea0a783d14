import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoestring.evidence.model import Compare, Metric, Within
from shoestring.evidence.report.rows import (
    WORDS,
    arm_rows,
    best_arms,
    check_in_words,
    count_words,
    find_metric,
    format_bytes,
    format_metric,
    format_number,
    format_range,
    format_seconds,
    left_out,
    shown_metrics,
    spread_of,
)

finite = st.floats(-1e12, 1e12)


@given(st.lists(st.tuples(st.integers(0, 99), finite), min_size=1))
def test_the_median_lies_within_the_range(values: list[tuple[int, float]]) -> None:
    spread = spread_of(values)
    assert spread is not None
    assert spread.low <= spread.median <= spread.high
    assert len(spread.values) == len(values)


def test_values_that_are_not_finite_are_left_out() -> None:
    spread = spread_of([(0, math.nan), (1, 3.0), (2, math.inf)])
    assert spread is not None
    assert spread.values == ((1, 3.0),)
    assert spread_of([(0, math.nan)]) is None


def test_rows_follow_the_order_of_the_study_and_ignore_preparations(made_up: Any) -> None:
    v = made_up.verification()
    rows = arm_rows(v.workload, v.records[::-1])
    assert [r.arm.name for r in rows] == [a.name for a in made_up.ARMS]
    assert all(r.num_ok == 3 for r in rows)
    assert all(r.status == "ok" for r in rows)


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        (["ok", "ok", "ok"], "ok"),
        (["ok", "ok", "timeout"], "2 of 3 ok, 1 timeout"),
        (["ok", "failed", "timeout"], "1 of 3 ok, 1 failed, 1 timeout"),
        (["failed", "failed", "failed"], "failed"),
        (["skipped", "skipped", "skipped"], "skipped"),
        (["failed", "timeout", "timeout"], "0 of 3 ok, 1 failed, 2 timeout"),
        (["ok"], "1 of 3 ok, 2 not run"),
        ([], "not run"),
    ],
)
def test_the_status_of_an_arm_counts_its_seeds(made_up: Any, statuses: list[Any], words: str) -> None:
    records = [made_up.record("gdfq", seed, status) for seed, status in enumerate(statuses)]
    row = next(r for r in arm_rows(made_up.workload(), records) if r.arm.name == "gdfq")
    assert row.status == words
    assert row.num_bad == sum(s in ("failed", "timeout") for s in statuses)


def test_only_measured_metrics_are_shown(made_up: Any) -> None:
    rows = arm_rows(made_up.workload(), [made_up.record("gdfq", 0, metrics={"top1": 1.0})])
    assert [m.name for m in shown_metrics(made_up.METRICS, rows)] == ["top1"]


def test_bounds_do_not_compete_for_the_best(made_up: Any) -> None:
    v = made_up.verification()
    rows = arm_rows(v.workload, v.records)
    top1, boundary, size = made_up.METRICS
    assert best_arms(top1, rows) == {"qimera"}
    assert best_arms(replace(top1, better="lower"), rows) == {"noise"}
    assert best_arms(boundary, rows) == frozenset()
    assert best_arms(size, rows) == frozenset(), "all arms are equal"


def test_a_check_is_told_with_titles(made_up: Any) -> None:
    def words(check: Compare | Within) -> str:
        return check_in_words(check, made_up.METRICS, made_up.ARMS)

    assert (
        words(Compare(metric="top1", arm="qimera", than="gdfq")) == "Top-1 accuracy: Qimera higher than GDFQ"
    )
    assert words(Compare(metric="top1", arm="qimera", than="gdfq", by=2)).endswith("by at least 2 %")
    assert words(Compare(metric="top1", arm="qimera", than="gdfq", ratio=3)).endswith(
        "a factor of at least 3"
    )
    assert (
        words(Within(metric="wall_s", arm="qimera", at_least=1, at_most=2))
        == "Time: Qimera at least 1 s and at most 2 s"
    )
    assert words(Within(metric="other", arm="gone", at_most=0)) == "other: gone at most 0"


def test_a_workload_without_its_data_names_the_flag(made_up: Any) -> None:
    workload = made_up.workload(needs_data="cifar10")
    skipped = [made_up.record("gdfq", 0, "skipped")]
    assert "--data cifar10=FOLDER" in (left_out(workload, skipped) or "")
    assert left_out(workload, [*skipped, made_up.record("qimera", 0)]) is None
    assert left_out(made_up.workload(), skipped) is None


def test_every_verdict_word_is_counted(made_up: Any) -> None:
    assert count_words(made_up.VERDICTS) == dict.fromkeys(WORDS, 1)
    assert count_words([]) == dict.fromkeys(WORDS, 0)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (91.256, 2, "91.26"),
        (0.0, 1, "0.0"),
        (0.00012, 2, "1.2e-04"),
        (1.2e8, 2, "1.20e+08"),
        (-3.14159, 3, "-3.142"),
        (141.0, 0, "141"),
    ],
)
def test_numbers_are_printed_with_the_digits_of_their_metric(value: float, digits: int, text: str) -> None:
    assert format_number(value, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.034, "34 ms"),
        (0.9996, "1.0 s"),
        (12.34, "12.3 s"),
        (99.96, "1 min 40 s"),
        (3599.6, "1 h 00 min"),
        (7322, "2 h 02 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (2048, "2 KiB"), (3 << 20, "3 MiB"), (5 << 30, "5.0 GiB")],
)
def test_sizes_have_binary_units(size: int, text: str) -> None:
    assert format_bytes(size) == text


def test_a_range_says_its_unit_once() -> None:
    assert format_range("3 MiB", "5 MiB") == "[3, 5] MiB"
    assert format_range("900 KiB", "1 MiB") == "[900 KiB, 1 MiB]"
    assert format_range("1.0", "2.0") == "[1.0, 2.0]"
    assert format_range("1.0", "1.0") == ""


def test_metrics_of_the_runner_need_no_declaration() -> None:
    assert find_metric("peak_bytes", ()).unit == "bytes"
    assert format_metric(3 << 20, find_metric("peak_bytes", ())) == "3 MiB"
    assert find_metric("unheard_of", ()).title == "unheard_of"
    own = Metric(name="wall_s", title="Epoch", unit="s")
    assert find_metric("wall_s", [own]) is own
