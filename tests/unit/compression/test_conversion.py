"""From a float classifier to its quantised twin."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from shoestring.compression.conversion import (
    QuantConfig,
    QuantizedModel,
    device_of,
    final_linear,
    quantize_model,
    trace,
)
from shoestring.compression.quantizers import activation_quantizers, observing, quantized_layers
from shoestring.compression.runs import calibrate
from shoestring.core.errors import ConfigError, NotFittedError, UnsupportedModelError
from shoestring.nn import predict_logits, top1

BITS = QuantConfig(w_bits=4, a_bits=4)


class SharedReLU(nn.Module):
    """One ReLU module at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
        self.relu = nn.ReLU()
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class EveryReLU(nn.Module):
    """All forms of a ReLU, a shape taken from the input, a concatenation and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.relu6 = nn.ReLU6(inplace=True)
        self.head = nn.Linear(4 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.conv(x)))
        x = torch.relu(x).relu()
        y = functional.relu6(x) + self.relu6(x + 1)
        y = torch.cat([x, y], 1)
        out: Tensor = self.head(y.view(y.size(0), y.shape[1] * 16))
        return out


def test_a_relu_module_called_twice_has_two_ranges() -> None:
    model = quantize_model(SharedReLU(), BITS)
    assert len(activation_quantizers(model)) == 2
    with observing(model):
        model(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    one, two = (q.averaged_range()[1].item() for q in activation_quantizers(model).values())
    assert one != two


def test_functions_methods_and_relu6_are_quantised_too() -> None:
    model = quantize_model(EveryReLU(), BITS)
    assert len(activation_quantizers(model)) == 5
    with observing(model):
        out = model(torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert out.shape == (2, 3)


def test_every_convolution_and_linear_layer_is_quantised_first_and_last_included(teacher: nn.Module) -> None:
    model = quantize_model(teacher, QuantConfig(w_bits=3, a_bits=2))
    layers = quantized_layers(model)
    wanted = [n for n, m in teacher.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sorted(n.removeprefix("graph_module.") for n in layers) == sorted(wanted)
    assert {layer.w_bits for layer in layers.values()} == {3}
    assert {q.bits for q in activation_quantizers(model).values()} == {2}
    assert len(activation_quantizers(model)) == sum(isinstance(m, nn.ReLU) for m in teacher.modules())


def test_first_and_last_layer_can_keep_eight_bits(teacher: nn.Module) -> None:
    model = quantize_model(teacher, QuantConfig(w_bits=2, first_last="8"))
    bits = {n.removeprefix("graph_module."): m.w_bits for n, m in quantized_layers(model).items()}
    assert {n for n, b in bits.items() if b == 8} == {"conv", "linear"}
    assert set(bits.values()) == {2, 8}


def test_parameters_keep_the_names_of_the_float_model(teacher: nn.Module) -> None:
    names = {n.removeprefix("graph_module.") for n, _ in quantize_model(teacher, BITS).named_parameters()}
    assert names == {n for n, _ in teacher.named_parameters()}


def test_batch_norm_is_neither_folded_nor_moved_and_the_model_stays_in_evaluation_mode(
    teacher: nn.Module,
) -> None:
    model = quantize_model(teacher, BITS)
    assert model.train() is model
    assert not any(m.training for m in model.modules())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == sum(isinstance(m, nn.BatchNorm2d) for m in teacher.modules())
    before = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    model.train(True)
    with observing(model):
        model(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if "running" in k)


@pytest.mark.parametrize("training", [True, False])
def test_the_float_model_stays_as_it_was(teacher: nn.Module, training: bool) -> None:
    teacher.train(training)
    next(teacher.parameters()).requires_grad_(False)
    state = {k: v.clone() for k, v in teacher.state_dict().items()}
    grads = [p.requires_grad for p in teacher.parameters()]
    types = [type(m) for m in teacher.modules()]
    model = quantize_model(teacher, BITS)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert all(torch.equal(v, state[k]) for k, v in teacher.state_dict().items())
    assert [p.requires_grad for p in teacher.parameters()] == grads
    assert [type(m) for m in teacher.modules()] == types
    assert all(m.training == training for m in teacher.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())


def test_an_unset_model_says_that_it_needs_images(teacher: nn.Module) -> None:
    with pytest.raises(NotFittedError):
        quantize_model(teacher, BITS)(torch.zeros(2, 1, 8, 8))


def test_eight_bits_are_close_to_float(trained: Any) -> None:
    student = calibrate(trained.model, QuantConfig(w_bits=8, a_bits=8), trained.images.split(128)[:4])
    ours, exact = (predict_logits(m, trained.test_images) for m in (student, trained.model))
    assert (ours - exact).abs().max() < 0.05 * exact.abs().max()
    assert top1(ours, trained.test_labels) >= top1(exact, trained.test_labels) - 1
    two = calibrate(trained.model, QuantConfig(w_bits=2, a_bits=2), trained.images.split(128)[:4])
    assert (predict_logits(two, trained.test_images) - exact).abs().max() > (ours - exact).abs().max()


def test_a_part_of_the_model_that_has_a_quantisers_name_is_not_overwritten() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation_0 = nn.Linear(4, 4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(torch.relu(self.activation_0(x)))
            return out

    model = quantize_model(Named(), BITS)
    assert len(quantized_layers(model)) == 2
    assert len(activation_quantizers(model)) == 1


def test_a_layer_used_twice_is_quantised_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)
            self.head = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(torch.relu(self.conv(x)))
            out: Tensor = self.head(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))
            return out

    model = quantize_model(Twice(), BITS)
    assert list(quantized_layers(model)) == ["graph_module.conv", "graph_module.head"]


def test_the_head_is_found_by_the_order_of_the_forward_pass() -> None:
    class HeadFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 7)
            self.conv = nn.Conv2d(1, 3, 3)
            self.unused = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.conv(x).mean((2, 3)))
            return out

    model = HeadFirst()
    assert final_linear(model) == ("head", model.head)


def test_a_convolution_head_of_one_by_one_is_a_head_and_a_larger_one_is_not() -> None:
    def model(kernel: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 5, kernel), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    name, layer = final_linear(model(1))
    assert name == "2"
    assert layer.weight.shape == (5, 3, 1, 1)
    with pytest.raises(UnsupportedModelError, match="init_from_teacher=False"):
        final_linear(model(2))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"w_bits": 1}, "bits=1"),
        ({"a_bits": 9}, "bits=9"),
        ({"range_beta": 1.0}, "range_beta"),
        ({"first_last": "4"}, "first_last"),
    ],
)
def test_wrong_options_are_refused_by_name(change: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        QuantConfig(**change)  # type: ignore[arg-type]  # wrong on purpose


def test_a_model_without_parameters_is_on_the_cpu() -> None:
    assert device_of(nn.ReLU()) == torch.device("cpu")


def test_everything_that_is_added_lives_on_the_models_device(make_teacher: Callable[..., nn.Module]) -> None:
    """The device "meta" stands for a GPU: tensors on it cannot be mixed with those of the CPU."""
    model = quantize_model(make_teacher().to("meta"), BITS)
    assert {v.device.type for v in model.state_dict().values()} == {"meta"}


def test_the_twin_computes_what_the_graph_says(teacher: nn.Module) -> None:
    """Without rounding to speak of, graph, twin and model agree."""
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    teacher.eval()
    assert torch.equal(trace(teacher)(x), teacher(x))
    assert isinstance(quantize_model(teacher, BITS), QuantizedModel)
