"""What every quantisation method shares: its result, a frozen teacher, a calibrated student, generative fine-tuning."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from shoestring.compression.bn_statistics import BatchNormMatcher
from shoestring.compression.conversion import QuantConfig, QuantizedModel, quantize_model, trace
from shoestring.compression.distillation import DistillationConfig, Monitor, distil
from shoestring.compression.generators import LatentGenerator
from shoestring.compression.quantizers import observing
from shoestring.compression.sources import GeneratorConfig, GeneratorSource, ImageSource
from shoestring.core.errors import DataError
from shoestring.core.recorder import Recorder

__all__ = ["QuantizationRun", "RunOptions", "calibrate", "fine_tune", "freeze", "num_classes", "train_on_generator"]

ImageShape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What the caller of any method may watch or steer; none of it changes the result."""

    monitor: Monitor | None = None
    """Called at every check with iteration and student; its metrics join the history."""
    recorder: Recorder | None = None
    """Gets the row of every check."""
    report_progress: Callable[[float, str], None] | None = None
    """Gets a fraction and a word."""
    checkpoint: Path | None = None
    """File to save to, and to continue from."""


@dataclass(slots=True)
class QuantizationRun:
    """The result of a method."""

    model: QuantizedModel
    """The quantised model in its chosen state."""
    method: str
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
    """Return a copy of `model` in evaluation mode that needs no gradients; `model` stays as it was."""
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    return teacher.to(memory_format=torch.channels_last)  # type: ignore[no-any-return,call-overload]  # torch's stub lacks the keyword alone


def num_classes(teacher: nn.Module, image_shape: ImageShape) -> int:
    """Number of logits, from one forward pass of a blank image.

    Raises
    ------
    DataError
        If the model does not take images of that shape or does not give (B, classes).
    """
    try:
        with torch.inference_mode():
            logits = teacher(torch.zeros(2, *image_shape))
    except RuntimeError as e:
        raise DataError(f"the model does not take images of shape {image_shape}: {e}. Give its input as channels x height x width") from e
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(f"the model returned {shape}; expected logits of shape (batch, classes). Wrap it so that it does")
    return logits.shape[1]


def calibrate(model: nn.Module, config: QuantConfig, batches: Iterable[Tensor]) -> QuantizedModel:
    """Quantise `model` and set its activation ranges from image batches (B, C, H, W)."""
    student = quantize_model(model, config)
    with observing(student), torch.no_grad():
        for images in batches:
            student(images)
    return student


def fine_tune(
    method: str,
    model: nn.Module,
    teacher: nn.Module,
    source: ImageSource,
    quant: QuantConfig,
    config: DistillationConfig,
    seed: int,
    options: RunOptions,
) -> QuantizationRun:
    """Quantise `model` and fine-tune it on `source` with the shared loop."""
    student = quantize_model(model, quant).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as in freeze
    done = distil(
        student,
        teacher,
        source,
        config,
        seed=seed,
        monitor=options.monitor,
        recorder=options.recorder,
        report_progress=options.report_progress,
        checkpoint=options.checkpoint,
    )
    return QuantizationRun(student, method, done.last, done.chosen_iteration, done.history)


def train_on_generator(
    method: str,
    model: nn.Module,
    make_generator: Callable[[nn.Module, int], LatentGenerator],
    image_shape: ImageShape,
    quant: QuantConfig,
    generator_config: GeneratorConfig,
    config: DistillationConfig,
    seed: int,
    options: RunOptions,
) -> QuantizationRun:
    """Fine-tune on a generator that learns from the teacher as it goes.

    `make_generator` gets the frozen teacher and its number of classes.
    """
    trace(model)
    teacher = freeze(model)
    with BatchNormMatcher(teacher) as matcher:
        generator = make_generator(teacher, num_classes(teacher, image_shape))
        source = GeneratorSource(generator, matcher, generator_config)
        run = fine_tune(method, model, teacher, source, quant, config, seed, options)
    run.generator = generator.eval()
    return run
