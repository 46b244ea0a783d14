"""Rows, slices, transposes and blocks against dense matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shoestring.core.errors import ConfigError, DataError
from shoestring.graphs.csr import Block, Csr, csr_from_edge_index, cut_block, select_columns


def dense(csr: Csr) -> Tensor:
    """Sum of the weights of every pair."""
    out = torch.zeros(csr.num_rows, csr.num_cols, dtype=torch.float64)
    weights = torch.ones(csr.num_edges) if csr.values is None else csr.values
    return out.index_put((csr.row_ids(), csr.indices.long()), weights.double(), accumulate=True)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Tensor, int, Tensor | None]:
    num = draw(st.integers(1, 12))
    ids = st.integers(0, num - 1)
    edges = draw(st.lists(st.tuples(ids, ids), max_size=40))
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    weights = torch.arange(1, len(edges) + 1, dtype=torch.float64) if draw(st.booleans()) else None
    return edge_index, num, weights


@given(graphs())
def test_rows_hold_the_edges_sorted(graph: tuple[Tensor, int, Tensor | None]) -> None:
    edge_index, num, weights = graph
    csr = csr_from_edge_index(edge_index, num, weights)
    want = torch.zeros(num, num, dtype=torch.float64)
    each = torch.ones(edge_index.shape[1], dtype=torch.float64) if weights is None else weights
    want.index_put_((edge_index[1], edge_index[0]), each, accumulate=True)
    assert torch.equal(dense(csr), want)
    pairs = list(zip(csr.row_ids().tolist(), csr.indices.tolist(), strict=True))
    assert pairs == sorted(pairs)
    assert sorted(map(tuple, csr.edge_index().t().tolist())) == sorted(map(tuple, edge_index.t().tolist()))
    assert torch.equal(csr.to_torch(torch.float64).to_dense(), want)


@given(graphs())
def test_the_transpose_knows_its_edges(graph: tuple[Tensor, int, Tensor | None]) -> None:
    csr = csr_from_edge_index(*graph)
    back = csr.transposed()
    assert torch.equal(dense(back.csr), dense(csr).t())
    assert torch.equal(back.csr.indices, csr.row_ids()[back.order].to(torch.int32))
    again = back.csr.transpose()
    assert torch.equal(again.indptr, csr.indptr)
    assert torch.equal(again.indices, csr.indices)


@given(graphs(), st.data())
def test_slices_and_selections_equal_the_dense_ones(
    graph: tuple[Tensor, int, Tensor | None], data: st.DataObject
) -> None:
    csr = csr_from_edge_index(*graph)
    start = data.draw(st.integers(0, csr.num_rows))
    stop = data.draw(st.integers(start, csr.num_rows))
    part = csr.rows(start, stop)
    assert torch.equal(dense(part), dense(csr)[start:stop])
    assert part.num_edges == 0 or part.indices.data_ptr() == csr.indices[int(csr.indptr[start]) :].data_ptr()
    chosen = torch.tensor(
        data.draw(st.lists(st.integers(0, csr.num_rows - 1), max_size=8)), dtype=torch.int64
    )
    assert torch.equal(dense(csr.select(chosen)), dense(csr)[chosen])


@given(graphs(), st.data())
def test_a_block_reads_its_own_rows_first(
    graph: tuple[Tensor, int, Tensor | None], data: st.DataObject
) -> None:
    csr = csr_from_edge_index(*graph)
    start = data.draw(st.integers(0, csr.num_rows))
    stop = data.draw(st.integers(start, csr.num_rows))
    block, columns = cut_block(csr, start, stop)
    own = stop - start
    assert columns[:own].tolist() == list(range(start, stop))
    others = columns[own:].tolist()
    assert others == sorted(set(csr.rows(start, stop).indices.tolist()) - set(range(start, stop)))
    whole = torch.zeros(own, csr.num_cols, dtype=torch.float64)
    whole[:, columns] = dense(block.csr)
    assert torch.equal(whole, dense(csr)[start:stop])


def test_sizes_and_bytes() -> None:
    csr = csr_from_edge_index(torch.tensor([[0, 1, 1], [1, 0, 0]]), 3, torch.ones(3))
    assert (csr.num_rows, csr.num_cols, csr.num_edges, csr.nbytes) == (3, 3, 3, 4 * 8 + 3 * 4 + 3 * 4)
    assert csr.degrees().tolist() == [2, 1, 0]
    block = Block(csr)
    assert (block.num_rows, block.num_cols, block.num_edges, block.nbytes) == (3, 3, 3, csr.nbytes)
    assert block.transposed is block.transposed
    assert block.nbytes == 2 * csr.nbytes + 3 * 8


def test_columns_are_renamed() -> None:
    csr = csr_from_edge_index(torch.tensor([[0, 2], [1, 1]]), 3)
    renamed = select_columns(csr, torch.tensor([5, 9, 4]), 6)
    assert renamed.indices.tolist() == [5, 4]
    assert renamed.num_cols == 6


def test_an_empty_graph_is_a_graph() -> None:
    csr = csr_from_edge_index(torch.zeros(2, 0, dtype=torch.int64), 0)
    assert (csr.num_rows, csr.num_edges) == (0, 0)
    assert csr.transpose().num_rows == 0


@pytest.mark.parametrize(
    ("edge_index", "num_nodes", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.int64), 1, r"shape \(3, 2\)"),
        (torch.zeros(2, 1), 1, "float32; give int64"),
        (torch.tensor([[0], [3]]), 3, r"ids 0 \.\. 3; 3 vertices"),
        (torch.tensor([[-1], [0]]), 3, r"ids -1 \.\. 0"),
        (torch.zeros(2, 0, dtype=torch.int64), -1, "num_nodes=-1"),
        (torch.zeros(2, 0, dtype=torch.int64), 2**31, "fit the 32-bit columns"),
    ],
)
def test_malformed_edges_say_what_is_wrong(edge_index: Tensor, num_nodes: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        csr_from_edge_index(edge_index, num_nodes)


@pytest.mark.parametrize("weights", [torch.ones(2), torch.ones(1, 1), torch.ones(1, dtype=torch.int64)])
def test_malformed_weights_say_what_is_wrong(weights: Tensor) -> None:
    with pytest.raises(DataError, match="one floating-point weight an edge"):
        csr_from_edge_index(torch.tensor([[0], [0]]), 1, weights)


def test_rows_outside_and_blocks_with_too_few_columns_are_refused() -> None:
    csr = csr_from_edge_index(torch.tensor([[0], [1]]), 2)
    for start, stop in ((-1, 1), (2, 1), (0, 3)):
        with pytest.raises(ConfigError, match=r"0 <= start <= stop <= 2"):
            csr.rows(start, stop)
    with pytest.raises(ConfigError, match="at least as many columns"):
        Block(Csr(csr.indptr, csr.indices, None, 1))
