"""The compiled partitioners: arrays are checked here, then handed over without a copy."""

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import DataError
from shoestring.native import _core

__all__ = ["Propagation", "breadth_first_order", "propagate_labels"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Propagation:
    """How a label propagation went."""

    iterations: int
    scores: tuple[float, ...]
    """Mean score of a vertex before the moves of each iteration."""
    moved: tuple[int, ...]
    """Vertices moved in each iteration."""


def propagate_labels(  # noqa: PLR0913  # one parameter an option of the compiled function
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    labels: NDArray[np.int32],
    *,
    parts: int,
    moves: Literal["spinner", "switching"],
    capacity: float = 1.1,
    max_iterations: int = 50,
    tolerance: float = 1e-3,
    patience: int = 5,
    group_by_second: bool = True,
    seed: int = 0,
    threads: int = 0,
) -> Propagation:
    """Improve `labels` in place by Spinner's or the switching-aware moves.

    Parameters
    ----------
    indptr, indices : ndarray
        int64 (N + 1,) and int32 (E,): neighbours of every vertex.
    labels : ndarray
        int32, (N,), in 0 .. parts - 1; changed in place.
    parts : int
        At most 65,535.
    moves, capacity, max_iterations, tolerance, patience, group_by_second, seed
        See `shoestring.graphs.partition.partition`.
    threads : int
        0 takes every core; the labels do not depend on it.

    Raises
    ------
    DataError
        If the arrays contradict each other.

    Notes
    -----
    O(E) time an iteration, 24 bytes a vertex beyond the arguments.
    """
    _check(indptr, indices)
    if labels.shape != (len(indptr) - 1,):
        raise DataError(f"labels have shape {labels.shape}; give one for each of {len(indptr) - 1} vertices")
    if not 1 <= parts <= 65_535:
        raise DataError(f"parts={parts} is outside 1 .. 65535")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < parts:
        raise DataError(f"labels lie in {labels.min()} .. {labels.max()}; allowed are 0 .. {parts - 1}")
    iterations, scores, moved = _core.partition.propagate_labels(
        indptr,
        indices,
        labels,
        moves=moves,
        parts=parts,
        capacity=capacity,
        max_iterations=max_iterations,
        tolerance=tolerance,
        patience=patience,
        group_by_second=group_by_second,
        seed=seed % 2**64,
        threads=threads or os.cpu_count() or 1,
    )
    return Propagation(iterations=iterations, scores=tuple(scores), moved=tuple(moved))


def breadth_first_order(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], start: int = 0
) -> NDArray[np.int32]:
    """Return all vertices in breadth-first order, component after component, from `start` on; O(V + E)."""
    _check(indptr, indices)
    num = len(indptr) - 1
    if num and not 0 <= start < num:
        raise DataError(f"start={start} is no vertex; allowed are 0 .. {num - 1}")
    order = np.empty(num, np.int32)
    _core.partition.breadth_first_order(indptr, indices, start, order)
    return order


def _check(indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> None:
    num = len(indptr) - 1
    if num < 0 or num >= 2**31:
        raise DataError(f"indptr has {len(indptr)} entries; give one more than vertices, at most 2^31")
    if indptr[0] != 0 or indptr[-1] != len(indices) or (num and bool((np.diff(indptr) < 0).any())):
        raise DataError(f"indptr must rise from 0 to the number of edges, {len(indices)}")
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < num:
        raise DataError(
            f"indices lie in {indices.min()} .. {indices.max()}; allowed are 0 .. {num - 1}, the vertices"
        )
