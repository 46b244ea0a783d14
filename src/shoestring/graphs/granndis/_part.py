"""A rank's part of the graph, ready to compute on: rows, blocks of every layer, halo patterns."""

from dataclasses import dataclass, field

import torch
from safetensors.torch import load, save
from torch import Tensor

from shoestring.core.seeds import derive_seed
from shoestring.graphs.csr import Block, Csr
from shoestring.graphs.granndis._layout import PhaseSpec, RankSpec, rank_spec_tensors, spec_from_tensors
from shoestring.graphs.granndis.config import HaloConfig
from shoestring.graphs.granndis.functional import keep_row_sums
from shoestring.parallel.exchange import (
    HaloPattern,
    StaleHalo,
    exchange,
    negotiate,
    sampled_exchange,
)
from shoestring.parallel.groups import GroupName
from shoestring.parallel.transport import Transport

__all__ = ["Part", "Phase", "build_part", "hierarchical_patterns", "scatter_specs"]


@dataclass(slots=True)
class Phase:
    """One stretch of layers: one order of columns, one communication pattern."""

    first_layer: int
    num_rows: int
    """Own rows that may be sent."""
    blocks: list[Block]
    """One a layer; its rows are the first rows of the rank."""
    patterns: list[HaloPattern]
    """Exchanges, one after the other."""
    num_cols: int
    halo: HaloConfig
    stale: dict[int, StaleHalo] = field(default_factory=dict)

    def gather(self, rows: Tensor, layer: int, transport: Transport, seed: int) -> Tensor:
        """Fill up to `num_rows` with zeros (masked rows), then append the halo.

        Parameters
        ----------
        rows : Tensor
            float, (n, d), n <= num_rows: the first rows.
        layer : int
            For the counters.
        transport : Transport
            Of this rank.
        seed : int
            Of the sampled halo of this step.

        Returns
        -------
        Tensor
            (num_cols, d).
        """
        if rows.shape[0] < self.num_rows:
            rows = torch.nn.functional.pad(rows, (0, 0, 0, self.num_rows - rows.shape[0]))
        for pattern in self.patterns:
            if self.halo.kind == "stale":
                if layer not in self.stale:
                    self.stale[layer] = StaleHalo(pattern, transport, layer)
                rows = self.stale[layer](rows)
            elif self.halo.kind == "sampled":
                rows = sampled_exchange(
                    rows, pattern, transport, layer, keep=self.halo.keep, seed=derive_seed(seed, layer)
                )
            else:
                rows = exchange(rows, pattern, transport, layer)
        return rows


@dataclass(slots=True)
class Part:
    """What one rank computes on."""

    rows: Tensor
    """int64, (n,), global ids by hop, then id."""
    num_inner: int
    """Targets: the first rows, hop 0."""
    x: Tensor
    """float, (n, D)."""
    y: Tensor
    """int64, (num_inner,)."""
    masks: Tensor
    """bool, (3, num_inner): train, validation, test; replicas are training vertices elsewhere."""
    phases: list[Phase]

    @property
    def num_edges(self) -> int:
        """Edges computed in a forward pass, all layers."""
        return sum(block.num_edges for phase in self.phases for block in phase.blocks)

    def drain(self) -> None:
        """Wait for messages still under way."""
        for phase in self.phases:
            for halo in phase.stale.values():
                halo.drain()

    def nbytes(self) -> int:
        """Bytes of features, structure and patterns."""
        blocks = {id(b): b.nbytes for phase in self.phases for b in phase.blocks}
        patterns = sum(p.nbytes() for phase in self.phases for p in phase.patterns)
        return self.x.numel() * self.x.element_size() + sum(blocks.values()) + patterns


def scatter_specs(transport: Transport, specs: list[RankSpec] | None, group: GroupName) -> RankSpec:
    """Send every member of a group its part; the first member gives the list, the others None."""
    size, place = transport.size(group), transport.position(group)
    if size == 1:
        assert specs is not None
        return specs[0]
    packs = [save({k: v.contiguous() for k, v in rank_spec_tensors(s).items()}) for s in specs or []]
    counts = [len(p) for p in packs] if place == 0 else [0] * size
    incoming = transport.exchange_counts(counts, group)
    send = (
        torch.frombuffer(bytearray(b"".join(packs)), dtype=torch.uint8)
        if packs
        else torch.empty(0, dtype=torch.uint8)
    )
    device = transport.groups.device
    received = transport.all_to_all(send.to(device), counts, incoming, group=group, kind="setup")
    return spec_from_tensors(load(received.cpu().numpy().tobytes()))


