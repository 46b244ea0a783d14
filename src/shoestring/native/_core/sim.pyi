"""Accelerator core: cache, engines, DRAM banks."""

from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray


class Options:
    """What `aggregate` takes; checked by shoestring.native.sim."""

    def __init__(self) -> None: ...

    @property
    def lines(self) -> int: ...

    @lines.setter
    def lines(self, arg: int, /) -> None: ...

    @property
    def compute(self) -> int: ...

    @compute.setter
    def compute(self, arg: int, /) -> None: ...

    @property
    def region_lines(self) -> int: ...

    @region_lines.setter
    def region_lines(self, arg: int, /) -> None: ...

    @property
    def pointer_bytes(self) -> int: ...

    @pointer_bytes.setter
    def pointer_bytes(self, arg: int, /) -> None: ...

    @property
    def strip(self) -> int: ...

    @strip.setter
    def strip(self, arg: int, /) -> None: ...

    @property
    def output_lines(self) -> int: ...

    @output_lines.setter
    def output_lines(self, arg: int, /) -> None: ...

    @property
    def partial_lines(self) -> int: ...

    @partial_lines.setter
    def partial_lines(self, arg: int, /) -> None: ...

    @property
    def edge_bytes(self) -> int: ...

    @edge_bytes.setter
    def edge_bytes(self, arg: int, /) -> None: ...

    @property
    def trace(self) -> bool: ...

    @trace.setter
    def trace(self, arg: bool, /) -> None: ...

    @property
    def sets(self) -> int: ...

    @sets.setter
    def sets(self, arg: int, /) -> None: ...

    @property
    def ways(self) -> int: ...

    @ways.setter
    def ways(self, arg: int, /) -> None: ...

    @property
    def line_bytes(self) -> int: ...

    @line_bytes.setter
    def line_bytes(self, arg: int, /) -> None: ...

    @property
    def engines(self) -> int: ...

    @engines.setter
    def engines(self, arg: int, /) -> None: ...

    @property
    def queue_lines(self) -> int: ...

    @queue_lines.setter
    def queue_lines(self, arg: int, /) -> None: ...

    @property
    def max_outstanding(self) -> int: ...

    @max_outstanding.setter
    def max_outstanding(self, arg: int, /) -> None: ...

    @property
    def hit_cycles(self) -> int: ...

    @hit_cycles.setter
    def hit_cycles(self, arg: int, /) -> None: ...

    def set_policy(self, name: str) -> None:
        """lru, fifo or rrip."""

    def set_bits(self, fields: Sequence[tuple[int, int]]) -> None:
        """(shift, count) of channel, rank, group, bank and row."""

    @property
    def window(self) -> int: ...

    @window.setter
    def window(self, arg: int, /) -> None: ...

    @property
    def refresh_share(self) -> float: ...

    @refresh_share.setter
    def refresh_share(self, arg: float, /) -> None: ...

    @property
    def burst_cycles(self) -> float: ...

    @burst_cycles.setter
    def burst_cycles(self, arg: float, /) -> None: ...

    @property
    def read_cycles(self) -> float: ...

    @read_cycles.setter
    def read_cycles(self, arg: float, /) -> None: ...

    @property
    def activate_cycles(self) -> float: ...

    @activate_cycles.setter
    def activate_cycles(self, arg: float, /) -> None: ...

    @property
    def precharge_cycles(self) -> float: ...

    @precharge_cycles.setter
    def precharge_cycles(self, arg: float, /) -> None: ...

    @property
    def row_cycles(self) -> float: ...

    @row_cycles.setter
    def row_cycles(self, arg: float, /) -> None: ...

    @property
    def column_cycles(self) -> float: ...

    @column_cycles.setter
    def column_cycles(self, arg: float, /) -> None: ...

    @property
    def four_activates_cycles(self) -> float: ...

    @four_activates_cycles.setter
    def four_activates_cycles(self, arg: float, /) -> None: ...

    @property
    def write_turn_cycles(self) -> float: ...

    @write_turn_cycles.setter
    def write_turn_cycles(self, arg: float, /) -> None: ...

def aggregate(indptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], indices: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], num_sources: int, options: Options, bounds: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], *, lines: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, compute: Annotated[NDArray[numpy.uint16], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, offsets: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, order: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, pinned: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None) -> tuple:
    """
    Aggregate one slice; return counts, columns of the tiles, cycles of the engines, and the trace.
    """

class Cache:
    """Use shoestring.native.sim.Cache."""

    def __init__(self, sets: int, ways: int, policy: str) -> None: ...

    def access(self, lines: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order='C', device='cpu', writable=False)], hits: Annotated[NDArray[numpy.bool_], dict(shape=(None,), order='C', device='cpu')]) -> None: ...
