"""Small float networks that the tests of this family share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from shoestring.compression.baselines import DistilledImagesConfig
from shoestring.compression.conversion import QuantConfig
from shoestring.compression.distillation import DistillationConfig
from shoestring.compression.runs import QuantizationRun
from shoestring.compression.sources import GeneratorConfig
from shoestring.data import load_digits, normalise
from shoestring.nn import TrainingConfig, cifar_resnet, fit_classifier

Digest = Callable[[QuantizationRun], dict[str, Tensor]]


@dataclass(frozen=True)
class Trained:
    """A small network trained on digits, and the digits."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Tiny:
    """Options so small that a whole run takes a fraction of a second."""

    quant: QuantConfig
    distillation: DistillationConfig
    generator: GeneratorConfig
    images: DistilledImagesConfig
    image_shape: tuple[int, int, int] = (1, 8, 8)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny(
        quant=QuantConfig(w_bits=3, a_bits=3),
        distillation=DistillationConfig(
            iterations=12, warmup_iterations=4, batch_size=8, check_every=4, held_out=16
        ),
        generator=GeneratorConfig(width=4, latent=6),
        images=DistilledImagesConfig(count=8, batch_size=4, iterations=3),
    )


@pytest.fixture(scope="session")
def make_teacher() -> Callable[..., nn.Module]:
    """Make an untrained residual network with random BatchNorm parameters and statistics."""

    def make(channels: int = 1, num_classes: int = 5, seed: int = 0) -> nn.Module:
        model = cifar_resnet(8, channels=channels, num_classes=num_classes, widths=(4, 6, 8), seed=seed)
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    assert layer.running_mean is not None
                    assert layer.running_var is not None
                    layer.running_mean.normal_(0, 0.3, generator=rng)
                    layer.running_var.uniform_(0.5, 2, generator=rng)
                    layer.weight.uniform_(0.5, 1.5, generator=rng)
                    layer.bias.normal_(0, 0.3, generator=rng)
        return model

    return make


@pytest.fixture
def teacher(make_teacher: Callable[..., nn.Module]) -> nn.Module:
    return make_teacher()


@pytest.fixture(scope="session")
def trained() -> Trained:
    """A ResNet-8 of few channels that reads 8x8 digits."""
    digits = load_digits(size=8)
    images, test_images = (
        torch.from_numpy(normalise(part.images, digits.mean, digits.std))
        for part in (digits.train, digits.test)
    )
    labels, test_labels = torch.from_numpy(digits.train.labels), torch.from_numpy(digits.test.labels)
    model = cifar_resnet(8, channels=1, widths=(8, 12, 16), seed=0)
    config = TrainingConfig(epochs=3, batch_size=64, peak_lr=0.2, flip=False, augment=False, precision="fp32")
    fit_classifier(model, images, labels, config, seed=0)
    return Trained(model.eval(), images, labels, test_images, test_labels)


@pytest.fixture(scope="session")
def everything() -> Digest:
    """Return every tensor that a run leaves, by name."""

    def collect(run: QuantizationRun) -> dict[str, Tensor]:
        out = {f"chosen.{k}": v for k, v in run.model.state_dict().items()}
        out |= {f"last.{k}": v for k, v in run.last.items()}
        if run.generator is not None:
            out |= {f"generator.{k}": v for k, v in run.generator.state_dict().items()}
        return out

    return collect
