"""The contract: parameters with types, and a decision."""

from typing import Annotated, Any

import pandas as pd
import pytest
from pydantic import Field

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.interface import (
    Context,
    DataView,
    Strategy,
    strategy,
)


@strategy(name="declared", version="1.0", schedule="BMS 06:00 America/New_York")
class Declared(Strategy):
    lookback: Annotated[int, Field(ge=2)] = 60
    share: float = 0.5

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        return pd.Series(dtype=float)


def test_parameters_are_frozen_keywords_with_defaults() -> None:
    made = Declared(lookback=20)
    assert made.params() == {"lookback": 20, "share": 0.5}
    with pytest.raises(AttributeError):
        made.lookback = 3  # type: ignore[misc]  # that it fails is the point
    with pytest.raises(TypeError):
        Declared(20)  # type: ignore[call-arg]  # likewise


def test_parameters_from_text_are_checked_by_name_and_type() -> None:
    assert Declared.from_params({"share": 1}).share == 1.0
    with pytest.raises(ConfigError, match="lookbak"):
        Declared.from_params({"lookbak": 3})
    with pytest.raises(ConfigError, match="expected int"):
        Declared.from_params({"lookback": "many"})


def test_the_schema_of_the_parameters_comes_from_their_hints() -> None:
    schema = Declared.parameter_schema()
    assert schema["properties"]["lookback"] == {
        "default": 60, "minimum": 2, "title": "Lookback", "type": "integer",
    }  # fmt: skip
    assert schema["properties"]["share"]["type"] == "number"


def test_a_parameter_without_a_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="write lookback: int = 252"):

        @strategy(name="untyped", version="1")
        class Untyped(Strategy):
            lookback = 252

            def on_rebalance(self, ctx: Context, data: DataView) -> Any: ...


def test_a_class_without_a_decision_is_refused() -> None:
    with pytest.raises(ConfigError, match="on_rebalance"):

        @strategy(name="empty", version="1")
        class Empty(Strategy):
            k: int = 1
