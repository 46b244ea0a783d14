"""Compressed sparse rows over vertices: row = target, columns = its in-neighbours."""

from dataclasses import dataclass

import torch
from torch import Tensor

from shoestring.core.errors import DataError

__all__ = ["Csr", "csr_from_edge_index", "select_columns"]

MAX_VERTICES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Csr:
    """In-edges of a range of target vertices.

    Row i holds the sources of the edges that point at target i, so ``A @ x`` sums over in-neighbours.
    Duplicate edges are separate entries.
    """

    indptr: Tensor
    """int64, (rows + 1,): edges of row i are ``indptr[i]:indptr[i + 1]``."""
    indices: Tensor
    """int32, (edges,): column of each edge, ascending within a row."""
    values: Tensor | None
    """float, (edges,): weight of each edge; None when all are 1."""
    num_cols: int

    @property
    def num_rows(self) -> int:
        """Number of target vertices."""
        return self.indptr.numel() - 1

    @property
    def num_edges(self) -> int:
        """Number of stored edges, duplicates counted."""
        return self.indices.numel()

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        parts = (self.indptr, self.indices, self.values)
        return sum(t.numel() * t.element_size() for t in parts if t is not None)

    def degrees(self) -> Tensor:
        """Return the number of in-edges of each row, int64 (rows,)."""
        return self.indptr.diff()

    def row_ids(self) -> Tensor:
        """Return the row of each edge, int32 (edges,)."""
        rows = torch.arange(self.num_rows, dtype=torch.int32, device=self.indptr.device)
        return torch.repeat_interleave(rows, self.degrees(), output_size=self.num_edges)

    def rows(self, start: int, stop: int) -> "Csr":
        """Return the rows ``start:stop`` over the same columns; the edges are views."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        values = None if self.values is None else self.values[first:last]
        return Csr(self.indptr[start : stop + 1] - first, self.indices[first:last], values, self.num_cols)

    def transpose(self) -> "Csr":
        """Return the matrix of out-edges; O(E log E), deterministic."""
        order = torch.argsort(self.indices, stable=True)
        counts = torch.bincount(self.indices, minlength=self.num_cols)
        values = None if self.values is None else self.values[order]
        return Csr(_indptr(counts), self.row_ids()[order], values, self.num_rows)

    def to_torch(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a torch sparse CSR tensor of shape (rows, num_cols)."""
        values = self.values
        if values is None:
            values = torch.ones(self.num_edges, dtype=dtype, device=self.indices.device)
        size = (self.num_rows, self.num_cols)
        return torch.sparse_csr_tensor(
            self.indptr, self.indices.long(), values, size, check_invariants=False
        )

    def edge_index(self) -> Tensor:
        """Return the edges as PyG has them: int64 (2, edges), row 0 sources, row 1 targets."""
        return torch.stack([self.indices.long(), self.row_ids().long()])


def csr_from_edge_index(edge_index: Tensor, num_nodes: int, weights: Tensor | None = None) -> Csr:
    """Sort edges by target and, within a target, by source.

    Parameters
    ----------
    edge_index : Tensor
        Integer, (2, E): sources and targets, as in PyG. Duplicates and self-loops are kept.
    num_nodes : int
        Number of vertices, at most 2^31 - 1.
    weights : Tensor, optional
        float, (E,).

    Returns
    -------
    Csr
        Of num_nodes rows and columns.

    Raises
    ------
    DataError
        If the shape is wrong or an id lies outside ``0 <= id < num_nodes``.

    Notes
    -----
    O(E log E); the order of equal edges is that of the input.
    """
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.is_floating_point():
        raise DataError(
            f"edge_index has shape {tuple(edge_index.shape)} and dtype {edge_index.dtype}; "
            "give integers of shape (2, number of edges), sources first"
        )
    if not 0 <= num_nodes <= MAX_VERTICES:
        raise DataError(f"num_nodes={num_nodes} is outside 0..{MAX_VERTICES}; ids are stored as int32")
    if edge_index.numel():
        low, high = int(edge_index.min()), int(edge_index.max())
        if low < 0 or high >= num_nodes:
            raise DataError(
                f"edge_index holds ids {low}..{high}, but there are {num_nodes} vertices; "
                "ids must lie in 0..num_nodes-1. Check num_nodes, or relabel the vertices"
            )
    if weights is not None and weights.shape != (edge_index.shape[1],):
        raise DataError(
            f"weights have shape {tuple(weights.shape)} for {edge_index.shape[1]} edges; give one an edge"
        )
    source, target = edge_index[0].long(), edge_index[1].long()
    order = torch.argsort(target * max(num_nodes, 1) + source, stable=True)
    counts = torch.bincount(target, minlength=num_nodes)
    values = None if weights is None else weights[order]
    return Csr(_indptr(counts), source[order].to(torch.int32), values, num_nodes)


def select_columns(csr: Csr, position: Tensor, num_cols: int) -> Csr:
    """Rename columns: edge to column c becomes an edge to ``position[c]``.

    Parameters
    ----------
    csr : Csr
        Any rows.
    position : Tensor
        Integer, (csr.num_cols,); new id of every column that occurs.
    num_cols : int
        Number of columns after renaming.
    """
    return Csr(csr.indptr, position[csr.indices.long()].to(torch.int32), csr.values, num_cols)


def _indptr(counts: Tensor) -> Tensor:
    out = torch.zeros(counts.numel() + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, 0, out=out[1:])
    return out
