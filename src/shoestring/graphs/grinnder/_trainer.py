"""Training: epochs of exact gradients, the optimiser's step, evaluation, checkpoints."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from shoestring.core.errors import ConfigError, DataError, StorageError
from shoestring.core.recorder import NullRecorder, Recorder
from shoestring.graphs.grinnder._budgets import needs_of, place
from shoestring.graphs.grinnder._checkpoint import load_checkpoint, save_checkpoint
from shoestring.graphs.grinnder._models import as_layers
from shoestring.graphs.grinnder._passes import Passes
from shoestring.graphs.grinnder._plain import PlainPasses
from shoestring.graphs.grinnder._prepare import PreparedGraph
from shoestring.graphs.grinnder._tiers import Tiers
from shoestring.graphs.grinnder.config import Config, Mode
from shoestring.graphs.loss_check import check_loss
from shoestring.graphs.models import DropoutStream
from shoestring.storage import Ledger

__all__ = ["EpochReport", "TrainResult", "Trainer"]

OptimizerName = Literal["adam", "sgd"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """One epoch: its loss before the step, its time, its bytes."""

    epoch: int
    loss: float
    seconds: float
    ledger: Ledger
    """Bytes of this epoch alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """What `Trainer.fit` returns; the trained weights are in the model that was given."""

    model: nn.Module
    losses: tuple[float, ...]
    """Mean training loss of every epoch, before its step."""
    epochs: tuple[EpochReport, ...]
    ledger: Ledger
    """Bytes of the whole run per link, layer and direction."""
    accuracy: Mapping[str, float]
    """Share of right labels on "train", "val", "test", in percent; without dropout, after the last step."""
    peak_device_bytes: int
    peak_host_bytes: int
    hit_rate: float
    """Share of the demanded bytes of source partitions that the host cache held."""
    alpha: float
    cache: str
    """Cache mode that was used."""
    device_emulated: bool
    """True without a GPU: the device tier was a byte budget over RAM."""
    io: Mapping[str, Any] = field(default_factory=dict)
    """The native engine's own statistics."""


