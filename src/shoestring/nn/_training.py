"""Train a classifier on images in memory: one loop, made for a few CPU cores."""

import hashlib
import io
import json
import math
import pickle
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from shoestring.core.config import to_dict
from shoestring.core.errors import ConfigError, DataError
from shoestring.core.files import write_bytes_atomic
from shoestring.core.recorder import NullRecorder, Recorder
from shoestring.core.seeds import derive_seed
from shoestring.nn._augment import Augmentation
from shoestring.nn._views import ViewsReshape

__all__ = [
    "CIFAR_TRAINING",
    "DIGITS_TRAINING",
    "TrainingConfig",
    "TrainingProgress",
    "fit_classifier",
    "one_cycle",
]

M = TypeVar("M", bound=nn.Module)
_CROP_PAD = 4

# Shapes: N images, B images of a batch, C channels, H height, W width, K classes


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How to train a classifier with SGD and one triangle of the learning rate."""

    epochs: int = 14
    """Passes over the images."""
    batch_size: int = 128
    """Images a step; a last part of an epoch that is smaller is left out (it is shuffled in again)."""
    peak_lr: float = 0.3
    """Learning rate at the top of the triangle, for one step on the mean loss of a batch."""
    momentum: float = 0.9
    """Nesterov momentum; 0 switches it off."""
    weight_decay: float = 5e-4
    """Pull on convolution and linear weights; batch norm and biases have none."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes; 0 switches it off."""
    warmup_fraction: float = 0.2
    """Share of all steps in which the rate rises from 0; the rest falls linearly to 0."""
    augment: bool = True
    """Shift every image at random by up to 4 pixels; False switches `flip` off too."""
    flip: bool = True
    """Mirror images left to right, alternating between epochs; wrong for digits and text."""
    precision: Literal["fp32", "bf16", "auto"] = "auto"
    """Of forward and backward; "auto" is bf16 where the CPU multiplies it natively. Weights stay fp32."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is too small; give at least 1")
        if not (math.isfinite(self.peak_lr) and self.peak_lr > 0):
            raise ConfigError(f"peak_lr={self.peak_lr} must be positive; 0.3 suits batches of 128")
        for name in ("momentum", "label_smoothing", "warmup_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is outside 0 .. 1 (1 excluded)")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ConfigError(f"weight_decay={self.weight_decay} must not be negative; 0 switches it off")
        if self.precision not in ("fp32", "bf16", "auto"):
            raise ConfigError(f"precision={self.precision!r} is not known; give 'fp32', 'bf16' or 'auto'")


CIFAR_TRAINING = TrainingConfig(peak_lr=0.3)
"""`resnet20` on CIFAR-10: one triangle over 14 epochs, bf16 where the CPU has it, no label smoothing (it
would blunt the logits that distillation and data-free quantisation learn from)."""

DIGITS_TRAINING = TrainingConfig(
    epochs=12, batch_size=64, peak_lr=0.2, flip=False, augment=False, precision="fp32"
)
"""`cifar_resnet` of depth 8 on the digits of `shoestring.data.load_digits`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingProgress:
    """What `fit_classifier` reports after every epoch."""

    epoch: int
    """Epochs done, from 1."""
    epochs: int
    """Epochs in all."""
    loss: float
    """Mean training loss of the epoch, in nats (with label smoothing, if any)."""
    top1: float
    """Share of right answers on the (augmented) training images of the epoch, in percent."""
    wall_s: float
    """Time of the epoch, in seconds."""


def one_cycle(step: int, num_steps: int, peak_lr: float, warmup_fraction: float) -> float:
    """Return the learning rate of a step: up a straight line to `peak_lr`, down another to 0.

    Parameters
    ----------
    step : int
        Counts from 0.
    num_steps : int
        Steps of the run.
    peak_lr : float
        Rate at the top.
    warmup_fraction : float
        Where the top is, as a share of `num_steps`.

    Notes
    -----
    Steps sit at the middle of their interval, so that neither the first nor the last rate is 0.

    References
    ----------
    L. Smith, N. Topin, "Super-Convergence", 2018 (without the annihilation phase).
    """
    place = (step + 0.5) / num_steps
    if place < warmup_fraction:
        return peak_lr * place / warmup_fraction
    return peak_lr * (1 - place) / (1 - warmup_fraction)


