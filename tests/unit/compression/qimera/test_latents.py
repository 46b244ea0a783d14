"""Qimera's latent part: embeddings, mapping, superposition, draws."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shoestring.compression.generators import ConditionalBatchNorm2d, GDFQGenerator
from shoestring.compression.qimera import QimeraConfig, QimeraGenerator
from shoestring.compression.qimera.functional import (
    between_share,
    boundary_share,
    mix,
    mixing_weights,
    noisy_embedding,
    teacher_embedding,
)
from shoestring.compression.sources import GeneratorConfig
from shoestring.core.errors import ConfigError, DataError, UnsupportedModelError

SMALL = QimeraConfig(generator=GeneratorConfig(width=4, latent=6))
SHAPE = (1, 8, 8)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generator(classes: int = 5, **parts: Any) -> QimeraGenerator:
    return QimeraGenerator(classes, SHAPE, replace(SMALL, **parts), seed=3)


def test_mixing_happens_after_the_mapping_and_before_the_trunk() -> None:
    """The vector that enters the trunk, written out in numpy: ``sum_k lam_k (W norm(E[y_k] + z_k) + b)``."""
    made = generator(superpose_classes=3)
    latents = made.draw_superposed(7, rng())
    entered: list[Tensor] = []
    made.trunk.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    made.images(latents)
    embedding = made.embedding.detach().double().numpy()
    assert isinstance(made.mapping, nn.Linear)
    weight, bias = (p.detach().double().numpy() for p in (made.mapping.weight, made.mapping.bias))
    for b in range(7):
        expected = np.zeros(6)
        for k in range(3):
            vector = embedding[latents.class_BK[b, k]] + latents.noise_BKD[b, k].double().numpy()
            vector = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5)
            expected += latents.weight_BK[b, k].item() * (weight @ vector + bias)
        np.testing.assert_allclose(entered[0][b].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_mixture_is_one_image_and_not_the_mixture_of_images() -> None:
    made = generator().eval()
    noise = torch.randn(4, 2, 6, generator=rng())
    classes = torch.tensor([[0, 1]] * 4)
    halves = made.images(made.latents(classes, torch.full((4, 2), 0.5), noise))
    one, two = (made.images(made.latents(classes[:, [k]], torch.ones(4, 1), noise[:, [k]])) for k in range(2))
    assert not torch.allclose(halves, (one + two) / 2, atol=1e-3)


def test_each_vector_is_normalised_by_itself() -> None:
    noise = 5 * torch.randn(6, 3, 8, generator=rng()) + 2
    out = noisy_embedding(
        torch.randn(4, 8, generator=rng(1)), torch.randint(4, (6, 3), generator=rng()), noise, 1.0
    )
    torch.testing.assert_close(out.mean(-1), torch.zeros(6, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var(-1, correction=0), torch.ones(6, 3), atol=1e-3, rtol=0)
    alone = noisy_embedding(
        torch.randn(4, 8, generator=rng(1)), torch.randint(4, (6, 3), generator=rng())[:1], noise[:1], 1.0
    )
    torch.testing.assert_close(out[:1], alone)


def test_noise_of_no_deviation_leaves_the_embedding() -> None:
    embedding = torch.randn(4, 8, generator=rng())
    out = noisy_embedding(embedding, torch.tensor([[2]]), torch.randn(1, 1, 8, generator=rng(1)), 0.0)
    torch.testing.assert_close(out[0, 0], nn.functional.layer_norm(embedding[2], (8,)))


def test_weights_are_the_softmax_of_normal_draws() -> None:
    logits = torch.randn(50, 4, generator=rng())
    weights = mixing_weights(logits)
    by_hand = np.exp(logits.double().numpy())
    by_hand /= by_hand.sum(1, keepdims=True)
    np.testing.assert_allclose(weights.numpy(), by_hand, rtol=1e-5)
    made = generator(superpose_classes=4)
    drawn = made.draw_superposed(5000, rng()).weight_BK
    expected = torch.softmax(torch.randn(200_000, 4, generator=rng(9)), 1)
    assert drawn.std() == pytest.approx(expected.std().item(), abs=0.01)
    torch.testing.assert_close(drawn.mean(0), torch.full((4,), 0.25), atol=0.02, rtol=0)


def test_superposing_is_a_weighted_sum() -> None:
    latent = torch.randn(5, 3, 4, generator=rng())
    weight = mixing_weights(torch.randn(5, 3, generator=rng(1)))
    expected = np.einsum("bk,bkd->bd", weight.numpy(), latent.numpy())
    np.testing.assert_allclose(mix(latent, weight).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prob", [0.0, 0.4, 1.0])
def test_a_whole_batch_is_superposed_or_not_with_the_given_probability(prob: float) -> None:
    made = generator(superpose_prob=prob, superpose_classes=3)
    stream = rng(11)
    slots = [made.draw(2, stream).class_BK.shape[1] for _ in range(2000)]
    assert set(slots) <= {1, 3}
    mixed = slots.count(3)
    assert abs(mixed - 2000 * prob) <= 4 * (2000 * prob * (1 - prob)) ** 0.5


def test_classes_are_uniform_and_drawn_with_replacement() -> None:
    latents = generator(4, superpose_classes=2).draw_superposed(8000, rng())
    counts = torch.bincount(latents.class_BK.flatten(), minlength=4)
    assert (counts - 4000).abs().max() < 4 * (16000 * 0.25 * 0.75) ** 0.5
    same = (latents.class_BK[:, 0] == latents.class_BK[:, 1]).double().mean().item()
    assert same == pytest.approx(0.25, abs=0.02)


def test_labels_are_the_weights_of_the_classes() -> None:
    latents = generator(3, superpose_classes=7).draw_superposed(20, rng())
    expected = np.zeros((20, 3))
    for b in range(20):
        for k in range(7):
            expected[b, latents.class_BK[b, k]] += latents.weight_BK[b, k].item()
    np.testing.assert_allclose(latents.target_BC.numpy(), expected, rtol=1e-5)
    torch.testing.assert_close(latents.target_BC.sum(1), torch.ones(20))


def test_one_class_a_sample_is_one_hot() -> None:
    for made in (generator(superpose=False), generator(superpose_prob=0.0), generator(superpose_classes=1)):
        latents = made.draw(30, rng())
        assert latents.weight_BK.shape == (30, 1)
        assert torch.equal(latents.target_BC, nn.functional.one_hot(latents.class_BK[:, 0], 5).float())


def test_more_slots_than_classes_are_legal() -> None:
    made = generator(3, superpose_classes=50)
    latents = made.draw_superposed(4, rng())
    assert latents.class_BK.shape == (4, 50)
    assert made.images(latents).shape == (4, 1, 8, 8)


def test_each_switch_turns_off_its_own_part_alone(teacher: nn.Module) -> None:
    def make(**parts: Any) -> QimeraGenerator:
        return QimeraGenerator.from_teacher(teacher, 5, SHAPE, replace(SMALL, **parts), seed=3)

    whole = make()
    assert torch.equal(whole.embedding, teacher.state_dict()["linear.weight"])
    without_mapping = make(disentangle=False)
    assert isinstance(without_mapping.mapping, nn.Identity)
    assert torch.equal(without_mapping.embedding, whole.embedding)
    assert without_mapping.trunk.project.in_features == whole.embedding.shape[1]
    random = make(init_from_teacher=False)
    assert random.embedding.shape == (5, 6)
    assert isinstance(random.mapping, nn.Linear)
    plain = make(superpose=False)
    stream = rng()
    assert {plain.draw(2, stream).class_BK.shape[1] for _ in range(50)} == {1}
    for name, value in whole.state_dict().items():
        assert torch.equal(plain.state_dict()[name], value)
        if "trunk.conv" in name:
            assert torch.equal(without_mapping.state_dict()[name], value)
            assert torch.equal(random.state_dict()[name], value)


@pytest.mark.parametrize("conditional", [False, True])
def test_with_all_parts_off_draws_parameters_and_images_are_gdfqs(conditional: bool) -> None:
    size = GeneratorConfig(latent=6, width=4, conditional_norm=conditional)
    ours = generator(superpose=False, disentangle=False, init_from_teacher=False, generator=size)
    gdfq = GDFQGenerator(5, SHAPE, latent=6, width=4, conditional_norm=conditional, seed=3)
    assert ours.state_dict().keys() == gdfq.state_dict().keys()
    assert all(torch.equal(v, gdfq.state_dict()[k]) for k, v in ours.state_dict().items())
    one, two = ours.draw(9, rng(4)), gdfq.draw(9, rng(4))
    assert torch.equal(one.target_BC, two.target_BC)
    assert torch.equal(ours.images(one), gdfq.images(two))


def test_conditional_norms_mix_the_classes_by_their_weights() -> None:
    ours = generator(generator=GeneratorConfig(latent=6, width=4, conditional_norm=True)).eval()
    norm = ours.trunk.norm1
    assert isinstance(norm, ConditionalBatchNorm2d)
    with torch.no_grad():
        norm.bias.copy_(torch.arange(5.0)[:, None].expand(5, 4))
    weight_BK = torch.tensor([[0.25, 0.75]])
    latents = ours.latents(torch.tensor([[1, 3]]), weight_BK, torch.zeros(1, 2, ours.embedding.shape[1]))
    seen: list[Tensor] = []
    norm.register_forward_hook(lambda _, args, out: seen.append(out - norm.norm(args[0])))
    ours.images(latents)
    torch.testing.assert_close(seen[0], torch.full_like(seen[0], 0.25 * 1 + 0.75 * 3))


def test_embeddings_learn_unless_told_not_to() -> None:
    assert generator().embedding.requires_grad
    fixed = generator(train_embedding=False)
    torch.autograd.backward(fixed.images(fixed.draw(4, rng())).square().sum())
    assert fixed.embedding.grad is None
    assert fixed.trunk.conv1.weight.grad is not None


def test_the_first_embedding_is_a_copy_of_the_last_layers_rows(teacher: nn.Module) -> None:
    rows = teacher_embedding(teacher)
    head = teacher.linear
    assert isinstance(head, nn.Linear)
    assert torch.equal(rows, head.weight)
    rows.zero_()
    assert head.weight.abs().sum() > 0


def test_the_rows_of_a_convolution_head_are_squeezed() -> None:
    head = nn.Conv2d(4, 5, 1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), head, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert torch.equal(teacher_embedding(model), head.weight.flatten(1))
    assert QimeraGenerator.from_teacher(model, 5, SHAPE, SMALL).embedding.shape == (5, 4)


def test_a_head_that_does_not_fit_names_the_switch() -> None:
    square = nn.Sequential(nn.Conv2d(1, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UnsupportedModelError, match="init_from_teacher=False"):
        QimeraGenerator.from_teacher(square, 5, SHAPE, SMALL)
    more = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    with pytest.raises(DataError, match=r"6 rows but the model gives 5 classes; set init_from_teacher=False"):
        QimeraGenerator.from_teacher(more, 5, SHAPE, SMALL)
    off = replace(SMALL, init_from_teacher=False)
    assert QimeraGenerator.from_teacher(square, 5, SHAPE, off).embedding.shape == (5, 6)


def test_images_on_request_have_the_asked_classes_and_proportions() -> None:
    made = generator().train()
    stats = {k: v.clone() for k, v in made.state_dict().items()}
    one = made.synthetic(6, classes=[1, 4], weights=[0.3, 0.7], seed=5)
    assert one.shape == (6, 1, 8, 8)
    assert not one.requires_grad
    assert made.training
    assert all(torch.equal(v, stats[k]) for k, v in made.state_dict().items())
    assert torch.equal(one, made.synthetic(6, classes=[1, 4], weights=[0.3, 0.7], seed=5))
    assert not torch.equal(one, made.synthetic(6, classes=[1, 4], weights=[0.3, 0.7], seed=6))
    equal = made.synthetic(6, classes=[1, 4], seed=5)
    assert torch.equal(equal, made.synthetic(6, classes=[1, 4], weights=[0.5, 0.5], seed=5))
    assert made.eval().synthetic(2, classes=[3], weights=[1]).shape == (2, 1, 8, 8)
    assert not made.training


def test_mixed_images_can_be_had_with_all_parts_off_too() -> None:
    made = generator(superpose=False, disentangle=False, init_from_teacher=False)
    assert made.synthetic(3, classes=[0, 2]).shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("count", "classes", "weights", "word"),
    [
        (1, [], None, r"classes=\[\]"),
        (1, [5], None, r"classes=\[5\] .*0\.\.4"),
        (1, [-1], None, r"classes=\[-1\]"),
        (1, [0, 1], [1.0], r"weights=\[1.0\] must be 2"),
        (1, [0, 1], [0.5, 0.6], "sum to 1"),
        (1, [0, 1], [-0.5, 1.5], "non-negative"),
        (0, [0], None, "count=0"),
    ],
)
def test_wrong_requests_are_refused_with_what_is_allowed(
    count: int, classes: Sequence[int], weights: Sequence[float] | None, word: str
) -> None:
    with pytest.raises(DataError, match=word):
        generator().synthetic(count, classes=classes, weights=weights)


@pytest.mark.parametrize(
    "change",
    [{"superpose_prob": -0.1}, {"superpose_prob": 1.1}, {"superpose_classes": 0}, {"noise_std": -1.0}],
)
def test_wrong_options_are_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        QimeraConfig(**change)


def test_draws_go_to_the_generators_device() -> None:
    made = generator().to("meta")
    latents = made.draw_superposed(3, rng())
    parts = (latents.class_BK, latents.weight_BK, latents.noise_BKD, latents.target_BC)
    assert {part.device.type for part in parts} == {"meta"}
    assert made.images(latents).device.type == "meta"


def test_the_boundary_share_counts_small_gaps() -> None:
    logits = torch.tensor([[0.5, 0.5, 0.0], [0.59, 0.41, 1e-9], [0.61, 0.39, 1e-9], [0.9, 0.05, 0.05]]).log()
    assert boundary_share(logits) == 0.5
    assert boundary_share(logits, gap=0.9) == 1.0
    assert boundary_share(logits[2:]) == 0.0


@pytest.mark.parametrize(
    ("place", "counts"), [(0.0, 0), (0.24, 0), (0.26, 1), (0.5, 1), (0.74, 1), (0.76, 0), (1.2, 0)]
)
def test_the_between_share_counts_the_middle_of_the_line(place: float, counts: int) -> None:
    centroids = torch.tensor([[0.0, 0.0], [4.0, 0.0], [100.0, 100.0]])
    feature = torch.tensor([[4 * place, 1.0]])
    assert between_share(feature, centroids) == counts


def test_shares_are_averages_over_samples() -> None:
    centroids = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    features = torch.tensor([[2.0, 0.0], [0.0, 0.0], [4.1, 3.0], [1.9, -7.0]])
    assert between_share(features, centroids) == 0.5