class Trainer:
    """Trains a model on a prepared graph within the budgets of a config; a context manager.

    Parameters
    ----------
    model : torch.nn.Module
        PyG's GCN, GraphSAGE or GAT, ``build_gnn(...)``, or a `LayerwiseModule`; it is trained in place.
    graph : PreparedGraph
        From `prepare`.
    config : Config
        Budgets, storage and parts.
    mode : str
        See `Mode`.
    device : str or torch.device
        ``"cpu"`` (an emulated device tier) or ``"cuda"``.

    Raises
    ------
    BudgetExceeded
        If a budget is below the minimum; it is named.
    UnsupportedModelError, DataError, StorageError
        If the model, graph or storage cannot be used.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: PreparedGraph,
        config: Config,
        *,
        mode: Mode = "grinnder",
        device: str | torch.device = "cpu",
    ) -> None:
        if mode not in get_args(Mode):
            raise ConfigError(f"mode={mode!r} is not one of {', '.join(get_args(Mode))}")
        self.graph = graph
        self.config = config
        self.mode: Mode = mode
        self.layers = as_layers(model)
        self.model = model
        self._check_model()
        self.needs = needs_of(graph.sizes, self.layers, mode)
        self.placement = place(self.needs, config)
        self.tiers = Tiers(graph, config, torch.device(device))
        self.tiers.device.minimum_bytes = self.needs.device_minimum
        self.tiers.host.minimum_bytes = self.needs.host_minimum
        self._held = [
            self.tiers.device.reserve("weights, gradients and optimiser", self.needs.model),
            self.tiers.host.reserve("labels, masks and vertex order", self.needs.host_resident),
        ]
        passes = PlainPasses if mode == "plain" else Passes
        try:
            self.passes = passes(self.tiers, self.layers, mode, self.placement)
        except BaseException:
            self.tiers.close()
            raise

    def loss_and_gradients(self, epoch: int = 0) -> float:
        """Compute the mean training loss and leave its gradients in the parameters, without a step.

        Parameters
        ----------
        epoch : int
            Decides the dropout masks.
        """
        for p in self.model.parameters():
            p.grad = None
        dropout = DropoutStream(seed=self.config.seed, epoch=epoch) if self.model.training else None
        return self.passes.loss_and_gradients(dropout=dropout)

    def fit(
        self,
        epochs: int,
        *,
        optimizer: OptimizerName = "adam",
        lr: float = 0.01,
        weight_decay: float = 5e-4,
        checkpoint: Path | None = None,
        recorder: Recorder | None = None,
        on_epoch: Callable[[EpochReport], None] | None = None,
    ) -> TrainResult:
        """Train for `epochs` full-batch steps, going on from `checkpoint` where the file exists.

        Parameters
        ----------
        epochs : int
            Total number of epochs, those of an earlier, killed run included.
        optimizer : {"adam", "sgd"}
            With learning rate `lr` and L2 penalty `weight_decay`.
        checkpoint : Path, optional
            A safetensors file, written after every epoch.
        recorder : Recorder, optional
            Gets loss, seconds and storage bytes of every epoch.
        on_epoch : callable, optional
            Called after every epoch, e.g. to show progress.

        Returns
        -------
        TrainResult
            Losses of all epochs, also of those before a resumption.

        Raises
        ------
        StorageError
            If storage fails or the checkpoint is of another run.
        DataError
            If the loss is no longer finite.
        """
        self._check_fit(epochs, optimizer)
        steps = self._optimizer(optimizer, lr, weight_decay)
        recorder = recorder or NullRecorder()
        losses = self._resume(checkpoint, steps)
        reports: list[EpochReport] = []
        self.model.train()
        for epoch in range(len(losses), epochs):
            before, start = self.tiers.ledger.copy(), time.perf_counter()
            loss = check_loss(self.loss_and_gradients(epoch), epoch, float(steps.param_groups[0]["lr"]))
            steps.step()
            report = EpochReport(
                epoch=epoch,
                loss=loss,
                seconds=time.perf_counter() - start,
                ledger=self.tiers.ledger.since(before),
            )
            reports.append(report)
            losses.append(loss)
            if checkpoint is not None:
                save_checkpoint(checkpoint, self.model, steps, self._meta(losses))
            recorder.record(
                epoch,
                {
                    "loss": loss,
                    "seconds": report.seconds,
                    "storage_read_bytes": report.ledger.storage_read_bytes,
                    "storage_write_bytes": report.ledger.storage_write_bytes,
                },
            )
            if on_epoch is not None:
                on_epoch(report)
        return self._result(tuple(losses), tuple(reports))

    def evaluate(self) -> dict[str, float]:
        """Return the share of right labels on "train", "val" and "test", in percent, without dropout.

        A split without vertices is left out; label matrices count single labels.
        """
        right = dict.fromkeys(("train", "val", "test"), 0)
        total = dict(right)

        def count(part: int, logits: Tensor) -> None:
            rows = slice(self.graph.ptr[part], self.graph.ptr[part + 1])
            y = self.graph.y[rows]
            hit = logits.argmax(1).cpu() == y if y.dim() == 1 else ((logits > 0).cpu() == (y > 0.5))
            for name in right:
                picked = hit[getattr(self.graph, f"{name}_mask")[rows]]
                right[name] += int(picked.sum())
                total[name] += picked.numel()

        was_training = self.model.training
        self.model.eval()
        self.passes.predict(count)
        self.model.train(was_training)
        return {n: 100.0 * right[n] / total[n] for n in right if total[n]}

    def predict(self) -> Tensor:
        """Return the logits of all vertices in the user's order, (N, C), without dropout; held in memory."""
        out = torch.empty(self.graph.num_nodes, self.layers.widths[-1], dtype=self.graph.dtype)

        def keep(part: int, logits: Tensor) -> None:
            rows = slice(self.graph.ptr[part], self.graph.ptr[part + 1])
            out[self.graph.perm[rows].long()] = logits.cpu()

        was_training = self.model.training
        self.model.eval()
        self.passes.predict(keep)
        self.model.train(was_training)
        return out

    def _check_fit(self, epochs: int, optimizer: str) -> None:
        if epochs < 0:
            raise ConfigError(f"epochs={epochs} is negative; give 0 or more")
        if optimizer not in get_args(OptimizerName):
            raise ConfigError(
                f"optimizer={optimizer!r} is not one of {', '.join(get_args(OptimizerName))}; for "
                "another, call "
                "loss_and_gradients and step yourself"
            )

    def _optimizer(self, name: str, lr: float, weight_decay: float) -> Optimizer:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if name == "adam":
            return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay)
        return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)

    def _meta(self, losses: list[float]) -> dict[str, Any]:
        return {"epoch": len(losses), "seed": self.config.seed, "losses": losses, "run": self._identity()}

    def _identity(self) -> str:
        """Name what must not change between a run and its resumption; partitions and mode may."""
        widths, dtype = list(self.layers.widths), self.graph.dtype_name
        return f"{type(self.model).__name__} {widths} {dtype} {self.config.seed}"

    def _resume(self, checkpoint: Path | None, optimizer: Optimizer) -> list[float]:
        if checkpoint is None or not checkpoint.exists():
            return []
        meta = load_checkpoint(checkpoint, self.model, optimizer)
        if meta["run"] != self._identity():
            raise StorageError(
                f"{checkpoint} is of the run {meta['run']!r}, this one is {self._identity()!r}; give "
                "the same model "
                "and seed, or another file"
            )
        return [float(v) for v in meta["losses"]]

    def _result(self, losses: tuple[float, ...], reports: tuple[EpochReport, ...]) -> TrainResult:
        training = self.tiers.ledger.copy()
        return TrainResult(
            model=self.model,
            losses=losses,
            epochs=reports,
            ledger=training,
            accuracy=self.evaluate(),
            peak_device_bytes=self.tiers.device.peak_bytes,
            peak_host_bytes=self.tiers.host.peak_bytes,
            hit_rate=training.hit_rate,
            alpha=self.graph.alpha,
            cache=self.placement.cache,
            device_emulated=self.tiers.emulated,
            io=self.tiers.engine.stats(),
        )

    def close(self) -> None:
        """Give memory and scratch files back, whatever fails on the way."""
        try:
            self.passes.close()
        finally:
            self.tiers.close()
            for r in self._held:
                r.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except StorageError as e:  # the first failure is the one to report
            error.add_note(f"while closing: {e}")

    def _check_model(self) -> None:
        for kind in self.layers.kinds:
            self.graph.topology(kind)
        if self.layers.widths[0] != self.graph.num_features:
            raise DataError(
                f"the model takes {self.layers.widths[0]} features, the graph has {self.graph.num_features}; "
                "build the model for this graph"
            )
        if self.layers.widths[-1] < self.graph.num_classes:
            raise DataError(
                f"the model has {self.layers.widths[-1]} outputs, the graph {self.graph.num_classes} "
                "classes; "
                "build the model for this graph"
            )
        wrong = [n for n, p in self.model.named_parameters() if p.dtype != self.graph.dtype]
        if wrong:
            raise ConfigError(
                f"parameter {wrong[0]!r} is {self.model.get_parameter(wrong[0]).dtype}, the graph was "
                "prepared as "
                f"{self.graph.dtype}; call model.to({self.graph.dtype}) or set dtype in the config"
            )
