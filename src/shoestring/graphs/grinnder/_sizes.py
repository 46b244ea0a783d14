"""Sizes of a partitioned graph: enough to plan with, before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.graphs.convs import TopologyKind
from shoestring.graphs.csr import Csr
from shoestring.storage import round_up

__all__ = ["GraphSizes", "TopologySizes", "count_sizes", "record_layout"]

_ALIGN = 64


def record_layout(shapes: Sequence[tuple[int, int]]) -> tuple[list[int], int]:
    """Offsets and total bytes of a record of (numel, itemsize) arrays, each aligned to 64 bytes."""
    offsets, end = [], 0
    for numel, itemsize in shapes:
        offsets.append(end)
        end = round_up(end + numel * itemsize, _ALIGN)
    return offsets, end


@dataclass(frozen=True, kw_only=True, slots=True)
class TopologySizes:
    """Sizes of one kind of topology, a number a partition."""

    weighted: bool
    cols: tuple[int, ...]
    edges: tuple[int, ...]
    sources: tuple[tuple[tuple[int, int], ...], ...]
    """Per partition (owner, boundary columns), owners ascending; empty when only sizes are known."""

    def forward_shapes(self, part: int, rows: int, itemsize: int) -> list[tuple[int, int]]:
        """(numel, itemsize) of indptr, indices, boundary[, values]."""
        cols, edges = self.cols[part], self.edges[part]
        values = [(edges, itemsize)] if self.weighted else []
        return [(rows + 1, 8), (edges, 4), (cols - rows, 4), *values]

    def transpose_shapes(self, part: int, itemsize: int) -> list[tuple[int, int]]:
        """(numel, itemsize) of indptr, indices, values or order."""
        cols, edges = self.cols[part], self.edges[part]
        return [(cols + 1, 8), (edges, 4), (edges, itemsize if self.weighted else 8)]


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphSizes:
    """Sizes of a partitioned graph."""

    ptr: tuple[int, ...]
    itemsize: int
    topologies: Mapping[TopologyKind, TopologySizes]
    resident_bytes: int
    """Labels, masks and vertex order."""

    @property
    def num_parts(self) -> int:
        """Number of partitions."""
        return len(self.ptr) - 1

    def rows(self, part: int) -> int:
        """n_j."""
        return self.ptr[part + 1] - self.ptr[part]

    def topology_bytes(self, kind: TopologyKind, part: int) -> tuple[int, int]:
        """Bytes of the forward and of the transposed record of a partition."""
        s = self.topologies[kind]
        forward = record_layout(s.forward_shapes(part, self.rows(part), self.itemsize))[1]
        return forward, record_layout(s.transpose_shapes(part, self.itemsize))[1]


def count_sizes(csr: Csr, part: Tensor, num_parts: int) -> TopologySizes:
    """Count columns and edges of every partition without cutting anything; O(E log E).

    Parameters
    ----------
    csr : Csr
        A prepared topology in the user's order.
    part : Tensor
        Integer, (N,): partition of every vertex.
    """
    part = part.long()
    rows, cols = part[csr.row_ids().long()], csr.indices.long()
    across = rows != part[cols]
    pairs = torch.unique(rows[across] * csr.num_cols + cols[across])
    boundary = torch.bincount(pairs // max(csr.num_cols, 1), minlength=num_parts)
    own = torch.bincount(part, minlength=num_parts)
    return TopologySizes(
        weighted=csr.values is not None,
        cols=tuple((own + boundary).tolist()),
        edges=tuple(torch.bincount(rows, minlength=num_parts).tolist()),
        sources=(),
    )
