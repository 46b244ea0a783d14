"""A partition of a graph: labels, the new order of vertices, and how good it is."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from shoestring.core.errors import DataError
from shoestring.graphs.csr import Csr

__all__ = ["Partition"]


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Parts of a graph's vertices, with the figures that decide what they cost.

    Parameters
    ----------
    part : Tensor
        int32, (N,): part of each vertex.
    num_parts : int
        Number of parts, empty ones counted.
    csr : Csr
        In-edges of every vertex, as they were partitioned.
    method : str
        How the parts were found.
    iterations : int
        Of the method; 0 where it has none.
    """

    part: Tensor
    num_parts: int
    csr: Csr
    method: str
    iterations: int = 0
    scores: tuple[float, ...] = ()
    """Mean score before each iteration's moves (label propagation only)."""

    def __post_init__(self) -> None:
        if self.part.shape != (self.csr.num_rows,):
            raise DataError(f"{self.part.numel()} labels for {self.csr.num_rows} vertices; give one a vertex")

    @cached_property
    def sizes(self) -> Tensor:
        """Vertices of each part, int64 (num_parts,)."""
        return torch.bincount(self.part, minlength=self.num_parts)

    @cached_property
    def perm(self) -> Tensor:
        """Old id of each vertex of the new order, int64 (N,): by part, ids ascending inside a part."""
        return torch.argsort(self.part, stable=True)

    @cached_property
    def ptr(self) -> Tensor:
        """int64, (num_parts + 1,): part j is ``ptr[j]:ptr[j + 1]`` of the new order."""
        return torch.cat([torch.zeros(1, dtype=torch.int64), torch.cumsum(self.sizes, 0)])

    @cached_property
    def _boundary(self) -> Tensor:
        """int64, (num_parts, num_parts): vertices of part q that part j reads, at ``[j, q]``, q != j."""
        out = torch.zeros(self.num_parts * self.num_parts, dtype=torch.int64)
        source = self.part[self.csr.indices.long()]
        target = self.part[self.csr.row_ids().long()]
        cut = source != target
        reader = target[cut].long()
        read = torch.unique(reader * self.csr.num_cols + self.csr.indices[cut])
        reader, vertex = read // self.csr.num_cols, read % self.csr.num_cols
        out += torch.bincount(reader * self.num_parts + self.part[vertex], minlength=out.numel())
        return out.view(self.num_parts, self.num_parts)

    @property
    def alpha(self) -> float:
        """Expansion ratio: vertices that all parts read, their own counted, over N; 1 without cut edges."""
        num = max(self.csr.num_rows, 1)
        return (self.csr.num_rows + int(self._boundary.sum())) / num

    @property
    def dependants(self) -> float:
        """Other parts that a part reads from, mean over the parts."""
        return float((self._boundary > 0).sum()) / self.num_parts

    @property
    def max_dependants(self) -> int:
        """Other parts that a part reads from, at most."""
        return int((self._boundary > 0).sum(1).max())

    @property
    def balance(self) -> float:
        """Largest part over the mean."""
        return float(self.sizes.max()) * self.num_parts / max(self.csr.num_rows, 1)

    @property
    def cut_edges(self) -> int:
        """Edges between parts."""
        rows = self.csr.row_ids().long()
        return int((self.part[self.csr.indices.long()] != self.part[rows]).sum())
