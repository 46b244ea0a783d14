"""Where the student's images come from: a generator trained on the fly, or a fixed set.

A source gives one `Batch` an iteration, with the teacher's logits already in it (the teacher runs once a batch), and
carries its own training state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from shoestring.compression.bn_statistics import BatchNormMatcher
from shoestring.compression.generators import LatentGenerator
from shoestring.compression.losses import soft_cross_entropy
from shoestring.compression.step_rules import load_optimizer_tensors, optimizer_tensors
from shoestring.core.errors import ConfigError, DataError

__all__ = ["Batch", "FixedImages", "GeneratorConfig", "GeneratorSource", "ImageSource"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Images (B, C, H, W) with class distributions and the teacher's logits (B, classes), all detached."""

    images: Tensor
    target_BC: Tensor
    teacher_BC: Tensor
    metrics: Mapping[str, float] = field(default_factory=dict)


class ImageSource(Protocol):
    """Gives batches; may learn while it does."""

    def next_batch(self, batch_size: int, rng: torch.Generator) -> Batch:
        """Draw (and, for a generator, train on) one batch."""
        ...

    def held_out(self, count: int, rng: torch.Generator) -> Tensor:
        """Images to judge the student on without data."""
        ...

    def scale_lr(self, factor: float) -> None:
        """Set the source's own learning rate to `factor` times its first value."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint."""
        ...

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the state that `tensors` returned."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """Size and training of an image generator."""

    latent: int = 100
    """Width of the latent vectors that enter the trunk."""
    width: int = 128
    """Channels of the trunk's first feature maps."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    beta1: float = 0.5
    """First moment's memory of Adam."""
    beta2: float = 0.999
    """Second moment's memory of Adam."""
    bn_weight: float = 0.1
    """Weight of the BatchNorm-statistics loss beside the cross-entropy."""

    def __post_init__(self) -> None:
        if self.latent < 1 or self.width < 2:
            raise ConfigError(f"generator.latent={self.latent}, width={self.width}: give at least 1 and 2")
        if not self.lr > 0:
            raise ConfigError(f"generator.lr={self.lr} must be positive")
        if self.bn_weight < 0:
            raise ConfigError(f"generator.bn_weight={self.bn_weight} must not be negative; 0 switches the loss off")


class GeneratorSource:
    """A generator trained every iteration to please the frozen teacher: ``CE + bn_weight * BNS`` (GDFQ eq. 6)."""

    def __init__(self, generator: LatentGenerator, matcher: BatchNormMatcher, config: GeneratorConfig) -> None:
        self.generator = generator.train()
        self.matcher = matcher
        self.config = config
        self.optimizer = torch.optim.Adam(
            generator.parameters(), lr=config.lr, betas=(config.beta1, config.beta2), fused=True
        )

    def next_batch(self, batch_size: int, rng: torch.Generator) -> Batch:
        """Draw latents, make images, take one Adam step on the generator."""
        latents = self.generator.draw(batch_size, rng)
        images = self.generator.images(latents)
        logits, bn_loss = self.matcher(images)
        class_loss = soft_cross_entropy(logits, latents.target_BC)
        loss = class_loss + self.config.bn_weight * bn_loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        metrics = {"generator_ce": class_loss.item(), "bn_loss": bn_loss.item()}
        return Batch(images.detach(), latents.target_BC, logits.detach(), metrics)

    @torch.no_grad()
    def held_out(self, count: int, rng: torch.Generator) -> Tensor:
        """Images of fresh latents, with the generator's running statistics."""
        self.generator.eval()
        images = self.generator.images(self.generator.draw(count, rng))
        self.generator.train()
        return images

    def scale_lr(self, factor: float) -> None:
        """Scale the learning rate of Adam."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor

    def tensors(self) -> dict[str, Tensor]:
        """Generator and optimiser."""
        return {
            **{f"model.{k}": v for k, v in self.generator.state_dict().items()},
            **{f"optimizer.{k}": v for k, v in optimizer_tensors(self.optimizer).items()},
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up generator and optimiser."""
        self.generator.load_state_dict(_under(tensors, "model."))
        load_optimizer_tensors(self.optimizer, _under(tensors, "optimizer."))


class FixedImages:
    """A fixed set of images: real ones with labels, or distilled ones (labels then are the teacher's decisions).

    Parameters
    ----------
    teacher : nn.Module
        Frozen, in evaluation mode.
    images : Tensor
        float, (N, C, H, W), normalised as the teacher expects.
    labels : Tensor, optional
        int64, (N,); the teacher's top class when absent.
    """

    def __init__(self, teacher: nn.Module, images: Tensor, labels: Tensor | None = None) -> None:
        if images.ndim != 4 or not len(images):
            raise DataError(f"images have shape {tuple(images.shape)}; give a float tensor (N, C, H, W) with N > 0")
        self.images = images
        with torch.inference_mode():
            self.logits = torch.cat([teacher(part) for part in images.split(500)]).clone()
        if labels is not None and labels.shape != (len(images),):
            raise DataError(f"labels have shape {tuple(labels.shape)}; expected ({len(images)},), one an image")
        classes = self.logits.shape[1]
        if labels is not None and (int(labels.min()) < 0 or int(labels.max()) >= classes):
            raise DataError(f"labels run from {int(labels.min())} to {int(labels.max())}; the model has {classes} classes")
        picked = self.logits.argmax(1) if labels is None else labels
        self.target_BC = nn.functional.one_hot(picked, classes).to(images.dtype)

    def next_batch(self, batch_size: int, rng: torch.Generator) -> Batch:
        """Draw images uniformly with replacement."""
        pick = torch.randint(len(self.images), (batch_size,), generator=rng)
        return Batch(self.images[pick], self.target_BC[pick], self.logits[pick])

    def held_out(self, count: int, rng: torch.Generator) -> Tensor:
        """A random part of the set."""
        return self.images[torch.randperm(len(self.images), generator=rng)[:count]]

    def scale_lr(self, factor: float) -> None:
        """Do nothing: the images are fixed."""

    def tensors(self) -> dict[str, Tensor]:
        """Nothing: the caller gives the same images again."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Do nothing."""


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
