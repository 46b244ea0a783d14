"""Sources of images: generators that learn, and fixed sets."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shoestring.compression.bn_statistics import BatchNormMatcher
from shoestring.compression.generators import GDFQGenerator
from shoestring.compression.losses import soft_cross_entropy
from shoestring.compression.runs import freeze
from shoestring.compression.sources import FixedImages, GeneratorConfig, GeneratorSource
from shoestring.core.errors import ConfigError, DataError, StorageError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 12, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=rng(seed))


def test_a_fixed_set_gives_its_own_images_labels_and_the_teachers_logits(teacher: nn.Module) -> None:
    frozen = freeze(teacher)
    labels = torch.arange(12) % 5
    source = FixedImages(frozen, images(), labels)
    batch = source.next_batch(30, rng())
    assert batch.images.shape == (30, 1, 8, 8)
    which = torch.stack([(images() == x).flatten(1).all(1) for x in batch.images]).float()
    assert torch.equal(which.sum(1), torch.ones(30))
    pick = which.argmax(1)
    assert torch.equal(batch.target_BC.argmax(1), labels[pick])
    torch.testing.assert_close(batch.teacher_BC, frozen(images())[pick], rtol=1e-4, atol=1e-5)
    assert not batch.teacher_BC.requires_grad
    assert not batch.teacher_BC.is_inference()
    assert len(set(pick.tolist())) > 6


def test_without_labels_the_teacher_decides(teacher: nn.Module) -> None:
    frozen = freeze(teacher)
    source = FixedImages(frozen, images())
    assert torch.equal(source.target_NC.argmax(1), frozen(images()).argmax(1))


def test_held_out_images_are_a_part_of_the_set_without_repetition(teacher: nn.Module) -> None:
    source = FixedImages(freeze(teacher), images())
    held_out = source.held_out(8, rng())
    assert len(torch.unique(held_out.flatten(1), dim=0)) == 8
    assert len(source.held_out(100, rng())) == 12


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        (torch.zeros(11, dtype=torch.int64), r"\(11,\)"),
        (torch.full((12,), 5), "from 5 to 5; the model has 5 classes"),
        (torch.full((12,), -1), "from -1 to -1"),
        (torch.zeros(12), "float32"),
    ],
)
def test_wrong_labels_are_refused_with_their_range(teacher: nn.Module, labels: Tensor, word: str) -> None:
    with pytest.raises(DataError, match=word):
        FixedImages(freeze(teacher), images(), labels)


@pytest.mark.parametrize(
    "bad", [torch.zeros(0, 1, 8, 8), torch.zeros(4, 8, 8), torch.zeros(4, 1, 8, 8, dtype=torch.uint8)]
)
def test_wrong_images_are_refused(teacher: nn.Module, bad: Tensor) -> None:
    with pytest.raises(DataError, match="float tensor"):
        FixedImages(freeze(teacher), bad)


def test_a_checkpoint_of_other_images_or_labels_is_refused(teacher: nn.Module) -> None:
    frozen = freeze(teacher)
    state = FixedImages(frozen, images()).tensors()
    FixedImages(frozen, images()).load_tensors(state)
    labels = frozen(images()).argmax(1)
    for other in (FixedImages(frozen, images(seed=1)), FixedImages(frozen, images(), (labels + 1) % 5)):
        with pytest.raises(StorageError, match="other images or labels"):
            other.load_tensors(state)


def test_a_generators_step_is_adam_on_cross_entropy_plus_weighted_statistics(teacher: nn.Module) -> None:
    frozen = freeze(teacher)
    ours, by_hand = (GDFQGenerator(5, (1, 8, 8), latent=6, width=4, seed=1).train() for _ in range(2))
    config = GeneratorConfig(lr=0.02, bn_weight=0.3, width=4, latent=6)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.02, betas=(0.5, 0.999))
    one, two = rng(), rng()
    with BatchNormMatcher(frozen) as matcher:
        source = GeneratorSource(ours, matcher, config)
        for _ in range(3):
            batch = source.next_batch(8, one)
            latents = by_hand.draw(8, two)
            made = by_hand.images(latents)
            logits, statistics = matcher(made)
            loss = soft_cross_entropy(logits, latents.target_BC) + 0.3 * statistics
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            torch.testing.assert_close(batch.images, made.detach(), rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(batch.teacher_BC, logits.detach(), rtol=1e-3, atol=1e-3)
            assert batch.metrics["bn_loss"] == pytest.approx(statistics.item(), rel=1e-3)
    assert not batch.images.requires_grad
    assert all(p.grad is None for p in frozen.parameters())


def test_held_out_images_do_not_train_or_move_the_generator(teacher: nn.Module) -> None:
    generator = GDFQGenerator(5, (1, 8, 8), latent=6, width=4)
    with BatchNormMatcher(freeze(teacher)) as matcher:
        source = GeneratorSource(generator, matcher, GeneratorConfig(width=4, latent=6))
        before = {k: v.clone() for k, v in generator.state_dict().items()}
        assert source.held_out(4, rng()).shape == (4, 1, 8, 8)
    assert generator.training
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items())


def test_a_generator_that_diverges_is_named(teacher: nn.Module) -> None:
    generator = GDFQGenerator(5, (1, 8, 8), latent=6, width=4)
    with torch.no_grad():
        generator.embedding.fill_(float("nan"))
    with BatchNormMatcher(freeze(teacher)) as matcher:
        source = GeneratorSource(generator, matcher, GeneratorConfig(width=4, latent=6))
        with pytest.raises(DataError, match=r"generator's losses are nan.*generator\.lr"):
            source.next_batch(4, rng())


@pytest.mark.parametrize("change", [{"latent": 0}, {"width": 1}, {"lr": 0.0}, {"bn_weight": -1.0}])
def test_wrong_options_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        GeneratorConfig(**change)
