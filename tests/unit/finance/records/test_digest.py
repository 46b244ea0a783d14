"""Equal things have equal digests, and nothing undefined has one."""

import datetime as dt
import json
import math
from enum import Enum
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import DataError
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.known import KnownTable
from shoestring.finance.records.digest import (
    FrameDigest,
    canonical_json,
    digest_json,
    digest_known,
    environment_digest,
    environment_lock,
)


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (1, 1.0),
        (0.0, -0.0),
        ((1, 2), [1, 2]),
        (np.float64(0.1), 0.1),
        (np.int32(3), 3),
        (np.array(2.5), 2.5),
        (dt.date(2020, 1, 2), "2020-01-02"),
        (pd.Timestamp("2020-01-02"), "2020-01-02T00:00:00"),
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        (1e22, 1e22 + 0),
    ],
)
def test_equal_values_have_one_spelling(one: object, other: object) -> None:
    assert canonical_json(one) == canonical_json(other)


@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), (None, 0), ("1", 1), (0.1, 0.1 + 2**-56), ([1, 2], [2, 1]), ({}, [])]
)
def test_different_values_have_different_digests(one: object, other: object) -> None:
    assert digest_json(one) != digest_json(other)


@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, {"a": [1.0, -math.inf]}, {1: 2}, {1.5}, object(), np.zeros(2)]
)
def test_what_has_no_spelling_is_refused(bad: object) -> None:
    with pytest.raises(DataError):
        canonical_json(bad)


def test_the_message_names_the_place() -> None:
    with pytest.raises(DataError, match=r"grid\.alpha\[1\] is nan"):
        canonical_json({"grid": {"alpha": [1.0, math.nan]}})


def test_floats_come_back_exactly() -> None:
    values = np.random.default_rng(0).normal(size=100).tolist()
    assert json.loads(canonical_json(values)) == values


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return gbm_panel(3, 2500, seed=3).close


def test_the_digest_at_a_date_is_that_of_the_frame_cut_there(frame: pd.DataFrame) -> None:
    digest = FrameDigest({"close": frame})
    for row in (10, 1023, 1024, 2400):
        date = frame.index[row]
        assert digest.at(date) == FrameDigest({"close": frame.loc[:date]}).at()
    assert digest.at(frame.index[10]) == FrameDigest({"close": frame}).at(frame.index[10])
    assert digest.at() == digest.at(frame.index[-1])


def test_a_date_without_a_row_means_the_rows_before_it(frame: pd.DataFrame) -> None:
    saturday = frame.index[4] + pd.Timedelta(days=1)
    assert FrameDigest({"close": frame}).at(saturday) == FrameDigest({"close": frame}).at(frame.index[4])


@pytest.mark.parametrize("change", ["value", "date", "column", "field", "order"])
def test_every_kind_of_change_changes_the_digest(frame: pd.DataFrame, change: str) -> None:
    other = frame.head(20).copy()
    name = "close"
    if change == "value":
        values = other.to_numpy().copy()
        values[7, 1] = np.nextafter(values[7, 1], np.inf)
        other = pd.DataFrame(values, index=other.index, columns=other.columns)
    elif change == "date":
        other.index = other.index + pd.Timedelta(days=1)
    elif change == "column":
        other.columns = pd.Index(["x", *other.columns[1:]])
    elif change == "field":
        name = "open"
    else:
        other = other.iloc[:, ::-1]
    assert FrameDigest({name: other}).at() != FrameDigest({"close": frame.head(20)}).at()


def test_missing_values_are_one_value_however_they_were_made(frame: pd.DataFrame) -> None:
    one, other = frame.head(5).copy(), frame.head(5).copy()
    one.iloc[2, 0] = np.nan
    other.iloc[2, 0] = -np.float64(np.nan)
    assert FrameDigest({"x": one}).at() == FrameDigest({"x": other}).at()


def test_no_frames_have_a_digest_too() -> None:
    assert FrameDigest({}).at("2020-01-01") == FrameDigest({}).at()


def test_a_table_is_digested_by_what_was_known(frame: pd.DataFrame) -> None:
    days = frame.index
    rows = pd.DataFrame({"asset": ["a", "b"], "period": days[:2], "known_at": days[[5, 9]], "v": [1.0, 2.0]})
    later = rows.assign(v=[1.0, 3.0])
    one, other = KnownTable.from_frame(rows), KnownTable.from_frame(later)
    assert digest_known(one, days[8]) == digest_known(other, days[8])
    assert digest_known(one, days[9]) != digest_known(other, days[9])
    assert digest_known(KnownTable.from_frame(rows.iloc[::-1]), days[9]) == digest_known(one, days[9])


def test_folders_that_are_no_environment_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's workers have folders of their own on the path; their keys must be the same as anywhere."""
    before = environment_lock.__wrapped__()
    (tmp_path / "psutil-9.9.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert environment_lock.__wrapped__() == before


def test_the_environment_names_what_is_installed() -> None:
    installed = environment_lock()["distributions"]
    assert installed["numpy"] == np.__version__
    assert installed["pandas"] == pd.__version__
    assert len(environment_digest()) == 64
