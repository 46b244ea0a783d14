import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from shoestring.compression.conversion import QuantConfig, QuantizedModel, quantize_model
from shoestring.compression.export import OPERATIONS, IntegerModel, Node, build_program
from shoestring.compression.quantizers import weight_codes
from shoestring.core.errors import DataError, NotFittedError, UnsupportedModelError

SHAPE = (2, 8, 8)
Quantize = Callable[..., QuantizedModel]


class Net(nn.Module):
    """A convolution, then any function of the image and the feature map, then a linear layer."""

    def __init__(self, body: Callable[[Tensor], Any], features: int, **modules: nn.Module) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(2, 4, 3, padding=1)
            self.head = nn.Linear(features, 3)
        self.body = body
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(self.conv(x)))
        return out


def check_same(model: QuantizedModel) -> list[Node]:
    """The program must compute what the model does; return its nodes."""
    program = build_program(model, SHAPE)
    images = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(IntegerModel(program)(images), model(images), rtol=1e-5, atol=1e-5)
    for node in program.nodes:
        assert set(node.attributes) == set(OPERATIONS[node.op])
    return list(program.nodes)


def test_program_of_a_small_net(quantized: Quantize, small_net: nn.Module) -> None:
    model = quantized(small_net, w_bits=3, a_bits=5)
    program = build_program(model, SHAPE)
    assert [n.op for n in program.nodes] == [
        "conv2d", "batch_norm", "relu", "quantize", "global_avg_pool", "flatten", "linear",
    ]  # fmt: skip
    assert program.num_classes == 3
    assert program.nodes[3].attributes["bits"] == 5
    codes, grid = weight_codes(model.get_submodule("graph_module.0").weight, 3)  # type: ignore[arg-type]  # a tensor
    assert (torch.from_numpy(program.weights["0"].codes) == codes).all()
    assert (torch.from_numpy(program.weights["0"].zero_point) == grid.zero_point.flatten()).all()
    assert program.weights["0"].bits == 3


def test_the_program_is_a_copy(quantized: Quantize, small_net: nn.Module) -> None:
    model = quantized(small_net)
    program = build_program(model, SHAPE)
    before = [v.copy() for v in (*program.tensors.values(), program.weights["0"].scale)]
    with torch.no_grad():
        for p in (*model.parameters(), *model.buffers()):
            p.mul_(2)
    after = [*program.tensors.values(), program.weights["0"].scale]
    assert all((one == two).all() for one, two in zip(before, after, strict=True))


def test_first_and_last_keep_their_own_bits(small_net: nn.Module, quantized: Quantize) -> None:
    model = quantized(small_net, w_bits=2, a_bits=2, first_last="8")
    assert {k: w.bits for k, w in build_program(model, SHAPE).weights.items()} == {"0": 8, "5": 8}


