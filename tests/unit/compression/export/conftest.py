from collections.abc import Callable

import pytest
import torch
from torch import nn

from shoestring.compression.conversion import QuantConfig, QuantizedModel, quantize_model
from shoestring.compression.quantizers import observing


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def quantized() -> Callable[..., QuantizedModel]:
    """Quantise a model and set its ranges from one random batch."""

    def make(model: nn.Module, shape: tuple[int, ...] = (2, 8, 8), **bits: int) -> QuantizedModel:
        made = quantize_model(model, QuantConfig(**bits))  # type: ignore[arg-type]  # widths only
        with observing(made), torch.no_grad():
            made(torch.randn(4, *shape, generator=torch.Generator().manual_seed(1)))
        return made

    return make


@pytest.fixture
def small_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1, bias=False),
            nn.BatchNorm2d(5),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 3),
        )
