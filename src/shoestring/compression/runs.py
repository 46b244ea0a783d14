"""What every quantisation method shares: its result, a frozen teacher, a calibrated student, fine-tuning."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from shoestring.compression.bn_statistics import BatchNormMatcher
from shoestring.compression.conversion import (
    QuantConfig,
    QuantizedModel,
    check_supported,
    device_of,
    quantize_model,
    reshape_views_,
    trace,
)
from shoestring.compression.distillation import DEFAULT_OPTIONS, DistillationConfig, RunOptions, distil
from shoestring.compression.generators import LatentGenerator
from shoestring.compression.quantizers import observing
from shoestring.compression.sources import GeneratorConfig, GeneratorSource, ImageSource
from shoestring.compression.step_rules import StepRule
from shoestring.core.errors import DataError

__all__ = [
    "DEFAULT_OPTIONS",
    "FineTuningConfig",
    "GenerativeConfig",
    "ImageShape",
    "QuantizationRun",
    "RunOptions",
    "calibrate",
    "fine_tune",
    "freeze",
    "num_classes",
    "train_on_generator",
]

Model = TypeVar("Model", bound=nn.Module)
ImageShape = tuple[int, int, int]
"""Channels, height, width."""


class FineTuningConfig(Protocol):
    """The config of a method that fine-tunes; a frozen dataclass with further fields of its own."""

    @property
    def quant(self) -> QuantConfig:
        """Bits."""
        ...

    @property
    def distillation(self) -> DistillationConfig:
        """Budget, loss and step."""
        ...


class GenerativeConfig(FineTuningConfig, Protocol):
    """The config of a method that fine-tunes on a generator's images."""

    @property
    def generator(self) -> GeneratorConfig:
        """Size and training of the generator."""
        ...


@dataclass(slots=True)
class QuantizationRun:
    """The result of a method."""

    model: QuantizedModel
    """The quantised model in its chosen state."""
    method: str
    """Name of the method."""
    last: dict[str, Tensor]
    """State of `model` after the last iteration."""
    chosen_iteration: int = 0
    """Iterations done when the chosen state was saved; 0 for calibration alone."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row a check."""
    generator: LatentGenerator | None = None
    """The trained generator, if the method has one."""
    images: Tensor | None = None
    """Distilled images (N, C, H, W), if the method makes a fixed set."""


def freeze(model: nn.Module) -> nn.Module:
    """Return a copy of a model that is fit to be a teacher.

    Parameters
    ----------
    model : nn.Module
        Stays as it was.

    Returns
    -------
    nn.Module
        In evaluation mode, without gradients, in channels-last layout; a graph of the same layers if the
        model calls ``view``, which would refuse that layout.

    Raises
    ------
    UnsupportedModelError
        If the substrate does not cover the model; said here, before any time is spent.
    """
    graph = trace(model)
    check_supported(graph)
    teacher = graph if reshape_views_(graph) else copy.deepcopy(model)
    return _channels_last(teacher.eval().requires_grad_(False))


def num_classes(teacher: nn.Module, image_shape: ImageShape) -> int:
    """Return the number of logits, from one forward pass of two blank images.

    Parameters
    ----------
    teacher : nn.Module
        In evaluation mode.
    image_shape : tuple of int
        (channels, height, width).

    Raises
    ------
    DataError
        If the model does not take images of that shape or does not give (B, classes).
    """
    try:
        with torch.inference_mode():
            logits = teacher(torch.zeros(2, *image_shape, device=device_of(teacher)))
    except RuntimeError as e:
        raise DataError(
            f"the model does not take images of shape {image_shape}: {e}. Give its input as channels x "
            "height x width"
        ) from e
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(
            f"the model returned {shape}; expected logits of shape (batch, classes). Wrap it so that it does"
        )
    return logits.shape[1]


