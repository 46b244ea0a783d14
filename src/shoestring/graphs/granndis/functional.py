"""The method on plain arrays: closures, expansion-aware sampling, neighbourhoods of batches, placement, cost.

Shapes: N vertices, E edges. ``dist`` is int16, (N,): the hop at which a vertex was first reached from the
targets (0 = target), -1 if it was not.
"""

from typing import Literal

import torch
from torch import Tensor

from shoestring.graphs.csr import Csr

__all__ = [
    "closure",
    "expand_external",
    "keep_row_sums",
    "place_replicas",
    "preload_time_s",
    "previous_time_s",
    "sage_neighbourhood",
    "saint_neighbourhood",
    "take_per_row",
]


def closure(csr: Csr, inside: Tensor, hops: int) -> Tensor:
    """Vertices from which the set can be reached within `hops` edges (its in-closure).

    Parameters
    ----------
    csr : Csr
        (N, N), rows read columns.
    inside : Tensor
        bool, (N,), the set.
    hops : int
        At least 0.

    Returns
    -------
    Tensor
        ``dist``.

    Notes
    -----
    O(N + edges touched); flexible preloading [GraNNDis, section 4.1].
    """
    return sage_neighbourhood(csr, inside, hops, -1, None)


def sage_neighbourhood(
    csr: Csr, inside: Tensor, hops: int, fanout: int, rng: torch.Generator | None
) -> Tensor:
    """Draw at most `fanout` in-neighbours of every newly reached vertex, hop by hop.

    Parameters
    ----------
    csr, inside, hops
        As `closure`.
    fanout : int
        -1 takes all, 0 none.
    rng : torch.Generator or None
        Of the draw; not needed with -1 or 0.

    Returns
    -------
    Tensor
        ``dist``.

    References
    ----------
    Hamilton et al., *Inductive Representation Learning on Large Graphs*, NeurIPS 2017.
    """
    dist = torch.where(inside, 0, -1).to(torch.int16)
    frontier = inside.nonzero().squeeze(1)
    for hop in range(1, hops + 1 if fanout else 1):
        edges = csr.select(frontier)
        sources = edges.indices.to(torch.int64)
        if fanout > 0:
            keys = torch.rand(edges.num_edges, generator=rng)
            sources = sources[take_per_row(edges.row_ids(), keys, fanout)]
        frontier = _mark(dist, sources, hop)
        if not frontier.numel():
            break
    return dist


def expand_external(
    csr: Csr,
    inside: Tensor,
    hops: int,
    fanout: int,
    select: Literal["degree", "uniform"],
    rng: torch.Generator | None = None,
) -> Tensor:
    """Expansion-aware sampling: at most `fanout` external in-neighbours a vertex, for at most `hops` hops.

    Edges inside the set are all kept; only those that leave it are sampled.

    Parameters
    ----------
    csr, inside
        As `closure`; the set is a server's inner vertices.
    hops : int
        Hops that leave the set.
    fanout : int
        -1 takes all (then this is `closure`), 0 none.
    select : str
        ``degree``: neighbours with most edges into what was reached so far, ties by id. ``uniform``: at
        random.
    rng : torch.Generator or None
        Of ``uniform``.

    Returns
    -------
    Tensor
        ``dist``.

    Notes
    -----
    One sort of the external edges of a hop; no loop over vertices [GraNNDis, section 4.3].
    """
    if fanout < 0:
        return closure(csr, inside, hops)
    dist = torch.where(inside, 0, -1).to(torch.int16)
    frontier = inside.nonzero().squeeze(1)
    for hop in range(1, hops + 1 if fanout else 1):
        edges = csr.select(frontier)
        sources, rows = edges.indices.to(torch.int64), edges.row_ids()
        external = dist[sources] < 0
        sources, rows = sources[external], rows[external]
        if not sources.numel():
            break
        if select == "degree":
            links = torch.bincount(sources, minlength=csr.num_cols)
            keys = -(links[sources] * csr.num_cols) + sources
        else:
            keys = torch.randperm(sources.numel(), generator=rng)
        sources, rows, keys = _distinct(sources, rows, keys, csr.num_cols)
        frontier = _mark(dist, sources[take_per_row(rows, keys, fanout)], hop)
    return dist


def saint_neighbourhood(csr: Csr, inside: Tensor, num_nodes: int, rng: torch.Generator) -> Tensor:
    """Add `num_nodes` vertices drawn without replacement, with probability proportional to their degree.

    Returns
    -------
    Tensor
        ``dist``: 1 for what was added.

    References
    ----------
    Zeng et al., *GraphSAINT*, ICLR 2020 (its node sampler).
    """
    dist = torch.where(inside, 0, -1).to(torch.int16)
    weights = csr.degrees().to(torch.float64)
    weights[inside] = 0
    take = min(num_nodes, int((weights > 0).sum()))
    if take:
        # Exponential races: the smallest of Exp(w) draws is a sample without replacement, at any N.
        draws = torch.empty_like(weights).exponential_(generator=rng) / weights
        dist[draws.topk(take, largest=False).indices] = 1
    return dist


def take_per_row(rows: Tensor, keys: Tensor, fanout: int) -> Tensor:
    """Positions of the `fanout` entries with the smallest key of every row.

    Parameters
    ----------
    rows : Tensor
        int64, (E,).
    keys : Tensor
        (E,), any order.
    fanout : int
        At least 0.

    Returns
    -------
    Tensor
        int64, positions in `rows`, grouped by row; two sorts, O(E log E).
    """
    by_key = keys.argsort(stable=True)
    order = by_key[rows[by_key].argsort(stable=True)]
    sorted_rows = rows[order]
    starts = torch.ones_like(sorted_rows, dtype=torch.bool)
    starts[1:] = sorted_rows[1:] != sorted_rows[:-1]
    first = starts.nonzero().squeeze(1)
    place = torch.arange(rows.numel()) - first[starts.cumsum(0) - 1]
    return order[place < fanout]


