"""Purge and embargo."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.labels import forward_returns, labelled_dates, walk_forward_splits

SESSIONS = pd.bdate_range("2018-11-01", "2021-06-30")


def test_a_label_enters_only_when_it_lies_in_the_past() -> None:
    dates = labelled_dates(SESSIONS[::5], SESSIONS[:100], horizon=10, embargo=3)
    assert dates[-1] <= SESSIONS[99 - 13]
    assert SESSIONS[85] in labelled_dates(SESSIONS[::5], SESSIONS[:96], 10)
    assert SESSIONS[85] not in labelled_dates(SESSIONS[::5], SESSIONS[:95], 10)
    assert len(labelled_dates(SESSIONS[:5], SESSIONS[:5], 10)) == 0


def test_forward_returns_are_those_of_the_sessions_after() -> None:
    close = pd.DataFrame({"a": np.arange(1.0, 11.0), "b": [2.0] * 6 + [np.nan] * 4}, index=SESSIONS[:10])
    made = forward_returns(close, SESSIONS[[1, 4, 8]], 2)
    assert made["a"].tolist()[:2] == [4 / 2 - 1, 7 / 5 - 1]
    assert np.isnan(made["a"].iloc[2])
    assert np.isnan(made["b"].iloc[1])


@pytest.mark.parametrize("expanding", [True, False])
def test_splits_move_forward_with_a_gap_for_the_label(expanding: bool) -> None:
    splits = list(walk_forward_splits(50, train=20, test=8, horizon=3, embargo=2, expanding=expanding))
    assert [t[0] for _, t in splits] == [20, 28, 36, 44]
    assert all(train[-1] + 3 + 2 <= test[0] for train, test in splits)
    assert splits[-1][1] == range(44, 50)
    assert {train[0] for train, _ in splits} == ({0} if expanding else {0, 8, 16, 24})


@pytest.mark.parametrize("wrong", [{"train": 2, "horizon": 3}, {"test": 0}, {"train": 50}, {"embargo": -1}])
def test_a_split_that_leaves_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        list(walk_forward_splits(50, **{"train": 20, "test": 8, **wrong}))


def test_a_horizon_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError):
        labelled_dates(SESSIONS, SESSIONS, 0)
