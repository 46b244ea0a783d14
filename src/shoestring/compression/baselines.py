"""The methods that every system of this family is measured against, on the same substrate and budget.

Calibration alone: ``noise`` (Gaussian images), ``zeroq`` (images distilled from BatchNorm statistics),
``real-calibration``. Fine-tuning: ``zeroq-ft`` (on distilled images), ``gdfq`` (on a generator), ``real-ft``
(on real images, the upper bound). All of them, and every system of the family, are called alike.

References
----------
ZeroQ: Cai et al., CVPR 2020. GDFQ: Xu et al., Generative Low-bitwidth Data Free Quantization, ECCV 2020.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.compression.bn_statistics import BatchNormMatcher, batch_moments
from shoestring.compression.conversion import QuantConfig, device_of
from shoestring.compression.distillation import DistillationConfig
from shoestring.compression.generators import GDFQGenerator
from shoestring.compression.runs import (
    DEFAULT_OPTIONS,
    ImageShape,
    QuantizationRun,
    RunOptions,
    calibrate,
    fine_tune,
    freeze,
    train_on_generator,
)
from shoestring.compression.sources import FixedImages, GeneratorConfig
from shoestring.core.errors import ConfigError, DataError
from shoestring.core.seeds import derive_seed

__all__ = [
    "METHODS",
    "CalibrationConfig",
    "DistilledImagesConfig",
    "FineTuneConfig",
    "GDFQConfig",
    "ZeroQConfig",
    "ZeroQFineTuneConfig",
    "distil_images",
    "gdfq",
    "noise_calibration",
    "real_calibration",
    "real_fine_tuning",
    "zeroq",
    "zeroq_fine_tuning",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationConfig:
    """Range setting without training."""

    quant: QuantConfig = field(default_factory=QuantConfig)
    """Bits."""
    batches: int = 64
    """Batches that the range average sees."""
    batch_size: int = 64
    """Images a batch."""

    def __post_init__(self) -> None:
        if self.batches < 1 or self.batch_size < 1:
            raise ConfigError(f"batches={self.batches}, batch_size={self.batch_size} must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class DistilledImagesConfig:
    """Pixels optimised until the teacher's batch statistics look like its running ones (ZeroQ)."""

    count: int = 512
    """Number of images."""
    batch_size: int = 64
    """Images optimised together; their joint statistics are matched."""
    iterations: int = 300
    """Adam steps a batch (ZeroQ: 500)."""
    lr: float = 0.1
    """Learning rate of Adam on pixels (ZeroQ: 0.1), falling to zero along a cosine."""

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.count < self.batch_size:
            raise ConfigError(
                f"count={self.count} must be at least batch_size={self.batch_size}, and that at least 2"
            )
        if self.iterations < 1 or not self.lr > 0:
            raise ConfigError(f"iterations={self.iterations} must be at least 1 and lr={self.lr} positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class ZeroQConfig:
    """ZeroQ: distilled images, then calibration."""

    quant: QuantConfig = field(default_factory=QuantConfig)
    """Bits."""
    images: DistilledImagesConfig = field(default_factory=DistilledImagesConfig)
    """How the images are made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ZeroQFineTuneConfig:
    """ZeroQ's images, then the fine-tuning that the generative methods use."""

    quant: QuantConfig = field(default_factory=QuantConfig)
    """Bits."""
    images: DistilledImagesConfig = field(default_factory=DistilledImagesConfig)
    """How the images are made."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """Budget, loss and step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GDFQConfig:
    """GDFQ: a conditional generator trained beside the student."""

    quant: QuantConfig = field(default_factory=QuantConfig)
    """Bits."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """Size and training of the generator."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """Budget, loss and step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneConfig:
    """Fine-tuning on real images with the same loss, step and budget."""

    quant: QuantConfig = field(default_factory=QuantConfig)
    """Bits."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """Budget, loss and step."""


def noise_calibration(
    model: nn.Module,
    config: CalibrationConfig,
    *,
    image_shape: ImageShape,
    images: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    labels: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    seed: int = 0,
    options: RunOptions = DEFAULT_OPTIONS,
) -> QuantizationRun:
    """Set the ranges from standard normal images; weights stay as they are.

    Parameters
    ----------
    model : nn.Module
        Float classifier, as `quantize_model` takes it; stays as it was.
    config : CalibrationConfig
        Options of the method.
    image_shape : tuple of int
        (channels, height, width) of its input.
    images, labels : optional
        Not used: the method is data-free.
    seed : int
        Equal seeds give equal codes for one number of threads.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.

    Returns
    -------
    QuantizationRun
        Of method ``noise``, without a history of training.

    Raises
    ------
    UnsupportedModelError
        For a model with layers that the substrate does not cover; names the layer.
    DataError
        If the shapes do not fit.
    """
    rng = torch.Generator().manual_seed(derive_seed(seed, "noise"))
    batches = (torch.randn(config.batch_size, *image_shape, generator=rng) for _ in range(config.batches))
    return _calibrated("noise", model, config.quant, batches, options)


def real_calibration(
    model: nn.Module,
    config: CalibrationConfig,
    *,
    image_shape: ImageShape,  # noqa: ARG001  # one signature for all methods
    images: Tensor | None = None,
    labels: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    seed: int = 0,
    options: RunOptions = DEFAULT_OPTIONS,
) -> QuantizationRun:
    """Set the ranges from real images; weights stay as they are.

    Parameters
    ----------
    model : nn.Module
        Float classifier, as `quantize_model` takes it; stays as it was.
    config : CalibrationConfig
        Options of the method.
    image_shape : tuple of int
        Not used: the images have it.
    images : Tensor
        Real images, float (N, C, H, W), normalised as the model expects.
    labels : optional
        Not used.
    seed : int
        Equal seeds give equal codes for one number of threads.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.

    Returns
    -------
    QuantizationRun
        Of method ``real-calibration``, without a history of training.

    Raises
    ------
    UnsupportedModelError
        For a model with layers that the substrate does not cover; names the layer.
    DataError
        If there are no images, or their shape or labels do not fit.
    """
    real = _required(images, "real-calibration")
    rng = torch.Generator().manual_seed(derive_seed(seed, "calibration"))
    batches = (
        real[torch.randint(len(real), (config.batch_size,), generator=rng)] for _ in range(config.batches)
    )
    return _calibrated("real-calibration", model, config.quant, batches, options)


def distil_images(
    teacher: nn.Module,
    config: DistilledImagesConfig,
    image_shape: ImageShape,
    seed: int,
    report_progress: Callable[[float, str], None] | None = None,
) -> Tensor:
    """Optimise images so that the teacher's BatchNorm statistics on them match the stored ones.

    The images themselves are held to mean 0 and variance 1 a channel, as in ZeroQ.

    Parameters
    ----------
    teacher : nn.Module
        As `freeze` gives it.
    config : DistilledImagesConfig
        Number, steps, rate.
    image_shape : tuple of int
        (channels, height, width).
    seed : int
        Of the noise that the images start from; each batch has a stream of its own.
    report_progress : callable, optional
        Gets a fraction and a word after every batch.

    Returns
    -------
    Tensor
        (count, channels, height, width), on the teacher's device.

    Raises
    ------
    UnsupportedModelError
        As `require_batch_norm`.

    References
    ----------
    ZeroQ, eq. 3 and algorithm 1.
    """
    num_batches = -(-config.count // config.batch_size)
    made = []
    with BatchNormMatcher(teacher) as matcher:
        for b in range(num_batches):
            rng = torch.Generator().manual_seed(derive_seed(seed, "distilled-images", b))
            start = torch.randn(config.batch_size, *image_shape, generator=rng).to(device_of(teacher))
            made.append(_distil_batch(matcher, start, config))
            if report_progress is not None:
                report_progress((b + 1) / num_batches, "distilling images")
    return torch.cat(made)[: config.count]


def _distil_batch(matcher: BatchNormMatcher, start: Tensor, config: DistilledImagesConfig) -> Tensor:
    pixels = start.contiguous(memory_format=torch.channels_last).requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=config.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.iterations)
    for _ in range(config.iterations):
        _, bn_loss = matcher(pixels)
        mean, var = batch_moments(pixels)
        loss = bn_loss + mean.square().mean() + (var - 1).square().mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return pixels.detach()


def zeroq(
    model: nn.Module,
    config: ZeroQConfig,
    *,
    image_shape: ImageShape,
    images: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    labels: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    seed: int = 0,
    options: RunOptions = DEFAULT_OPTIONS,
) -> QuantizationRun:
    """Set the ranges from distilled images; weights stay as they are.

    Parameters
    ----------
    model : nn.Module
        Float classifier with BatchNorm2d, as `quantize_model` takes it; stays as it was.
    config : ZeroQConfig
        Options of the method.
    image_shape : tuple of int
        (channels, height, width) of its input.
    images, labels : optional
        Not used: the method is data-free.
    seed : int
        Equal seeds give equal codes for one number of threads.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.

    Returns
    -------
    QuantizationRun
        Of method ``zeroq``; `images` are the distilled ones.

    Raises
    ------
    UnsupportedModelError
        For a model without BatchNorm2d or with layers that the substrate does not cover; names the layer.
    DataError
        If the shapes do not fit.
    """
    made = distil_images(freeze(model), config.images, image_shape, seed, options.report_progress)
    run = _calibrated("zeroq", model, config.quant, torch.split(made, config.images.batch_size), options)
    run.images = made
    return run


def zeroq_fine_tuning(
    model: nn.Module,
    config: ZeroQFineTuneConfig,
    *,
    image_shape: ImageShape,
    images: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    labels: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    seed: int = 0,
    options: RunOptions = DEFAULT_OPTIONS,
) -> QuantizationRun:
    """Fine-tune on distilled images, labelled by the teacher.

    Parameters
    ----------
    model : nn.Module
        Float classifier with BatchNorm2d, as `quantize_model` takes it; stays as it was.
    config : ZeroQFineTuneConfig
        Options of the method.
    image_shape : tuple of int
        (channels, height, width) of its input.
    images, labels : optional
        Not used: the method is data-free.
    seed : int
        Equal seeds give equal codes for one number of threads.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.

    Returns
    -------
    QuantizationRun
        Of method ``zeroq-ft``; `images` are the distilled ones.

    Raises
    ------
    UnsupportedModelError
        For a model without BatchNorm2d or with layers that the substrate does not cover; names the layer.
    DataError
        If the shapes do not fit or the training diverges.
    StorageError
        If the checkpoint is damaged or of another run.
    """
    teacher = freeze(model)
    made = distil_images(teacher, config.images, image_shape, seed)
    source = FixedImages(teacher, made)
    run = fine_tune("zeroq-ft", model, teacher, source, config, seed=seed, options=options)
    run.images = made
    return run


def gdfq(
    model: nn.Module,
    config: GDFQConfig,
    *,
    image_shape: ImageShape,
    images: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    labels: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    seed: int = 0,
    options: RunOptions = DEFAULT_OPTIONS,
) -> QuantizationRun:
    """Fine-tune on the images of GDFQ's generator, which learns from the teacher meanwhile.

    Parameters
    ----------
    model : nn.Module
        Float classifier with BatchNorm2d, as `quantize_model` takes it; stays as it was.
    config : GDFQConfig
        Options of the method.
    image_shape : tuple of int
        (channels, height, width) of its input.
    images, labels : optional
        Not used: the method is data-free.
    seed : int
        Equal seeds give equal codes for one number of threads.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.

    Returns
    -------
    QuantizationRun
        Of method ``gdfq``; `generator` is a `GDFQGenerator`.

    Raises
    ------
    UnsupportedModelError
        For a model without BatchNorm2d or with layers that the substrate does not cover; names the layer.
    DataError
        If the shapes do not fit or the training diverges.
    StorageError
        If the checkpoint is damaged or of another run.
    """

    def make(_teacher: nn.Module, classes: int) -> GDFQGenerator:
        size = config.generator
        return GDFQGenerator(
            classes,
            image_shape,
            latent=size.latent,
            width=size.width,
            conditional_norm=size.conditional_norm,
            seed=derive_seed(seed, "generator"),
        )

    return train_on_generator(
        "gdfq", model, make, config, image_shape=image_shape, seed=seed, options=options
    )


def real_fine_tuning(
    model: nn.Module,
    config: FineTuneConfig,
    *,
    image_shape: ImageShape,  # noqa: ARG001  # one signature for all methods
    images: Tensor | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
    options: RunOptions = DEFAULT_OPTIONS,
) -> QuantizationRun:
    """Fine-tune on real images, the upper bound.

    Parameters
    ----------
    model : nn.Module
        Float classifier, as `quantize_model` takes it; stays as it was.
    config : FineTuneConfig
        Options of the method.
    image_shape : tuple of int
        Not used: the images have it.
    images : Tensor
        Real images, float (N, C, H, W), normalised as the model expects.
    labels : Tensor, optional
        int64, (N,); the teacher's decisions when absent.
    seed : int
        Equal seeds give equal codes for one number of threads.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.

    Returns
    -------
    QuantizationRun
        Of method ``real-ft``.

    Raises
    ------
    UnsupportedModelError
        For a model with layers that the substrate does not cover; names the layer.
    DataError
        If there are no images, or their shape or labels do not fit.
    StorageError
        If the checkpoint is damaged or of another run.
    """
    teacher = freeze(model)
    source = FixedImages(teacher, _required(images, "real-ft"), labels)
    return fine_tune("real-ft", model, teacher, source, config, seed=seed, options=options)


def _calibrated(
    method: str, model: nn.Module, quant: QuantConfig, batches: Iterable[Tensor], options: RunOptions
) -> QuantizationRun:
    student = calibrate(model, quant, batches)
    run = QuantizationRun(student, method, student.state_dict())
    if options.monitor is not None:
        run.history.append({"iteration": 0.0, **options.monitor(0, student)})
    return run


def _required(images: Tensor | None, method: str) -> Tensor:
    if images is None or not len(images):
        raise DataError(
            f"method {method!r} needs real images, none were given; give --images FOLDER, or use a data-free "
            "method"
        )
    return images


METHODS: Mapping[str, tuple[type[Any], Callable[..., QuantizationRun]]] = MappingProxyType(
    {
        "noise": (CalibrationConfig, noise_calibration),
        "real-calibration": (CalibrationConfig, real_calibration),
        "zeroq": (ZeroQConfig, zeroq),
        "zeroq-ft": (ZeroQFineTuneConfig, zeroq_fine_tuning),
        "gdfq": (GDFQConfig, gdfq),
        "real-ft": (FineTuneConfig, real_fine_tuning),
    }
)
"""Name of a baseline method to its config class and its function."""
