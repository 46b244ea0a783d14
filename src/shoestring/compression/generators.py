"""Conditional image generators: latent vectors and class labels in, normalised images out.

`ImageTrunk` is the convolutional part that GDFQ and Qimera share; a method adds its own latent part in front.
The last layer is a BatchNorm without affine parameters, so images come out with mean 0 and variance 1 a
channel, like normalised data; there is no clamp to [0, 1].

Random draws are made on the CPU and moved to the generator's device, so equal seeds give equal draws
everywhere.

Shapes: B batch, C classes, D latent width, H = W image size.

References
----------
GDFQ (Xu et al., ECCV 2020), released code: generators for 32x32 and for 224x224 images.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed

__all__ = [
    "ConditionalBatchNorm2d",
    "GDFQGenerator",
    "ImageTrunk",
    "LabelledNoise",
    "LatentBatch",
    "LatentGenerator",
    "initialise",
]

INNER_EPS = 0.8  # the released code passes 0.8 as eps, not as momentum


class LatentBatch(Protocol):
    """What a generator draws at random for one batch, with the labels that go with it."""

    @property
    def target_BC(self) -> Tensor:  # noqa: N802  # shape suffix
        """Class distributions, rows summing to 1."""
        ...


class ConditionalBatchNorm2d(nn.Module):
    """BatchNorm whose affine part is picked, or mixed, per sample from a table of class weights and biases.

    Parameters
    ----------
    num_classes, channels : int
        Rows and columns of the two tables (initially 1 and 0).
    """

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=INNER_EPS, affine=False)
        self.weight = nn.Parameter(torch.ones(num_classes, channels))
        self.bias = nn.Parameter(torch.zeros(num_classes, channels))

    def forward(self, x: Tensor, class_weight_BC: Tensor) -> Tensor:
        """Normalise (B, channels, H, W); rows of `class_weight_BC` mix the classes' affine parts."""
        weight = (class_weight_BC @ self.weight)[:, :, None, None]
        bias = (class_weight_BC @ self.bias)[:, :, None, None]
        return torch.addcmul(bias, self.norm(x), weight)


