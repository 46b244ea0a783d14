"""The compiled sparse products: arrays are checked here, then handed over without a copy.

A sparse matrix is `indptr` int64 (R + 1,), `indices` int32 (E,) in 0 .. K - 1, and `values` (E,) or None
for ones. Dense arrays are row-major float32 or float64, all of one dtype. Results are the same bits for any
number of threads. The content of `indptr` and `indices` is the caller's word: no product checks it again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import DataError
from shoestring.native import _core

__all__ = [
    "add_rows",
    "attend",
    "attend_backward",
    "dropout_rows",
    "group",
    "segment_max",
    "segment_max_backward",
    "simd",
    "spmm",
    "spmm_transposed",
]

Floats = NDArray[Any]
"""float32 or float64."""


def simd() -> str:
    """Name the instruction set in use: ``avx2`` or ``scalar`` (forced by ``SHOESTRING_SIMD=scalar``)."""
    return str(_core.sparse.simd())


def spmm(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: Floats | None,
    x: Floats,
    out: Floats,
    threads: int,
) -> None:
    """Write ``A @ x``, (R, D), to `out`; `x` is (K, D).

    Raises
    ------
    DataError
        If the shapes do not fit.
    """
    _check_rows(indptr, indices, values)
    _check_shape(out, (indptr.size - 1, x.shape[1]))
    _core.sparse.spmm(indptr, indices, values, x, out, x.shape[0], threads)


def spmm_transposed(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: Floats | None,
    x: Floats,
    out: Floats,
    threads: int,
) -> None:
    """Write ``A.T @ x``, (K, D), to `out`; `x` is (R, D). No transposed copy is made.

    Raises
    ------
    DataError
        If the shapes do not fit.
    """
    _check_rows(indptr, indices, values)
    _check_shape(x, (indptr.size - 1, out.shape[1]))
    _core.sparse.spmm_transposed(indptr, indices, values, x, out, out.shape[0], threads)


def segment_max(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], x: Floats, out: Floats, threads: int
) -> None:
    """Write the largest of every row's columns of `x` (K, D) to `out` (R, D), 0 for a row without edges."""
    _check_rows(indptr, indices, None)
    _check_shape(out, (indptr.size - 1, x.shape[1]))
    _core.sparse.segment_max(indptr, indices, None, x, out, x.shape[0], threads)


def segment_max_backward(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    x: Floats,
    out: Floats,
    grad_out: Floats,
    grad_x: Floats,
    threads: int,
) -> None:
    """Write the gradient of `segment_max` to `grad_x` (K, D), shared evenly by equal maxima."""
    _check_rows(indptr, indices, None)
    for array in (out, grad_out):
        _check_shape(array, (indptr.size - 1, x.shape[1]))
    _check_shape(grad_x, x.shape)
    _core.sparse.segment_max_backward(indptr, indices, x, out, grad_out, grad_x, threads)


def attend(  # noqa: PLR0913, PLR0917  # the arrays of one product
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    x: Floats,
    source: Floats,
    target: Floats,
    negative_slope: float,
    weights: Floats,
    out: Floats,
    threads: int,
) -> None:
    """Write softmax weights (E, H) and weighted sums (R, H, C) of `x` (K, H, C).

    The logit of an edge is ``leaky_relu(source[column] + target[row])``, from (K, H) and (R, H).
    """
    _check_rows(indptr, indices, None)
    rows, (cols, heads, channels) = indptr.size - 1, x.shape
    _check_shape(source, (cols, heads))
    _check_shape(target, (rows, heads))
    _check_shape(weights, (indices.size, heads))
    _check_shape(out, (rows, heads, channels))
    _core.sparse.attend(indptr, indices, x, source, target, negative_slope, weights, out, threads)


def attend_backward(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    inputs: tuple[Floats, Floats, Floats, float],
    weights: Floats,
    grad_out: Floats,
    grads: tuple[Floats, Floats, Floats],
    threads: int,
) -> None:
    """Write the gradients of `attend` for `x`, `source`, `target` to `grads`.

    Parameters
    ----------
    indptr, indices : ndarray
        The rows.
    inputs : tuple
        ``(x, source, target, negative_slope)`` of the forward pass.
    weights : ndarray
        What `attend` wrote, (E, H).
    grad_out : ndarray
        (R, H, C).
    grads : tuple of ndarray
        (K, H, C), (K, H), (R, H); overwritten.
    threads : int
        At least 1.
    """
    _check_rows(indptr, indices, None)
    x, source, target, slope = inputs
    rows, (cols, heads, channels) = indptr.size - 1, x.shape
    _check_shape(weights, (indices.size, heads))
    _check_shape(grad_out, (rows, heads, channels))
    for grad, shape in zip(grads, ((cols, heads, channels), (cols, heads), (rows, heads)), strict=True):
        _check_shape(grad, shape)
    _check_shape(source, (cols, heads))
    _check_shape(target, (rows, heads))
    scratch = np.empty_like(weights)
    _core.sparse.attend_backward(
        indptr, indices, x, source, target, slope, weights, grad_out, *grads, scratch, threads
    )


def add_rows(index: NDArray[np.int32], x: Floats, out: Floats, threads: int) -> None:
    """Add row i of `x` (M, D) to row ``index[i]`` of `out` (N, D), in the order of i.

    Raises
    ------
    DataError
        If the shapes do not fit or an index is outside 0 .. N - 1.
    """
    _check_shape(index, x.shape[:1])
    _check_shape(x, (x.shape[0], out.shape[1]))
    if index.size and (index.min() < 0 or index.max() >= out.shape[0]):
        raise DataError(f"rows {index.min()} .. {index.max()} of an array with {out.shape[0]} rows")
    _core.sparse.add_rows(index, x, out, threads)


def dropout_rows(
    x: Floats, out: Floats, vertices: NDArray[np.int64], key: int, threshold: int, scale: float, threads: int
) -> None:
    """Write ``x * scale`` where the hash of (key, vertex, column) reaches `threshold`, else 0, to `out`."""
    _check_shape(out, x.shape)
    _check_shape(vertices, x.shape[:1])
    _core.sparse.dropout_rows(x, out, vertices, key, threshold, scale, threads)


def group(keys: NDArray[np.int32], num_groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort items by key, stable, O(items + groups).

    Parameters
    ----------
    keys : ndarray
        int32, (E,), in 0 .. num_groups - 1.
    num_groups : int
        Number of groups.

    Returns
    -------
    indptr, order : ndarray
        int64, (num_groups + 1,) and (E,): items ``order[indptr[g]:indptr[g + 1]]`` have key g.

    Raises
    ------
    DataError
        A key outside the groups.
    """
    indptr = np.empty(num_groups + 1, dtype=np.int64)
    order = np.empty(keys.size, dtype=np.int64)
    bad = int(_core.sparse.group(keys, indptr, order))
    if bad >= 0:
        raise DataError(f"item {bad} has key {keys[bad]}; there are groups 0 .. {num_groups - 1}")
    return indptr, order


def _check_rows(indptr: NDArray[np.int64], indices: NDArray[np.int32], values: Floats | None) -> None:
    if indptr.size == 0 or indptr[0] != 0 or indptr[-1] != indices.size:
        raise DataError(f"indptr runs from 0 to the number of edges, {indices.size}; this one does not")
    if values is not None and values.size != indices.size:
        raise DataError(f"{values.size} weights for {indices.size} edges; give one an edge, or none")


def _check_shape(array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise DataError(f"an array of shape {array.shape} where {shape} is needed")
