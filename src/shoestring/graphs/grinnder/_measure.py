"""What GriNNder's verification runs for one arm and seed, and what it measures."""

import ctypes
import gc
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch_geometric.data import Data

from shoestring.core.config import from_dict
from shoestring.core.errors import ConfigError
from shoestring.core.files import write_json_atomic
from shoestring.core.seeds import derive_seed
from shoestring.data.graphs.formats import load_graph
from shoestring.data.graphs.generators import block_model, digits_graph, geometric, rmat
from shoestring.evidence.model import Context, Outcome, Series
from shoestring.graphs.csr import csr_from_edge_index
from shoestring.graphs.grinnder._job import prepare
from shoestring.graphs.grinnder._prepare import PreparedGraph
from shoestring.graphs.grinnder._trainer import Trainer, TrainResult
from shoestring.graphs.grinnder.config import Config
from shoestring.graphs.grinnder.functional import epoch_volumes, sum_loss
from shoestring.graphs.models import build_gnn
from shoestring.graphs.partition import partition
from shoestring.storage import Ledger

__all__ = ["measure_partition", "measure_training", "prepare_reference"]

MB = 1e6


def prepare_reference(context: Context) -> Outcome:
    """Train PyG full batch on the workload's graph, without dropout, and keep its losses.

    Options: ``graph`` (see `make_graph`), ``model``, ``epochs``, ``lr``.
    """
    data = make_graph(context.options["graph"], context.seed, context.data)
    model = make_model(context.options["model"], data, context.seed)
    losses, seconds = full_batch_losses(model, data, context.options["epochs"], context.options["lr"])
    write_json_atomic(context.folder / "reference.json", {"losses": losses, "epoch_s": seconds})
    return Outcome(metrics={"epoch_s": seconds})


def measure_training(context: Context) -> Outcome:
    """Train in one mode with one configuration; bytes, peaks, time and exactness of the last epoch.

    Options: those of `prepare_reference`, ``mode``, ``config`` (of `Config`), ``host_layers`` (host budget in
    sizes D of a hidden layer, over what is resident), ``accuracy`` (report it).
    """
    options = context.options
    data = make_graph(options["graph"], context.seed, context.data)
    model = make_model(options["model"], data, context.seed)
    if options["mode"] == "pyg":
        return _measure_full_batch(context, data, model)
    config = make_config(options, data, context)
    graph = prepare(data, config, model, mode=options["mode"])
    num_nodes, width = graph.num_nodes, options["model"]["hidden"]
    del data
    layer = num_nodes * width * graph.dtype.itemsize
    with Trainer(model, graph, config, mode=options["mode"]) as trainer:
        io_before = proc_io()
        result = trainer.fit(
            options["epochs"],
            lr=options["lr"],
            weight_decay=0.0,
            on_epoch=lambda r: context.report_progress((r.epoch + 1) / options["epochs"], "training"),
        )
        ledger = trainer.tiers.ledger
        io_after = proc_io()
    metrics = _volumes(result, graph, config, options, layer)
    metrics |= _agreement(ledger, io_before, io_after, trainer.tiers.engine.stats())
    reference = context.prepared
    if reference is not None and options["model"].get("dropout", 0.0) == 0.0:
        losses = json.loads((reference / "reference.json").read_text())["losses"]
        metrics["loss_gap"] = max(abs(a - b) for a, b in zip(losses, result.losses, strict=True))
    if options.get("accuracy"):
        metrics["accuracy"] = result.accuracy["test"]
        metrics["final_loss"] = result.losses[-1]
    notes = [f"device tier: {'emulated, a byte budget over RAM' if result.device_emulated else 'GPU'}"]
    if config.io.limit_bytes_per_s:
        notes.append(f"storage limited to {config.io.limit_bytes_per_s / MB:.0f} MB/s, emulated")
    notes += result.io.get("fallbacks", [])
    curve = Series(x=tuple(float(e.epoch) for e in result.epochs), y=tuple(result.losses))
    return Outcome(metrics=metrics, series={"loss": curve}, notes=tuple(notes))


def measure_partition(context: Context) -> Outcome:
    """Partition a graph by one method: quality, time, and peak memory beyond the graph itself.

    Options: ``graph``, ``method``, ``parts``, and ``init`` for the switching-aware method.
    """
    options = context.options
    data = make_graph(options["graph"], context.seed, context.data)
    csr = csr_from_edge_index(data.edge_index, data.num_nodes)
    del data
    extra = {"init": options["init"]} if "init" in options else {}
    base = _reset_peak()
    start = time.perf_counter()
    made = partition(csr, options["parts"], options["method"], seed=context.seed, **extra)
    made.part.sum()
    seconds = time.perf_counter() - start
    peak = _status_bytes("VmHWM")
    return Outcome(
        metrics={
            "alpha": float(made.alpha),
            "dependants": float(made.dependants),
            "balance": float(made.balance),
            "partition_s": seconds,
            "partition_mb": max(peak - base, 0) / MB,
        }
    )


def make_graph(options: Mapping[str, Any], seed: int, folder: Path | None) -> Data:
    """Make or load the graph of a workload; ``kind`` is a generator's name or ``file``."""
    options = dict(options)
    kind = options.pop("kind")
    makers: dict[str, Callable[..., Data]] = {
        "block_model": block_model,
        "geometric": geometric,
        "rmat": rmat,
        "digits": digits_graph,
    }
    if kind in makers:
        return makers[kind](**options, seed=derive_seed(seed, "graph") % 2**31)
    if kind != "file" or folder is None:
        raise ConfigError(f"graph kind {kind!r} is not known; allowed: file, {', '.join(makers)}")
    data = load_graph(folder / options["name"], seed=seed)
    project = options.get("project")
    if project:
        generator = torch.Generator().manual_seed(derive_seed(seed, "projection"))
        matrix = torch.randn(data.x.shape[1], project, generator=generator) / project**0.5
        data.x = data.x @ matrix
    return data


