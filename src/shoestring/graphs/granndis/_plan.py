"""Which vertex lives where and what is replicated: sizes, predicted bytes, the largest k that fits."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed
from shoestring.graphs.csr import Csr
from shoestring.graphs.granndis._source import Source, prepare_source
from shoestring.graphs.granndis.config import GranndisConfig, Mode, Partitioner
from shoestring.graphs.granndis.functional import (
    closure,
    expand_external,
    sage_neighbourhood,
    saint_neighbourhood,
)
from shoestring.graphs.partition import partition

__all__ = ["Candidate", "Plan", "batch_dist", "make_plan", "plan", "server_dist", "split"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One mode, with its sizes before anything is trained."""

    mode: Mode
    k: int
    """Layers without inter-server traffic."""
    rows: list[int]
    """Rows of every server, replicas included."""
    edges_per_epoch: int
    """Edges of all ranks and layers in a forward pass, without skipping by masks."""
    replication: float
    """Rows of all servers over the vertices of the graph."""
    halo_rows: int
    """Rows that cross between servers in one layer's exchange."""
    inter_bytes_per_epoch: int
    """Predicted feature and gradient bytes between servers."""
    bytes_per_rank: int
    """Predicted, of the fullest rank."""
    fits: bool
    """In the memory budget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run will do."""

    mode: Mode
    """Never ``auto``."""
    k: int
    """Layers without inter-server traffic; all of them in sampled modes, 0 in ``full``."""
    owner: Tensor = field(repr=False)
    """int64, (N,), the rank that holds every vertex; its server holds the vertex as inner."""
    candidates: tuple[Candidate, ...]
    """Every mode that was considered, the chosen one among them."""
    chosen: int
    """Which."""
    reason: str
    """Why."""

    @property
    def sizes(self) -> Candidate:
        """Of the chosen mode."""
        return self.candidates[self.chosen]


def plan(data: Any, config: GranndisConfig) -> Plan:
    """Decide what is replicated where, and predict bytes, without training.

    Parameters
    ----------
    data : torch_geometric.data.Data
        As `prepare_source` takes it.
    config : GranndisConfig
        Topology, model, and the mode: for ``flexible`` with ``k=None`` the largest k that fits the budget,
        for ``auto`` the first of flexible with k = layers, eas, cooperative that fits.

    Returns
    -------
    Plan
        With all modes considered, for comparison.

    Raises
    ------
    DataError, ConfigError
        As `prepare_source`; or nothing fits the budget, and then what would.
    """
    return make_plan(prepare_source(data, config), config)


def make_plan(source: Source, config: GranndisConfig, *, compare: bool = True) -> Plan:
    """`plan` for a prepared graph; without `compare` only the mode that was asked for is sized."""
    options, layers = config.plan, config.model.layers
    owner = split_ranks(source, config)
    server = owner // config.ranks_per_server
    if not compare and options.mem_budget_bytes is None:
        mode: Mode = "flexible" if options.mode == "auto" else options.mode
        k = 0 if mode == "full" else layers if options.k is None or mode != "flexible" else options.k
        only = _size(source, config, server, mode, k)
        return Plan(mode=mode, k=k, owner=owner, candidates=(only,), chosen=0, reason="no budget")
    flexible = [_size(source, config, server, "flexible", k) for k in range(layers, -1, -1)]
    eas = _size(source, config, server, "eas", layers)
    batch = _size(source, config, server, "cooperative", layers)
    candidates = (*flexible, eas, batch)
    if options.mode == "full":
        chosen, why = layers, "asked for; k = 0 is the baseline layout"
        full = replace(candidates[chosen], mode="full")
        candidates = (*candidates[:chosen], full, *candidates[chosen + 1 :])
    elif options.mode in ("eas", "cooperative", "minibatch"):
        chosen, why = layers + (1 if options.mode == "eas" else 2), "asked for"
        candidates = (
            *candidates[:chosen],
            replace(candidates[chosen], mode=options.mode),
            *candidates[chosen + 1 :],
        )
    elif options.mode == "flexible" and options.k is not None:
        chosen, why = layers - options.k, "k was asked for"
    else:
        chosen, why = _choose(candidates, options.mode, layers)
    pick = candidates[chosen]
    if not pick.fits:
        fitting = [f"{c.mode} (k={c.k})" for c in candidates if c.fits]
        hint = f"these fit: {', '.join(fitting)}" if fitting else "give a larger budget or more ranks"
        raise ConfigError(
            f"{pick.mode} (k={pick.k}) needs {pick.bytes_per_rank} bytes a rank, more than "
            f"plan.mem_budget_bytes={options.mem_budget_bytes}; {hint}"
        )
    return Plan(mode=pick.mode, k=pick.k, owner=owner, candidates=candidates, chosen=chosen, reason=why)


def _choose(candidates: tuple[Candidate, ...], mode: Mode, layers: int) -> tuple[int, str]:
    """Largest k that fits; in ``auto`` sampling comes before traffic between servers."""
    order = list(range(layers + 1))
    if mode == "auto":
        order = [0, layers + 1, layers + 2, *range(1, layers + 1)]
    for i in order:
        if candidates[i].fits:
            return i, "the first that fits the budget" if i else "everything fits"
    least = min(order, key=lambda i: candidates[i].bytes_per_rank)
    return least, "nothing fits"


