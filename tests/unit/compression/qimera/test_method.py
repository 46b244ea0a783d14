"""The whole method: identity with GDFQ when its parts are off, and what it returns."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from shoestring.compression.baselines import GDFQConfig, gdfq
from shoestring.compression.qimera import QimeraConfig, QimeraGenerator, qimera
from shoestring.compression.qimera._measure import features, path_probabilities
from shoestring.compression.quantizers import quantized_layers, weight_codes

OFF: dict[str, Any] = {"superpose": False, "disentangle": False, "init_from_teacher": False}


@pytest.fixture
def config(tiny: Any) -> QimeraConfig:
    return QimeraConfig(quant=tiny.quant, generator=tiny.generator, distillation=tiny.distillation)


@pytest.mark.parametrize("seed", [0, 7])
def test_with_all_parts_off_it_is_gdfq_bit_for_bit(
    seed: int, teacher: nn.Module, tiny: Any, config: QimeraConfig, everything: Any
) -> None:
    baseline = GDFQConfig(quant=tiny.quant, generator=tiny.generator, distillation=tiny.distillation)
    one = qimera(teacher, replace(config, **OFF), image_shape=(1, 8, 8), seed=seed)
    two = gdfq(teacher, baseline, image_shape=(1, 8, 8), seed=seed)
    ours, theirs = everything(one), everything(two)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    assert one.history == two.history
    codes = zip(quantized_layers(one.model).values(), quantized_layers(two.model).values(), strict=True)
    for a, b in codes:
        assert torch.equal(weight_codes(a.weight, a.w_bits)[0], weight_codes(b.weight, b.w_bits)[0])


@pytest.mark.parametrize("part", sorted(OFF))
def test_every_part_matters(part: str, teacher: nn.Module, config: QimeraConfig, everything: Any) -> None:
    whole = everything(qimera(teacher, config, image_shape=(1, 8, 8), seed=1))
    without = everything(qimera(teacher, replace(config, **{part: OFF[part]}), image_shape=(1, 8, 8), seed=1))
    shared = [k for k in whole if k.startswith("last.") and "weight" in k]
    assert not all(torch.equal(whole[k], without[k]) for k in shared)


def test_the_generator_comes_back_ready_to_use(teacher: nn.Module, config: QimeraConfig) -> None:
    run = qimera(teacher, config, image_shape=(1, 8, 8))
    assert isinstance(run.generator, QimeraGenerator)
    assert not run.generator.training
    assert run.generator.synthetic(3, classes=[0, 4]).shape == (3, 1, 8, 8)
    assert run.chosen_iteration in (4, 8, 12)
    assert [row["iteration"] for row in run.history] == [4, 8, 12]


def test_the_generator_learns_to_please_the_teacher(trained: Any, tiny: Any) -> None:
    budget = replace(
        tiny.distillation, iterations=60, warmup_iterations=59, batch_size=32, check_every=1000, milestones=()
    )
    config = QimeraConfig(
        quant=tiny.quant, generator=replace(tiny.generator, lr=0.01, width=16), distillation=budget
    )
    first = qimera(
        trained.model,
        replace(config, distillation=replace(budget, iterations=2, warmup_iterations=1)),
        image_shape=(1, 8, 8),
    )
    last = qimera(trained.model, config, image_shape=(1, 8, 8))
    assert last.history[-1]["generator_ce"] < 0.7 * first.history[-1]["generator_ce"]
    assert last.history[-1]["bn_loss"] < first.history[-1]["bn_loss"]


class LinearTeacher(nn.Module):
    """Reads the class off the sign of one pixel."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixel = self.gain * images[:, 0, 0, 0]
        return torch.stack([-pixel, pixel], 1)


class Straight(QimeraGenerator):
    """Images whose pixels all are the share of class 1, from -1 to 1."""

    def images(self, latents: Any) -> torch.Tensor:
        share: torch.Tensor = (2 * latents.target_BC[:, 1:] - 1)[:, :, None, None]
        return share.expand(-1, 1, 8, 8)


def test_a_straight_path_between_two_classes_rises(config: QimeraConfig) -> None:
    generator = Straight(2, (1, 8, 8), config)
    share, path = path_probabilities(LinearTeacher(3.0), generator, 0)
    assert share == 100.0
    assert path.x[0] == 0.0
    assert path.x[-1] == 1.0
    expected = torch.sigmoid(2 * 3 * torch.linspace(-1, 1, len(path.x)))
    torch.testing.assert_close(torch.tensor(path.y), expected, rtol=1e-4, atol=1e-4)


def test_a_path_that_does_not_arrive_or_falls_is_not_counted(config: QimeraConfig) -> None:
    generator = Straight(2, (1, 8, 8), config)
    assert path_probabilities(LinearTeacher(0.1), generator, 0)[0] == 0.0
    assert path_probabilities(LinearTeacher(-3.0), generator, 0)[0] == 0.0


def test_features_are_what_enters_the_head(teacher: nn.Module) -> None:
    teacher.eval()
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    feature = features(teacher, images)
    head = teacher.linear
    assert isinstance(head, nn.Linear)
    torch.testing.assert_close(head(feature), teacher(images))
    assert not head._forward_pre_hooks
