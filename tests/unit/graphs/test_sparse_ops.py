"""The compiled products against torch's, their gradients, threads and bad arrays."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from shoestring.core.errors import DataError
from shoestring.graphs import _sparse_torch, sparse_ops
from shoestring.graphs.csr import Block, Csr, csr_from_edge_index
from shoestring.native import sparse


def random_block(seed: int, num_rows: int, num_cols: int, num_edges: int, dtype: torch.dtype) -> Block:
    """Duplicates, empty rows, unread columns; the first rows read most (hubs)."""
    generator = torch.Generator().manual_seed(seed)
    rows = (torch.rand(num_edges, generator=generator) ** 3 * num_rows).long().sort().values
    cols = torch.randint(0, num_cols, (num_edges,), generator=generator, dtype=torch.int32)
    indptr = torch.zeros(num_rows + 1, dtype=torch.int64)
    indptr[1:] = torch.bincount(rows, minlength=num_rows).cumsum(0)
    values = torch.rand(num_edges, generator=generator, dtype=dtype) - 0.5
    return Block(Csr(indptr, cols, values, num_cols))


def both(
    run: Callable[[], Tensor], reference: Callable[[], Tensor], inputs: list[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    got, want = run(), reference()
    push = torch.randn(got.shape, dtype=got.dtype, generator=torch.Generator().manual_seed(9))
    return [
        (got, want),
        *zip(torch.autograd.grad(got, inputs, push), torch.autograd.grad(want, inputs, push), strict=True),
    ]


# Every piece of 8, 4, 2, 1 vectors and single values, in float32 and float64.
WIDTHS = [0, 1, 3, 7, 8, 9, 17, 31, 40, 64, 123, 130]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_spmm_equals_torch(width: int, dtype: torch.dtype, weighted: bool, transposed: bool) -> None:
    block = random_block(0, 20, 33, 150, dtype)
    if not weighted:
        block = Block(Csr(block.csr.indptr, block.csr.indices, None, 33))
    x = torch.randn(33, width, dtype=dtype, generator=torch.Generator().manual_seed(1), requires_grad=True)
    ours = Block(block.csr, block.transposed if transposed else None)
    for got, want in both(lambda: sparse_ops.spmm(ours, x), lambda: _sparse_torch.spmm(block, x), [x]):
        torch.testing.assert_close(got, want, rtol=1e-5 if dtype == torch.float32 else 1e-13, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("heads", "channels"), [(1, 1), (1, 40), (3, 7), (4, 16), (8, 8), (2, 33)])
def test_attention_equals_torch(heads: int, channels: int, dtype: torch.dtype) -> None:
    block = random_block(2, 25, 40, 200, dtype)
    generator = torch.Generator().manual_seed(3)
    x, source, target = (
        torch.randn(shape, dtype=dtype, generator=generator).requires_grad_()
        for shape in ((40, heads, channels), (40, heads), (25, heads))
    )
    pairs = both(
        lambda: sparse_ops.attend(block, x, source, target, 0.2),
        lambda: _sparse_torch.attend(block, x, source, target, 0.2),
        [x, source, target],
    )
    for got, want in pairs:
        torch.testing.assert_close(got, want, rtol=1e-4 if dtype == torch.float32 else 1e-12, atol=1e-5)


@pytest.mark.parametrize("width", WIDTHS[1:])
def test_the_maximum_shares_its_gradient_among_ties(width: int) -> None:
    block = random_block(4, 25, 40, 200, torch.float64)
    x = (
        torch.randint(-2, 3, (40, width), generator=torch.Generator().manual_seed(5))
        .double()
        .requires_grad_()
    )
    for got, want in both(
        lambda: sparse_ops.segment_max(block, x), lambda: _sparse_torch.segment_max(block, x), [x]
    ):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_a_nan_stays_in_the_maximum() -> None:
    csr = csr_from_edge_index(torch.tensor([[1, 2, 0], [0, 0, 1]]), 3)
    for order in ([[1.0], [float("nan")], [5.0]], [[1.0], [5.0], [float("nan")]]):
        assert torch.isnan(sparse_ops.segment_max(Block(csr), torch.tensor(order))[0, 0])


def test_extreme_logits_stay_finite() -> None:
    block = Block(csr_from_edge_index(torch.tensor([[0, 1, 2], [0, 0, 0]]), 3))
    source = torch.tensor([[1e4], [-1e4], [1e4]], requires_grad=True)
    out = sparse_ops.attend(block, torch.ones(3, 1, 2), source, torch.zeros(3, 1), 0.2)
    torch.testing.assert_close(out[0], torch.ones(1, 2))
    assert torch.isfinite(torch.autograd.grad(out.sum(), source)[0]).all()


def test_the_same_bits_for_any_number_of_threads() -> None:
    csr = random_block(6, 3000, 3000, 60_000, torch.float32).csr
    rows = csr.indptr.numpy(), csr.indices.numpy()
    x = torch.randn(3000, 80, generator=torch.Generator().manual_seed(7)).numpy()
    results = []
    for threads in (1, 2, 5):
        out, back = np.empty_like(x), np.empty_like(x)
        sparse.spmm(*rows, csr.values.numpy() if csr.values is not None else None, x, out, threads)
        sparse.spmm_transposed(*rows, None, x, back, threads)
        results.append((out, back))
    for out, back in results[1:]:
        assert np.array_equal(out, results[0][0])
        assert np.array_equal(back, results[0][1])


def test_the_transpose_and_the_spread_give_the_same_bits() -> None:
    csr = random_block(8, 200, 300, 5000, torch.float32).csr
    x = torch.randn(300, 50, requires_grad=True)
    push = torch.randn(200, 50)
    without, having = Block(csr), Block(csr, csr.transposed())
    (spread,) = torch.autograd.grad(sparse_ops.spmm(without, x), x, push)
    (read,) = torch.autograd.grad(sparse_ops.spmm(having, x), x, push)
    assert torch.equal(spread, read)
    assert not without.has_transposed


def test_strided_inputs_are_read_rightly() -> None:
    block = random_block(10, 12, 15, 60, torch.float64)
    wide = torch.randn(15, 20, dtype=torch.float64)
    torch.testing.assert_close(
        sparse_ops.spmm(block, wide[:, ::2]),
        sparse_ops.spmm(block, wide[:, ::2].contiguous()),
        rtol=0,
        atol=0,
    )
    x = wide[:, :10].clone().requires_grad_()
    out = sparse_ops.spmm(block, x)
    (grad,) = torch.autograd.grad(out, x, torch.ones(1, 1, dtype=torch.float64).expand_as(out))
    torch.testing.assert_close(grad, torch.autograd.grad(sparse_ops.spmm(block, x).sum(), x)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_dtypes_take_torchs_path(dtype: torch.dtype) -> None:
    block = random_block(11, 6, 6, 20, torch.float32)
    out = sparse_ops.segment_max(block, torch.randn(6, 4).to(dtype))
    assert out.dtype == dtype


def test_grouping_is_stable_and_refuses_foreign_keys() -> None:
    indptr, order = sparse_ops.group(torch.tensor([2, 0, 2, 1, 0], dtype=torch.int32), 4)
    assert indptr.tolist() == [0, 2, 3, 5, 5]
    assert order.tolist() == [1, 4, 3, 0, 2]
    for bad in (-1, 4):
        with pytest.raises(DataError, match=rf"item 1 has key {bad}; there are groups 0 \.\. 3"):
            sparse_ops.group(torch.tensor([0, bad], dtype=torch.int32), 4)


def test_arrays_that_do_not_fit_are_data_errors() -> None:
    indptr, indices = np.array([0, 2]), np.array([0, 1], dtype=np.int32)
    x, out = np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)
    sparse.spmm(indptr, indices, None, x, out, 1)
    with pytest.raises(DataError, match="indptr"):
        sparse.spmm(np.array([0, 3]), indices, None, x, out, 1)
    with pytest.raises(DataError, match="1 weights for 2 edges"):
        sparse.spmm(indptr, indices, np.ones(1, np.float32), x, out, 1)
    with pytest.raises(DataError, match=r"\(2, 3\) where \(1, 3\)"):
        sparse.spmm(indptr, indices, None, x, x, 1)
    with pytest.raises(DataError, match="is needed"):
        sparse.spmm_transposed(indptr, indices, None, x, x, 1)


def test_a_wrong_dtype_is_refused_and_never_copied() -> None:
    indptr, indices = np.array([0, 1]), np.array([0], dtype=np.int32)
    x, out = np.ones((1, 2), np.float64), np.zeros((1, 2), np.float32)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        sparse.spmm(indptr, indices, None, x, out, 1)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        sparse.spmm(
            indptr, indices, None, np.ones((2, 2), np.float32).T[:1], np.zeros((1, 2), np.float32)[:, ::-1], 1
        )


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("width", [1, 20, 130])
def test_rows_are_added_in_place(width: int, index_dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(12)
    target, source = (torch.randn(n, width, generator=generator, dtype=torch.float64) for n in (30, 500))
    index = torch.randint(0, 30, (500,), generator=generator).to(index_dtype)
    want = target.index_add(0, index, source)
    assert sparse_ops.scatter_add_rows_(target, index, source) is target
    torch.testing.assert_close(target, want, rtol=1e-13, atol=1e-13)
    wide = torch.zeros(2 * width, 30).t()
    sparse_ops.scatter_add_rows_(wide, index, torch.ones(500, 2 * width))
    assert wide[:, 0].tolist() == torch.bincount(index, minlength=30).tolist()
    with pytest.raises(DataError, match=r"rows 30 \.\. 30 of an array with 30 rows"):
        sparse_ops.scatter_add_rows_(target, torch.tensor([30]), source[:1])
