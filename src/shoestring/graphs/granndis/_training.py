"""The training loop of one rank, and what it measures."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.core.seeds import derive_seed
from shoestring.graphs.granndis._checkpoint import load_checkpoint, save_checkpoint
from shoestring.graphs.granndis._cost import calibrate
from shoestring.graphs.granndis._distribute import FeatureStore, batch_part, batches, full_part, single_part
from shoestring.graphs.granndis._models import GraphModel, Step
from shoestring.graphs.granndis._part import Part
from shoestring.graphs.granndis._plan import Plan
from shoestring.graphs.granndis._source import Source
from shoestring.graphs.granndis.config import GranndisConfig
from shoestring.graphs.loss_check import check_loss
from shoestring.parallel.transport import Traffic, Transport

__all__ = ["Fit", "accuracy", "fit", "pyg_gradient", "reduce_gradients", "summed_loss"]


@dataclass(slots=True)
class Fit:
    """What training leaves in a rank."""

    loss: list[float] = field(default_factory=list)
    """Mean loss over all training vertices, by epoch; the same on every rank."""
    seconds: list[float] = field(default_factory=list)
    """Wall clock by epoch."""
    free_seconds: list[float] = field(default_factory=list)
    """The same after training, with no limit of the link."""
    traffic: list[Traffic] = field(default_factory=list)
    """Of this rank, by epoch."""
    setup_traffic: Traffic = field(default_factory=Traffic)
    setup_s: float = 0.0
    edges: int = 0
    """Edges that this rank computed in the last epoch's forward passes."""
    rows: int = 0
    """Rows that this rank holds (full batch), or fetched in the last epoch."""
    measured: dict[str, float] = field(default_factory=dict)
    """``activation_bytes``, ``gradient_difference``, see `TrainingConfig.measure`."""
    start_epoch: int = 0


def summed_loss(logits: Tensor, part: Part, total: int) -> Tensor:
    """Cross entropy summed over a rank's training targets, over the number of all training vertices.

    A rank without targets gives 0, still connected to the weights, so that it joins every message of the
    backward pass.
    """
    chosen = part.masks[0]
    loss = nn.functional.cross_entropy(logits[chosen], part.y[chosen], reduction="sum")
    return loss / total + 0.0 * logits.sum()


