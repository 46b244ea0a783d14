"""Budgets count, refuse and say what to do."""

import pytest

from shoestring.core.errors import ConfigError, ShoestringError
from shoestring.storage import Budget, BudgetExceeded, format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("64MiB", 64 << 20),
        ("64M", 64 << 20),
        ("64MB", 64_000_000),
        ("1.5 GiB", 3 << 29),
        ("4096", 4096),
        (7, 7),
    ],
)
def test_sizes_are_read(text: str, nbytes: int) -> None:
    assert parse_bytes(text) == parse_bytes(nbytes) == nbytes


@pytest.mark.parametrize("text", ["", "MiB", "12 parsecs", "-5", "0", True])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_bytes(text)


@pytest.mark.parametrize("nbytes", [1, 1023, 1024, 5_000_001, 3 << 30])
def test_a_printed_size_is_never_smaller_than_the_true_one(nbytes: int) -> None:
    assert parse_bytes(format_bytes(nbytes)) >= nbytes


def test_a_reservation_counts_until_it_is_released_once() -> None:
    budget = Budget("host", 100)
    with budget.reserve("a", 60), budget.reserve("b", 30):
        assert (budget.used_bytes, budget.free_bytes) == (90, 10)
    held = budget.reserve("c", 50)
    held.release()
    held.release()
    assert (budget.used_bytes, budget.peak_bytes) == (0, 90)


def test_one_byte_too_many_is_refused_and_nothing_is_taken() -> None:
    budget = Budget("device", 100)
    budget.reserve("weights", 40)
    budget.reserve("inputs", 60).release()
    with pytest.raises(BudgetExceeded, match="device budget of 100 B") as caught:
        budget.reserve("inputs of layer 2", 61)
    error = caught.value
    assert isinstance(error, MemoryError)
    assert isinstance(error, ShoestringError)
    assert (error.tier, error.what) == ("device", "inputs of layer 2")
    assert (error.asked_bytes, error.used_bytes, error.limit_bytes) == (61, 40, 100)
    assert budget.used_bytes == 40


def test_the_minimum_is_named_where_it_is_known() -> None:
    budget = Budget("host", 10)
    budget.minimum_bytes = 4096
    with pytest.raises(BudgetExceeded, match=r"the minimum is 4\.0 KiB") as caught:
        budget.reserve("a partition", 11)
    assert caught.value.minimum_bytes == 4096


def test_without_a_limit_bytes_are_counted_all_the_same() -> None:
    budget = Budget("host", None)
    with budget.reserved("much", 1 << 50):
        assert budget.free_bytes > 1 << 60
    assert budget.peak_bytes == 1 << 50


def test_a_negative_reservation_is_refused() -> None:
    with pytest.raises(ConfigError):
        Budget("host", 10).reserve("nothing", -1)
