"""GDFQ and Qimera step by step against a plain second writing of the method.

The second writing follows the papers' algorithm with nothing of ours but the float network: its own quantiser
with the straight-through trick of adding a detached difference, `torch.var_mean`, torch's losses, plain SGD
and Adam.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from shoestring.compression.baselines import GDFQConfig, gdfq
from shoestring.compression.conversion import QuantConfig
from shoestring.compression.distillation import DistillationConfig
from shoestring.compression.generators import GDFQGenerator, LatentGenerator
from shoestring.compression.qimera import QimeraConfig, QimeraGenerator, qimera
from shoestring.compression.sources import GeneratorConfig
from shoestring.core.seeds import derive_seed

BITS, WARMUP, STEPS, BATCH, SEED = 3, 3, 7, 6, 5
LR, G_LR = 0.02, 0.005
SHAPE = (1, 8, 8)
DISTILLATION = DistillationConfig(
    iterations=STEPS,
    warmup_iterations=WARMUP,
    batch_size=BATCH,
    lr=LR,
    milestones=(),
    held_out=4,
    check_every=100,
)
GENERATOR = GeneratorConfig(width=4, latent=6, lr=G_LR)
QUANT = QuantConfig(w_bits=BITS, a_bits=BITS)


class Network(nn.Module):
    """Two convolutions and a linear layer; `quantise` looks over every weight and activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def network() -> Network:
    model = Network()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.normal_(0, 0.4, generator=rng)
            if "norm" in name and name.endswith("weight"):
                value.abs_().add_(0.5)
        for norm in (model.norm1, model.norm2):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_(0, 0.5, generator=rng)
            norm.running_var.uniform_(0.5, 2, generator=rng)
    return model.eval()


def rounded(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The released formula, with the straight-through gradient as a detached difference."""
    s = (2**BITS - 1) / torch.clamp(high - low, min=1e-8)
    z = torch.round(s * low) + 2 ** (BITS - 1)
    q = torch.clamp(torch.round(s * x - z), -(2 ** (BITS - 1)), 2 ** (BITS - 1) - 1)
    out: Tensor = x + ((q + z) / s - x).detach()
    return out


def rounded_rows(w: Tensor) -> Tensor:
    rows = w.detach().flatten(1)
    shape = (-1, *[1] * (w.ndim - 1))
    return rounded(w, rows.amin(1).view(shape), rows.amax(1).view(shape))


class Ranges:
    """Averages of the maxima; the minima after a ReLU are zero or very nearly so."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[float, float]]] = [[], []]

    def __call__(self, place: int, x: Tensor, live: bool) -> Tensor:
        if live:
            self.seen[place].append((x.min().item(), x.max().item()))
        weights = [0.9 ** (len(self.seen[place]) - 1 - i) for i in range(len(self.seen[place]))]
        low, high = (
            sum(w * row[end] for w, row in zip(weights, self.seen[place], strict=True)) / sum(weights)
            for end in (0, 1)
        )
        return rounded(x, torch.tensor(min(low, 0.0)), torch.tensor(high))


def student_logits(model: Network, x: Tensor, ranges: Ranges, live: bool) -> Tensor:
    for place, (conv, norm) in enumerate(((model.conv1, model.norm1), (model.conv2, model.norm2))):
        x = functional.conv2d(x, rounded_rows(conv.weight), conv.bias, conv.stride, conv.padding)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        x = functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False)
        x = ranges(place, torch.relu(x), live)
    return functional.linear(x.mean((2, 3)), rounded_rows(model.head.weight), model.head.bias)


def statistics_loss(teacher: Network, x: Tensor) -> tuple[Tensor, Tensor]:
    one = teacher.conv1(x)
    two = teacher.conv2(torch.relu(teacher.norm1(one)))
    logits = teacher.head(torch.relu(teacher.norm2(two)).mean((2, 3)))
    parts = []
    for norm, value in ((teacher.norm1, one), (teacher.norm2, two)):
        var, mean = torch.var_mean(value, dim=(0, 2, 3), correction=0)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        parts.append(
            functional.mse_loss(mean, norm.running_mean) + functional.mse_loss(var, norm.running_var)
        )
    return logits, sum(parts, torch.zeros(())) / 2


def by_hand(generator: LatentGenerator) -> dict[str, Tensor]:
    """The student's parameters after the whole schedule."""
    teacher, student, ranges = network().requires_grad_(False), network(), Ranges()
    adam = torch.optim.Adam(generator.parameters(), lr=G_LR, betas=(0.5, 0.999))
    sgd = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4, nesterov=True)
    rng = torch.Generator().manual_seed(derive_seed(SEED, "batches"))
    generator.train()
    for step in range(STEPS):
        latents = generator.draw(BATCH, rng)
        images = generator.images(latents)
        t, statistics = statistics_loss(teacher, images)
        adam.zero_grad()
        class_loss = -(latents.target_BC * t.log_softmax(1)).sum(1).mean()
        torch.autograd.backward(class_loss + 0.1 * statistics)
        adam.step()
        x, t = images.detach(), t.detach()
        o = student_logits(student, x, ranges, live=step < WARMUP)
        if step >= WARMUP:
            kl = functional.kl_div((o / 20).log_softmax(1), (t / 20).softmax(1), reduction="none").mean()
            sgd.zero_grad()
            class_loss = -(latents.target_BC * o.log_softmax(1)).sum(1).mean()
            torch.autograd.backward(class_loss + 400 * kl)
            sgd.step()
    return {k: v.detach() for k, v in student.named_parameters()}


def compare(last: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Float32 sums in another order differ by 1e-6 or so a step; a missed rule differs by far more."""
    first = dict(network().named_parameters())
    for name, value in expected.items():
        ours = last[f"graph_module.{name}"]
        moved = (value - first[name]).abs().max().item()
        assert moved > 1e-4, name
        assert (ours - value).abs().max().item() < 0.02 * moved, name


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_gdfq_equals_its_second_writing() -> None:
    config = GDFQConfig(quant=QUANT, generator=GENERATOR, distillation=DISTILLATION)
    run = gdfq(network(), config, image_shape=SHAPE, seed=SEED)
    generator = GDFQGenerator(3, SHAPE, latent=6, width=4, seed=derive_seed(SEED, "generator"))
    compare(run.last, by_hand(generator))


def test_qimera_equals_its_second_writing() -> None:
    config = QimeraConfig(
        quant=QUANT, generator=GENERATOR, distillation=DISTILLATION, superpose_prob=0.5, superpose_classes=3
    )
    run = qimera(network(), config, image_shape=SHAPE, seed=SEED)
    seed = derive_seed(SEED, "generator")
    compare(run.last, by_hand(QimeraGenerator.from_teacher(network(), 3, SHAPE, config, seed=seed)))


def test_the_comparison_would_notice_a_wrong_rule() -> None:
    """Without weight on the KL term, or with another memory of the ranges, the two writings part."""
    generator = GDFQGenerator(3, SHAPE, latent=6, width=4, seed=derive_seed(SEED, "generator"))
    expected = by_hand(generator)
    for wrong in (
        GDFQConfig(quant=QUANT, generator=GENERATOR, distillation=replace(DISTILLATION, kd_weight=0.5)),
        GDFQConfig(quant=replace(QUANT, range_beta=0.0), generator=GENERATOR, distillation=DISTILLATION),
        GDFQConfig(quant=QUANT, generator=replace(GENERATOR, bn_weight=1.0), distillation=DISTILLATION),
    ):
        run = gdfq(network(), wrong, image_shape=SHAPE, seed=SEED)
        with pytest.raises(AssertionError):
            compare(run.last, expected)
