"""The BatchNorm-statistics loss and its hooks."""

import pytest
import torch
from torch import Tensor, nn

from shoestring.compression.bn_statistics import BatchNormMatcher, batch_moments
from shoestring.compression.runs import freeze
from shoestring.core.errors import DataError, UnsupportedModelError


def images(count: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def by_hand(teacher: nn.Module, batch: Tensor) -> Tensor:
    """The loss with hooks of its own and `torch.var_mean`."""
    losses = []

    def collect(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        var, mean = torch.var_mean(args[0], dim=(0, 2, 3), correction=0)
        mse = nn.functional.mse_loss
        losses.append(mse(mean, layer.running_mean) + mse(var, layer.running_var))

    norms = [m for m in teacher.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = [m.register_forward_pre_hook(collect) for m in norms]
    teacher(batch)
    for hook in hooks:
        hook.remove()
    return sum(losses, torch.zeros(())) / len(losses)


def num_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_moments_equal_var_mean(layout: torch.memory_format) -> None:
    x = (3 + 2 * torch.randn(5, 4, 3, 7, generator=torch.Generator().manual_seed(0))).to(memory_format=layout)
    var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    ours = batch_moments(x)
    torch.testing.assert_close(ours[0], mean)
    torch.testing.assert_close(ours[1], var)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_moments_is_right(layout: torch.memory_format) -> None:
    x = torch.randn(3, 2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = x.to(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(batch_moments, (x,))


def test_the_gradient_of_moments_equals_autograds() -> None:
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gains = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    mean, var = batch_moments(one)
    torch.autograd.backward((mean * gains[0] + var.square() * gains[1]).sum())
    var, mean = torch.var_mean(two, dim=(0, 2, 3), correction=0)
    torch.autograd.backward((mean * gains[0] + var.square() * gains[1]).sum())
    assert one.grad is not None
    assert two.grad is not None
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-12, atol=1e-14)


def test_logits_loss_and_gradient_equal_a_hand_computation(teacher: nn.Module) -> None:
    frozen = freeze(teacher)
    one, two = images().requires_grad_(), images().requires_grad_()
    with BatchNormMatcher(frozen) as matcher:
        logits, loss = matcher(one)
    assert torch.equal(logits, frozen(images()))
    expected = by_hand(frozen, two)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.autograd.backward(loss)
    torch.autograd.backward(expected)
    assert one.grad is not None
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6)


def test_hooks_are_gone_after_the_block_and_after_an_error(teacher: nn.Module) -> None:
    frozen = freeze(teacher)
    with BatchNormMatcher(frozen):
        assert num_hooks(frozen) == sum(isinstance(m, nn.BatchNorm2d) for m in frozen.modules())
    assert num_hooks(frozen) == 0
    with pytest.raises(KeyError), BatchNormMatcher(frozen):
        raise KeyError
    assert num_hooks(frozen) == 0


def test_an_earlier_batch_never_leaks_into_the_next(teacher: nn.Module) -> None:
    frozen = freeze(teacher)
    with BatchNormMatcher(frozen) as matcher:
        clean = matcher(images())[1]
        frozen(100 * images(seed=1))
        with pytest.raises(RuntimeError):
            matcher(torch.zeros(2, 3, 8, 8))
        again = matcher(images())[1]
    assert torch.equal(clean, again)


def test_one_image_has_no_statistics(teacher: nn.Module) -> None:
    with BatchNormMatcher(freeze(teacher)) as matcher, pytest.raises(DataError, match="at least 2"):
        matcher(images(1))


def test_a_batch_norm_used_twice_counts_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.norm(2 * self.norm(x)).mean((2, 3))
            return out

    model = Twice().eval()
    with BatchNormMatcher(model) as matcher:
        loss = matcher(images())[1]
    torch.testing.assert_close(loss, by_hand(model, images()))
    single = by_hand(nn.Sequential(model.norm), images())
    assert not torch.allclose(loss, single)


def test_statistics_that_match_cost_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten()).eval()
    batch = images()
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm2d)
    var, mean = torch.var_mean(batch, dim=(0, 2, 3), correction=0)
    norm.running_mean, norm.running_var = mean, var
    with BatchNormMatcher(model) as matcher:
        assert matcher(batch)[1].item() == pytest.approx(0, abs=1e-12)


def test_a_teacher_without_batch_norm_is_refused_at_once() -> None:
    with pytest.raises(UnsupportedModelError):
        BatchNormMatcher(nn.Sequential(nn.Linear(2, 2)))
