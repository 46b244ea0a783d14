"""Compressed rows of a directed graph: who reads whom.

Row = target vertex, columns = its in-neighbours (sources), as PyG's ``source_to_target`` flow has it.
Shapes: N vertices, E edges, R rows of a block, K its columns.
"""

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shoestring.core.errors import ConfigError, DataError
from shoestring.graphs import sparse_ops

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Block",
    "Csr",
    "Transposed",
    "check_edge_index",
    "csr_from_edge_index",
    "cut_block",
    "select_columns",
]

_MAX_INDEX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Csr:
    """A sparse R x K matrix in compressed rows.

    Attributes
    ----------
    indptr : Tensor
        int64, (R + 1,), starts at 0; row r holds edges ``indptr[r]:indptr[r + 1]``.
    indices : Tensor
        int32, (E,), the column of every edge. Duplicates are allowed.
    values : Tensor or None
        float, (E,), one weight an edge; None means that every weight is 1.
    num_cols : int
        K.
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor | None
    num_cols: int

    @property
    def num_rows(self) -> int:
        """R."""
        return self.indptr.numel() - 1

    @property
    def num_edges(self) -> int:
        """E."""
        return self.indices.numel()

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, views counted as if they were copies."""
        arrays: Iterator[Tensor] = (a for a in (self.indptr, self.indices, self.values) if a is not None)
        return sum(a.numel() * a.element_size() for a in arrays)

    def degrees(self) -> Tensor:
        """Edges of every row, int64, (R,)."""
        return self.indptr[1:] - self.indptr[:-1]

    def row_ids(self) -> Tensor:
        """Expand `indptr` to the row of every edge, int64, (E,)."""
        rows = torch.arange(self.num_rows, dtype=torch.int64, device=self.indptr.device)
        return torch.repeat_interleave(rows, self.degrees(), output_size=self.num_edges)

    def rows(self, start: int, stop: int) -> "Csr":
        """Rows ``start:stop`` with all columns; `indices` and `values` are views.

        Raises
        ------
        ConfigError
            Unless ``0 <= start <= stop <= num_rows``.
        """
        if not 0 <= start <= stop <= self.num_rows:
            raise ConfigError(
                f"rows({start}, {stop}) of a matrix with {self.num_rows} rows; "
                f"give 0 <= start <= stop <= {self.num_rows}"
            )
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        values = None if self.values is None else self.values[first:last]
        return Csr(self.indptr[start : stop + 1] - first, self.indices[first:last], values, self.num_cols)

    def select(self, rows: Tensor) -> "Csr":
        """Copy the given rows, in the given order, with all columns.

        Parameters
        ----------
        rows : Tensor
            int64, (R',), row ids; may repeat.
        """
        counts = self.degrees()[rows]
        indptr = torch.zeros(rows.numel() + 1, dtype=torch.int64)
        torch.cumsum(counts, 0, out=indptr[1:])
        total = int(indptr[-1])
        shift = torch.repeat_interleave(self.indptr[rows] - indptr[:-1], counts, output_size=total)
        edges = shift.add_(torch.arange(total))
        values = None if self.values is None else self.values[edges]
        return Csr(indptr, self.indices[edges], values, self.num_cols)

    def edge_index(self) -> Tensor:
        """Return the edges as PyG has them: int64, (2, E), sources, targets."""
        return torch.stack([self.indices.to(torch.int64), self.row_ids()])

    def transpose(self) -> "Csr":
        """K x R matrix of the same edges; columns of a row ascend (stable). O(E + K)."""
        return self.transposed().csr

    def transposed(self) -> "Transposed":
        """Transpose that remembers which edge went where."""
        indptr, order = sparse_ops.group(self.indices, self.num_cols)
        rows = self.row_ids().to(torch.int32)
        values = None if self.values is None else self.values[order]
        return Transposed(Csr(indptr, rows[order], values, self.num_rows), order)

    def to_torch(self, dtype: torch.dtype | None = None) -> Tensor:
        """Copy to a ``torch.sparse_csr`` tensor of shape (R, K).

        Parameters
        ----------
        dtype : torch.dtype or None
            Dtype of the weights; None keeps theirs, or float32 where there are none.
        """
        values = self.values
        if values is None:
            values = torch.ones(self.num_edges, dtype=dtype or torch.float32)
        elif dtype is not None:
            values = values.to(dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Ss]parse.*(beta|invariant).*")
            return torch.sparse_csr_tensor(
                self.indptr,
                self.indices.to(torch.int64),
                values,
                size=(self.num_rows, self.num_cols),
                check_invariants=False,
            )


@dataclass(frozen=True, slots=True)
class Transposed:
    """A transpose and where its edges come from: edge e of `csr` is edge ``order[e]`` of the original."""

    csr: Csr
    order: Tensor
    """int64, (E,)."""


