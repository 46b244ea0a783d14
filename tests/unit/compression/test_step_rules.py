"""The step rule of GDFQ and the state of optimisers."""

import pytest
import torch
from torch import nn

from shoestring.compression.step_rules import NesterovStep, load_optimizer_tensors, optimizer_tensors
from shoestring.core.errors import ConfigError


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3 * 4, 2))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stub


def losses(net: nn.Module, count: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return [net(torch.randn(4, 2, 4, 4, generator=rng)).square().mean() for _ in range(count)]


def test_steps_equal_nesterov_by_hand() -> None:
    """``v = mu v + g + wd w``, then ``w -= lr (g + wd w + mu v)``, the first v being the first gradient."""
    value = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    rule = NesterovStep([value], lr=0.1, momentum=0.9, weight_decay=0.01)
    w, v = value.detach().clone(), torch.zeros(2, dtype=torch.float64)
    for factor in (1.0, 1.0, 0.1, 0.1):
        rule.scale_lr(factor)
        rule.step((value**3).sum())
        g = 3 * w**2 + 0.01 * w
        v = 0.9 * v + g
        w = w - 0.1 * factor * (g + 0.9 * v)
        torch.testing.assert_close(value.detach(), w, rtol=1e-12, atol=1e-12)


def test_the_factor_is_on_the_first_rate_and_does_not_pile_up() -> None:
    rule = NesterovStep(network().parameters(), lr=0.5)
    for _ in range(3):
        rule.scale_lr(0.1)
    assert rule.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_a_rule_continues_from_its_tensors_bit_for_bit_in_any_memory_layout() -> None:
    """Momentum in another layout than its weight would be added to the wrong elements."""
    one, two = network(), network()
    whole = NesterovStep(one.parameters(), lr=0.05)
    first = NesterovStep(two.parameters(), lr=0.05)
    for _ in range(3):
        whole.step(losses(one, 1)[0])
        first.step(losses(two, 1)[0])
    saved = {k: v.contiguous() for k, v in first.tensors().items()}
    second = NesterovStep(two.parameters(), lr=0.05)
    second.load_tensors(saved)
    for _ in range(3):
        whole.step(losses(one, 1)[0])
        second.step(losses(two, 1)[0])
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_state_of_adam_goes_round_with_its_step_count() -> None:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, fused=True)
    torch.autograd.backward(losses(net, 1)[0])
    optimizer.step()
    state = optimizer_tensors(optimizer)
    assert state["0.step"].item() == 1
    other = torch.optim.Adam(net.parameters(), lr=0.1, fused=True)
    load_optimizer_tensors(other, state)
    for key, value in optimizer_tensors(other).items():
        assert torch.equal(value, state[key])


def test_state_of_a_larger_model_is_refused() -> None:
    rule = NesterovStep(network().parameters(), lr=0.1)
    with pytest.raises(ConfigError, match="only 4"):
        rule.load_tensors({"7.momentum_buffer": torch.zeros(1)})


def test_saved_tensors_are_copies() -> None:
    net = network()
    rule = NesterovStep(net.parameters(), lr=0.05)
    rule.step(losses(net, 1)[0])
    saved = {k: v.clone() for k, v in rule.tensors().items()}
    kept = rule.tensors()
    rule.step(losses(net, 1)[0])
    assert all(torch.equal(kept[k], v) for k, v in saved.items())