def make_model(options: Mapping[str, Any], data: Data, seed: int) -> nn.Module:
    """Build the workload's model, its weights from the seed."""
    torch.manual_seed(derive_seed(seed, "model") % 2**31)
    classes = int(data.y.max()) + 1
    return build_gnn(
        options["kind"],
        data.x.shape[1],
        options["hidden"],
        classes,
        options["layers"],
        heads=options.get("heads", 1),
        norm=options.get("norm"),
        dropout=options.get("dropout", 0.0),
    )


def make_config(options: Mapping[str, Any], data: Data, context: Context) -> Config:
    """Config of an arm: its options, the host budget in sizes of a hidden layer."""
    values: dict[str, Any] = {**options["config"], "seed": context.seed, "storage": str(context.folder)}
    if "host_layers" in options:
        layer = data.num_nodes * options["model"]["hidden"] * 4
        resident = data.num_nodes * (4 + 8 + 3)
        values["host_budget"] = int(options["host_layers"] * layer) + resident
    return from_dict(Config, values)


def full_batch_losses(model: nn.Module, data: Data, epochs: int, lr: float) -> tuple[list[float], float]:
    """Train with PyG's own layers on the whole graph; losses, and seconds of the fastest epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    losses, seconds = [], float("inf")
    for _ in range(epochs):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = sum_loss(model(data.x, data.edge_index), data.y, data.train_mask) / int(data.train_mask.sum())
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own method lacks types
        optimizer.step()
        losses.append(float(loss.detach()))
        seconds = min(seconds, time.perf_counter() - start)
    return losses, seconds


def proc_io() -> tuple[int, int]:
    """Bytes that this process made storage read and write, from ``/proc/self/io``."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"]), int(lines["write_bytes"])


def _measure_full_batch(context: Context, data: Data, model: nn.Module) -> Outcome:
    options = context.options
    torch.manual_seed(derive_seed(context.seed, "dropout") % 2**31)
    losses, seconds = full_batch_losses(model, data, options["epochs"], options["lr"])
    model.eval()
    with torch.no_grad():
        right = model(data.x, data.edge_index).argmax(1) == data.y
    accuracy = 100.0 * float(right[data.test_mask].float().mean())
    return Outcome(metrics={"accuracy": accuracy, "epoch_s": seconds, "final_loss": losses[-1]})


def _volumes(
    result: TrainResult, graph: PreparedGraph, config: Config, options: Mapping[str, Any], layer: int
) -> dict[str, float]:
    """Bytes of the last epoch, without the topology's, beside the formula."""
    last = result.epochs[-1].ledger
    links = last.by_link()
    topology = sum(last.total(what=w) for w in ("topology", "transpose"))
    storage = last.storage_read_bytes + last.storage_write_bytes - topology
    gathered = sum(last.total("host-storage", "load", what=w) for w in ("act", "act pages"))
    passes = 2 * options["model"]["layers"] - int(
        config.fuse_last and options["mode"] in ("grinnder", "regather")
    )
    metrics = {
        "storage_mb": storage / MB,
        "storage_read_mb": (last.storage_read_bytes - topology) / MB,
        "storage_write_mb": last.storage_write_bytes / MB,
        "topology_mb": topology / MB,
        "device_host_mb": sum(links["device-host"].values()) / MB,
        "epoch_s": result.epochs[-1].seconds,
        "peak_host_mb": result.peak_host_bytes / MB,
        "peak_device_mb": result.peak_device_bytes / MB,
        "hit_rate": 100 * last.hit_rate,
        "alpha": graph.alpha,
        "dependants": graph.info["partition"]["dependants"],
        "gather_layers": gathered / layer / passes,
    }
    if config.cache == "one_layer" and options["mode"] in ("grinnder", "hongtu", "snapshot"):
        kind = graph.kinds[0]
        widths = [graph.num_features, *[options["model"]["hidden"]] * (options["model"]["layers"] - 1)]
        formula = epoch_volumes(
            options["mode"],
            widths=[*widths, graph.num_classes],
            num_nodes=graph.num_nodes,
            columns=[sum(graph.topology(kind).cols)] * options["model"]["layers"],
            itemsize=graph.dtype.itemsize,
            fuse_last=config.fuse_last and options["mode"] == "grinnder",
        )
        metrics["formula_gap"] = 100 * abs(storage / formula.storage - 1)
    return metrics


def _agreement(
    ledger: Ledger, before: tuple[int, int], after: tuple[int, int], stats: Mapping[str, Any]
) -> dict[str, float]:
    """Gap between the ledger and ``/proc/self/io``, in percent of the latter; only under O_DIRECT."""
    if not stats.get("direct"):
        return {}
    moved = (after[0] - before[0]) + (after[1] - before[1])
    counted = ledger.storage_read_bytes + ledger.storage_write_bytes
    return {"proc_io_gap": 100 * abs(counted / moved - 1)} if moved else {}


def _reset_peak() -> int:
    """Reset the peak of the resident memory; return what is resident now.

    Freed memory goes back to the system first, or the method measured would use it unseen.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0