@dataclass(slots=True)
class Block:
    """Rows of a topology with their columns, ready for a layer: forward product, transposed product.

    The first `num_rows` columns are the rows' own vertices, in the same order (PyG's bipartite convention).

    Attributes
    ----------
    csr : Csr
        (R, K), K >= R; weights as `prepare_topology` made them.
    """

    csr: Csr
    _transposed: Transposed | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.csr.num_cols < self.csr.num_rows:
            raise ConfigError(
                f"a block of {self.csr.num_rows} rows with {self.csr.num_cols} columns; "
                "the first columns are the rows' own vertices, so there are at least as many columns as rows"
            )

    @property
    def num_rows(self) -> int:
        """R."""
        return self.csr.num_rows

    @property
    def num_cols(self) -> int:
        """K."""
        return self.csr.num_cols

    @property
    def num_edges(self) -> int:
        """E."""
        return self.csr.num_edges

    @property
    def transposed(self) -> Transposed:
        """The transpose; made at first use and kept."""
        if self._transposed is None:
            self._transposed = self.csr.transposed()
        return self._transposed

    @property
    def has_transposed(self) -> bool:
        """Whether the transpose was made or given."""
        return self._transposed is not None

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and of the transpose if it was made."""
        kept = self._transposed
        return self.csr.nbytes + (0 if kept is None else kept.csr.nbytes + 8 * kept.order.numel())


def csr_from_edge_index(edge_index: Tensor, num_nodes: int, weights: Tensor | None = None) -> Csr:
    """Sort edges by target, then source; duplicates and self-loops are kept.

    Parameters
    ----------
    edge_index : Tensor
        int64 or int32, (2, E): sources, targets, as PyG has them.
    num_nodes : int
        N, at most 2**31 - 1.
    weights : Tensor or None
        float, (E,).

    Returns
    -------
    Csr
        (N, N).

    Raises
    ------
    DataError
        Shapes, dtypes or ids outside 0 .. N-1.

    Notes
    -----
    Equal edges keep the order of the input. O(N + E) time, two counting sorts; 32 E bytes beside the result.
    """
    check_edge_index(edge_index, num_nodes)
    if weights is not None and (weights.shape != (edge_index.shape[1],) or not weights.is_floating_point()):
        raise DataError(
            f"weights are {weights.dtype} of shape {tuple(weights.shape)}; "
            f"give one floating-point weight an edge, shape ({edge_index.shape[1]},)"
        )
    sources, targets = edge_index[0].to(torch.int32), edge_index[1].to(torch.int32)
    _, by_source = sparse_ops.group(sources, num_nodes)
    indptr, by_target = sparse_ops.group(targets[by_source], num_nodes)
    order = by_source[by_target]
    return Csr(indptr, sources[order], None if weights is None else weights[order], num_nodes)


def check_edge_index(edge_index: Tensor, num_nodes: int) -> None:
    """Refuse edges that do not fit a graph of `num_nodes` vertices, with a DataError."""
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise DataError(f"edge_index has shape {tuple(edge_index.shape)}; give (2, edges): sources, targets")
    if edge_index.dtype not in (torch.int64, torch.int32):
        raise DataError(f"edge_index is {edge_index.dtype}; give int64 vertex ids (edge_index.long())")
    if not 0 <= num_nodes <= _MAX_INDEX:
        raise DataError(f"num_nodes={num_nodes}; 0 to {_MAX_INDEX} vertices fit the 32-bit columns")
    if edge_index.numel():
        low, high = (int(v) for v in torch.aminmax(edge_index))
        if low < 0 or high >= num_nodes:
            raise DataError(
                f"edge_index holds ids {low} .. {high}; {num_nodes} vertices have ids 0 .. {num_nodes - 1}. "
                "Give the true num_nodes, or renumber the vertices"
            )


def select_columns(csr: Csr, position: Tensor, num_cols: int) -> Csr:
    """Rename columns: an edge to column c becomes an edge to ``position[c]``.

    Parameters
    ----------
    csr : Csr
        Any rows.
    position : Tensor
        Integer, (csr.num_cols,): new id of every column that occurs.
    num_cols : int
        Number of columns after renaming.
    """
    return Csr(csr.indptr, position[csr.indices].to(torch.int32), csr.values, num_cols)


def cut_block(csr: Csr, start: int, stop: int) -> tuple[Block, Tensor]:
    """Cut rows ``start:stop`` of a square matrix, keeping only the columns that they read.

    Parameters
    ----------
    csr : Csr
        (N, N), e.g. from `prepare_topology`.
    start, stop : int
        Rows of the block.

    Returns
    -------
    block : Block
        (R, K), R = stop - start.
    columns : Tensor
        int64, (K,): the vertex of every column; first ``start .. stop - 1``, then the others ascending.

    Notes
    -----
    O(E + N) with a table of N integers; no sort.
    """
    part = csr.rows(start, stop)
    seen = torch.zeros(csr.num_cols, dtype=torch.bool)
    seen[part.indices] = True
    seen[start:stop] = False
    others = torch.nonzero(seen).squeeze(1)
    num_rows = stop - start
    local = torch.empty(csr.num_cols, dtype=torch.int32)
    local[start:stop] = torch.arange(num_rows, dtype=torch.int32)
    local[others] = torch.arange(num_rows, num_rows + others.numel(), dtype=torch.int32)
    columns = torch.cat([torch.arange(start, stop), others])
    return Block(Csr(part.indptr, local[part.indices], part.values, columns.numel())), columns
