"""DRAM: commands, and a checker of traces."""

from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray


class DramSpec:
    """Geometry, timings and address map, checked."""

def make_spec(geometry: Sequence[int], timing: Sequence[int], low_to_high: Sequence[tuple[int, int]], queue: int, split_command_bus: bool) -> DramSpec: ...

def simulate(spec: DramSpec, accesses: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], writes: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], arrivals: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], finish: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu')], log_commands: bool) -> tuple:
    """
    Run every request at command level; return the counters and the records of the commands.
    """

def check(spec: DramSpec, records: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], end: int, most: int) -> list:
    """Return violations as (rule, earlier, later, required, found)."""

def decode(spec: DramSpec, accesses: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order='C', device='cpu', writable=False)], fields: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu')]) -> None:
    """
    Write channel, rank, group, bank, row, column of every access into fields.
    """