def calibrate(model: nn.Module, config: QuantConfig, batches: Iterable[Tensor]) -> QuantizedModel:
    """Quantise a model and set its activation ranges.

    Parameters
    ----------
    model : nn.Module
        Float classifier; stays as it was.
    config : QuantConfig
        Bits and range memory.
    batches : iterable of Tensor
        Image batches (B, C, H, W), normalised, on any device.

    Returns
    -------
    QuantizedModel
        With ranges that no longer move.

    Raises
    ------
    UnsupportedModelError
        As `quantize_model`.
    DataError
        If `batches` is empty.
    """
    student = quantize_model(model, config)
    device = device_of(student)
    num_batches = 0
    with observing(student), torch.no_grad():
        for images in batches:
            student(images.to(device))
            num_batches += 1
    if not num_batches:
        raise DataError("there is no batch to calibrate on; give at least one")
    return student


def fine_tune(
    method: str,
    model: nn.Module,
    teacher: nn.Module,
    source: ImageSource,
    config: FineTuningConfig,
    *,
    seed: int,
    options: RunOptions = DEFAULT_OPTIONS,
    make_rule: Callable[[QuantizedModel], StepRule] | None = None,
) -> QuantizationRun:
    """Quantise a model and fine-tune it on a source with the shared loop.

    Parameters
    ----------
    method : str
        Name of the method.
    model : nn.Module
        Float classifier; stays as it was.
    teacher : nn.Module
        `model`, as `freeze` gives it.
    source : ImageSource
        Where images come from.
    config : FineTuningConfig
        The method's whole config; its text joins the fingerprint of checkpoints.
    seed : int
        Of all draws.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.
    make_rule : callable, optional
        Takes the new student and gives its step rule; `NesterovStep` by default.

    Returns
    -------
    QuantizationRun
        With the student in its chosen state.

    Raises
    ------
    UnsupportedModelError, DataError, StorageError
        As `quantize_model` and `distil`.
    """
    student = _channels_last(quantize_model(model, config.quant).requires_grad_())
    done = distil(
        student,
        teacher,
        source,
        config.distillation,
        seed=seed,
        rule=None if make_rule is None else make_rule(student),
        options=options,
        identity=f"{method} {config!r}",
    )
    return QuantizationRun(student, method, done.last, done.chosen_iteration, done.history)


def train_on_generator(
    method: str,
    model: nn.Module,
    make_generator: Callable[[nn.Module, int], LatentGenerator],
    config: GenerativeConfig,
    *,
    image_shape: ImageShape,
    seed: int,
    options: RunOptions = DEFAULT_OPTIONS,
    make_rule: Callable[[QuantizedModel], StepRule] | None = None,
) -> QuantizationRun:
    """Fine-tune on a generator that learns from the teacher as it goes.

    Parameters
    ----------
    method : str
        Name of the method.
    model : nn.Module
        Float classifier with BatchNorm2d; stays as it was.
    make_generator : callable
        Gets the frozen teacher and its number of classes; gives a generator on the CPU.
    config : GenerativeConfig
        The method's whole config.
    image_shape : tuple of int
        (channels, height, width).
    seed : int
        Of all draws of the loop.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.
    make_rule : callable, optional
        As in `fine_tune`.

    Returns
    -------
    QuantizationRun
        With the trained generator, in evaluation mode.

    Raises
    ------
    UnsupportedModelError, DataError, StorageError
        As `quantize_model`, `require_batch_norm`, `num_classes` and `distil`.
    """
    teacher = freeze(model)
    with BatchNormMatcher(teacher) as matcher:
        generator = make_generator(teacher, num_classes(teacher, image_shape)).to(device_of(teacher))
        source = GeneratorSource(generator, matcher, config.generator)
        run = fine_tune(
            method, model, teacher, source, config, seed=seed, options=options, make_rule=make_rule
        )
    run.generator = generator.eval()
    return run


def _channels_last(model: Model) -> Model:
    """Move a model's four-dimensional parameters to channels-last, in place."""
    # torch's stub lacks the keyword alone
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
