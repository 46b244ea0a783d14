"""What holds for every weight and every range."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shoestring.compression.quantizers import (
    ActivationQuantizer,
    code_bounds,
    dequantize,
    fake_quantize,
    observing,
    quantize,
    range_grid,
    weight_codes,
)

BITS = st.integers(2, 8)
MODERATE = st.floats(-1e4, 1e4, width=32)
FEW = settings(max_examples=60, deadline=None)


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    values = draw(st.lists(MODERATE, min_size=rows * columns, max_size=rows * columns))
    return torch.tensor(values).view(rows, columns)


@FEW
@given(weights(), BITS)
def test_codes_are_whole_and_within_the_bounds(weight: Tensor, bits: int) -> None:
    codes, grid = weight_codes(weight, bits)
    low, high = code_bounds(bits)
    assert codes.min() >= low
    assert codes.max() <= high
    assert torch.equal(grid.zero_point, grid.zero_point.round())


@FEW
@given(weights(), BITS)
def test_the_error_is_at_most_one_step_in_a_channel(weight: Tensor, bits: int) -> None:
    """Half a step of rounding, and at most another half at the ends, where the zero point is rounded."""
    codes, grid = weight_codes(weight.double(), bits)
    error = (dequantize(codes.double(), grid) - weight.double()).abs()
    assert (error <= grid.scale * (1 + 1e-6) + 1e-12).all()


@FEW
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.floats(1e-3, 1e3), BITS)
def test_the_error_is_at_most_half_a_step_inside_a_range_that_starts_at_zero(
    shares: list[float], high: float, bits: int
) -> None:
    x = torch.tensor(shares, dtype=torch.float64) * high
    grid = range_grid(torch.tensor(0.0, dtype=torch.float64), torch.tensor(high, dtype=torch.float64), bits)
    error = (fake_quantize(x, grid, bits) - x).abs()
    assert (error <= grid.scale / 2 * (1 + 1e-9)).all()


@FEW
@given(weights(), BITS)
def test_quantising_twice_changes_nothing(weight: Tensor, bits: int) -> None:
    _, grid = weight_codes(weight.double(), bits)
    once = fake_quantize(weight.double(), grid, bits)
    assert torch.equal(quantize(once, grid, bits), quantize(weight.double(), grid, bits))


@FEW
@given(st.lists(MODERATE, min_size=2, max_size=20), BITS)
def test_order_is_kept(values: list[float], bits: int) -> None:
    x = torch.tensor(sorted(values), dtype=torch.float64)
    out = fake_quantize(x, range_grid(x[0].clamp_max(0), x[-1].clamp_min(0), bits), bits)
    assert (out.diff() >= 0).all()


@FEW
@given(
    st.lists(st.lists(MODERATE, min_size=1, max_size=5), min_size=1, max_size=12), BITS, st.floats(0, 0.99)
)
def test_a_range_lies_within_what_was_seen_and_holds_zero(
    batches: list[list[float]], bits: int, beta: float
) -> None:
    quantizer = ActivationQuantizer(bits, beta)
    with observing(quantizer):
        for batch in batches:
            quantizer(torch.tensor(batch))
    low, high = (end.item() for end in quantizer.averaged_range())
    seen = [v for batch in batches for v in batch]
    slack = 1e-9 * max(map(abs, seen)) + 1e-12
    assert min(*seen, 0) - slack <= low <= 0 <= high <= max(*seen, 0) + slack
    assert quantizer(torch.zeros(1)).item() == 0
