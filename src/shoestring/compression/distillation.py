"""The distillation loop that all methods share: a source of images, a loss, a step rule, a choice rule.

Per iteration: the source gives (and learns from) a batch; during the warm-up the student only follows its
activation ranges; afterwards its ranges are frozen and it takes one step on the loss. Every `check_every`
iterations the student is judged *without data* on a held-out set of images, and the best state so far is
kept. The whole state is saved there, so a killed run continues bit for bit.

References
----------
GDFQ (Xu et al., ECCV 2020), algorithm 1; schedule of the released GDFQ and Qimera code.
"""

import copy
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shoestring.compression.checkpoints import read_checkpoint, write_checkpoint
from shoestring.compression.conversion import QuantizedModel, device_of
from shoestring.compression.losses import distillation_kl, soft_cross_entropy
from shoestring.compression.quantizers import observing
from shoestring.compression.sources import Batch, ImageSource
from shoestring.compression.step_rules import NesterovStep, StepRule
from shoestring.core.errors import ConfigError, DataError, StorageError
from shoestring.core.recorder import NullRecorder, Recorder
from shoestring.core.seeds import derive_seed

__all__ = [
    "DEFAULT_OPTIONS",
    "DistillationConfig",
    "Distilled",
    "Monitor",
    "RunOptions",
    "StudentLoss",
    "distil",
    "distillation_loss",
]

