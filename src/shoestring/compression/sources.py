"""Where the student's images come from: a generator trained on the fly, or a fixed set.

A source gives one `Batch` an iteration, with the teacher's logits already in it (the teacher runs once a
batch), and carries its own training state.

Shapes: B batch, C classes, N images of a fixed set.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from shoestring.compression.bn_statistics import BatchNormMatcher
from shoestring.compression.conversion import device_of
from shoestring.compression.generators import LatentGenerator
from shoestring.compression.losses import soft_cross_entropy
from shoestring.compression.step_rules import load_optimizer_tensors, optimizer_tensors
from shoestring.core.errors import ConfigError, DataError, StorageError

__all__ = ["Batch", "FixedImages", "GeneratorConfig", "GeneratorSource", "ImageSource"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Images with class distributions and the teacher's logits, all detached and on one device."""

    images: Tensor
    """float, (B, channels, H, W), normalised."""
    target_BC: Tensor  # noqa: N815  # shape suffix
    """float, rows summing to 1."""
    teacher_BC: Tensor  # noqa: N815  # shape suffix
    """float, logits."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Losses of the source itself."""


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
    conditional_norm: bool = False
    """Give the trunk class-conditional BatchNorm, the form for 224x224 images."""
    bn_weight: float = 0.1
    """Weight of the BatchNorm-statistics loss beside the cross-entropy."""

    def __post_init__(self) -> None:
        if self.latent < 1 or self.width < 2:
            raise ConfigError(f"generator.latent={self.latent}, width={self.width}: give at least 1 and 2")
        if not self.lr > 0:
            raise ConfigError(f"generator.lr={self.lr} must be positive")
        if self.bn_weight < 0:
            raise ConfigError(
                f"generator.bn_weight={self.bn_weight} must not be negative; 0 switches the loss off"
            )


class GeneratorSource:
    """A generator trained every iteration to please the frozen teacher.

    Its loss is ``CE + bn_weight * BNS`` (GDFQ eq. 6).

    Parameters
    ----------
    generator : LatentGenerator
        Changed in place; on the teacher's device.
    matcher : BatchNormMatcher
        Of the frozen teacher, inside its ``with`` block.
    config : GeneratorConfig
        Rates and weights.
    """

    def __init__(
        self, generator: LatentGenerator, matcher: BatchNormMatcher, config: GeneratorConfig
    ) -> None:
        self.generator = generator.train()
        self.matcher = matcher
        self.config = config
        self.optimizer = torch.optim.Adam(
            generator.parameters(), lr=config.lr, betas=(config.beta1, config.beta2), fused=True
        )

    def next_batch(self, batch_size: int, rng: torch.Generator) -> Batch:
        """Draw latents, make images, take one Adam step on the generator.

        Raises
        ------
        DataError
            If the generator's loss is not finite.
        """
        latents = self.generator.draw(batch_size, rng)
        images = self.generator.images(latents)
        logits, bn_loss = self.matcher(images)
        class_loss = soft_cross_entropy(logits, latents.target_BC)
        loss = class_loss + self.config.bn_weight * bn_loss
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        ce, bn = torch.stack((class_loss.detach(), bn_loss.detach())).tolist()  # one wait for a GPU, not two
        if not math.isfinite(ce + bn):
            raise DataError(
                f"the generator's losses are {ce} and {bn}; lower generator.lr={self.config.lr}, and check "
                "that the model's weights and statistics are finite"
            )
        metrics = {"generator_ce": ce, "bn_loss": bn}
        return Batch(images.detach(), latents.target_BC, logits.detach(), metrics)

    @torch.no_grad()
    def held_out(self, count: int, rng: torch.Generator) -> Tensor:
        """Make images of fresh latents, with the generator's running statistics."""
        self.generator.eval()
        images = self.generator.images(self.generator.draw(count, rng))
        self.generator.train()
        return images

    def scale_lr(self, factor: float) -> None:
        """Scale the learning rate of Adam."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of generator and optimiser."""
        return {
            **{f"model.{k}": v for k, v in self.generator.state_dict().items()},
            **{f"optimizer.{k}": v for k, v in optimizer_tensors(self.optimizer).items()},
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up generator and optimiser."""
        self.generator.load_state_dict(_under(tensors, "model."))
        load_optimizer_tensors(self.optimizer, _under(tensors, "optimizer."))


class FixedImages:
    """A fixed set of images: real ones with labels, or distilled ones that the teacher labels.

    Parameters
    ----------
    teacher : nn.Module
        Frozen, in evaluation mode.
    images : Tensor
        float, (N, channels, H, W), normalised as the teacher expects. They stay on the device they are on,
        batches go to the teacher's.
    labels : Tensor, optional
        int64, (N,); the teacher's top class when absent.

    Raises
    ------
    DataError
        If images or labels have another shape or dtype, or labels are out of the model's range.
    """

    def __init__(self, teacher: nn.Module, images: Tensor, labels: Tensor | None = None) -> None:
        if images.ndim != 4 or not len(images) or not images.is_floating_point():
            raise DataError(
                f"images have dtype {images.dtype} and shape {tuple(images.shape)}; give a float tensor "
                "(N, C, H, W) with N > 0"
            )
        self.images = images
        self.device = device_of(teacher)
        with torch.no_grad():
            parts = [images[i : i + 500] for i in range(0, len(images), 500)]
            self.logits_NC = torch.cat([teacher(part.to(self.device)).to(images.device) for part in parts])
        classes = self.logits_NC.shape[1]
        picked_N = self.logits_NC.argmax(1) if labels is None else _checked(labels, len(images), classes)
        self.target_NC = nn.functional.one_hot(picked_N.to(images.device), classes).to(images.dtype)
        self._digest: Tensor | None = None

    def next_batch(self, batch_size: int, rng: torch.Generator) -> Batch:
        """Draw images uniformly with replacement."""
        pick_B = torch.randint(len(self.images), (batch_size,), generator=rng)
        images, target_BC, teacher_BC = (
            whole[pick_B].to(self.device) for whole in (self.images, self.target_NC, self.logits_NC)
        )
        return Batch(images, target_BC, teacher_BC)

    def held_out(self, count: int, rng: torch.Generator) -> Tensor:
        """Draw a random part of the set, without replacement."""
        pick_B = torch.randperm(len(self.images), generator=rng)[:count]
        return self.images[pick_B].to(self.device)

    def scale_lr(self, factor: float) -> None:
        """Do nothing: the images are fixed."""

    def tensors(self) -> dict[str, Tensor]:
        """Return a digest of the set alone: the caller gives the same images again."""
        if self._digest is None:
            hashed = hashlib.sha256()
            for whole in (self.images, self.target_NC):
                hashed.update(whole.cpu().contiguous().numpy().data)
            self._digest = torch.tensor(list(hashed.digest()), dtype=torch.uint8)
        return {"digest": self._digest}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Check that the set is the one that `tensors` came from.

        Raises
        ------
        StorageError
            If it is another.
        """
        if not torch.equal(tensors["digest"], self.tensors()["digest"]):
            raise StorageError(
                "the checkpoint belongs to a run on other images or labels; delete it or give the same set"
            )


def _checked(labels: Tensor, count: int, classes: int) -> Tensor:
    if labels.shape != (count,) or labels.dtype != torch.int64:
        raise DataError(
            f"labels have dtype {labels.dtype} and shape {tuple(labels.shape)}; expected int64 ({count},), "
            "one an image"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"labels run from {low} to {high}; the model has {classes} classes, 0 to {classes - 1}"
        )
    return labels


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
