"""Teachers and data that the verifications of this family share.

A *problem* is a data set with a float teacher trained on it here. Nothing in this file is part of a method.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from shoestring.core.errors import ConfigError
from shoestring.core.files import write_json_atomic
from shoestring.core.seeds import derive_seed
from shoestring.data import ImageSplits, load_cifar10, load_digits, normalise
from shoestring.evidence.model import Context, Outcome
from shoestring.nn import (
    CIFAR_TRAINING,
    DIGITS_TRAINING,
    TrainingConfig,
    TrainingProgress,
    cifar_resnet,
    fit_classifier,
    load_state,
    predict_logits,
    save_state,
    top1,
)

__all__ = ["Problem", "load_problem", "prepare_teacher"]

TRAINING: dict[str, tuple[TrainingConfig, ...]] = {
    "digits": (DIGITS_TRAINING,),
    "cifar10": (CIFAR_TRAINING, TrainingConfig(epochs=14, batch_size=64, peak_lr=0.1, warmup_fraction=0.1)),
}
"""One or more cycles of the learning rate for each data set's teacher."""
TAIL: dict[str, tuple[TrainingConfig, ...]] = {"cifar10": (TrainingConfig(epochs=1, peak_lr=0.08),) * 5}
"""Short cycles after those, whose ends are averaged (stochastic weight averaging, Izmailov et al. 2018)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A float teacher with its data as normalised tensors."""

    teacher: nn.Module
    image_shape: tuple[int, int, int]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def top1(self, model: nn.Module) -> float:
        """Accuracy of `model` on the test images, in percent."""
        return top1(predict_logits(model, self.test_images), self.test_labels)


def load_splits(name: str, folder: Path | None) -> ImageSplits:
    """Load a data set of this family's workloads by name: digits or cifar10."""
    if name == "digits":
        return load_digits(size=16)
    if name == "cifar10" and folder is not None:
        return load_cifar10(folder)
    raise ConfigError(
        f"data set {name!r} is not known or has no folder; allowed: digits, and cifar10 with a folder"
    )


def new_teacher(splits: ImageSplits, depth: int, seed: int) -> nn.Module:
    """Make an untrained residual network of the CIFAR family that fits the images."""
    return cifar_resnet(depth, num_classes=splits.num_classes, channels=splits.channels, seed=seed)


def prepare_teacher(context: Context) -> Outcome:
    """Train the float teacher of options ``dataset`` and ``depth``, and keep it as ``teacher.safetensors``.

    The option ``epochs`` replaces the length of the first cycle of the learning rate.

    Parameters
    ----------
    context : Context
        Of a preparation.

    Returns
    -------
    Outcome
        Its accuracy and size.

    Raises
    ------
    ConfigError
        If the data set is not known or has no folder.
    """
    splits = load_splits(context.options["dataset"], context.data)
    model = new_teacher(splits, context.options["depth"], context.seed)
    first, *others = TRAINING[context.options["dataset"]]
    cycles = (replace(first, epochs=context.options.get("epochs", first.epochs)), *others)
    tail = TAIL.get(context.options["dataset"], ())
    total = len(cycles) + len(tail)

    def fit(place: int, config: TrainingConfig, seed: int) -> None:
        def report(done: TrainingProgress) -> None:
            fraction = (place + done.epoch / done.epochs) / total
            context.report_progress(fraction, f"training the teacher, loss {done.loss:.3f}")

        fit_classifier(
            model,
            torch.from_numpy(splits.train.images).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(splits.train.labels),
            config,
            seed=seed,
            mean=splits.mean,
            std=splits.std,
            recorder=context.recorder,
            report_progress=report,
            checkpoint=context.folder / f"teacher-{place}.ckpt",
        )

    for place, config in enumerate(cycles):
        fit(place, config, context.seed)
    averaged = AveragedModel(model)
    for i, config in enumerate(tail):
        averaged.update_parameters(model)
        fit(len(cycles) + i, config, derive_seed(context.seed, "tail", i))
    if tail:
        averaged.update_parameters(model)
        _take_average(model, averaged, _problem(splits, model).train_images)
    save_state(model, context.folder / "teacher.safetensors")
    write_json_atomic(context.folder / "teacher.json", {"depth": context.options["depth"]})
    problem = _problem(splits, model)
    return Outcome(
        metrics={"top1": problem.top1(model), "num_parameters": sum(p.numel() for p in model.parameters())}
    )


def _take_average(model: nn.Module, averaged: AveragedModel, images: Tensor) -> None:
    """Give `model` the averaged weights, with BatchNorm statistics measured anew on the images."""
    update_bn(torch.split(images, 500), averaged)
    model.load_state_dict(averaged.module.state_dict())
    model.eval()


def load_problem(context: Context) -> Problem:
    """Load data and the teacher that `prepare_teacher` left.

    With the option ``split = "validation"`` the test images are a fifth of the training images, kept from the
    methods: the split on which options are tuned.

    Parameters
    ----------
    context : Context
        Of an arm; its preparation was `prepare_teacher`.

    Returns
    -------
    Problem
        With the teacher in evaluation mode.

    Raises
    ------
    ConfigError
        If the data set is not known or has no folder.
    """
    splits = load_splits(context.options["dataset"], context.data)
    assert context.prepared is not None
    depth = json.loads((context.prepared / "teacher.json").read_text())["depth"]
    model = new_teacher(splits, depth, 0)
    load_state(model, context.prepared / "teacher.safetensors")
    problem = _problem(splits, model.eval())
    if context.options.get("split", "test") == "validation":
        return _validation(problem)
    return problem


def _validation(problem: Problem) -> Problem:
    kept_out = torch.arange(len(problem.train_images)) % 5 == 0
    return replace(
        problem,
        train_images=problem.train_images[~kept_out],
        train_labels=problem.train_labels[~kept_out],
        test_images=problem.train_images[kept_out],
        test_labels=problem.train_labels[kept_out],
    )


def _problem(splits: ImageSplits, model: nn.Module) -> Problem:
    train, test = (
        torch.from_numpy(normalise(part.images, splits.mean, splits.std))
        for part in (splits.train, splits.test)
    )
    labels = torch.from_numpy(splits.train.labels), torch.from_numpy(splits.test.labels)
    shape = (splits.channels, splits.size, splits.size)
    return Problem(model, shape, train, labels[0], test, labels[1])