StudentLoss = Callable[[Batch, Tensor], Tensor]
Monitor = Callable[[int, QuantizedModel], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillationConfig:
    """Budget, loss and step of the fine-tuning."""

    iterations: int = 2000
    """All iterations, the warm-up among them (the paper: 80,000)."""
    warmup_iterations: int = 200
    """First iterations, in which only the generator learns and the ranges settle (the paper: 800)."""
    batch_size: int = 64
    """Images an iteration (the paper: 200 on CIFAR)."""
    lr: float = 1e-3
    """Learning rate of the student (the paper, with 40 times the iterations: 1e-4)."""
    momentum: float = 0.9
    """Nesterov momentum of the student."""
    weight_decay: float = 1e-4
    """Weight decay of the student."""
    temperature: float = 20.0
    """Softening of both distributions in the KL term."""
    kd_weight: float = 1.0
    """Weight of the KL term; 0 switches it off."""
    ce_weight: float = 1.0
    """Weight of the cross-entropy to the labels; 0 switches it off."""
    milestones: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Where both learning rates fall, as fractions of `iterations`."""
    lr_decay: float = 0.1
    """Factor at each milestone."""
    check_every: int = 100
    """Iterations between two data-free checks (and checkpoints)."""
    held_out: int = 256
    """Images that the check uses."""
    patience: int = 0
    """Stop after so many checks without a better one; 0 never stops early."""

    def __post_init__(self) -> None:
        if not 0 < self.warmup_iterations < self.iterations:
            raise ConfigError(
                f"warmup_iterations={self.warmup_iterations} must be at least 1 and below "
                f"iterations={self.iterations}"
            )
        if self.batch_size < 2:
            raise ConfigError(f"batch_size={self.batch_size}: batch statistics need at least 2 images")
        if not (self.lr > 0 and self.temperature > 0):
            raise ConfigError(f"lr={self.lr} and temperature={self.temperature} must be positive")
        if self.kd_weight < 0 or self.ce_weight < 0 or self.kd_weight + self.ce_weight == 0:
            raise ConfigError(
                f"kd_weight={self.kd_weight}, ce_weight={self.ce_weight}: give one above 0, none below"
            )
        if self.check_every < 1 or self.held_out < 2 or self.patience < 0:
            raise ConfigError(
                f"check_every={self.check_every}, held_out={self.held_out}, patience={self.patience} must be "
                "at least 1, 2 and 0"
            )
        if list(self.milestones) != sorted(self.milestones) or not all(0 < m <= 1 for m in self.milestones):
            raise ConfigError(f"milestones={self.milestones} must rise within (0, 1]")

    def lr_factor(self, iteration: int) -> float:
        """Return the factor on both learning rates at an iteration (counted from 0)."""
        return self.lr_decay ** sum(iteration >= m * self.iterations for m in self.milestones)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What the caller of any method may watch or steer; none of it changes the result."""

    monitor: Monitor | None = None
    """Called at every check with iteration and student; its metrics join the history and decide nothing."""
    recorder: Recorder | None = None
    """Gets the row of every check."""
    report_progress: Callable[[float, str], None] | None = None
    """Gets a fraction and a word."""
    checkpoint: Path | None = None
    """File to save the state to at every check, and to continue from when it is there."""


DEFAULT_OPTIONS = RunOptions()


@dataclass(slots=True)
class Distilled:
    """What `distil` leaves: the student in its chosen state, and how it got there."""

    last: dict[str, Tensor]
    """The student's state after the last iteration."""
    chosen_iteration: int
    """Iterations done when the state now in the student was saved."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row a check: ``iteration``, ``held_out_kl``, the losses, and the monitor's metrics."""


def distillation_loss(config: DistillationConfig) -> StudentLoss:
    """Return the loss of GDFQ and Qimera: cross-entropy to the labels plus KL to the teacher.

    Parameters
    ----------
    config : DistillationConfig
        Its `ce_weight`, `kd_weight` and `temperature`; a term of weight 0 is not computed.

    Returns
    -------
    callable
        Takes a `Batch` and the student's logits; gives a scalar.
    """

    def loss(batch: Batch, student_BC: Tensor) -> Tensor:
        total = student_BC.new_zeros(())
        if config.ce_weight:
            total = total + config.ce_weight * soft_cross_entropy(student_BC, batch.target_BC)
        if config.kd_weight:
            kl = distillation_kl(student_BC, batch.teacher_BC, config.temperature)
            total = total + config.kd_weight * kl
        return total

    return loss


def distil(  # noqa: PLR0913  # a run needs all of these, and the last five have defaults
    student: QuantizedModel,
    teacher: torch.nn.Module,
    source: ImageSource,
    config: DistillationConfig,
    *,
    seed: int,
    loss: StudentLoss | None = None,
    rule: StepRule | None = None,
    options: RunOptions = DEFAULT_OPTIONS,
    identity: str = "",
) -> Distilled:
    """Fine-tune a student on images of a source, and leave it in its best state by the data-free check.

    Parameters
    ----------
    student : QuantizedModel
        Freshly made from the teacher, ranges unset; changed in place.
    teacher : nn.Module
        Frozen, in evaluation mode, on the student's device; judges the held-out images.
    source : ImageSource
        A trained generator or a fixed set.
    config : DistillationConfig
        Budget and schedule.
    seed : int
        Of all random draws of the loop; equal seeds give equal codes for one number of threads.
    loss, rule : optional
        Another loss or step rule; by default `distillation_loss` and `NesterovStep` of `config`.
    options : RunOptions
        Monitor, recorder, progress, checkpoint.
    identity : str
        What else decides the result (method, its options); a checkpoint of another identity is refused.

    Returns
    -------
    Distilled
        The last state, the choice and the history.

    Raises
    ------
    DataError
        If a loss is not finite.
    StorageError
        If the checkpoint is damaged or of another run.
    """
    loop = _Loop(student, teacher, source, config, seed, loss or distillation_loss(config), rule)
    fingerprint = _fingerprint(identity, config, seed, student)
    if options.checkpoint is not None and options.checkpoint.exists():
        loop.load(options.checkpoint, fingerprint)
    recorder = options.recorder or NullRecorder()
    while not loop.finished:
        loop.advance()
        if loop.at_check:
            row = loop.check(options.monitor)
            recorder.record(loop.done, row)
            if options.report_progress is not None:
                word = f"KL on held-out images {row['held_out_kl']:.4f}"
                options.report_progress(loop.done / config.iterations, word)
            if options.checkpoint is not None:
                loop.save(options.checkpoint, fingerprint)
    return loop.result()


class _Loop:
    """The state of one run, and one iteration of it."""

    def __init__(
        self,
        student: QuantizedModel,
        teacher: torch.nn.Module,
        source: ImageSource,
        config: DistillationConfig,
        seed: int,
        loss: StudentLoss,
        rule: StepRule | None,
    ) -> None:
        self.student, self.teacher, self.source = student, teacher, source
        self.config, self.loss = config, loss
        self.rule = rule or NesterovStep(
            student.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
        self.rng = torch.Generator().manual_seed(derive_seed(seed, "batches"))
        self.check_rng_seed = derive_seed(seed, "held-out")
        self.done = 0
        self.checks_since_best = 0
        self.chosen = -1
        self.best_kl = float("inf")
        self.best: dict[str, Tensor] = {}
        self.held_out: Tensor | None = None
        self.history: list[dict[str, float]] = []
        self.latest: dict[str, float] = {}

    @property
    def finished(self) -> bool:
        stopped = self.config.patience and self.checks_since_best >= self.config.patience
        return self.done >= self.config.iterations or bool(stopped)

    @property
    def at_check(self) -> bool:
        if self.done < self.config.warmup_iterations:
            return False
        return self.done % self.config.check_every == 0 or self.done in (
            self.config.warmup_iterations,
            self.config.iterations,
        )

    def advance(self) -> None:
        """One iteration of the loop."""
        factor = self.config.lr_factor(self.done)
        self.source.scale_lr(factor)
        batch = self.source.next_batch(self.config.batch_size, self.rng)
        if self.done < self.config.warmup_iterations:
            with observing(self.student), torch.no_grad():
                self.student(batch.images)
            self.latest = dict(batch.metrics)
        else:
            self.rule.scale_lr(factor)
            loss = self.loss(batch, self.student(batch.images))
            value = loss.item()
            if not math.isfinite(value):
                raise DataError(
                    f"the student's loss is {value} at iteration {self.done}; lower "
                    f"distillation.lr={self.config.lr}"
                )
            self.latest = {**batch.metrics, "student_loss": value, **self.rule.step(loss)}
        self.done += 1

    def check(self, monitor: Monitor | None) -> dict[str, float]:
        """Judge the student on the held-out images, and keep it if it is the best so far."""
        if self.held_out is None:
            rng = torch.Generator().manual_seed(self.check_rng_seed)
            self.held_out = self.source.held_out(self.config.held_out, rng)
        with torch.inference_mode():
            kl = distillation_kl(self.student(self.held_out), self.teacher(self.held_out), 1.0).item()
        if not math.isfinite(kl):
            raise DataError(
                f"the student's outputs are not finite at iteration {self.done}; lower "
                f"distillation.lr={self.config.lr}"
            )
        if kl < self.best_kl:
            self.best_kl, self.chosen, self.checks_since_best = kl, self.done, 0
            self.best = copy.deepcopy(self.student.state_dict())
        else:
            self.checks_since_best += 1
        row = {"iteration": float(self.done), "held_out_kl": kl, **self.latest}
        row.update(monitor(self.done, self.student) if monitor else {})
        self.history.append(row)
        return row

    def result(self) -> Distilled:
        last = copy.deepcopy(self.student.state_dict())
        self.student.load_state_dict(self.best)
        return Distilled(last, self.chosen, self.history)

    def save(self, path: Path, fingerprint: str) -> None:
        groups: dict[str, Mapping[str, Tensor]] = {
            "student": self.student.state_dict(),
            "best": self.best,
            "rule": self.rule.tensors(),
            "source": self.source.tensors(),
            "loop": {"rng": self.rng.get_state(), "held_out": _required(self.held_out)},
        }
        meta = {
            "fingerprint": fingerprint,
            "done": self.done,
            "chosen": self.chosen,
            "best_kl": self.best_kl,
            "checks_since_best": self.checks_since_best,
            "history": self.history,
        }
        write_checkpoint(path, {f"{g}/{k}": v for g, part in groups.items() for k, v in part.items()}, meta)

    def load(self, path: Path, fingerprint: str) -> None:
        tensors, meta = read_checkpoint(path)
        if meta["fingerprint"] != fingerprint:
            raise StorageError(
                f"{path} belongs to a run with another method, model, config or seed; delete it or give "
                "another path"
            )
        try:
            self._take_up(tensors, meta)
        except (KeyError, RuntimeError, ConfigError) as e:
            raise StorageError(f"{path} does not fit this run ({e}); delete it or give another path") from e

    def _take_up(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        parts: dict[str, dict[str, Tensor]] = {g: {} for g in ("student", "best", "rule", "source", "loop")}
        for key, value in tensors.items():
            group, _, name = key.partition("/")
            parts[group][name] = value
        self.student.load_state_dict(parts["student"])
        self.best = parts["best"]
        self.rule.load_tensors(parts["rule"])
        self.source.load_tensors(parts["source"])
        self.rng.set_state(parts["loop"]["rng"])
        self.held_out = parts["loop"]["held_out"].to(device_of(self.student))
        self.done, self.chosen, self.best_kl = meta["done"], meta["chosen"], meta["best_kl"]
        self.checks_since_best, self.history = meta["checks_since_best"], meta["history"]


def _required(held_out: Tensor | None) -> Tensor:
    assert held_out is not None, "a checkpoint is only written after a check"
    return held_out


def _fingerprint(identity: str, config: DistillationConfig, seed: int, student: QuantizedModel) -> str:
    """Name a run: its identity, config, seed, and the student's first weights."""
    parts = hashlib.sha256(json.dumps([identity, repr(config), repr(student.config), seed]).encode())
    for name, value in student.state_dict().items():
        parts.update(name.encode())
        parts.update(value.detach().cpu().contiguous().numpy().data)
    return parts.hexdigest()
