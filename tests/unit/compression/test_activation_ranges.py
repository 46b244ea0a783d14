"""The range of an activation: an exponential average that must be right after few batches."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from shoestring.compression.quantizers import ActivationQuantizer, observing
from shoestring.core.errors import NotFittedError


def observe(quantizer: ActivationQuantizer, batches: Sequence[Tensor]) -> None:
    with observing(quantizer):
        for batch in batches:
            quantizer(batch)


def closed_form(values: Sequence[float], beta: float) -> float:
    """Bias-corrected average: weights ``beta**(t - i)`` that sum to one."""
    weights = beta ** np.arange(len(values) - 1, -1, -1, dtype=np.float64)
    return float((weights * np.asarray(values, dtype=np.float64)).sum() / weights.sum())


@pytest.mark.parametrize("calls", [1, 5, 20, 200])
@pytest.mark.parametrize("maximum", [1.0, 6.0, 1e-3])
def test_a_constant_maximum_is_read_exactly_at_any_age(calls: int, maximum: float) -> None:
    quantizer = ActivationQuantizer(4)
    observe(quantizer, [torch.tensor([0.0, maximum])] * calls)
    low, high = quantizer.averaged_range()
    assert low.item() == 0
    assert high.item() == pytest.approx(float(torch.tensor(maximum)), rel=1e-12)
    assert int(quantizer.num_batches) == calls


@pytest.mark.parametrize("calls", [1, 5, 20, 200])
@pytest.mark.parametrize("beta", [0.9, 0.0, 0.5, 0.99])
def test_random_ranges_equal_the_closed_form(calls: int, beta: float) -> None:
    rng = torch.Generator().manual_seed(calls)
    batches = [torch.randn(30, generator=rng) for _ in range(calls)]
    quantizer = ActivationQuantizer(4, beta)
    observe(quantizer, batches)
    low, high = quantizer.averaged_range()
    assert low.item() == pytest.approx(closed_form([b.min().item() for b in batches], beta), rel=1e-12)
    assert high.item() == pytest.approx(closed_form([b.max().item() for b in batches], beta), rel=1e-12)


def test_the_released_recursion_inflates_short_runs_and_ours_does_not() -> None:
    """Storing the corrected value back: 5.3 after 2 calls and thousands after 20, for a maximum of 1."""
    beta, stored = 0.9, 0.0
    released = []
    for t in range(1, 201):
        stored = (beta * stored + (1 - beta) * 1.0) / (1 - beta**t)
        released.append(stored)
    assert released[1] == pytest.approx(5.26, abs=0.01)
    assert released[9] > 1000
    assert released[19] > 3000
    assert released[199] == pytest.approx(1, abs=0.01)
    quantizer = ActivationQuantizer(4, beta)
    for _ in range(20):
        observe(quantizer, [torch.tensor([0.0, 1.0])])
        assert quantizer.averaged_range()[1].item() == pytest.approx(1.0, rel=1e-12)


def test_the_range_moves_inside_observing_and_is_frozen_after_it() -> None:
    quantizer = ActivationQuantizer(4)
    observe(quantizer, [torch.tensor([0.0, 1.0])])
    state = {k: v.clone() for k, v in quantizer.state_dict().items()}
    out = quantizer(torch.tensor([0.0, 50.0]))
    assert out.max().item() == pytest.approx(1.0, rel=1e-6)
    assert all(torch.equal(v, state[k]) for k, v in quantizer.state_dict().items())
    observe(quantizer, [torch.tensor([0.0, 50.0])])
    assert quantizer.averaged_range()[1].item() > 1


def test_a_range_that_saw_nothing_says_so() -> None:
    quantizer = ActivationQuantizer(4)
    with pytest.raises(NotFittedError, match="no batch"):
        quantizer(torch.ones(3))
    with pytest.raises(NotFittedError):
        quantizer.averaged_range()


def test_a_range_survives_its_state_dict() -> None:
    quantizer = ActivationQuantizer(3)
    observe(quantizer, [torch.tensor([0.0, 2.5])])
    other = ActivationQuantizer(3)
    other.load_state_dict(quantizer.state_dict())
    x = torch.linspace(0, 3, 50)
    assert torch.equal(other(x), quantizer(x))


@pytest.mark.parametrize("bits", range(2, 9))
def test_an_activation_that_is_always_zero_gives_exact_zeros(bits: int) -> None:
    quantizer = ActivationQuantizer(bits)
    observe(quantizer, [torch.zeros(4, 3)] * 3)
    assert torch.equal(quantizer(torch.zeros(5)), torch.zeros(5))
    assert torch.isfinite(quantizer(torch.ones(5))).all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_zero_lies_on_the_grid_after_a_relu(bits: int) -> None:
    rng = torch.Generator().manual_seed(bits)
    quantizer = ActivationQuantizer(bits)
    observe(quantizer, [torch.relu(torch.randn(50, generator=rng)) + 0.1 for _ in range(4)])
    assert quantizer.averaged_range()[0].item() == 0
    assert quantizer(torch.zeros(1)).item() == 0.0
    assert quantizer.grid.zero_point.item() == -(2 ** (bits - 1))


def test_a_range_below_zero_keeps_zero_on_the_grid_too() -> None:
    quantizer = ActivationQuantizer(4)
    observe(quantizer, [torch.tensor([-2.0, 1.3])])
    assert quantizer(torch.zeros(1)).item() == 0.0
    observe(quantizer, [torch.tensor([-3.0, -2.0])] * 50)
    assert quantizer.averaged_range()[1].item() >= 0
    assert quantizer(torch.zeros(1)).item() == 0.0


def test_no_gradient_reaches_the_range() -> None:
    quantizer = ActivationQuantizer(4)
    x = torch.tensor([0.2, 5.0], requires_grad=True)
    with observing(quantizer):
        quantizer(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones(2))
    assert not any(v.requires_grad for v in quantizer.state_dict().values())


def test_its_text_says_bits_and_batches() -> None:
    assert "bits=5, num_batches=0" in repr(ActivationQuantizer(5))
