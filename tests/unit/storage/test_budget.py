"""Budgets: what is refused, what is counted, sizes in words."""

import pytest

from shoestring.core.errors import ConfigError
from shoestring.storage import Budget, BudgetExceeded, format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("64MiB", 64 << 20),
        ("64M", 64 << 20),
        ("64MB", 64_000_000),
        ("1.5GiB", 3 << 29),
        (7, 7),
        ("7", 7),
        ("1 k", 1024),
    ],
)
def test_sizes_are_read(text: str | int, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "MiB", "-1", "0", "5 parsecs", "1e9", True])
def test_what_is_no_size_is_refused(text: str | int) -> None:
    with pytest.raises(ConfigError, match="size"):
        parse_bytes(text)


def test_a_printed_size_is_never_below_the_bytes() -> None:
    for nbytes in (1, 1023, 1025, 1_048_577, 123_456_789, (1 << 40) + 1):
        assert parse_bytes(format_bytes(nbytes).replace(" ", "")) >= nbytes


def test_more_than_the_limit_is_refused_and_nothing_is_taken() -> None:
    budget = Budget("host", 1000)
    budget.minimum_bytes = 1500
    held = budget.reserve("cache", 800)
    with pytest.raises(
        BudgetExceeded, match=r"host budget of 1000 B.*staging asked for 300 B with 800 B.*1\.5 KiB"
    ) as e:
        budget.reserve("staging", 300)
    assert (e.value.asked_bytes, e.value.used_bytes, e.value.limit_bytes) == (300, 800, 1000)
    assert isinstance(e.value, MemoryError)
    assert budget.used_bytes == 800
    held.release()
    held.release()
    assert (budget.used_bytes, budget.peak_bytes, budget.free_bytes) == (0, 800, 1000)


def test_a_block_gives_its_bytes_back_also_after_an_error() -> None:
    budget = Budget("device", 100)
    with pytest.raises(RuntimeError), budget.reserved("work", 60):
        raise RuntimeError
    assert budget.used_bytes == 0


def test_without_a_limit_everything_is_counted_and_nothing_refused() -> None:
    budget = Budget("host", None)
    budget.reserve("all", 1 << 50)
    assert budget.peak_bytes == 1 << 50


def test_a_negative_reservation_is_refused() -> None:
    with pytest.raises(ConfigError, match="-1"):
        Budget("host", 10).reserve("x", -1)