def place_replicas(csr: Csr, dist: Tensor, owner: Tensor, ranks: int, slack: float = 0.05) -> Tensor:
    """Put every replica on the rank of the server that reads it most, up to an equal share.

    Parameters
    ----------
    csr : Csr
        (N, N).
    dist : Tensor
        Of one server.
    owner : Tensor
        int64, (N,): local rank of the server's inner vertices (dist 0); the rest is not read.
    ranks : int
        Ranks of the server.
    slack : float
        How much a rank may exceed the equal share.

    Returns
    -------
    Tensor
        int64, (N,): `owner` with the replicas filled in, -1 outside. Inner vertices stay where they are, so
        both phases of flexible preloading share the order of rows.

    Notes
    -----
    O(edges touched) and `ranks` sorts a hop.
    """
    owner = torch.where(dist == 0, owner, -1)
    total = int((dist >= 0).sum())
    load = torch.bincount(owner[owner >= 0], minlength=ranks)
    room = (int(total / ranks * (1 + slack)) + 1 - load).clamp_(min=0)
    for hop in range(1, int(dist.max()) + 1 if total else 0):
        new = (dist == hop).nonzero().squeeze(1)
        place = torch.empty_like(owner)
        place[new] = torch.arange(new.numel())
        edges = csr.select((dist == hop - 1).nonzero().squeeze(1))
        readers = owner[dist == hop - 1][edges.row_ids()]
        sources = edges.indices.to(torch.int64)
        used = dist[sources] == hop
        links = torch.bincount(place[sources[used]] * ranks + readers[used], minlength=new.numel() * ranks)
        owner[new] = _fill(links.view(-1, ranks), room)
    return owner


def keep_row_sums(edges: Csr, kept: Tensor) -> Csr:
    """Drop edges and rescale the rest of every row so that the sum of its weights stays.

    With the weights of a mean this is the mean over the neighbours that are present; with nothing dropped
    it is exact. A row that loses all its edges is 0.

    Parameters
    ----------
    edges : Csr
        (R, K) with weights.
    kept : Tensor
        bool, (E,).
    """
    if bool(kept.all()):
        return edges
    assert edges.values is not None
    rows = edges.row_ids()
    before = edges.values.new_zeros(edges.num_rows).index_add_(0, rows, edges.values)
    rows, values = rows[kept], edges.values[kept]
    after = edges.values.new_zeros(edges.num_rows).index_add_(0, rows, values)
    scale = torch.where(after != 0, before / after, 0)
    indptr = torch.zeros_like(edges.indptr)
    torch.cumsum(torch.bincount(rows, minlength=edges.num_rows), 0, out=indptr[1:])
    return Csr(indptr, edges.indices[kept], values * scale[rows], edges.num_cols)


def previous_time_s(
    *,
    vertices: float,
    edges: float,
    servers: int,
    ranks: int,
    compute: float,
    intra: float,
    inter: float,
) -> float:
    """Model of one layer of the baseline [GraNNDis, section 4.1], in seconds.

    Parameters
    ----------
    vertices, edges : float
        Of the graph.
    servers, ranks : int
        Servers, and ranks of each.
    compute, intra, inter : float
        Vertices a second that a rank computes, and that the links move.
    """
    world = servers * ranks
    links = ((ranks - 1) / world) / intra + (1 - 1 / servers) / inter
    return vertices / (world * compute) + edges / world * links


def preload_time_s(
    *,
    vertices: float,
    edges: float,
    servers: int,
    ranks: int,
    compute: float,
    intra: float,
    growth: float,
) -> float:
    """Model of one layer with preloading [GraNNDis, section 4.1], in seconds; `growth` is the paper's D^(aL).

    Parameters
    ----------
    vertices, edges, servers, ranks, compute, intra
        As `previous_time_s`.
    growth : float
        Replication: rows held by all servers over the vertices of the graph.
    """
    world = servers * ranks
    return vertices * growth / (world * compute) + edges * growth / world * ((ranks - 1) / ranks) / intra


def _mark(dist: Tensor, sources: Tensor, hop: int) -> Tensor:
    """Give the unreached among `sources` this hop; return them, ascending."""
    found = torch.zeros(dist.numel(), dtype=torch.bool)
    found[sources] = True
    found &= dist < 0
    dist[found] = hop
    return found.nonzero().squeeze(1)


def _distinct(sources: Tensor, rows: Tensor, keys: Tensor, num: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count a neighbour once a row, however many edges it has to it."""
    _, inverse = torch.unique(rows * num + sources, return_inverse=True)
    first = torch.full((int(inverse.max()) + 1,), rows.numel(), dtype=torch.int64)
    first.scatter_reduce_(0, inverse, torch.arange(rows.numel()), "amin")
    return sources[first], rows[first], keys[first]


def _fill(links: Tensor, room: Tensor) -> Tensor:
    """Owner by most links, while there is room; `room` is used up in place."""
    num, ranks = links.shape
    owner = torch.full((num,), -1, dtype=torch.int64)
    preference = links.argsort(dim=1, descending=True, stable=True)
    for choice in range(ranks):
        for rank in range(ranks):
            wants = ((owner < 0) & (preference[:, choice] == rank)).nonzero().squeeze(1)
            order = links[wants, rank].argsort(descending=True, stable=True)
            taken = wants[order[: int(room[rank])]]
            owner[taken] = rank
            room[rank] -= taken.numel()
    owner[owner < 0] = int(room.argmax())
    return owner
