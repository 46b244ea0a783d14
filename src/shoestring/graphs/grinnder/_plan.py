"""What every mode would need, move and take, before anything is trained.

An epoch is rehearsed: the same passes, cache and budgets run over the partitioned graph, but the reads and
writes of features, activations, gradients and snapshots are counted only. Bytes are therefore those of a real
epoch; times are a model.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shoestring.graphs.csr import Block
from shoestring.graphs.grinnder._budgets import needs_of, place
from shoestring.graphs.grinnder._job import prepare
from shoestring.graphs.grinnder._models import Layers, as_layers
from shoestring.graphs.grinnder._passes import Passes
from shoestring.graphs.grinnder._plain import PlainPasses
from shoestring.graphs.grinnder._prepare import PreparedGraph
from shoestring.graphs.grinnder._tiers import Tiers, open_engine
from shoestring.graphs.grinnder.config import Config, Mode
from shoestring.graphs.models import DropoutStream
from shoestring.native.io import Buffer, Engine, File
from shoestring.storage import BudgetExceeded, Ledger, measure_bandwidth

__all__ = ["ModePlan", "plan"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModePlan:
    """One mode: budgets, partitions, bytes of an epoch after the first, modelled times."""

    mode: Mode
    fits: bool
    """Whether both budgets suffice; if not, only the minima are known."""
    why_not: str = ""
    device_minimum_bytes: int | None = None
    """Least device budget with these partitions."""
    host_minimum_bytes: int | None = None
    """Least host budget with these partitions."""
    parts: int | None = None
    alpha: float | None = None
    """Vertices that all partitions read, over the vertices."""
    dependants: float | None = None
    """Other partitions that a partition reads, mean."""
    balance: float | None = None
    """Largest partition over the mean."""
    cache: str = ""
    hit_rate: float | None = None
    """Share of the demanded bytes of source partitions that the host cache holds."""
    device_host_bytes: int | None = None
    host_storage_bytes: int | None = None
    device_storage_bytes: int | None = None
    storage_read_bytes: int | None = None
    storage_write_bytes: int | None = None
    modelled_compute_s: float | None = None
    """Layers on every partition forward, again, and backward, with gather and scatter; measured by computing
    it once."""
    modelled_storage_s: float | None = None
    """Bytes over the bandwidth of the storage folder, measured sequentially."""
    modelled_epoch_s: float | None = None
    """The longer of both with prefetching, else their sum; a model, not a measurement."""


def plan(
    data: Any, model: nn.Module, config: Config, modes: Sequence[Mode] = get_args(Mode)
) -> tuple[ModePlan, ...]:
    """Predict needs, bytes and time of an epoch in every mode, without training.

    Parameters
    ----------
    data : torch_geometric.data.Data
        As for `prepare`.
    model : torch.nn.Module
        Left as it is.
    config : Config
        Budgets, storage and parts. The partitioned graph that is written to ``config.storage`` serves a
        training with the same options.
    modes : sequence of str
        Which.

    Returns
    -------
    tuple of ModePlan
        One a mode, in their order. A mode that does not fit its budgets says why.

    Raises
    ------
    DataError, UnsupportedModelError, StorageError
        As `prepare`.

    Notes
    -----
    Takes the partitioning, two epochs of memory traffic a mode, and the computation of one epoch (two if
    "plain" is among the modes). The host budget is really used.
    """
    layers = as_layers(model)
    was_training = model.training
    before = {n: p.grad for n, p in model.named_parameters()}
    try:
        model.train()
        rates: tuple[float, float] | None = None
        compute_s: float | None = None
        made = []
        for mode in modes:
            try:
                graph = prepare(data, config, model, mode=mode)
            except BudgetExceeded as e:
                made.append(_refused(mode, e))
                continue
            if rates is None:
                rates = _bandwidth(config)
            if compute_s is None or mode == "plain":
                seconds = _Rehearsal(graph, layers, config, mode).compute_seconds()
                compute_s = seconds if mode != "plain" else compute_s
            else:
                seconds = compute_s
            made.append(_plan_mode(graph, layers, config, mode, seconds, rates))
        return tuple(made)
    finally:
        model.train(was_training)
        for name, parameter in model.named_parameters():
            parameter.grad = before[name]


def _refused(mode: Mode, error: BudgetExceeded, **known: Any) -> ModePlan:
    least = {f"{error.tier}_minimum_bytes": error.minimum_bytes} if error.tier in ("device", "host") else {}
    return ModePlan(mode=mode, fits=False, why_not=str(error), **{**least, **known})


def _plan_mode(
    graph: PreparedGraph,
    layers: Layers,
    config: Config,
    mode: Mode,
    compute_s: float | None,
    rates: tuple[float, float],
) -> ModePlan:
    needs = needs_of(graph.sizes, layers, mode)
    cut = graph.info["partition"]
    known: dict[str, Any] = {
        "device_minimum_bytes": needs.device_minimum,
        "host_minimum_bytes": needs.host_minimum,
        "parts": graph.num_parts,
        "alpha": graph.alpha,
        "dependants": cut["dependants"],
        "balance": cut["balance"],
    }
    try:
        cache = place(needs, config).cache
        ledger = _Rehearsal(graph, layers, config, mode).ledger()
    except BudgetExceeded as e:
        return _refused(mode, e, **known)
    storage_s = ledger.storage_read_bytes / rates[0] + ledger.storage_write_bytes / rates[1]
    epoch_s = None
    if compute_s is not None:
        epoch_s = max(compute_s, storage_s) if config.prefetch else compute_s + storage_s
    return ModePlan(
        mode=mode,
        fits=True,
        **known,
        cache=cache,
        hit_rate=ledger.hit_rate,
        device_host_bytes=ledger.total("device-host"),
        host_storage_bytes=ledger.total("host-storage"),
        device_storage_bytes=ledger.total("device-storage"),
        storage_read_bytes=ledger.storage_read_bytes,
        storage_write_bytes=ledger.storage_write_bytes,
        modelled_compute_s=compute_s,
        modelled_storage_s=storage_s,
        modelled_epoch_s=epoch_s,
    )


class _Rehearsal:
    """Epochs of one mode without I/O of anything but the topology."""

    def __init__(self, graph: PreparedGraph, layers: Layers, config: Config, mode: Mode) -> None:
        self.graph, self.layers, self.config, self.mode = graph, layers, config, mode

    def ledger(self) -> Ledger:
        """Bytes of an epoch after the first; only "plain", which keeps what layers save, computes them."""
        found, _ = self._run(computes=self.mode == "plain")
        return found

    def compute_seconds(self) -> float | None:
        """Seconds of an epoch with every layer computed and no I/O; None if it does not fit the budgets."""
        try:
            return self._run(computes=True)[1]
        except BudgetExceeded:
            return None

    def _run(self, *, computes: bool) -> tuple[Ledger, float]:
        needs = needs_of(self.graph.sizes, self.layers, self.mode)
        placement = place(needs, self.config)
        tiers = Tiers(self.graph, self.config, torch.device("cpu"), engine=_CountingEngine())
        try:
            held = [
                tiers.device.reserve("model", needs.model),
                tiers.host.reserve("host", needs.host_resident),
            ]
            if self.mode == "plain":
                kind: type[Passes] = PlainPasses
            else:
                kind = Passes if computes else _IdlePasses
            passes = kind(tiers, self.layers, self.mode, placement)
            for p in self.layers.model.parameters():
                p.grad = None
            try:
                passes.loss_and_gradients(dropout=DropoutStream(seed=0, epoch=0))
                before, start = tiers.ledger.copy(), time.perf_counter()
                passes.loss_and_gradients(dropout=DropoutStream(seed=0, epoch=1))
                return tiers.ledger.since(before), time.perf_counter() - start
            finally:
                passes.close()
                for reservation in held:
                    reservation.release()
        finally:
            tiers.close()


class _Idle(torch.autograd.Function):
    """A layer that computes nothing: outputs and gradients of the right shape, content undefined."""

    @staticmethod
    def forward(ctx: Any, x_KD: Tensor, rows: int, width: int) -> Tensor:
        ctx.shape, ctx.dtype = x_KD.shape, x_KD.dtype
        return torch.zeros(rows, width, dtype=x_KD.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        del grads
        return torch.zeros(ctx.shape, dtype=ctx.dtype), None, None


class _IdlePasses(Passes):
    """Passes that move everything and compute no layer."""

    def _layer(
        self, layer: int, part: int, gathered: Tensor, block: Block, dropout: DropoutStream | None
    ) -> Tensor:
        del part, dropout
        anchor = gathered if gathered.requires_grad else gathered[:0].requires_grad_()
        width = self.layers.widths[layer]
        out: Tensor = _Idle.apply(anchor, block.num_rows, width)  # type: ignore[no-untyped-call]  # torch's stub
        return out


class _NoFile:
    """Stands for a file whose traffic is only counted."""

    def close(self) -> None:
        """Do nothing."""


class _Done:
    """A request that was not made."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes

    def result(self) -> int:
        return self._nbytes

    def done(self) -> bool:
        return True


