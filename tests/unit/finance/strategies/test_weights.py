"""Weights that can be, and those that cannot."""

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import DataError
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.view import DataView, Sources, view_of
from shoestring.finance.strategies.declaration import StrategyInfo
from shoestring.finance.strategies.weights import check_weights

INFO = StrategyInfo(name="declared", version="1.0")


@pytest.fixture(scope="module")
def view() -> DataView:
    panel = gbm_panel(4, 30, seed=1)
    return view_of(Sources(panel=panel), panel.dates[20])


def test_weights_are_filled_with_zeros_over_the_universe(view: DataView) -> None:
    made = check_weights(pd.Series({view.assets[1]: 0.25}), INFO, view)
    assert made.tolist() == [0.0, 0.25, 0.0, 0.0]
    assert list(made.index) == list(view.universe)


def test_minus_zero_becomes_zero(view: DataView) -> None:
    made = check_weights(pd.Series({view.assets[0]: -0.0}), INFO, view)
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
        check_weights(named, INFO, view)


def test_an_unknown_or_doubled_asset_is_refused(view: DataView) -> None:
    with pytest.raises(DataError, match="no price"):
        check_weights(pd.Series({"nowhere": 0.1}), INFO, view)
    twice = pd.Series([0.1, 0.1], index=[view.assets[0]] * 2)
    with pytest.raises(DataError, match="twice"):
        check_weights(twice, INFO, view)


def test_something_else_than_a_series_is_refused(view: DataView) -> None:
    with pytest.raises(DataError, match="dict"):
        check_weights({"a": 1.0}, INFO, view)


def test_shorts_are_accepted_where_they_are_declared(view: DataView) -> None:
    info = StrategyInfo(name="short", version="1", long_only=False)
    made = check_weights(pd.Series({view.assets[0]: -0.5, view.assets[1]: 0.5}), info, view)
    assert made.sum() == 0
