"""Graph partitioners."""

from typing import Annotated

import numpy
from numpy.typing import NDArray


def propagate_labels(indptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], indices: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], labels: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu')], *, moves: str, parts: int, capacity: float, max_iterations: int, tolerance: float, patience: int, group_by_second: bool, seed: int, threads: int) -> tuple:
    """
    Improve labels in place; return iterations, mean scores and moves of each.
    """

def breadth_first_order(indptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], indices: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], start: int, order: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu')]) -> None:
    """Write the breadth-first order of all vertices into order."""