def reduce_gradients(model: nn.Module, transport: Transport) -> None:
    """Sum the gradients of all ranks in one flat buffer.

    The loss is a sum over targets divided by their number in the whole graph, so the sum over ranks is the
    mean gradient; an average over W ranks of losses scaled by W / N_train is the same.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in params])
    transport.all_reduce(flat)
    start = 0
    for p in params:
        p.grad = flat[start : start + p.numel()].view_as(p).clone()
        start += p.numel()


def fit(
    model: GraphModel,
    transport: Transport,
    source: Source,
    plan: Plan,
    config: GranndisConfig,
    *,
    checkpoint: Path | None = None,
    report: Callable[[float, str], None] | None = None,
) -> Fit:
    """Train a model; all ranks call with equal arguments.

    Parameters
    ----------
    model : GraphModel
        The same weights on every rank; changed in place.
    transport : Transport
        Of this rank.
    source : Source
        The whole graph; read by heads (every rank in mode ``minibatch``), and by rank 0 to evaluate.
    plan : Plan
        As `make_plan` made it.
    config : GranndisConfig
        The run.
    checkpoint : Path or None
        File that rank 0 writes every ``checkpoint_every`` epochs, and that all ranks go on from if it exists.
    report : callable or None
        Progress: fraction and word.

    Returns
    -------
    Fit
        Of this rank.
    """
    training, out = config.training, Fit()
    before, start = transport.traffic.copy(), time.perf_counter()
    batched = plan.mode in ("cooperative", "minibatch")
    store = FeatureStore(transport, source, plan) if batched else None
    part = None if batched else full_part(transport, source, plan, config)
    transport.barrier()
    out.setup_s, out.setup_traffic = time.perf_counter() - start, transport.traffic - before
    optimizer = torch.optim.Adam(model.parameters(), lr=training.lr)
    if checkpoint is not None:
        out.start_epoch = load_checkpoint(checkpoint, model, optimizer, config, out.loss)
    if training.measure and out.start_epoch == 0:
        out.measured = _measure(model, transport, source, (plan, config), part, store)
    if training.calibrate and part is not None:
        out.measured |= calibrate(transport, source, plan, part, config)

    def one_epoch(epoch: int) -> float:
        if part is not None:
            out.edges, out.rows = part.num_edges, part.rows.numel()
            return _step(model, optimizer, part, Step(transport, training.seed, epoch), source)
        assert store is not None
        return _batched_epoch(model, optimizer, store, source, (plan, config), (epoch, out))

    for epoch in range(out.start_epoch, training.epochs):
        before, start = transport.traffic.copy(), time.perf_counter()
        out.loss.append(check_loss(one_epoch(epoch), epoch, training.lr))
        out.seconds.append(time.perf_counter() - start)
        out.traffic.append(transport.traffic - before)
        if report is not None:
            report((epoch + 1) / training.epochs, f"epoch {epoch + 1}, loss {out.loss[-1]:.4f}")
        every = training.checkpoint_every
        if checkpoint is not None and every and (epoch + 1) % every == 0 and transport.groups.rank == 0:
            save_checkpoint(checkpoint, model, optimizer, config, epoch + 1, out.loss)
    if training.free_epochs:
        trained = {k: v.clone() for k, v in model.state_dict().items()}
        transport.unshape()
        for epoch in range(training.epochs, training.epochs + training.free_epochs):
            start = time.perf_counter()
            one_epoch(epoch)
            out.free_seconds.append(time.perf_counter() - start)
        model.load_state_dict(trained)
    if part is not None:
        part.drain()
    return out


def _step(
    model: GraphModel,
    optimizer: torch.optim.Optimizer,
    part: Part,
    step: Step,
    source: Source,
    total: int = 0,
) -> float:
    """One optimiser step; the loss over all ranks."""
    optimizer.zero_grad(set_to_none=True)
    loss = summed_loss(model.forward_part(part, step), part, total or int(source.masks[0].sum()))
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
    reduce_gradients(model, step.transport)
    optimizer.step()
    return float(step.transport.all_reduce(loss.detach().reshape(1).clone()))


def _batched_epoch(
    model: GraphModel,
    optimizer: torch.optim.Optimizer,
    store: FeatureStore,
    source: Source,
    how: tuple[Plan, GranndisConfig],
    now: tuple[int, Fit],
) -> float:
    (plan, config), (epoch, out) = how, now
    seed, loss, seen = config.training.seed, 0.0, 0
    fetched, out.edges = store.rows_loaded, 0
    for i, targets in enumerate(batches(source, config, epoch)):
        total = sum(t.numel() for t in targets)
        if total == 0:
            continue
        part = batch_part(store, source, plan, config, targets, derive_seed(seed, "batch", epoch, i))
        # Only the batch's targets are hop 0, and all of them are training vertices.
        step = Step(store.transport, derive_seed(seed, i), epoch)
        loss += _step(model, optimizer, part, step, source, total) * total
        seen += total
        out.edges += part.num_edges
    out.rows = store.rows_loaded - fetched
    return loss / seen


def _measure(
    model: GraphModel,
    transport: Transport,
    source: Source,
    how: tuple[Plan, GranndisConfig],
    part: Part | None,
    store: FeatureStore | None,
) -> dict[str, float]:
    """One pass without a step: bytes kept for backward, and the summed gradient against PyG's."""
    plan, config = how
    batched = part is None
    total = int(source.masks[0].sum())
    if part is None:
        assert store is not None
        targets = batches(source, config, 0)[0]
        total = max(sum(t.numel() for t in targets), 1)
        seed = derive_seed(config.training.seed, "batch", 0, 0)
        part = batch_part(store, source, plan, config, targets, seed)
    held: dict[int, int] = {}
    constant = {p.untyped_storage().data_ptr() for p in model.parameters()} | {
        part.x.untyped_storage().data_ptr()
    }

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in constant:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.zero_grad(set_to_none=True)
    step = Step(transport, config.training.seed, 0, training=False)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss = summed_loss(model.forward_part(part, step), part, total)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
    reduce_gradients(model, transport)
    out = {"activation_bytes": float(sum(held.values())), "part_bytes": float(part.nbytes())}
    if transport.groups.rank == 0 and not batched:
        ours = [p.grad for p in model.parameters()]
        theirs = pyg_gradient(model, source)
        out["gradient_difference"] = _difference(ours, theirs)
    for phase in part.phases:
        phase.stale.clear()
    model.zero_grad(set_to_none=True)
    transport.barrier()
    return out


def pyg_gradient(
    model: GraphModel, source: Source, drop: "Callable[[Tensor, int], Tensor] | None" = None
) -> list[Tensor | None]:
    """Gradient of the mean training loss, by PyG's own layers on the whole graph in one process."""
    device = next(model.parameters()).device
    model.zero_grad(set_to_none=True)
    logits = model(source.x.to(device), source.edge_index.to(device), drop)
    chosen = source.masks[0].to(device)
    nn.functional.cross_entropy(logits[chosen], source.y.to(device)[chosen]).backward()  # type: ignore[no-untyped-call]
    return [p.grad for p in model.parameters()]


def _difference(ours: list[Tensor | None], theirs: list[Tensor | None]) -> float:
    """Greatest difference over the greatest value, of all parameters together."""
    flat: list[Any] = [
        torch.cat([torch.zeros(1) if g is None else g.flatten().cpu() for g in side])
        for side in (ours, theirs)
    ]
    return float((flat[0] - flat[1]).abs().max() / flat[1].abs().max())


def accuracy(
    model: GraphModel, source: Source, transport: Transport, config: GranndisConfig
) -> dict[str, float]:
    """Share of right classes on the whole graph with every edge, by split; in one process, no exchange."""
    part = single_part(source, transport, config)
    with torch.inference_mode():
        logits = model.forward_part(part, Step(transport, 0, 0, training=False))
    right = (logits.argmax(1) == part.y).cpu()
    masks = part.masks.cpu()
    names = ("train", "val", "test")
    return {n: float(right[m].double().mean()) for n, m in zip(names, masks, strict=True) if bool(m.any())}