@pytest.mark.parametrize(
    ("body", "features", "wanted"),
    [
        (lambda x: x.view(x.size(0), -1), 256, "flatten"),
        (lambda x: x.view(-1, x.shape[1] * 64), 256, "flatten"),
        (lambda x: x.reshape(x.size()[0], 256), 256, "flatten"),
        (lambda x: torch.flatten(x, 1), 256, "flatten"),
        (lambda x: x.contiguous().flatten(start_dim=1), 256, "flatten"),
        (lambda x: x.view(x.size(0), x.size(1), -1).mean(2), 4, "reshape"),
        (lambda x: x.flatten(2).mean(-1), 4, "reshape"),
        (lambda x: torch.mean(x, dim=(2, 3)), 4, "mean"),
        (lambda x: x.mean(axis=(-1, -2)), 4, "mean"),
        (lambda x: x.mean([2, 3], keepdim=True).flatten(1), 4, "mean"),
        (lambda x: functional.adaptive_avg_pool2d(x, (4, 2)).flatten(1), 32, "avg_pool"),
        (lambda x: functional.adaptive_avg_pool2d(x, 1).flatten(1), 4, "global_avg_pool"),
        (lambda x: functional.avg_pool2d(x, x.size(2) // 2).flatten(1), 16, "avg_pool"),
        (lambda x: functional.avg_pool2d(x, 3, 2, 1).flatten(1), 64, "avg_pool"),
        (lambda x: functional.avg_pool2d(x, 3, 2, ceil_mode=True).flatten(1), 64, "avg_pool"),
        (lambda x: functional.max_pool2d(x, 3, stride=2, padding=1).flatten(1), 64, "max_pool"),
        (
            lambda x: functional.max_pool2d(x, 2, ceil_mode=True, dilation=2, stride=3).flatten(1),
            36,
            "max_pool",
        ),
        (lambda x: torch.cat([x, x.relu()], dim=1).mean((2, 3)), 8, "concat"),
        (lambda x: torch.add(x, torch.relu(x)).mean((2, 3)), 4, "add"),
        (lambda x: x.add(functional.relu6(x)).mean((2, 3)), 4, "relu6"),
        (lambda x: functional.pad(x, (1, 2, 0, 1), value=0.5).flatten(1), 396, "pad"),
        (lambda x: x[:, :, ::2, 1:-1].flatten(1), 96, "slice"),
        (lambda x: x[..., : x.size(3) // 2].flatten(1), 128, "slice"),
        (lambda x: x[:, 1:3].flatten(1), 128, "slice"),
        (lambda x: functional.dropout(x, 0.3, training=False).flatten(1), 256, "flatten"),
    ],
)
def test_styles_of_writing_a_model(
    body: Callable[[Tensor], Tensor], features: int, wanted: str, quantized: Quantize
) -> None:
    assert wanted in [n.op for n in check_same(quantized(Net(body, features)))]


@pytest.mark.parametrize(
    ("pool", "features"),
    [
        (nn.MaxPool2d(3, 2, ceil_mode=True), 64),
        (nn.AvgPool2d(3, 2, ceil_mode=True, count_include_pad=False), 64),
        (nn.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False), 100),
        (nn.AvgPool2d((2, 4)), 32),
        (nn.AdaptiveAvgPool2d((None, 2)), 64),
        (nn.AdaptiveAvgPool2d(8), 256),
        (nn.Sequential(nn.Identity(), nn.Dropout2d(0.5), nn.Dropout(0.5)), 256),
    ],
)
def test_pooling_layers(pool: nn.Module, features: int, quantized: Quantize) -> None:
    check_same(
        quantized(
            nn.Sequential(
                nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(features, 3)
            )
        )
    )


def test_a_layer_that_is_called_twice_has_one_weight(quantized: Quantize) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.head = nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.conv(self.relu(self.conv(x))))
            out: Tensor = self.head(x.mean((2, 3)))
            return out

    nodes = check_same(quantized(Twice()))
    assert [n.attributes["weight"] for n in nodes if n.op == "conv2d"] == ["conv", "conv"]
    assert len([n for n in nodes if n.op == "quantize"]) == 2


def test_what_does_not_lead_to_the_logits_is_left_out(quantized: Quantize) -> None:
    class WithAside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.aside, self.head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x).relu()
            out: Tensor = self.head(x.mean((2, 3)))
            self.aside(x)
            return out

    model = quantized(WithAside())
    nodes = check_same(model)
    assert nodes[-1].op == "linear"
    assert set(build_program(model, SHAPE).weights) == {"conv", "head"}


@pytest.mark.parametrize(
    ("body", "features", "words"),
    [
        (
            lambda x: functional.adaptive_avg_pool2d(x, 3).flatten(1),
            36,
            "adaptive_avg_pool2d.*8x8 to 3x3.*divides",
        ),
        (
            lambda x: functional.avg_pool2d(x, 3, 2, 1, True).flatten(1),
            100,
            "avg_pool2d.*count_include_pad=False",
        ),
        (lambda x: functional.avg_pool2d(x, 2, divisor_override=3).flatten(1), 64, "divisor_override"),
        (lambda x: functional.dropout(x, 0.5).flatten(1), 256, "dropout.*training=self.training"),
        (lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect").flatten(1), 400, "pad.*'constant'"),
        (lambda x: functional.pad(x, (-1, -1)).flatten(1), 192, "pad.*slice"),
        (lambda x: x[:, 0].flatten(1), 64, "getitem.*slices"),
        (lambda x: x[:2].flatten(1), 256, "getitem.*batch"),
        (lambda x: torch.cat([x, x], 0).flatten(1), 256, "cat.*channels"),
        (lambda x: x.view(-1, 64), 64, "view.*batch"),
        (lambda x: (x + 1.0).flatten(1), 256, "add.*two tensors"),
        (lambda x: torch.add(x, x, alpha=2).flatten(1), 256, "add.*two tensors"),
        (lambda x: x.mean((0, 2, 3)).view(1, 4), 4, "mean.*without the batch"),
        (lambda x: x.mean((2, 3), keepdim=True), 1, "'head'.*flatten"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(
    body: Callable[[Tensor], Tensor], features: int, words: str, quantized: Quantize
) -> None:
    model = quantized(Net(body, features))
    with pytest.raises(UnsupportedModelError, match=words):
        build_program(model, SHAPE)


def test_overwriting_a_value_that_is_read_again_is_refused(quantized: Quantize) -> None:
    def body(x: Tensor) -> Tensor:
        return torch.cat([x.add_(x.relu()), x], 1).mean((2, 3))

    with pytest.raises(UnsupportedModelError, match=r"'add_' overwrites the value of 'conv'.*inplace=False"):
        build_program(quantized(Net(body, 8)), SHAPE)


@pytest.mark.parametrize("how", [operator.iadd, Tensor.add_])
def test_in_place_sums_are_fine_when_nothing_reads_the_old_value(
    how: Callable[..., Tensor], quantized: Quantize
) -> None:
    class Residual(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            kept = y.relu()
            if how is Tensor.add_:
                y = y.add_(kept)
            else:
                y += kept
            out: Tensor = self.head(y.mean((2, 3)))
            return out

    assert "add" in [n.op for n in check_same(quantized(Residual(lambda x: x, 4)))]


def test_logits_must_be_one_tensor_of_two_axes(quantized: Quantize) -> None:
    class Pair(Net):
        def forward(self, x: Tensor) -> Any:
            x = self.conv(x)
            return x, x

    with pytest.raises(UnsupportedModelError, match=r"returns tuple.*logits alone"):
        build_program(quantized(Pair(lambda x: x, 1)), SHAPE)
    with pytest.raises(UnsupportedModelError, match=r"logits of shape \(N, classes\)"):
        build_program(quantized(nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU())), SHAPE)


def test_images_of_another_shape_are_refused(quantized: Quantize, small_net: nn.Module) -> None:
    with pytest.raises(DataError, match="images of shape 3x8x8 do not run"):
        build_program(quantized(small_net), (3, 8, 8))


def test_unset_ranges_are_refused_by_name(small_net: nn.Module) -> None:
    with pytest.raises(NotFittedError, match="'activation_0'"):
        build_program(quantize_model(small_net, QuantConfig()), SHAPE)


def test_weights_that_are_not_finite_are_refused(quantized: Quantize, small_net: nn.Module) -> None:
    model = quantized(small_net)
    with torch.no_grad():
        next(model.parameters())[0, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="'0' holds NaN"):
        build_program(model, SHAPE)
