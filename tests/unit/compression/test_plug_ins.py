"""What another method brings along: a step rule, a loss, a generator, without a change of the package.

The rule here is a small relative of gradient inundation: it lengthens a layer's step until enough codes
change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.compression.bn_statistics import BatchNormMatcher
from shoestring.compression.conversion import QuantConfig, QuantizedModel, quantize_model
from shoestring.compression.distillation import DistillationConfig, distil
from shoestring.compression.generators import LatentGenerator, initialise
from shoestring.compression.losses import distillation_kl
from shoestring.compression.quantizers import quantized_layers, weight_codes
from shoestring.compression.runs import freeze, train_on_generator
from shoestring.compression.sources import Batch, FixedImages, GeneratorConfig, GeneratorSource
from shoestring.compression.step_rules import StepRule

SHARE = 0.02


class ScaledStep:
    """Plain SGD whose step is doubled, layer by layer, until `SHARE` of the codes change."""

    def __init__(self, student: QuantizedModel, lr: float) -> None:
        self.layers = quantized_layers(student)
        self.others = [
            p
            for n, p in student.named_parameters()
            if n.rpartition(".")[0] not in self.layers or n.endswith("bias")
        ]
        self.first_lr = self.lr = lr
        self.num_steps = torch.zeros((), dtype=torch.int64)

    def step(self, loss: Tensor) -> Mapping[str, float]:
        weights = [layer.weight for layer in self.layers.values()]
        grads = torch.autograd.grad(loss, [*weights, *self.others], allow_unused=True)
        shares = []
        with torch.no_grad():
            for p, g in zip(self.others, grads[len(weights) :], strict=True):
                if g is not None:
                    p.sub_(self.lr * g)
            for layer, g in zip(self.layers.values(), grads, strict=False):
                assert g is not None
                before, _ = weight_codes(layer.weight, layer.w_bits)
                for doublings in range(30):
                    moved = layer.weight - 2**doublings * self.lr * g
                    share = (weight_codes(moved, layer.w_bits)[0] != before).double().mean().item()
                    if share >= SHARE:
                        break
                layer.weight.copy_(moved)
                shares.append(share)
        self.num_steps += 1
        return {"least_share": min(shares)}

    def scale_lr(self, factor: float) -> None:
        self.lr = self.first_lr * factor

    def tensors(self) -> dict[str, Tensor]:
        return {"num_steps": self.num_steps}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.num_steps = tensors["num_steps"]


@dataclass(frozen=True, slots=True)
class Uniform:
    """One class a sample, no noise at all."""

    target_BC: Tensor  # noqa: N815  # shape suffix


class OneLayer(LatentGenerator):
    """Another architecture: a linear layer straight to pixels."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.pixels = nn.Linear(num_classes, image_shape[0] * image_shape[1] * image_shape[2])
        initialise(self, 0)

    def draw(self, batch_size: int, rng: torch.Generator) -> Uniform:
        logits = torch.randn(batch_size, self.pixels.in_features, generator=rng)
        return Uniform(torch.softmax(3 * logits, 1))

    def images(self, latents: Any) -> Tensor:
        out: Tensor = self.pixels(latents.target_BC).view(-1, *self.image_shape)
        return out


@dataclass(frozen=True)
class OtherConfig:
    """A config of another method, with a field of its own."""

    quant: QuantConfig
    generator: GeneratorConfig
    distillation: DistillationConfig
    threshold: float = SHARE
    names: tuple[str, ...] = field(default=("up", "op"))


def kl_only(batch: Batch, student_BC: Tensor) -> Tensor:
    return distillation_kl(student_BC, batch.teacher_BC, 20.0)


def test_another_step_rule_and_loss_plug_into_the_loop(teacher: nn.Module, tiny: Any) -> None:
    frozen = freeze(teacher)
    student = quantize_model(teacher, tiny.quant)
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    rule = ScaledStep(student, lr=1e-4)
    done = distil(
        student, frozen, FixedImages(frozen, images), tiny.distillation, seed=0, loss=kl_only, rule=rule
    )
    assert int(rule.num_steps) == 8
    assert done.history[-1]["least_share"] >= SHARE
    assert rule.lr == 1e-4 * 0.1**3


def test_a_loss_from_the_config_can_leave_the_labels_out(teacher: nn.Module, tiny: Any) -> None:
    frozen = freeze(teacher)
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    config = replace(tiny.distillation, ce_weight=0.0)
    one, two = (
        distil(
            quantize_model(teacher, tiny.quant), frozen, FixedImages(frozen, images), config, seed=0, loss=f
        )
        for f in (None, kl_only)
    )
    assert all(torch.equal(v, two.last[k]) for k, v in one.last.items())


def test_another_generator_learns_in_the_source_as_it_is(teacher: nn.Module) -> None:
    frozen = freeze(teacher)
    generator = OneLayer(5, (1, 8, 8))
    first = generator.pixels.weight.detach().clone()
    rng = torch.Generator().manual_seed(0)
    with BatchNormMatcher(frozen) as matcher:
        source = GeneratorSource(generator, matcher, GeneratorConfig(lr=0.01))
        losses = [source.next_batch(16, rng).metrics for _ in range(30)]
    assert not torch.equal(generator.pixels.weight, first)
    assert losses[-1]["bn_loss"] < losses[0]["bn_loss"]


def test_a_whole_method_is_a_config_a_generator_and_a_rule(
    teacher: nn.Module, tiny: Any, everything: Any
) -> None:
    config = OtherConfig(tiny.quant, tiny.generator, tiny.distillation)

    def make(frozen: nn.Module, classes: int) -> OneLayer:
        assert not any(p.requires_grad for p in frozen.parameters())
        return OneLayer(classes, tiny.image_shape)

    def rule(student: QuantizedModel) -> StepRule:
        return ScaledStep(student, lr=1e-4)

    def once() -> Any:
        return train_on_generator(
            "other", teacher, make, config, image_shape=tiny.image_shape, seed=1, make_rule=rule
        )

    run = once()
    assert run.method == "other"
    assert isinstance(run.generator, OneLayer)
    assert run.history[-1]["least_share"] >= SHARE
    one, two = everything(run), everything(once())
    assert all(torch.equal(v, two[k]) for k, v in one.items())
