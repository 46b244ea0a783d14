"""Losses against hand computations."""

import math

import pytest
import torch
from torch.nn import functional

from shoestring.compression.losses import distillation_kl, soft_cross_entropy, soft_labels


def logits(seed: int, rows: int = 5, classes: int = 4) -> torch.Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_kl_is_the_mean_over_batch_and_classes(temperature: float, classes: int) -> None:
    student, teacher = logits(0, 6, classes), logits(1, 6, classes)
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        ps, pt = ([math.exp(v / temperature) for v in row] for row in (s, t))
        ps, pt = [p / sum(ps) for p in ps], [p / sum(pt) for p in pt]
        total += sum(q * math.log(q / p) for p, q in zip(ps, pt, strict=True))
    by_hand = total / (6 * classes) * temperature**2
    ours = distillation_kl(student, teacher, temperature)
    assert ours.item() == pytest.approx(by_hand, rel=1e-4, abs=1e-6)
    of_torch = functional.kl_div(
        functional.log_softmax(student / temperature, 1),
        functional.softmax(teacher / temperature, 1),
        reduction="none",  # its "mean" is to change its meaning
    ).mean()
    assert ours.item() == pytest.approx(of_torch.item() * temperature**2, rel=1e-4, abs=1e-6)


def test_the_weight_of_one_samples_kl_is_forty_for_ten_classes() -> None:
    """``T**2 / C`` times the batch mean, at the paper's T = 20."""
    student, teacher = logits(0, 8, 10), logits(1, 8, 10)
    batch_mean = functional.kl_div(
        functional.log_softmax(student / 20, 1), functional.softmax(teacher / 20, 1), reduction="batchmean"
    )
    assert distillation_kl(student, teacher).item() == pytest.approx(40 * batch_mean.item(), rel=1e-4)


def test_kl_of_equals_is_zero_and_its_gradient_spares_the_teacher() -> None:
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    assert distillation_kl(student, student).item() == pytest.approx(0, abs=1e-7)
    torch.autograd.backward(distillation_kl(student, teacher))
    assert student.grad is not None
    assert teacher.grad is None


def test_soft_cross_entropy_equals_the_hard_one_for_one_hot_targets() -> None:
    labels = torch.tensor([0, 3, 1, 1, 2])
    ours = soft_cross_entropy(logits(0), functional.one_hot(labels, 4).float())
    torch.testing.assert_close(ours, functional.cross_entropy(logits(0), labels))


def test_soft_cross_entropy_is_linear_in_the_targets() -> None:
    one, two = (functional.one_hot(torch.tensor(c), 4).float() for c in ([0, 1, 2, 3, 0], [1, 1, 0, 2, 3]))
    mixed = soft_cross_entropy(logits(0), 0.3 * one + 0.7 * two)
    parts = 0.3 * soft_cross_entropy(logits(0), one) + 0.7 * soft_cross_entropy(logits(0), two)
    torch.testing.assert_close(mixed, parts)


def test_weights_of_equal_classes_add_up() -> None:
    labels = soft_labels(torch.tensor([[2, 0, 2]]), torch.tensor([[0.5, 0.2, 0.3]]), 4)
    torch.testing.assert_close(labels, torch.tensor([[0.2, 0.0, 0.8, 0.0]]))


@pytest.mark.parametrize("mixed", [1, 2, 7, 500])
def test_rows_sum_to_one_with_more_slots_than_classes_too(mixed: int) -> None:
    rng = torch.Generator().manual_seed(mixed)
    classes = torch.randint(3, (20, mixed), generator=rng)
    weights = torch.softmax(torch.randn(20, mixed, generator=rng), 1)
    labels = soft_labels(classes, weights, 3)
    assert labels.shape == (20, 3)
    assert (labels >= 0).all()
    torch.testing.assert_close(labels.sum(1), torch.ones(20), rtol=1e-5, atol=1e-5)
    present = torch.zeros(20, 3).scatter_(1, classes, 1.0)
    assert torch.equal(labels > 0, present > 0)