def fit_classifier(  # noqa: PLR0913  # data, how to train, and where to report are three different things
    model: M,
    images: Tensor,
    labels: Tensor,
    config: TrainingConfig,
    *,
    seed: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    recorder: Recorder | None = None,
    report_progress: Callable[[TrainingProgress], None] | None = None,
    checkpoint: Path | None = None,
) -> M:
    """Train `model` in place on images in memory.

    Parameters
    ----------
    model : nn.Module
        Maps (B, C, H, W) to logits (B, classes). All parameters that require gradients are trained.
    images : Tensor of shape (N, C, H, W)
        float32, already standardised; or uint8 with `mean` and `std`, which takes a quarter of the
        memory.
    labels : int64 Tensor of shape (N,)
        Class numbers from 0.
    config : TrainingConfig
        How to train.
    seed : int
        Order of the images and augmentation. With one seed, thread count and build the result is
        the same bit for bit.
    mean, std : sequence of C floats, optional
        Of the 0..1 scale, for uint8 images.
    recorder : Recorder, optional
        Receives loss, top1, lr (of the last step) and wall_s once an epoch.
    report_progress : callable, optional
        Called after every epoch, when its checkpoint is written.
    checkpoint : Path, optional
        File to keep the state in after every epoch. If it holds an unfinished run with the same
        config, seed, data and initial weights, that run goes on and ends in the same bits.

    Returns
    -------
    nn.Module
        `model` itself, in eval mode, fp32.

    Raises
    ------
    DataError
        If shapes or dtypes do not fit, or the loss stops being finite.
    ConfigError
        If the batch is larger than the set, or `checkpoint` belongs to another run.
    """
    run = _Run(model, images, labels, config, seed, (mean, std))
    key = _run_key(run) if checkpoint is not None else ""
    first = _resume(checkpoint, key, run) if checkpoint is not None else 0
    recorder = recorder or NullRecorder()
    for epoch in range(first, config.epochs):
        done = run.epoch(epoch)
        lr = one_cycle(
            (epoch + 1) * run.steps_an_epoch - 1, run.num_steps, config.peak_lr, config.warmup_fraction
        )
        recorder.record(done.epoch, {"loss": done.loss, "top1": done.top1, "lr": lr, "wall_s": done.wall_s})
        if checkpoint is not None:
            _keep(checkpoint, key, run, done.epoch)
        if report_progress is not None:
            report_progress(done)
    # callers reshape kernels with view(), which needs the usual order of memory
    return model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


