"""From scores to weights."""

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.selection import bottom_k, top_k

SCORES = pd.Series({"a": 1.0, "b": 3.0, "c": np.nan, "d": 3.0, "e": -1.0})


def test_the_best_are_chosen_and_ties_go_by_order() -> None:
    assert list(top_k(SCORES, 2).scores.index) == ["b", "d"]
    assert list(top_k(SCORES, 3).scores.index) == ["b", "d", "a"]


def test_nan_is_never_chosen() -> None:
    assert "c" not in top_k(SCORES, 10).scores.index


def test_equal_weights_sum_to_the_gross() -> None:
    weights = top_k(SCORES, 4).equal_weight(0.8)
    assert weights.tolist() == [0.2] * 4


def test_nothing_chosen_is_all_cash() -> None:
    assert top_k(pd.Series(dtype=float), 3).equal_weight().sum() == 0


def test_score_weights_are_above_the_lowest_chosen() -> None:
    weights = top_k(SCORES, 4).score_weight()
    assert weights.sum() == pytest.approx(1.0)
    assert weights["e"] == 0
    assert weights["b"] == 2 * weights["a"]


def test_tied_scores_share_equally() -> None:
    assert top_k(pd.Series({"a": 2.0, "b": 2.0}), 2).score_weight().tolist() == [0.5, 0.5]


def test_inverse_weights_leave_out_what_has_no_risk_figure() -> None:
    risk = pd.Series({"b": 0.1, "d": 0.3, "a": 0.0})
    weights = top_k(SCORES, 3).inverse_weight(risk)
    assert weights["a"] == 0
    assert weights["b"] == pytest.approx(0.75)


def test_bottom_k_takes_the_lowest() -> None:
    assert list(bottom_k(SCORES, 1).scores.index) == ["e"]


def test_choosing_nothing_is_refused() -> None:
    with pytest.raises(ConfigError):
        top_k(SCORES, 0)


def test_an_infinite_score_is_weighted_like_any_other() -> None:
    scores = pd.Series({"a": float("inf"), "b": 1.0, "c": 0.0})
    assert top_k(scores, 2).equal_weight().to_dict() == {"a": 0.5, "b": 0.5}
