"""What a head builds for its ranks: rows, edges and halo of every rank, as plain tensors.

Vertex ids are global here; a rank renames them to places (own rows first, then the halo by owner).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shoestring.graphs.csr import Csr, select_columns
from shoestring.graphs.granndis._source import Source
from shoestring.graphs.granndis.functional import keep_row_sums

__all__ = ["PhaseSpec", "RankSpec", "rank_rows", "rank_spec", "rank_spec_tensors", "spec_from_tensors"]


@dataclass(slots=True)
class PhaseSpec:
    """One stretch of layers with one halo."""

    depth: int
    """Layers of the phase."""
    first_layer: int
    num_rows: int
    """Own rows of the phase; the first rows of the rank."""
    edges: Csr
    """(targets, num_rows + halo): edges of the rows that are ever computed."""
    halo: Tensor
    """int64, ids by owner, ascending within one."""
    halo_counts: list[int]
    """Halo ids of every member of the group."""
    halo_dist: Tensor
    """int16, hops of the halo."""


@dataclass(slots=True)
class RankSpec:
    """Everything that one rank needs."""

    rows: Tensor
    """int64, (n,), ids by hop, then id."""
    dist: Tensor
    """int16, (n,)."""
    phases: list[PhaseSpec]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """``x``, ``y``, ``masks`` of the rows, or ``home`` where the features come from other ranks."""


def rank_rows(dist: Tensor, owner: Tensor, rank: int) -> Tensor:
    """Ids of a rank's rows, by hop, then id."""
    ids = ((owner == rank) & (dist >= 0)).nonzero().squeeze(1)
    return ids[dist[ids].argsort(stable=True)]


def phase_spec(
    csr: Csr,
    rows: Tensor,
    dist: Tensor,
    owner: Tensor,
    members: Sequence[int],
    *,
    depth: int,
    first_layer: int,
) -> PhaseSpec:
    """Cut a rank's edges out of the graph and name its halo.

    Parameters
    ----------
    csr : Csr
        (N, N).
    rows : Tensor
        int64, the rank's own rows of this phase, by hop.
    dist : Tensor
        int16, (N,), -1 outside: edges from there are dropped, the rest of the row rescaled.
    owner : Tensor
        int64, (N,), owner of every vertex with dist >= 0, in the numbering of `members`.
    members : sequence of int
        Owners in the group's order.
    depth, first_layer : int
        Layers of the phase, and the first.

    Notes
    -----
    O(edges + N), with one table of N integers.
    """
    targets = rows[dist[rows] < depth]
    edges = csr.select(targets)
    edges = keep_row_sums(edges, dist[edges.indices] >= 0)
    seen = torch.zeros(csr.num_cols, dtype=torch.bool)
    seen[edges.indices] = True
    seen[rows] = False
    halo = seen.nonzero().squeeze(1)
    halo = halo[owner[halo].argsort(stable=True)]
    counts = torch.bincount(owner[halo], minlength=max(members) + 1)
    place = torch.zeros(csr.num_cols, dtype=torch.int32)
    place[rows] = torch.arange(rows.numel(), dtype=torch.int32)
    place[halo] = torch.arange(rows.numel(), rows.numel() + halo.numel(), dtype=torch.int32)
    return PhaseSpec(
        depth,
        first_layer,
        rows.numel(),
        select_columns(edges, place, rows.numel() + halo.numel()),
        halo,
        [int(counts[m]) for m in members],
        dist[halo],
    )


def rank_spec(
    source: Source,
    dist: Tensor,
    owner: Tensor,
    rank: int,
    ranks: int,
    *,
    depth: int,
    second: "tuple[Tensor, int] | None" = None,
) -> RankSpec:
    """Build one rank of a server, or of the world.

    Parameters
    ----------
    source : Source
        The whole graph.
    dist, owner : Tensor
        Of the server: hops, and local owners (-1 outside).
    rank, ranks : int
        Which local rank of how many.
    depth : int
        Layers of the first phase.
    second : tuple or None
        For k below the number of layers: the owners of all vertices in the world, and the layers that are
        left. The second phase runs on inner vertices only.
    """
    rows = rank_rows(dist, owner, rank)
    phases = []
    if depth:
        phases.append(phase_spec(source.csr, rows, dist, owner, range(ranks), depth=depth, first_layer=0))
    if second is not None:
        world_owner, left = second
        inner = rows[dist[rows] == 0]
        world = range(int(world_owner.max()) + 1)
        everything = torch.zeros_like(dist)
        phases.append(
            phase_spec(source.csr, inner, everything, world_owner, world, depth=left, first_layer=depth)
        )
    return RankSpec(rows, dist[rows], phases)


def rank_spec_tensors(spec: RankSpec) -> dict[str, Tensor]:
    """Flatten to named tensors, to be sent."""
    out = {"rows": spec.rows, "dist": spec.dist, **{f"t.{k}": v for k, v in spec.tensors.items()}}
    for i, phase in enumerate(spec.phases):
        assert phase.edges.values is not None
        out |= {
            f"p{i}.shape": torch.tensor(
                [phase.depth, phase.first_layer, phase.num_rows, phase.edges.num_cols]
            ),
            f"p{i}.indptr": phase.edges.indptr,
            f"p{i}.indices": phase.edges.indices,
            f"p{i}.values": phase.edges.values,
            f"p{i}.halo": phase.halo,
            f"p{i}.counts": torch.tensor(phase.halo_counts),
            f"p{i}.halo_dist": phase.halo_dist,
        }
    return out


def spec_from_tensors(tensors: dict[str, Tensor]) -> RankSpec:
    """Inverse of `rank_spec_tensors`."""
    phases: list[PhaseSpec] = []
    while (front := f"p{len(phases)}.") + "shape" in tensors:
        depth, first, rows, cols = tensors[front + "shape"].tolist()
        edges = Csr(tensors[front + "indptr"], tensors[front + "indices"], tensors[front + "values"], cols)
        counts = [int(n) for n in tensors[front + "counts"].tolist()]
        phases.append(
            PhaseSpec(
                depth, first, rows, edges, tensors[front + "halo"], counts, tensors[front + "halo_dist"]
            )
        )
    extra = {k[2:]: v for k, v in tensors.items() if k.startswith("t.")}
    return RankSpec(tensors["rows"], tensors["dist"], phases, extra)
