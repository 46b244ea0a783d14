"""The contract: declaration, parameters, weights that can be."""

from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from pydantic import Field

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.generators import gbm_panel
from shoestring.finance.strategy import (
    Context,
    DataView,
    Resources,
    Sources,
    Strategy,
    StrategyInfo,
    check_weights,
    strategy,
    view_of,
)


@strategy(name="declared", version="1.0", schedule="BMS 06:00 America/New_York")
class Declared(Strategy):
    lookback: Annotated[int, Field(ge=2)] = 60
    share: float = 0.5

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        return pd.Series(dtype=float)


@pytest.fixture(scope="module")
def view() -> DataView:
    panel = gbm_panel(4, 30, seed=1)
    return view_of(Sources(panel=panel), panel.dates[20])


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


def test_previous_weights_must_be_declared() -> None:
    context = Context(as_of=pd.Timestamp("2020-01-01"))
    with pytest.raises(ConfigError, match="uses_previous=True"):
        _ = context.previous_weights


def test_random_numbers_depend_on_seed_date_and_purpose_only() -> None:
    one = Context(as_of=pd.Timestamp("2020-01-02"), seed=3)
    assert (
        one.rng("a").random()
        == Context(as_of=pd.Timestamp("2020-01-02"), seed=3, run_id="x").rng("a").random()
    )
    others = [
        Context(as_of=pd.Timestamp("2020-01-03"), seed=3).rng("a").random(),
        Context(as_of=pd.Timestamp("2020-01-02"), seed=4).rng("a").random(),
        one.rng("b").random(),
    ]
    assert one.rng("a").random() not in others


def test_weights_are_filled_with_zeros_over_the_universe(view: DataView) -> None:
    made = check_weights(pd.Series({view.assets[1]: 0.25}), Declared().info, view)
    assert made.tolist() == [0.0, 0.25, 0.0, 0.0]
    assert list(made.index) == list(view.universe)


def test_minus_zero_becomes_zero(view: DataView) -> None:
    made = check_weights(pd.Series({view.assets[0]: -0.0}), Declared().info, view)
    assert not np.signbit(made.to_numpy()).any()


@pytest.mark.parametrize(
    ("weights", "word"),
    [
        ({0: np.nan}, "not finite"),
        ({0: np.inf}, "not finite"),
        ({0: -0.5}, "long_only=False"),
        ({0: 0.7, 1: 0.7}, "max_gross"),
    ],
)
def test_weights_that_cannot_be_are_refused(view: DataView, weights: dict[int, float], word: str) -> None:
    named = pd.Series({view.assets[i]: w for i, w in weights.items()})
    with pytest.raises(DataError, match=word):
        check_weights(named, Declared().info, view)


def test_an_unknown_or_doubled_asset_is_refused(view: DataView) -> None:
    with pytest.raises(DataError, match="no price"):
        check_weights(pd.Series({"nowhere": 0.1}), Declared().info, view)
    twice = pd.Series([0.1, 0.1], index=[view.assets[0]] * 2)
    with pytest.raises(DataError, match="twice"):
        check_weights(twice, Declared().info, view)


def test_something_else_than_a_series_is_refused(view: DataView) -> None:
    with pytest.raises(DataError, match="dict"):
        check_weights({"a": 1.0}, Declared().info, view)


def test_shorts_are_accepted_where_they_are_declared(view: DataView) -> None:
    info = StrategyInfo(name="short", version="1", long_only=False)
    made = check_weights(pd.Series({view.assets[0]: -0.5, view.assets[1]: 0.5}), info, view)
    assert made.sum() == 0
