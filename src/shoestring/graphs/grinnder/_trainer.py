"""Training: epochs of exact gradients, the optimiser's step, evaluation, checkpoints."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.recorder import NullRecorder, Recorder
from shoestring.graphs.grinnder._budgets import needs_of, place
from shoestring.graphs.grinnder._models import as_layers
from shoestring.graphs.grinnder._passes import Passes
from shoestring.graphs.grinnder._prepare import PreparedGraph
from shoestring.graphs.grinnder._tiers import Tiers
from shoestring.graphs.grinnder.config import Config, Mode
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
    """Trains a model on a prepared graph within the budgets of a config; use as a context manager or call `close`.

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
        self.graph = graph
        self.config = config
        self.mode: Mode = mode
        self.layers = as_layers(model)
        self.model = model
        self._check_model()
        self.needs = needs_of(graph, self.layers, config, mode)
        self.placement = place(self.needs, config)
        self.tiers = Tiers(graph, config, torch.device(device))
        self.tiers.device.minimum_bytes = self.needs.device_minimum
        self.tiers.host.minimum_bytes = self.needs.host_minimum
        self._held = [
            self.tiers.device.reserve("weights, gradients and optimiser", self.needs.model),
            self.tiers.host.reserve("labels, masks and vertex order", self.needs.host_resident),
        ]
        self.passes = Passes(self.tiers, self.layers, mode, self.placement)

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

    def close(self) -> None:
        """Give memory and scratch files back."""
        self.passes.close()
        self.tiers.close()
        for r in self._held:
            r.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_model(self) -> None:
        if self.layers.widths[0] != self.graph.num_features:
            raise DataError(
                f"the model takes {self.layers.widths[0]} features, the graph has {self.graph.num_features}; "
                "build the model for this graph"
            )
        if self.layers.widths[-1] < self.graph.num_classes:
            raise DataError(
                f"the model has {self.layers.widths[-1]} outputs, the graph {self.graph.num_classes} classes; "
                "build the model for this graph"
            )
        wrong = [n for n, p in self.model.named_parameters() if p.dtype != self.graph.dtype]
        if wrong:
            raise ConfigError(
                f"parameter {wrong[0]!r} is {self.model.get_parameter(wrong[0]).dtype}, the graph was prepared as "
                f"{self.graph.dtype}; call model.to({self.graph.dtype}) or set dtype in the config"
            )