class _Run:
    """One call of `fit_classifier`: the data and the optimiser."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        config: TrainingConfig,
        seed: int,
        statistics: tuple[Sequence[float] | None, Sequence[float] | None],
    ) -> None:
        self.pixels_NHWC, self._scale = _prepare(images, labels, *statistics)
        if config.batch_size > len(labels):
            raise ConfigError(
                f"batch_size={config.batch_size} is larger than the set of {len(labels)} images; "
                "give at most that"
            )
        self.model, self.labels, self.config, self.seed = model, labels, config, seed
        self.statistics = statistics
        self.steps_an_epoch = len(labels) // config.batch_size
        self.num_steps = config.epochs * self.steps_an_epoch
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # typed for tensors only
        self.optimizer = _make_optimizer(model, config)
        self._bf16 = resolve_precision(config.precision) == "bf16"
        self._augmentation = Augmentation(
            len(labels),
            pad=_CROP_PAD if config.augment else 0,
            flip=config.augment and config.flip,
            generator=_stream(seed, "sides"),
        )

    def epoch(self, epoch: int) -> TrainingProgress:
        """Go once over the images."""
        start = time.monotonic()
        self.model.train()
        total_loss, num_right = 0.0, 0
        crops = _stream(self.seed, "crops", epoch)
        batches = _batches(len(self.labels), self.config.batch_size, _stream(self.seed, "order", epoch))
        for i, index_B in enumerate(batches):
            x_BHWC = self._scale(self._augmentation(self.pixels_NHWC, index_B, epoch, crops))
            step = epoch * self.steps_an_epoch + i
            loss, right = self._step(x_BHWC.permute(0, 3, 1, 2), self.labels[index_B], step)
            if not math.isfinite(loss):
                raise DataError(
                    f"the loss became {loss} in epoch {epoch + 1}, step {i + 1}; "
                    f"lower peak_lr={self.config.peak_lr}, or look for pixels that are not finite"
                )
            total_loss += loss
            num_right += right
        return TrainingProgress(
            epoch=epoch + 1,
            epochs=self.config.epochs,
            loss=total_loss / self.steps_an_epoch,
            top1=100.0 * num_right / (self.steps_an_epoch * self.config.batch_size),
            wall_s=time.monotonic() - start,
        )

    def _step(self, x_BCHW: Tensor, target_B: Tensor, step: int) -> tuple[float, int]:
        """Take one step; return the loss and the number of right answers before it."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = one_cycle(step, self.num_steps, config.peak_lr, config.warmup_fraction)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16), ViewsReshape():
            logits_BK = self.model(x_BCHW)
        logits_BK = logits_BK.float()
        loss = nn.functional.cross_entropy(logits_BK, target_B, label_smoothing=config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return float(loss.detach()), int((logits_BK.detach().argmax(1) == target_B).sum())


def resolve_precision(precision: Literal["fp32", "bf16", "auto"]) -> Literal["fp32", "bf16"]:
    """Return the precision that `TrainingConfig.precision` means on this machine.

    Parameters
    ----------
    precision : {"fp32", "bf16", "auto"}
        "auto" is bf16 where the CPU has bf16 dot products (AVX-512 BF16) or tiles (AMX), else fp32:
        elsewhere bf16 is emulated and slower.
    """
    if precision == "auto":
        return "bf16" if _cpu_multiplies_bf16() else "fp32"
    return precision


def _make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD with weight decay on matrices and kernels only."""
    params = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    return torch.optim.SGD(
        groups, lr=config.peak_lr, momentum=config.momentum, nesterov=config.momentum > 0, foreach=True
    )


def _prepare(
    images: Tensor, labels: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Check the data; return pixels (N, H, W, C) and what turns a batch of them into float32."""
    if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels) or labels.dtype != torch.int64:
        raise DataError(
            f"images {tuple(images.shape)} and labels {labels.dtype}{tuple(labels.shape)} do not fit; "
            "give images (N, C, H, W) and int64 labels (N,)"
        )
    pixels_NHWC = images.permute(0, 2, 3, 1).contiguous()
    if images.dtype == torch.float32:
        if mean is not None or std is not None:
            raise DataError("images are float32, so they are standardised already; leave mean and std out")
        return pixels_NHWC, lambda x: x
    if images.dtype != torch.uint8:
        raise DataError(f"images have dtype {images.dtype}; give float32, or uint8 with mean and std")
    channels = images.shape[1]
    if mean is None or std is None or not len(mean) == len(std) == channels:
        raise DataError(f"uint8 images of {channels} channels need mean and std with {channels} numbers each")
    factor = 1 / (255 * torch.tensor(std, dtype=torch.float32))
    offset = -torch.tensor(mean, dtype=torch.float32) / torch.tensor(std, dtype=torch.float32)
    return pixels_NHWC, lambda x: torch.addcmul(offset, x.float(), factor)


def _batches(num_images: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield index vectors of full batches in random order."""
    order = torch.randperm(num_images, generator=generator)
    for start in range(0, num_images - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def _stream(seed: int, *names: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, "fit", *names))


def _cpu_multiplies_bf16() -> bool:
    """Look for the instructions in the flags of the first core."""
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _run_key(run: _Run) -> str:
    """Return what must agree for a checkpoint to be continued."""
    weights = [[name, list(value.shape), _crc32(value)] for name, value in run.model.state_dict().items()]
    sums = [list(run.pixels_NHWC.shape), _crc32(run.pixels_NHWC), _crc32(run.labels)]
    statistics = [list(s) if s is not None else None for s in run.statistics]
    text = json.dumps([to_dict(run.config), run.seed, weights, sums, statistics])
    return hashlib.sha256(text.encode()).hexdigest()


def _crc32(values: Tensor) -> int:
    return zlib.crc32(values.detach().contiguous().numpy().data)


def _keep(path: Path, key: str, run: _Run, epoch: int) -> None:
    """Write the state of a run."""
    state = {
        "key": key,
        "epoch": epoch,
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes_atomic(path, buffer.getvalue())


def _resume(path: Path, key: str, run: _Run) -> int:
    """Load the state of a run; return the number of epochs that it has done."""
    if not path.exists():
        return 0
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found, epoch = state["key"], int(state["epoch"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, OSError) as e:
        raise DataError(
            f"the checkpoint {path} is damaged ({type(e).__name__}). Delete it to start again"
        ) from e
    if found != key:
        raise ConfigError(
            f"the checkpoint {path} belongs to a run with other initial weights, config, seed or data; "
            "delete it or give another file"
        )
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    return epoch