def build_part(
    transport: Transport,
    spec: RankSpec,
    groups: list[GroupName],
    *,
    masking: bool,
    halo: HaloConfig,
) -> Part:
    """Agree on halo patterns with the other ranks and cut the blocks of every layer.

    Parameters
    ----------
    transport : Transport
        Of this rank.
    spec : RankSpec
        As the head built it.
    groups : list of str
        Group of every phase; all its members call.
    masking : bool
        Compute and read only what the masks leave.
    halo : HaloConfig
        How rows travel.
    """
    phases = []
    for phase, group in zip(spec.phases, groups, strict=True):
        order = None
        if halo.hierarchical and group == "world" and transport.size("world") > 1:
            patterns, order = hierarchical_patterns(transport, phase, spec.rows[: phase.num_rows])
        elif transport.size(group) > 1:
            own = spec.rows[: phase.num_rows]
            patterns = [negotiate(transport, phase.halo, phase.halo_counts, own, group)]
        else:
            patterns = []
        phases.append(_phase(phase, spec.dist, patterns, order, masking=masking, halo=halo))
    num_inner = int((spec.dist == 0).sum())
    device = transport.groups.device
    kept = {k: v.to(device) for k, v in spec.tensors.items()}
    return Part(spec.rows.to(device), num_inner, kept["x"], kept["y"], kept["masks"], phases)


def hierarchical_patterns(
    transport: Transport, phase: PhaseSpec, own: Tensor
) -> tuple[list[HaloPattern], Tensor]:
    """Send a row to a server once, along the rail of its owner, then hand it on inside the server.

    Parameters
    ----------
    transport : Transport
        Of this rank.
    phase : PhaseSpec
        With a halo owned by ranks of the world.
    own : Tensor
        int64, ids of this rank's rows.

    Returns
    -------
    tuple
        The rail exchange and the device exchange; and for every column of the phase its place in
        [own rows | rail rows | device rows].
    """
    topology = transport.groups.topology
    ranks, me = topology.ranks_per_server, transport.groups.rank
    owner = torch.repeat_interleave(torch.arange(topology.world), torch.tensor(phase.halo_counts))
    # What I need from local rank j of any server, I ask from local rank j of my own server.
    by_local = (owner % ranks).argsort(stable=True)
    ask_counts = torch.bincount(owner % ranks, minlength=ranks).tolist()
    asked_counts = transport.exchange_counts(ask_counts, "device")
    request = torch.stack([phase.halo[by_local], owner[by_local] // ranks], 1)
    asked = transport.all_to_all(request, ask_counts, asked_counts, group="device", kind="setup")
    far = asked[asked[:, 1] != topology.server_of(me)]
    far_ids = torch.unique(far[:, 1] * (2**32) + far[:, 0])
    rail_counts = torch.bincount(far_ids // 2**32, minlength=topology.servers).tolist()
    far_ids = far_ids % 2**32
    rail = negotiate(transport, far_ids, rail_counts, own, "rail")
    # What others ask from me I now hold: my rows and those that came along the rail.
    held = torch.cat([own, far_ids])
    sorted_held, places = held.sort()
    index = places[torch.searchsorted(sorted_held, asked[:, 0].contiguous())]
    # A rank does not send to itself: its own need of rail rows is read in place.
    mine = transport.position("device")
    splits = torch.split(index, asked_counts)
    kept = [s if j != mine else s[:0] for j, s in enumerate(splits)]
    wanted = [n if j != mine else 0 for j, n in enumerate(ask_counts)]
    device = HaloPattern("device", torch.cat(kept), tuple(len(k) for k in kept), tuple(wanted))
    offsets = torch.cumsum(torch.tensor([0, *wanted]), 0)
    position = torch.empty(phase.halo.numel(), dtype=torch.int64)
    start = 0
    for j, n in enumerate(ask_counts):
        here = by_local[start : start + n]
        first = held.numel() + int(offsets[j])
        position[here] = splits[j] if j == mine else torch.arange(first, first + n)
        start += n
    return [rail, device], torch.cat([torch.arange(own.numel()), position])


def _phase(
    spec: PhaseSpec,
    dist: Tensor,
    patterns: list[HaloPattern],
    order: Tensor | None,
    *,
    masking: bool,
    halo: HaloConfig,
) -> Phase:
    edges = spec.edges
    num_cols = edges.num_cols
    if order is not None:
        num_cols = spec.num_rows + sum(p.num_received for p in patterns)
        edges = Csr(edges.indptr, order[edges.indices].to(torch.int32), edges.values, num_cols)
    row_dist = dist[: spec.num_rows]
    col_dist = torch.cat([row_dist, spec.halo_dist])
    blocks: list[Block] = []
    for layer in range(spec.depth):
        left = spec.depth - layer
        if not masking or order is not None:
            rows = edges.num_rows if layer < spec.depth - 1 else int((row_dist == 0).sum())
            cut = edges.rows(0, rows)
        else:
            # Rule: layer l reads hop <= L - l, so it computes hop <= L - l - 1.
            cut = edges.rows(0, int((row_dist < left).sum()))
            cut = keep_row_sums(cut, col_dist[cut.indices] <= left)
        same = blocks and blocks[-1].num_rows == cut.num_rows and blocks[-1].num_edges == cut.num_edges
        blocks.append(blocks[-1] if same else Block(cut))
    return Phase(spec.first_layer, spec.num_rows, blocks, patterns, num_cols, halo)
