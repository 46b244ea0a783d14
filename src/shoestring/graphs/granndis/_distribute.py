"""From a plan to the parts of the ranks: heads cut, device groups receive, ranks agree on halos."""

import torch
from torch import Tensor

from shoestring.core.seeds import derive_seed
from shoestring.graphs.granndis._layout import RankSpec, rank_spec
from shoestring.graphs.granndis._part import Part, build_part, scatter_specs
from shoestring.graphs.granndis._plan import Plan, batch_dist, induced, server_dist, split
from shoestring.graphs.granndis._source import Source
from shoestring.graphs.granndis.config import GranndisConfig
from shoestring.graphs.granndis.functional import place_replicas
from shoestring.parallel.exchange import negotiate
from shoestring.parallel.groups import GroupName
from shoestring.parallel.transport import Transport

__all__ = ["FeatureStore", "batch_part", "batches", "full_part", "single_part"]


def full_part(transport: Transport, source: Source, plan: Plan, config: GranndisConfig) -> Part:
    """Part of a rank in the full-batch modes ``full``, ``flexible`` and ``eas``; all ranks call."""
    layers, topology = config.model.layers, config.topology
    specs = None
    if transport.groups.is_head:
        server = topology.server_of(transport.groups.rank)
        specs = [_full_spec(source, plan, config, server, j) for j in range(topology.ranks_per_server)]
        for spec in specs:
            spec.tensors = _row_tensors(source, spec)
    spec = scatter_specs(transport, specs, "device")
    groups: list[GroupName] = ["device"] if plan.k else []
    if plan.k < layers:
        groups.append("world")
    return build_part(transport, spec, groups, masking=config.plan.masking, halo=config.plan.halo)


def single_part(source: Source, transport: Transport, config: GranndisConfig) -> Part:
    """Make the whole graph one part, without any exchange."""
    dist = torch.zeros(source.num_nodes, dtype=torch.int16)
    owner = torch.zeros(source.num_nodes, dtype=torch.int64)
    spec = rank_spec(source, dist, owner, 0, 1, depth=config.model.layers)
    spec.tensors = _row_tensors(source, spec)
    return build_part(transport, spec, ["solo"], masking=False, halo=config.plan.halo)


def _full_spec(source: Source, plan: Plan, config: GranndisConfig, server: int, local: int) -> RankSpec:
    topology, layers = config.topology, config.model.layers
    ranks = topology.ranks_per_server
    inside = plan.owner // ranks == server
    if plan.k == 0:
        dist = torch.where(inside, 0, -1).to(torch.int16)
        local_owner = torch.where(inside, plan.owner % ranks, -1)
        return rank_spec(source, dist, local_owner, local, ranks, depth=0, second=(plan.owner, layers))
    seed = derive_seed(config.training.seed, "eas", server)
    dist = server_dist(source, config, inside, plan.mode, plan.k, seed)
    local_owner = place_replicas(source.csr, dist, plan.owner % ranks, ranks)
    second = None if plan.k == layers else (plan.owner, layers - plan.k)
    return rank_spec(source, dist, local_owner, local, ranks, depth=plan.k, second=second)


def _row_tensors(source: Source, spec: RankSpec, *, features: bool = True) -> dict[str, Tensor]:
    inner = spec.rows[spec.dist == 0]
    out = {"y": source.y[inner], "masks": source.masks[:, inner]}
    if features:
        out["x"] = source.x[spec.rows]
    return out


def batches(source: Source, config: GranndisConfig, epoch: int) -> list[list[Tensor]]:
    """Training ids of every iteration and server (or rank): shuffled, split evenly, every id once."""
    topology = config.topology
    parts = topology.world if config.plan.mode == "minibatch" else topology.servers
    count = config.plan.cooperative.batches
    train = source.masks[0].nonzero().squeeze(1)
    rng = torch.Generator().manual_seed(derive_seed(config.training.seed, "order", epoch))
    train = train[torch.randperm(train.numel(), generator=rng)]
    chunks = train.tensor_split(parts * count)
    return [[chunks[b * parts + i] for i in range(parts)] for b in range(count)]


class FeatureStore:
    """Features stay with the owners of the vertices; a batch fetches its rows through the transport."""

    def __init__(self, transport: Transport, source: Source, plan: Plan) -> None:
        self.transport = transport
        self.own = (plan.owner == transport.groups.rank).nonzero().squeeze(1)
        self.x = source.x[self.own].to(transport.groups.device)
        self.rows_loaded = 0
        """Rows fetched so far, from anywhere."""

    def fetch(self, ids: Tensor, home: Tensor) -> Tensor:
        """Return the features of `ids`, owned by ranks `home`; all ranks of the world call."""
        transport = self.transport
        order = home.argsort(stable=True)
        counts = torch.bincount(home, minlength=transport.groups.topology.world).tolist()
        pattern = negotiate(transport, ids[order], counts, self.own, "world")
        rows = transport.all_to_all(
            self.x[pattern.send_index],
            pattern.send_counts,
            pattern.recv_counts,
            group="world",
            kind="feature",
        )
        self.rows_loaded += ids.numel()
        out = torch.empty_like(rows)
        out[order.to(rows.device)] = rows
        return out


def batch_part(
    store: FeatureStore,
    source: Source,
    plan: Plan,
    config: GranndisConfig,
    targets: list[Tensor],
    seed: int,
) -> Part:
    """Part of a rank for one iteration; all ranks call.

    ``cooperative``: a server's head samples one neighbourhood for the server's targets, splits it over the
    ranks and sends it to them. ``minibatch``: every rank samples for its own targets.
    """
    transport, topology = store.transport, config.topology
    rank = transport.groups.rank
    alone = config.plan.mode == "minibatch"
    group: GroupName = "solo" if alone else "device"
    ranks = 1 if alone else topology.ranks_per_server
    specs = None
    if alone or transport.groups.is_head:
        place = rank if alone else topology.server_of(rank)
        specs = _batch_specs(source, plan, config, targets[place], ranks, derive_seed(seed, place))
    spec = scatter_specs(transport, specs, group)
    spec.tensors["x"] = store.fetch(spec.rows, spec.tensors.pop("home"))
    return build_part(transport, spec, [group], masking=config.plan.masking, halo=config.plan.halo)


def _batch_specs(
    source: Source, plan: Plan, config: GranndisConfig, targets: Tensor, ranks: int, seed: int
) -> list[RankSpec]:
    inside = torch.zeros(source.num_nodes, dtype=torch.bool)
    inside[targets] = True
    dist = batch_dist(source, config, inside, seed)
    owner = torch.full_like(plan.owner, -1)
    if ranks == 1:
        owner[dist >= 0] = 0
    else:
        held = (dist >= 0).nonzero().squeeze(1)
        owner[held] = split(induced(source.csr, held), ranks, config.plan.partitioner, seed)
    specs = []
    for local in range(ranks):
        spec = rank_spec(source, dist, owner, local, ranks, depth=config.model.layers)
        spec.tensors = {**_row_tensors(source, spec, features=False), "home": plan.owner[spec.rows]}
        specs.append(spec)
    return specs