def split_ranks(source: Source, config: GranndisConfig) -> Tensor:
    """Owner rank of every vertex: servers first and ranks inside them, or all ranks at once."""
    options, topology = config.plan, config.topology
    method, seed = options.partitioner, derive_seed(config.training.seed, "partition")
    if options.mode == "full" and not options.halo.hierarchical:
        return split(source.csr, topology.world, method, seed)
    server = split(source.csr, topology.servers, method, seed)
    owner = torch.zeros_like(server)
    for s in range(topology.servers):
        ids = (server == s).nonzero().squeeze(1)
        inside = split(induced(source.csr, ids), topology.ranks_per_server, method, derive_seed(seed, s))
        owner[ids] = inside + s * topology.ranks_per_server
    return owner


def split(csr: Csr, parts: int, method: Partitioner, seed: int) -> Tensor:
    """Split vertices into balanced parts, int64, (N,); no part is empty unless there are fewer vertices."""
    num = csr.num_rows
    equal = torch.arange(num) * parts // max(num, 1)
    if parts == 1 or method == "contiguous" or num <= 4 * parts:
        return equal
    if method == "metis":
        part = partition(csr, parts, "metis", seed=seed, objective="vol").part
    else:
        part = partition(csr, parts, method, seed=seed).part
    return part.to(torch.int64) if int(torch.bincount(part, minlength=parts).min()) else equal


def induced(csr: Csr, ids: Tensor) -> Csr:
    """Subgraph of `ids`, renumbered in their order; weights are left out."""
    place = torch.full((csr.num_cols,), -1, dtype=torch.int64)
    place[ids] = torch.arange(ids.numel())
    edges = csr.select(ids)
    cols = place[edges.indices]
    kept = cols >= 0
    indptr = torch.zeros(ids.numel() + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(edges.row_ids()[kept], minlength=ids.numel()), 0, out=indptr[1:])
    return Csr(indptr, cols[kept].to(torch.int32), None, ids.numel())


def server_dist(
    source: Source, config: GranndisConfig, inside: Tensor, mode: Mode, k: int, seed: int
) -> Tensor:
    """Hops of what a server holds in a full-batch mode; -1 outside."""
    options = config.plan
    if mode == "eas":
        rng = torch.Generator().manual_seed(seed)
        hops = min(options.hops, config.model.layers)
        return expand_external(source.csr, inside, hops, options.fanout, options.select, rng)
    return closure(source.csr, inside, k)


def batch_dist(source: Source, config: GranndisConfig, inside: Tensor, seed: int) -> Tensor:
    """Hops of the neighbourhood that is drawn for the targets of one batch."""
    options, layers = config.plan.cooperative, config.model.layers
    rng = torch.Generator().manual_seed(seed)
    if options.sampler == "sage":
        return sage_neighbourhood(source.csr, inside, layers, options.fanout, rng)
    if options.sampler == "saint":
        return saint_neighbourhood(source.csr, inside, options.saint_nodes, rng)
    if options.sampler == "cluster":
        return closure(source.csr, inside, 0)
    hops = min(config.plan.hops, layers)
    return expand_external(source.csr, inside, hops, config.plan.fanout, config.plan.select, rng)


def _size(source: Source, config: GranndisConfig, server: Tensor, mode: Mode, k: int) -> Candidate:
    csr, topology, layers = source.csr, config.topology, config.model.layers
    rows, edges, halo = [], 0, 0
    degrees = csr.degrees()
    row_server = server[csr.row_ids()]
    seed = derive_seed(config.training.seed, "size")
    for s in range(topology.servers):
        inside = server == s
        crossing = csr.indices[(row_server == s) & ~inside[csr.indices]]
        halo += int((torch.bincount(crossing, minlength=1) > 0).sum())
        if mode in ("cooperative", "minibatch"):
            targets = inside & source.masks[0]
            chunk = targets.nonzero().squeeze(1)[:: config.plan.cooperative.batches]
            inside = torch.zeros_like(inside)
            inside[chunk] = True
            dist = batch_dist(source, config, inside, seed)
            times = config.plan.cooperative.batches
        else:
            dist, times = server_dist(source, config, inside, mode, k, seed), 1
        rows.append(int((dist >= 0).sum()))
        for layer in range(layers):
            reach = k - layer if layer < k else 1
            edges += times * int(degrees[(dist >= 0) & (dist < max(reach, 1))].sum())
    bytes_per_rank = _bytes_per_rank(source, config, max(rows), edges / topology.servers)
    budget = config.plan.mem_budget_bytes
    widths = _widths(source, config)
    crossing_layers = range(k, layers) if mode in ("flexible", "full") else range(0)
    moved = sum(min(widths[i], widths[i + 1]) * (2 if i else 1) for i in crossing_layers) * halo
    return Candidate(
        mode=mode,
        k=k,
        rows=rows,
        edges_per_epoch=edges,
        replication=sum(rows) / source.num_nodes,
        halo_rows=halo,
        inter_bytes_per_epoch=moved * source.x.element_size(),
        bytes_per_rank=bytes_per_rank,
        fits=budget is None or bytes_per_rank <= budget,
    )


def _widths(source: Source, config: GranndisConfig) -> list[int]:
    return [source.x.shape[1], *[config.model.hidden] * (config.model.layers - 1), source.num_classes]


def _bytes_per_rank(source: Source, config: GranndisConfig, rows: int, edges: float) -> int:
    """2 * sum over layers of (|U| + |V|) * width for activations and gradients, features, structure.

    U is taken as the rows of the server shared by its ranks, plus as many halo rows again.
    """
    own = rows / config.ranks_per_server
    size = source.x.element_size()
    widths = _widths(source, config)
    layers = config.model.layers
    activations = 2 * size * sum((2 * own + own) * widths[i + 1] for i in range(layers))
    features = 2 * own * widths[0] * size
    structure = 2 * (edges / layers / config.ranks_per_server) * (4 + size) + 16 * own
    return int(activations + features + structure)
