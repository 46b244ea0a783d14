"""Run Qimera on a model."""

from torch import Tensor, nn

from shoestring.compression.qimera._generator import QimeraGenerator
from shoestring.compression.qimera.config import QimeraConfig
from shoestring.compression.runs import (
    DEFAULT_OPTIONS,
    ImageShape,
    QuantizationRun,
    RunOptions,
    train_on_generator,
)
from shoestring.core.seeds import derive_seed

__all__ = ["qimera"]

DEFAULTS = QimeraConfig()


def qimera(
    model: nn.Module,
    config: QimeraConfig = DEFAULTS,
    *,
    image_shape: ImageShape,
    images: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    labels: Tensor | None = None,  # noqa: ARG001  # one signature for all methods
    seed: int = 0,
    options: RunOptions = DEFAULT_OPTIONS,
) -> QuantizationRun:
    """Quantise a trained classifier without data: fine-tune it on superposed synthetic images.

    Parameters
    ----------
    model : nn.Module
        Float classifier with BatchNorm2d, as `quantize_model` takes it; stays as it was.
    config : QimeraConfig
        Parts, bits, budget.
    image_shape : tuple of int
        (channels, height, width) of its input; height = width, divisible by 4.
    images, labels : optional
        Not used: the method is data-free.
    seed : int
        Equal seeds give equal codes for one number of threads.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.

    Returns
    -------
    QuantizationRun
        `model` in the state with the lowest held-out KL; `generator` is a `QimeraGenerator`.

    Raises
    ------
    UnsupportedModelError
        For a model without BatchNorm2d or with layers that the substrate does not cover; names the layer.
    DataError
        If the shapes do not fit or the training diverges.
    StorageError
        If the checkpoint is damaged or of another run.

    Notes
    -----
    One iteration costs a forward and backward pass of the generator, of the float model (to the image) and of
    the quantised model.

    References
    ----------
    Choi et al., Qimera: Data-free Quantization with Synthetic Boundary Supporting Samples, NeurIPS 2021,
    sections 4.1 to 4.3 and algorithm 1.
    """

    def make(teacher: nn.Module, classes: int) -> QimeraGenerator:
        return QimeraGenerator.from_teacher(
            teacher, classes, image_shape, config, seed=derive_seed(seed, "generator")
        )

    return train_on_generator(
        "qimera", model, make, config, image_shape=image_shape, seed=seed, options=options
    )
