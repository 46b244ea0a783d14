"""Qimera's generator: class embeddings, disentanglement mapping, superposition, then the shared trunk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from shoestring.compression.generators import ImageTrunk, LatentBatch, LatentGenerator, initialise
from shoestring.compression.losses import soft_labels
from shoestring.compression.qimera.config import QimeraConfig
from shoestring.compression.qimera.functional import mix, mixing_weights, noisy_embedding, teacher_embedding
from shoestring.core.errors import DataError

__all__ = ["QimeraGenerator", "QimeraLatents"]


@dataclass(frozen=True, slots=True)
class QimeraLatents:
    """Classes, weights and noise of one batch; K = 1 for a plain batch."""

    class_BK: Tensor  # noqa: N815  # shape suffix
    weight_BK: Tensor  # noqa: N815  # shape suffix
    noise_BKD: Tensor  # noqa: N815  # shape suffix
    target_BC: Tensor  # noqa: N815  # shape suffix


class QimeraGenerator(LatentGenerator):
    """Images of one class, or of several classes superposed in the latent space.

    Parameters
    ----------
    num_classes : int
        Classes of the teacher.
    image_shape : tuple of int
        (channels, height, width).
    config : QimeraConfig
        Which parts are on, and their sizes.
    first_embedding : Tensor, optional
        (num_classes, D) initial embeddings; standard normal of the latent width when absent.
    seed : int
        Of the initial weights.

    Raises
    ------
    ConfigError
        As `ImageTrunk`.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        config: QimeraConfig,
        *,
        first_embedding: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.config = config
        size = config.generator
        width = size.latent if first_embedding is None else first_embedding.shape[1]
        self.embedding = nn.Parameter(torch.empty(num_classes, width), requires_grad=config.train_embedding)
        self.mapping: nn.Module = nn.Linear(width, size.latent) if config.disentangle else nn.Identity()
        conditional = num_classes if size.conditional_norm else None
        entering = size.latent if config.disentangle else width
        self.trunk = ImageTrunk(entering, image_shape, size.width, conditional)
        initialise(self, seed)
        if first_embedding is not None:
            with torch.no_grad():
                self.embedding.copy_(first_embedding)

    @classmethod
    def from_teacher(
        cls,
        teacher: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        config: QimeraConfig,
        *,
        seed: int = 0,
    ) -> Self:
        """Make a generator for `teacher`, with its last layer's rows as embeddings where the config says so.

        Raises
        ------
        UnsupportedModelError
            If the rows are wanted and the model does not end in a Linear or 1x1 convolution.
        DataError
            If there are more or fewer rows than classes.
        """
        first = teacher_embedding(teacher) if config.init_from_teacher else None
        if first is not None and len(first) != num_classes:
            raise DataError(
                f"the last layer has {len(first)} rows but the model gives {num_classes} classes; set "
                "init_from_teacher=False"
            )
        return cls(num_classes, image_shape, config, first_embedding=first, seed=seed)

    def draw(self, batch_size: int, rng: torch.Generator) -> QimeraLatents:
        """Draw a plain batch, or with probability `superpose_prob` a superposed one (one draw a batch)."""
        if self.config.superpose and torch.rand((), generator=rng).item() < self.config.superpose_prob:
            return self._draw(batch_size, self.config.superpose_classes, rng)
        return self._draw(batch_size, 1, rng)

    def draw_superposed(self, batch_size: int, rng: torch.Generator) -> QimeraLatents:
        """Draw a superposed batch for certain."""
        return self._draw(batch_size, self.config.superpose_classes, rng)

    def draw_plain(self, batch_size: int, rng: torch.Generator) -> QimeraLatents:
        """Draw a batch of one class a sample for certain."""
        return self._draw(batch_size, 1, rng)

    def _draw(self, batch_size: int, num_mixed: int, rng: torch.Generator) -> QimeraLatents:
        noise_BKD = torch.randn(batch_size, num_mixed, self.embedding.shape[1], generator=rng)
        class_BK = torch.randint(self.num_classes, (batch_size, num_mixed), generator=rng)
        if num_mixed == 1:
            weight_BK = torch.ones(batch_size, 1)
        else:
            weight_BK = mixing_weights(torch.randn(batch_size, num_mixed, generator=rng))
        return self.latents(class_BK, weight_BK, noise_BKD)

    def latents(self, class_BK: Tensor, weight_BK: Tensor, noise_BKD: Tensor) -> QimeraLatents:
        """Put chosen classes, weights (rows sum to 1) and noise together, on the generator's device."""
        device = self.embedding.device
        class_BK, weight_BK, noise_BKD = (part.to(device) for part in (class_BK, weight_BK, noise_BKD))
        return QimeraLatents(
            class_BK, weight_BK, noise_BKD, soft_labels(class_BK, weight_BK, self.num_classes)
        )

    def images(self, latents: LatentBatch) -> Tensor:
        """Make images (B, channels, H, W) of one batch of latents."""
        assert isinstance(latents, QimeraLatents)
        out: Tensor = self.trunk(self._hidden(latents), latents.target_BC)
        return out

    def _hidden(self, latents: QimeraLatents) -> Tensor:
        if self.config.any_part:
            latent_BKD = noisy_embedding(
                self.embedding, latents.class_BK, latents.noise_BKD, self.config.noise_std
            )
        elif self.trunk.conditional:  # GDFQ's own latent rules
            latent_BKD = latents.noise_BKD
        else:
            latent_BKD = self.embedding[latents.class_BK] * latents.noise_BKD
        return mix(self.mapping(latent_BKD), latents.weight_BK)

    @torch.no_grad()
    def synthetic(
        self, count: int, *, classes: Sequence[int], weights: Sequence[float] | None = None, seed: int = 0
    ) -> Tensor:
        """Make images of chosen classes in chosen proportions, with the generator's running statistics.

        Parameters
        ----------
        count : int
            Number of images, at least 1.
        classes : sequence of int
            Classes to superpose; one for plain images.
        weights : sequence of float, optional
            Their proportions, summing to 1; equal when absent.
        seed : int
            Of the noise.

        Returns
        -------
        Tensor
            (count, channels, H, W), normalised like the teacher's data.

        Raises
        ------
        DataError
            If count, classes or weights are out of range.
        """
        if count < 1:
            raise DataError(f"count={count} is too small; give at least 1")
        if not classes or not all(0 <= c < self.num_classes for c in classes):
            raise DataError(f"classes={list(classes)} must be one or more of 0..{self.num_classes - 1}")
        weights = [1 / len(classes)] * len(classes) if weights is None else weights
        if len(weights) != len(classes) or min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
            raise DataError(
                f"weights={list(weights)} must be {len(classes)} non-negative numbers that sum to 1"
            )
        rng = torch.Generator().manual_seed(seed)
        noise_BKD = torch.randn(count, len(classes), self.embedding.shape[1], generator=rng)
        class_BK = torch.tensor(list(classes)).expand(count, -1)
        weight_BK = torch.tensor(list(weights), dtype=torch.float32).expand(count, -1)
        was_training = self.training
        try:
            return self.eval().images(self.latents(class_BK, weight_BK, noise_BKD))
        finally:
            self.train(was_training)
