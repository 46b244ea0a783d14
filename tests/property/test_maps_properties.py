"""Whatever the agents think, what comes out are portfolios."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoestring.finance.maps.functional import (
    combine_agents,
    correlation_matrix,
    neutral_weights,
    system_gross,
    top_bottom,
    zscore,
)

CASES = settings(max_examples=60, deadline=None)
values = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.one_of(st.floats(-1, 1, width=32), st.just(np.nan), st.just(0.25)),
)


@CASES
@given(values)
def test_a_neutral_portfolio_sums_to_zero_and_is_invested_fully_or_not_at_all(value: np.ndarray) -> None:
    weight = neutral_weights(torch.from_numpy(value)).numpy()
    assert np.isfinite(weight).all()
    assert (weight[np.isnan(value)] == 0).all()
    np.testing.assert_allclose(weight.sum(1), 0, atol=1e-9)
    gross = np.abs(weight).sum(1)
    assert (np.isclose(gross, 1, atol=1e-12) | (gross == 0)).all()
    for row, total in zip(value, gross, strict=True):
        held = row[~np.isnan(row)]
        if len(set(held)) <= 1:
            assert total == 0
        elif np.ptp(held) > 1e-9:
            assert total > 0


@CASES
@given(values, st.floats(0.1, 100), st.floats(-10, 10))
def test_a_neutral_portfolio_does_not_depend_on_level_and_scale(
    value: np.ndarray, scale: float, level: float
) -> None:
    value = np.round(value, 3)
    one = neutral_weights(torch.from_numpy(value))
    two = neutral_weights(torch.from_numpy(value * scale + level))
    np.testing.assert_allclose(one, two, atol=1e-6)


@CASES
@given(values, st.floats(0.01, 0.5))
def test_best_and_worst_are_as_many_and_ordered(value: np.ndarray, share: float) -> None:
    picked = top_bottom(torch.from_numpy(value), share).numpy()
    assert (np.isnan(picked) == np.isnan(value)).all()
    for row, side in zip(value, picked, strict=True):
        long, short, rest = row[side == 1], row[side == -1], row[side == 0]
        assert len(long) == len(short)
        if len(long):
            assert short.max() <= long.min()
            if len(rest):
                assert short.max() <= rest.min()
                assert rest.max() <= long.min()


@CASES
@given(st.integers(1, 6), st.integers(1, 4), st.integers(2, 9), st.integers(0, 99), st.floats(1e-6, 0.5))
def test_the_system_is_fully_invested_or_flat(
    agents: int, dates: int, companies: int, seed: int, tolerance: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    each = neutral_weights(torch.randn(agents, dates, companies, generator=rng, dtype=torch.float64))
    weight = combine_agents(each, tolerance)
    gross = weight.abs().sum(-1)
    left = system_gross(each)
    np.testing.assert_allclose(weight.sum(-1), 0, atol=1e-9)
    np.testing.assert_allclose(gross, (left > tolerance).double(), atol=1e-9)
    assert (left <= 1 + 1e-12).all()


@CASES
@given(st.integers(2, 6), st.integers(3, 30), st.integers(0, 99))
def test_correlations_lie_in_minus_one_to_one_with_ones_on_the_diagonal(
    agents: int, batch: int, seed: int
) -> None:
    value = torch.randn(agents, batch, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    corr = correlation_matrix(value)
    assert float(corr.abs().max()) <= 1 + 1e-12
    np.testing.assert_allclose(corr.diagonal(), 1)
    np.testing.assert_allclose(corr, correlation_matrix(3 * value - 1), atol=1e-9)


@CASES
@given(
    hnp.arrays(np.float32, (4, 20), elements=st.floats(0.0625, 65_536, width=32)),
    st.floats(0.01, 100),
)
def test_normalised_windows_are_bounded_and_free_of_the_level(window: np.ndarray, level: float) -> None:
    state = zscore(torch.from_numpy(window))
    assert state.isfinite().all()
    assert float(state.abs().max()) <= 20**0.5 + 1e-3
    again = zscore(torch.from_numpy(window.astype(np.float64) * level))
    spread = window.std(1) / window.mean(1) > 1e-3
    np.testing.assert_allclose(state[spread], again[spread], atol=2e-3)
