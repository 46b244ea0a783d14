"""From a user's graph to a prepared one, and to a trained model."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.graphs.convs import TopologyKind, prepare_topology
from shoestring.graphs.csr import Csr, csr_from_edge_index
from shoestring.graphs.grinnder._budgets import Needs, needs_of
from shoestring.graphs.grinnder._models import Layers, as_layers
from shoestring.graphs.grinnder._prepare import DTYPES, GraphArrays, PreparedGraph, graph_arrays, write_graph
from shoestring.graphs.grinnder._sizes import GraphSizes, count_sizes
from shoestring.graphs.grinnder._trainer import OptimizerName, Trainer, TrainResult
from shoestring.graphs.grinnder.config import Config, Mode
from shoestring.graphs.partition import Partition, partition
from shoestring.storage import BudgetExceeded, format_bytes

__all__ = ["prepare", "train"]

_MOST_PARTS = 65_535


def prepare(data: Any, config: Config, model: nn.Module, *, mode: Mode = "grinnder") -> PreparedGraph:
    """Partition a graph and write topology, features and labels to ``config.storage``, to be found again.

    Parameters
    ----------
    data : torch_geometric.data.Data
        With ``edge_index`` (2, E), ``x`` (N, D), ``y`` (N,) and, if it has them, ``train_mask``,
        ``val_mask``, ``test_mask`` (N,); any object or mapping with these names will do.
    config : Config
        Budgets, number of partitions, partitioner.
    model : torch.nn.Module
        Decides which topologies are needed, and the working set that ``parts="auto"`` makes fit.
    mode : str
        The mode that the graph will be trained in.

    Returns
    -------
    PreparedGraph
        Opened; a later call with the same data and options finds it on storage.

    Raises
    ------
    BudgetExceeded
        If no number of partitions fits the device budget; names the least that would.
    DataError, UnsupportedModelError, StorageError
        If the graph, model or folder cannot be used.

    Notes
    -----
    Preparation holds the whole graph and its features in memory, outside the budgets: O(N D + E).
    """
    arrays, layers = graph_arrays(data), as_layers(model)
    kinds = tuple(dict.fromkeys(layers.kinds))
    base = csr_from_edge_index(arrays.edge_index, arrays.num_nodes, arrays.edge_weight)
    name = f"graph-{arrays.fingerprint()}-{'-'.join(kinds)}-{config.dtype}-{config.partitioner}"
    if config.partitioner == "switching":
        name += f"-{config.init}"
    name += f"-s{config.seed}"
    if config.parts == "auto":
        name += f"-auto-{mode}-{_fits_key(layers, config)}"
    folder = config.storage / "prepared" / (name if config.parts == "auto" else f"{name}-p{config.parts}")
    if (folder / "graph.json").is_file():
        return PreparedGraph(folder)
    start = time.perf_counter()
    if config.parts == "auto":
        cut = _search(arrays, base, layers, config, mode)
    else:
        cut = _cut(base, config, config.parts)
    info = {
        "alpha": float(cut.alpha),
        "dependants": float(cut.dependants),
        "balance": float(cut.balance),
        "seconds": time.perf_counter() - start,
        "method": config.partitioner,
    }
    ptr = [int(v) for v in cut.ptr]
    return write_graph(
        folder, arrays, torch.as_tensor(cut.perm), ptr, kinds, config=config, partition_info=info
    )


def train(
    data: Any,
    model: nn.Module,
    config: Config,
    *,
    epochs: int,
    mode: Mode = "grinnder",
    optimizer: OptimizerName = "adam",
    lr: float = 0.01,
    **fit: Any,
) -> TrainResult:
    """Train a model on a graph within budgets: `prepare`, then `Trainer.fit`.

    Parameters
    ----------
    data, model, config, mode
        As for `prepare` and `Trainer`.
    epochs, optimizer, lr
        As for `Trainer.fit`.
    **fit
        Further arguments of `Trainer.fit`: ``weight_decay``, ``checkpoint``, ``recorder``, ``on_epoch``.

    Returns
    -------
    TrainResult
        Losses, accuracies, ledger, peaks; the model given is trained in place.
    """
    graph = prepare(data, config, model, mode=mode)
    with Trainer(model, graph, config, mode=mode) as trainer:
        return trainer.fit(epochs, optimizer=optimizer, lr=lr, **fit)


def _cut(base: Csr, config: Config, parts: int) -> Partition:
    extra: dict[str, Any] = {"init": config.init} if config.partitioner == "switching" else {}
    plain = Csr(base.indptr, base.indices, None, base.num_cols)
    return partition(plain, parts, config.partitioner, seed=config.seed, **extra)


def _fits_key(layers: Layers, config: Config) -> str:
    widths = "x".join(map(str, layers.widths))
    return f"{config.device_bytes}-{config.host_bytes}-{widths}"


def _search(arrays: GraphArrays, base: Csr, layers: Layers, config: Config, mode: Mode) -> Partition:
    """Find the smallest number of partitions that fits: double until it does, then bisect to 1/16."""
    topologies = {k: prepare_topology(k, base, DTYPES[config.dtype]) for k in dict.fromkeys(layers.kinds)}
    cuts: dict[int, Partition] = {}

    def needs(parts: int) -> Needs:
        cuts[parts] = _cut(base, config, parts)
        return needs_of(_sizes(arrays, topologies, cuts[parts], config), layers, mode)

    parts = fitting_parts(needs, arrays.num_nodes, config)
    return cuts[parts]


def fitting_parts(needs: Callable[[int], Needs], num_nodes: int, config: Config) -> int:
    """Search the number of partitions; `needs` is called once for every number tried."""
    low, high, seen = 0, 1, []
    most = max(1, min(num_nodes, _MOST_PARTS))
    while True:
        need = needs(high)
        if need.device_minimum <= config.device_bytes and need.host_minimum <= config.host_bytes:
            break
        seen.append(need)
        stuck = len(seen) > 3 and seen[-1].device_minimum > 0.95 * seen[-3].device_minimum
        if high >= most or stuck:
            _raise_minimum(seen, config)
        low, high = high, min(2 * high, most)
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        need = needs(middle)
        if need.device_minimum <= config.device_bytes and need.host_minimum <= config.host_bytes:
            high = middle
        else:
            low = middle
    return high


def _raise_minimum(seen: list[Needs], config: Config) -> None:
    device = min(n.device_minimum for n in seen)
    host = min(n.host_minimum for n in seen)
    tier, least, limit = (
        ("device", device, config.device_bytes)
        if device > config.device_bytes
        else ("host", host, config.host_bytes)
    )
    raise BudgetExceeded(
        tier,
        "the largest (layer, partition) of every partitioning tried",
        asked_bytes=least,
        used_bytes=0,
        limit_bytes=limit,
        minimum_bytes=least,
        advice=f"Raise {tier}_budget to at least {least} bytes ({format_bytes(least)}): a vertex with "
        "very many "
        "neighbours needs all of them on the device at once, so more partitions do not help; or use "
        "a narrower model",
    )


def _sizes(
    arrays: GraphArrays, topologies: dict[TopologyKind, Csr], cut: Partition, config: Config
) -> GraphSizes:
    ptr = tuple(int(v) for v in cut.ptr)
    part = torch.as_tensor(cut.part)
    y: Tensor = arrays.y
    return GraphSizes(
        ptr=ptr,
        itemsize=DTYPES[config.dtype].itemsize,
        topologies={k: count_sizes(c, part, len(ptr) - 1) for k, c in topologies.items()},
        resident_bytes=arrays.num_nodes * (4 + 3) + y.numel() * y.element_size(),
    )
