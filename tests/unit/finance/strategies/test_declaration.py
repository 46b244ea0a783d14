"""What a strategy may say about itself."""

from typing import Any

import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.declaration import Resources, StrategyInfo


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Big"},
        {"name": "1st"},
        {"version": ""},
        {"version": "a b"},
        {"refit": "x"},
        {"max_gross": 0.0},
    ],
)
def test_a_bad_declaration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        StrategyInfo(**{"name": "good", "version": "1", **wrong})


def test_memory_is_read_in_bytes_and_nonsense_refused() -> None:
    assert Resources(memory="1.5G").memory_bytes == 3 << 29
    assert Resources(memory="512MiB").memory_bytes == 512 << 20
    for wrong in ("lots", "2", "-1G"):
        with pytest.raises(ConfigError):
            Resources(memory=wrong)
    with pytest.raises(ConfigError):
        Resources(cpu=0)
