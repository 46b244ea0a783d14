"""What holds for all statements, ranks and baskets."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shoestring.finance.etf_nn import ETFPortfolio
from shoestring.finance.market.deposits.files import DepositFiles
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import group_ranks

DATES = pd.bdate_range("2021-01-01", periods=3)
POSITIVE = st.floats(0.1, 1e4)
VALUES = arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 3)), elements=st.floats(-1e6, 1e6))


@settings(max_examples=60, deadline=None)
@given(values=VALUES, scale=st.floats(0.01, 100.0), seed=st.integers(0, 5))
def test_ranks_stay_inside_half_and_ignore_any_rising_change(
    values: np.ndarray, scale: float, seed: int
) -> None:
    group = np.random.default_rng(seed).integers(0, 3, len(values))
    rank = group_ranks(values, group)
    assert np.abs(rank).max() <= 0.5
    # powers of two keep distinct floats distinct and ties tied
    np.testing.assert_array_equal(rank, group_ranks(values * 2.0 ** round(np.log2(scale)), group))
    np.testing.assert_allclose(group_ranks(-values, group), -rank, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    price=st.lists(POSITIVE, min_size=2, max_size=6),
    data=st.data(),
    cash=st.floats(0, 1e5),
    factor=st.floats(0.1, 10),
)
def test_a_score_lies_between_its_components_and_creation_units_of_any_size_agree(
    price: list[float], data: st.DataObject, cash: float, factor: float
) -> None:
    num = len(price)
    shares = data.draw(st.lists(st.floats(1, 1e4), min_size=num, max_size=num))
    score = data.draw(st.lists(st.floats(-5, 5), min_size=num, max_size=num))
    names = [f"S{i}" for i in range(num)]
    panel = PricePanel.from_frame(pd.DataFrame([price] * 3, DATES, names))

    def aggregate(size: float) -> pd.Series:
        rows = pd.DataFrame(
            {"date": DATES[0], "etf": "E", "ticker": names, "shares": np.array(shares) * size}
        )
        files = DepositFiles.from_frame(rows.assign(cash=cash * size))
        scores = pd.Series(score, index=names)
        row = files.aggregate(scores, panel, DATES[2], min_coverage=0.0).loc["E"]
        assert isinstance(row, pd.Series)
        return row

    one, two = aggregate(1.0), aggregate(factor)
    assert min(score) - 1e-9 <= one["score"] <= max(score) + 1e-9
    assert 0 < one["coverage"] <= 1 + 1e-12
    assert 1 - 1e-9 <= one["neff"] <= num + 1e-9
    np.testing.assert_allclose(two["score"], one["score"], atol=1e-9)
    np.testing.assert_allclose(two["coverage"], one["coverage"], rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.floats(-10, 10), min_size=0, max_size=12),
    top=st.one_of(st.integers(1, 15), st.floats(0.05, 0.95)),
    weighting=st.sampled_from(["equal", "softmax"]),
    seed=st.integers(0, 3),
)
def test_weights_are_shares_of_one_and_no_order_of_rows_matters(
    scores: list[float], top: float, weighting: str, seed: int
) -> None:
    names = [f"E{i:02d}" for i in range(len(scores))]
    table = pd.DataFrame({"score": scores, "eligible": True, "coverage": 1.0}, index=names)
    portfolio = ETFPortfolio(top=top, weighting=weighting)  # type: ignore[arg-type]  # one of the two words
    weights = portfolio.allocate(table)
    assert (weights >= 0).all()
    assert abs(weights.sum() - (1.0 if scores else 0.0)) < 1e-12
    shuffled = table.sample(frac=1.0, random_state=seed)
    pd.testing.assert_series_equal(portfolio.allocate(shuffled), weights)
