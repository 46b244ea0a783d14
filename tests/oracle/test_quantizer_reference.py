"""The quantiser against its formula, computed apart in exact fractions and in plain float64.

``s = (2^b - 1) / max(mx - mn, 1e-8)``, ``z = round(s * mn) + 2^(b-1)``,
``q = clamp(round(s * x - z))``, ``x^ = (q + z) / s``: the released code's notation, where ours has the scale
inverted and the zero point negated.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shoestring.compression.quantizers import (
    Grid,
    code_bounds,
    dequantize,
    fake_quantize,
    quantize,
    range_grid,
    weight_codes,
    weight_grid,
)

BITS = range(2, 9)


def reference(x: NDArray[np.float64], low: float, high: float, bits: int) -> tuple[list[int], list[Fraction]]:
    """Codes and values in exact arithmetic; Python's `round` of a fraction goes half to even."""
    s = Fraction(2**bits - 1) / max(Fraction(high) - Fraction(low), Fraction(1, 10**8))
    z = round(s * Fraction(low)) + 2 ** (bits - 1)
    least, greatest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    codes = [min(max(round(s * Fraction(v)) - z, least), greatest) for v in x]
    return codes, [(q + z) / s for q in codes]


def distance_to_tie(x: NDArray[np.float64], low: float, high: float, bits: int) -> NDArray[np.float64]:
    steps = x * ((2**bits - 1) / max(high - low, 1e-8))
    distance: NDArray[np.float64] = np.abs(steps - np.floor(steps) - 0.5)
    return distance


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("low", "high"), [(-1.3, 2.7), (0.0, 3.1), (-5.0, 0.0), (0.4, 0.9), (-1e-3, 2e-3)])
def test_codes_equal_the_formula_away_from_ties(
    bits: int, dtype: torch.dtype, low: float, high: float
) -> None:
    x = np.random.default_rng(bits).normal(0, 2 * (high - low), 500)
    x = x[distance_to_tie(x, low, high, bits) > 1e-4].astype(np.float32).astype(np.float64)
    ends = torch.tensor([low, high], dtype=dtype)
    grid = range_grid(ends[0], ends[1], bits)
    codes, values = reference(x, float(ends[0]), float(ends[1]), bits)
    ours = quantize(torch.from_numpy(x).to(dtype), grid, bits)
    assert ours.tolist() == codes
    tolerance = 1e-12 if dtype is torch.float64 else 1e-5
    expected = torch.tensor([float(v) for v in values], dtype=dtype)
    torch.testing.assert_close(
        dequantize(ours, grid), expected, rtol=tolerance, atol=tolerance * (high - low)
    )


@pytest.mark.parametrize("bits", BITS)
def test_exact_ties_go_to_the_even_step(bits: int) -> None:
    """With a scale of one every half is a tie, exactly representable."""
    high = float(2**bits - 1)
    x = np.arange(0, high, dtype=np.float64) + 0.5
    grid = range_grid(torch.tensor(0.0), torch.tensor(high), bits)
    assert grid.scale.item() == 1
    codes, _ = reference(x, 0.0, high, bits)
    ours = quantize(torch.from_numpy(x).float(), grid, bits)
    assert ours.tolist() == codes
    steps = ours - grid.zero_point
    assert (steps % 2 == 0).all()


@pytest.mark.parametrize("bits", BITS)
def test_weight_codes_equal_the_formula_channel_by_channel(bits: int) -> None:
    rng = np.random.default_rng(bits)
    weight = rng.normal(0, 1, (7, 3, 3, 3)).astype(np.float32)
    weight *= np.geomspace(1e-3, 1e3, 7, dtype=np.float32)[:, None, None, None]
    codes, grid = weight_codes(torch.from_numpy(weight), bits)
    assert grid.scale.shape == (7, 1, 1, 1)
    for o in range(7):
        row = weight[o].ravel().astype(np.float64)
        low, high = row.min(), row.max()
        expected, _ = reference(row, low, high, bits)
        clear = distance_to_tie(row, low, high, bits) > 1e-4
        assert clear.sum() > 20
        assert (codes[o].numpy().ravel()[clear] == np.array(expected)[clear]).all()


@pytest.mark.parametrize("bits", BITS)
def test_fake_quantisation_is_quantising_and_dequantising(bits: int) -> None:
    rng = torch.Generator().manual_seed(bits)
    weight = torch.randn(5, 4, 3, 3, generator=rng)
    grid = weight_grid(weight, bits)
    assert torch.equal(fake_quantize(weight, grid, bits), dequantize(quantize(weight, grid, bits), grid))
    x = 3 * torch.randn(200, generator=rng)
    scalar = range_grid(torch.tensor(-1.0), torch.tensor(2.0), bits)
    assert torch.equal(fake_quantize(x, scalar, bits), dequantize(quantize(x, scalar, bits), scalar))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [5.0, -5.0, 0.0, 1e-3, -1e6, 1e6])
def test_a_constant_channel_keeps_its_value_and_valid_codes(bits: int, value: float) -> None:
    weight = torch.full((3, 4), value)
    weight[1] = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    codes, grid = weight_codes(weight, bits)
    low, high = code_bounds(bits)
    assert codes.min() >= low
    assert codes.max() <= high
    assert torch.isfinite(grid.scale).all()
    restored = fake_quantize(weight, grid, bits)
    torch.testing.assert_close(restored[[0, 2]], weight[[0, 2]], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        restored[[0, 2]], dequantize(codes.float(), grid)[[0, 2]], rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("bits", BITS)
def test_an_outlier_takes_the_grid_but_breaks_nothing(bits: int) -> None:
    weight = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    weight[0, 7] = 1e6
    codes, grid = weight_codes(weight, bits)
    restored = dequantize(codes.float(), grid)
    assert torch.isfinite(restored).all()
    assert abs(restored[0, 7].item() - 1e6) <= grid.scale[0].item() / 2
    assert (weight[1] - restored[1]).abs().max() <= grid.scale[1] * 0.501
    assert set(codes[0].tolist()) == {code_bounds(bits)[0], code_bounds(bits)[1]}


def test_the_grid_is_the_one_of_onnx() -> None:
    """``q = saturate(round(x / scale) + zero_point)``, 0.0 lying on the grid when the range holds it."""
    grid = range_grid(torch.tensor(-0.7), torch.tensor(1.1), 8)
    assert isinstance(grid, Grid)
    assert grid.zero_point.item() == round(grid.zero_point.item())
    x = torch.tensor([-0.7, 0.0, 1.1, 0.3])
    by_hand = np.clip(np.rint(x.numpy() / grid.scale.item()) + grid.zero_point.item(), -128, 127)
    assert quantize(x, grid, 8).tolist() == by_hand.tolist()
    assert dequantize(quantize(x, grid, 8), grid)[1].item() == 0.0