class ImageTrunk(nn.Module):
    """A quarter-size feature map to an image: two nearest-neighbour doublings, three 3x3 convolutions.

    Parameters
    ----------
    latent : int
        Width of the input vectors.
    image_shape : tuple of int
        (channels, height, width) of the images; height and width equal and divisible by 4.
    width : int
        Channels of the first feature maps (128 in the paper); the last hidden layer has half.
    num_conditional_classes : int, optional
        Use class-conditional BatchNorm with that many classes (the 224x224 form); plain BatchNorm otherwise.

    Raises
    ------
    ConfigError
        If images are not square or of another size, or `width` is odd.
    """

    def __init__(
        self,
        latent: int,
        image_shape: tuple[int, int, int],
        width: int = 128,
        num_conditional_classes: int | None = None,
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        if height != breadth or height % 4 or height < 8:
            raise ConfigError(
                f"image_shape={image_shape} is not supported; give square images of a size divisible by 4, "
                "at least 8"
            )
        if width < 2 or width % 2:
            raise ConfigError(f"width={width} is not supported; give an even number of channels")
        self.start = (width, height // 4, height // 4)
        self.conditional = num_conditional_classes is not None

        def norm(planes: int) -> nn.Module:
            if num_conditional_classes is not None:
                return ConditionalBatchNorm2d(num_conditional_classes, planes)
            return nn.BatchNorm2d(planes, eps=INNER_EPS)

        self.project = nn.Linear(latent, width * self.start[1] * self.start[2])
        self.norm0: nn.Module = norm(width) if self.conditional else nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = norm(width)
        self.conv2 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.norm2 = norm(width // 2)
        self.conv3 = nn.Conv2d(width // 2, channels, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(channels, affine=False)

    def forward(self, latent_BD: Tensor, target_BC: Tensor) -> Tensor:
        """Make images (B, channels, H, W) of latents; `target_BC` matters for conditional norms only."""
        x = self.project(latent_BD).view(-1, *self.start).to(memory_format=torch.channels_last)
        x = _double(self._norm(self.norm0, x, target_BC))
        x = _double(nn.functional.leaky_relu(self._norm(self.norm1, self.conv1(x), target_BC), 0.2))
        x = nn.functional.leaky_relu(self._norm(self.norm2, self.conv2(x), target_BC), 0.2)
        images: Tensor = self.norm3(torch.tanh(self.conv3(x)))
        return images

    def _norm(self, norm: nn.Module, x: Tensor, target_BC: Tensor) -> Tensor:
        out: Tensor = norm(x, target_BC) if self.conditional else norm(x)
        return out


def _double(x: Tensor) -> Tensor:
    """Repeat every pixel twice in both directions."""
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


class LatentGenerator(nn.Module, ABC):
    """A generator with its own sampler: draw latents and labels, then make images of them.

    A subclass gives `draw` and `images`; the distillation loop calls nothing else, so another generator (a
    searched architecture, say) plugs in without a change there.
    """

    @abstractmethod
    def draw(self, batch_size: int, rng: torch.Generator) -> LatentBatch:
        """Draw one batch of latents and labels from `rng`, a generator of the CPU."""

    @abstractmethod
    def images(self, latents: LatentBatch) -> Tensor:
        """Make images (B, channels, H, W) of one drawn batch."""


@dataclass(frozen=True, slots=True)
class LabelledNoise:
    """What `GDFQGenerator` draws: noise and one class a sample."""

    noise_BD: Tensor  # noqa: N815  # shape suffix
    class_B: Tensor  # noqa: N815  # shape suffix
    target_BC: Tensor  # noqa: N815  # shape suffix


class GDFQGenerator(LatentGenerator):
    """The generator of GDFQ: noise times a class embedding, one class a sample.

    Parameters
    ----------
    num_classes : int
        Classes of the teacher.
    image_shape : tuple of int
        (channels, height, width).
    latent : int
        Width of noise and embedding.
    width : int
        Channels of the trunk (128 in the paper).
    conditional_norm : bool
        The form for 224x224 images: plain noise enters the trunk, the class its conditional norms.
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
        *,
        latent: int = 100,
        width: int = 128,
        conditional_norm: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding = nn.Parameter(torch.empty(num_classes, latent), requires_grad=not conditional_norm)
        self.trunk = ImageTrunk(latent, image_shape, width, num_classes if conditional_norm else None)
        initialise(self, seed)

    def draw(self, batch_size: int, rng: torch.Generator) -> LabelledNoise:
        """Draw standard normal noise and uniform classes."""
        noise_BD = torch.randn(batch_size, self.embedding.shape[1], generator=rng)
        class_B = torch.randint(self.num_classes, (batch_size,), generator=rng)
        target_BC = nn.functional.one_hot(class_B, self.num_classes).to(noise_BD.dtype)
        device = self.embedding.device
        return LabelledNoise(noise_BD.to(device), class_B.to(device), target_BC.to(device))

    def images(self, latents: LatentBatch) -> Tensor:
        """Make images of ``embedding[class] * noise``, or of the noise alone with conditional norms."""
        assert isinstance(latents, LabelledNoise)
        noise_BD = latents.noise_BD
        latent_BD = noise_BD if self.trunk.conditional else self.embedding[latents.class_B] * noise_BD
        out: Tensor = self.trunk(latent_BD, latents.target_BC)
        return out


def initialise(module: nn.Module, seed: int) -> None:
    """Give every parameter torch's default initial distribution, each from a stream of its own name.

    Embeddings are standard normal, convolutions and linear layers uniform with the fan-in bound; norms are 1
    and 0.

    Parameters
    ----------
    module : nn.Module
        On the CPU; changed in place.
    seed : int
        Of all streams.
    """
    for name, layer in module.named_modules():
        for key, value in layer.named_parameters(recurse=False):
            rng = torch.Generator().manual_seed(derive_seed(seed, name, key))
            with torch.no_grad():
                _fill(layer, key, value, rng)


def _fill(layer: nn.Module, key: str, value: Tensor, rng: torch.Generator) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        fan_in = layer.weight[0].numel()
        value.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=rng)
    elif isinstance(layer, nn.BatchNorm2d | ConditionalBatchNorm2d):
        value.fill_(1.0 if key == "weight" else 0.0)
    else:
        value.normal_(generator=rng)
