"""What the substrate does not cover is refused by name, with what to do."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from shoestring.compression.conversion import QuantConfig, quantize_model, require_batch_norm
from shoestring.core.errors import UnsupportedModelError

BITS = QuantConfig()


class Around(nn.Module):
    """A convolution, a function or layer under test, a head."""

    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.part = part
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.part(self.conv(x)).mean((2, 3)))
        return out


class OwnConv(nn.Conv2d):
    """Standardises its weight in `forward`."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight - self.weight.mean(), self.bias)


class HarmlessConv(nn.Conv2d):
    """Only its constructor differs."""

    def __init__(self) -> None:
        super().__init__(4, 4, 1)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (nn.SiLU(), r"'part' \(SiLU\).*Replace"),
        (nn.GELU(), r"'part' \(GELU\)"),
        (nn.LayerNorm(8), r"'part' \(LayerNorm\) belongs to a transformer.*MimiQ"),
        (nn.ConvTranspose2d(4, 4, 2), r"'part' \(ConvTranspose2d\)"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), r"'part' pads with 'reflect'"),
        (nn.BatchNorm2d(4, track_running_stats=False), r"'part' \(BatchNorm2d\) keeps no running statistics"),
        (nn.GroupNorm(2, 4), r"'part' \(GroupNorm\)"),
        (nn.Softmax(1), r"'part' \(Softmax\)"),
        (OwnConv(4, 4, 1), r"'part' \(OwnConv\) computes its weight or output in its own way"),
        (weight_norm(nn.Conv2d(4, 4, 1)), r"'part' .* computes its weight or output in its own way"),
        (nn.Sequential(nn.Identity(), nn.Hardswish()), r"'part.1' \(Hardswish\)"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_a_layer_is_refused_by_its_name(part: nn.Module, words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        quantize_model(Around(part), BITS)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (functional.silu, "silu"),
        (torch.sigmoid, "sigmoid"),
        (lambda x: x.tanh(), "tanh"),
        (lambda x: x * x, "mul"),
        (lambda x: torch.relu(x) // 2, "floordiv"),
        (lambda x: x.T, "getattr"),
    ],
    ids=["silu", "sigmoid", "tanh", "mul", "floordiv", "getattr"],
)
def test_an_operation_is_refused_by_its_name(part: Callable[[Tensor], Tensor], name: str) -> None:
    with pytest.raises(UnsupportedModelError, match=re.escape(repr(name))):
        quantize_model(Around(part), BITS)


def test_attention_is_refused_by_name() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.attention(x, x, x)[0])
            return out

    with pytest.raises(UnsupportedModelError, match=r"'attention' \(MultiheadAttention\).*MimiQ"):
        quantize_model(Attends(), BITS)


def test_a_bare_parameter_is_refused_by_name() -> None:
    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(x + self.gain)
            return out

    with pytest.raises(UnsupportedModelError, match="'gain'"):
        quantize_model(Scales(), BITS)


def test_control_flow_on_data_is_refused_with_the_reason() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedModelError, match=r"Branches cannot be traced.*must not branch"):
        quantize_model(Branches(), BITS)


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="no Conv2d or Linear"):
        quantize_model(nn.Sequential(nn.ReLU()), BITS)


def test_a_subclass_that_computes_as_its_base_is_taken() -> None:
    quantize_model(Around(HarmlessConv()), BITS)


def test_a_model_without_batch_norm_names_the_alternatives() -> None:
    with pytest.raises(UnsupportedModelError, match=r"no BatchNorm2d.*no Conv2d.*'real-calibration'.*MimiQ"):
        require_batch_norm(nn.Sequential(nn.Linear(2, 2)))


def test_a_folded_model_names_the_convolution_and_the_way_out() -> None:
    with pytest.raises(
        UnsupportedModelError, match=r"'0' has no BatchNorm2d after it \(was it folded\?\).*before folding"
    ):
        require_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()))


def test_batch_norm_without_statistics_is_named() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False))
    with pytest.raises(UnsupportedModelError, match=r"'1' \(BatchNorm2d\) keeps no running statistics"):
        require_batch_norm(model)


class ReadsAgain(nn.Module):
    """Adds what entered the ReLU to what left it."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x) + x


NAMES = ["module", "keyword", "function", "position", "method"]
IN_PLACE = [
    nn.ReLU(inplace=True),
    lambda x: functional.relu(x, inplace=True),
    torch.relu_,
    lambda x: functional.relu(x, True),
    lambda x: x.relu_(),
]


@pytest.mark.parametrize("relu", IN_PLACE, ids=NAMES)
def test_a_relu_in_place_whose_input_is_read_again_is_refused(relu: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UnsupportedModelError, match=r"in place .* read again later; use inplace=False"):
        quantize_model(Around(ReadsAgain(relu)), BITS)


@pytest.mark.parametrize("relu", [*IN_PLACE, nn.ReLU()], ids=[*NAMES, "copy"])
def test_other_relus_are_taken(relu: Callable[[Tensor], Tensor]) -> None:
    quantize_model(Around(relu), BITS)
    quantize_model(Around(ReadsAgain(nn.ReLU())), BITS)
