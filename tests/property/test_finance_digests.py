"""Digests and the ledger over many values: equal things are equal, different ones are not."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.finance.records.digest import FrameDigest, canonical_json
from shoestring.finance.records.objects import decode, encode
from shoestring.finance.shai_am.functional import orders_csv, read_orders
from shoestring.finance.strategies.selection import top_k

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
MATRICES = st.integers(1, 12).flatmap(
    lambda n: st.lists(st.lists(st.floats(width=64), min_size=3, max_size=3), min_size=n, max_size=n)
)


def shuffled(value: Any) -> Any:
    """Return the same value with every mapping in the other order."""
    if isinstance(value, dict):
        return {k: shuffled(v) for k, v in reversed(value.items())}
    return [shuffled(v) for v in value] if isinstance(value, list) else value


@given(PLAIN)
def test_the_order_of_keys_never_counts(value: Any) -> None:
    assert canonical_json(value) == canonical_json(shuffled(value))


@given(PLAIN)
def test_what_is_written_reads_back_equal(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(PLAIN, PLAIN)
def test_only_equal_values_share_a_spelling(one: Any, other: Any) -> None:
    same = canonical_json(one) == canonical_json(other)
    assert not same or one == other


def frame(rows: list[list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        rows, index=pd.bdate_range("2020-01-01", periods=len(rows)), columns=list("abc"), dtype=float
    )


@settings(max_examples=50)
@given(MATRICES, st.data())
def test_the_digest_at_any_row_is_that_of_the_cut_frame(rows: list[list[float]], data: st.DataObject) -> None:
    made = frame(rows)
    digest = FrameDigest({"x": made})
    for row in data.draw(st.permutations(range(len(rows)))):
        date = made.index[row]
        assert digest.at(date) == FrameDigest({"x": made.loc[:date]}).at()


@settings(max_examples=50)
@given(MATRICES)
def test_tables_keep_every_bit_but_the_kind_of_nan(rows: list[list[float]]) -> None:
    made = frame(rows)
    back = decode(*encode(made))
    np.testing.assert_array_equal(back.to_numpy(), made.to_numpy())
    assert encode(back) == encode(made)


WEIGHTS = st.dictionaries(
    st.text(min_size=1, max_size=6).filter(lambda t: t == t.strip() and t.isprintable() and t != "CASH"),
    st.floats(-1, 1).filter(lambda w: w != 0),
    min_size=1,
    max_size=8,
)


@settings(max_examples=50)
@given(WEIGHTS)
def test_order_files_keep_every_bit(weights: dict[str, float]) -> None:
    made = read_orders(orders_csv(pd.Series(weights)))
    assert dict(made) == weights


@given(st.lists(st.floats(-10, 10) | st.just(math.nan), min_size=1, max_size=12), st.integers(1, 15))
def test_the_best_are_not_worse_than_any_other(scores: list[float], k: int) -> None:
    series = pd.Series(scores, index=[f"a{i}" for i in range(len(scores))])
    chosen = top_k(series, k).scores
    rest = series.dropna().drop(chosen.index)
    assert len(chosen) == min(k, int(series.notna().sum()))
    assert rest.empty or chosen.min() >= rest.max()
    assert top_k(series, k).equal_weight().sum() == (0 if chosen.empty else 1) or math.isclose(
        top_k(series, k).equal_weight().sum(), 1
    )