class _CountingEngine(Engine):
    """Opens the topology alone; all other files exist in name."""

    def __init__(self) -> None:
        super().__init__("threads", direct=False)

    def open(self, path: Any, mode: Any = "read", size_bytes: int | None = None) -> File:
        """Open a topology, stand in for anything else."""
        name = Path(os.fspath(path)).name
        if mode == "read" and name.startswith(("topology", "transpose")):
            return super().open(path, mode, size_bytes)
        return _NoFile()  # type: ignore[return-value]  # it is handed back to this engine alone

    def read(self, file: File, offset: int, buffer: Buffer, nbytes: int, *, at: int = 0) -> Any:
        """Read, or stand in for it; what is not read is 0."""
        if isinstance(file, _NoFile):
            buffer.array[:nbytes] = 0
            return _Done(nbytes)
        return super().read(file, offset, buffer, nbytes, at=at)

    def write(self, file: File, offset: int, buffer: Buffer, nbytes: int, *, at: int = 0) -> Any:
        """Stand in for a write; nothing is ever written."""
        del file, offset, buffer, at
        return _Done(nbytes)

    def read_pages(
        self, file: File, offsets: NDArray[np.int64], page_bytes: int, buffer: Buffer, *, at: int = 0
    ) -> Any:
        """Stand in for reads of single pages."""
        del file, at
        buffer.array[: len(offsets) * page_bytes] = 0
        return _Done(len(offsets) * page_bytes)


def _bandwidth(config: Config) -> tuple[float, float]:
    """Bytes per second of sequential reads and of writes in the storage folder, as the config reaches it."""
    with open_engine(config) as engine:
        found = measure_bandwidth(engine, config.storage)
    return found.read_bytes_per_s, found.write_bytes_per_s
