"""Uniform quantisers: bounds, straight-through gradients, layers."""

import pytest
import torch
from torch import nn

from shoestring.compression.quantizers import (
    ActivationQuantizer,
    QuantizedConv2d,
    QuantizedLinear,
    activation_quantizers,
    code_bounds,
    fake_quantize,
    observing,
    quantized_layers,
    range_grid,
    weight_codes,
    weight_grid,
)
from shoestring.core.errors import ConfigError


@pytest.mark.parametrize("bits", [1, 0, 9, -3])
def test_bits_outside_two_to_eight_are_refused_with_the_allowed_ones(bits: int) -> None:
    with pytest.raises(ConfigError, match=rf"bits={bits} .*2 to 8"):
        code_bounds(bits)
    with pytest.raises(ConfigError):
        ActivationQuantizer(bits)
    with pytest.raises(ConfigError):
        QuantizedLinear.from_float(nn.Linear(2, 2), bits)


@pytest.mark.parametrize("beta", [1.0, -0.1, 2.0])
def test_a_memory_outside_zero_to_one_is_refused(beta: float) -> None:
    with pytest.raises(ConfigError, match="beta"):
        ActivationQuantizer(4, beta)


@pytest.mark.parametrize("bits", range(2, 9))
def test_bounds_are_the_signed_ones(bits: int) -> None:
    low, high = code_bounds(bits)
    assert (low, high) == (-(1 << bits) // 2, (1 << bits) // 2 - 1)
    codes, _ = weight_codes(torch.randn(9, 30, generator=torch.Generator().manual_seed(1)), bits)
    assert codes.dtype == torch.int8
    assert codes.amin(1).tolist() == [low] * 9
    assert codes.amax(1).tolist() == [high] * 9


def test_the_gradient_is_the_identity_inside_and_outside_the_range_and_none_reaches_the_range() -> None:
    low, high = torch.tensor(-1.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    x = torch.tensor([-50.0, -1.0, -0.2, 0.0, 0.3, 1.0, 7.0], requires_grad=True)
    grad = torch.arange(7.0) - 3
    torch.autograd.backward(fake_quantize(x, range_grid(low, high, 3), 3), grad)
    assert x.grad is not None
    assert torch.equal(x.grad, grad)
    assert low.grad is None
    assert high.grad is None


def test_the_gradient_of_a_weight_is_the_one_of_the_quantised_weight() -> None:
    layer = QuantizedConv2d.from_float(nn.Conv2d(2, 3, 3, padding=1), 2)
    x = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.autograd.backward(layer(x).square().sum())
    quantised = fake_quantize(layer.weight, weight_grid(layer.weight, 2), 2).detach().requires_grad_()
    torch.autograd.backward(nn.functional.conv2d(x, quantised, layer.bias, padding=1).square().sum())
    assert layer.weight.grad is not None
    assert quantised.grad is not None
    torch.testing.assert_close(layer.weight.grad, quantised.grad)


def test_x_itself_is_not_written_to() -> None:
    x = torch.tensor([0.123, -3.0])
    before = x.clone()
    fake_quantize(x, range_grid(torch.tensor(-1.0), torch.tensor(1.0), 2), 2)
    weight_codes(x.view(1, 2), 4)
    assert torch.equal(x, before)


def test_scalar_and_channel_grids_agree() -> None:
    """The scalar form has a path of its own."""
    x = torch.randn(6, 50, generator=torch.Generator().manual_seed(2))
    grid = range_grid(torch.tensor(-0.9), torch.tensor(1.4), 4)
    spread = range_grid(torch.full((6, 1), -0.9), torch.full((6, 1), 1.4), 4)
    assert torch.equal(fake_quantize(x, grid, 4), fake_quantize(x, spread, 4))


def test_quantised_layers_share_the_float_layers_parameters_and_keep_the_bias_float() -> None:
    linear = nn.Linear(5, 3)
    layer = QuantizedLinear.from_float(linear, 2)
    assert layer.weight is linear.weight
    assert layer.bias is linear.bias
    x = torch.zeros(1, 5)
    assert torch.equal(layer(x)[0], linear.bias)


def test_depthwise_strided_and_dilated_convolutions_keep_their_geometry() -> None:
    for conv in (
        nn.Conv2d(4, 4, 3, groups=4, padding=1),
        nn.Conv2d(4, 6, 3, stride=2, dilation=2, bias=False),
        nn.Conv2d(4, 2, (1, 3), padding="same"),
    ):
        layer = QuantizedConv2d.from_float(conv, 8)
        x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(layer(x), conv(x), atol=0.05, rtol=0.05)


def test_quantisers_and_layers_are_found_by_name_in_the_models_order() -> None:
    model = nn.Sequential(
        QuantizedConv2d.from_float(nn.Conv2d(1, 1, 1), 2),
        ActivationQuantizer(2),
        nn.Sequential(QuantizedLinear.from_float(nn.Linear(1, 1), 2), ActivationQuantizer(3)),
    )
    assert list(activation_quantizers(model)) == ["1", "2.1"]
    assert list(quantized_layers(model)) == ["0", "2.0"]
    with observing(model):
        assert all(q.live for q in activation_quantizers(model).values())
    assert not any(q.live for q in activation_quantizers(model).values())


def test_observing_ends_with_an_error_too() -> None:
    model = nn.Sequential(ActivationQuantizer(2))
    with pytest.raises(KeyError), observing(model):
        raise KeyError
    assert not any(q.live for q in activation_quantizers(model).values())
