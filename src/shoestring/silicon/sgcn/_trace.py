"""The DRAM lines of one layer as a trace file that DRAMsim3 replays: ``0xADDR READ|WRITE cycle`` a line."""

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError
from shoestring.silicon.arch import Arch
from shoestring.silicon.sgcn._bench import Bench
from shoestring.silicon.sgcn.config import Config
from shoestring.silicon.workload import Workload

__all__ = ["trace_layer", "trace_text"]

_HEX = np.frombuffer(b"0123456789ABCDEF", dtype=np.uint8)
_WORDS = np.frombuffer(b" READ   WRITE ", dtype=np.uint8).reshape(2, -1)


def trace_layer(workload: Workload, arch: Arch, config: Config, layer: int) -> str:
    """Simulate the aggregation of one layer and return its DRAM lines as text.

    Parameters
    ----------
    workload, arch, config
        As `simulate`.
    layer : int
        Number of the layer; its input is aggregated as it is stored.

    Returns
    -------
    str
        Lines in the order of their cycles, slice after slice. Every slice has its own addresses.

    Raises
    ------
    ConfigError
        A layer that is not there.
    """
    if not 0 <= layer < len(workload.layers):
        raise ConfigError(f"trace.layer={layer}; the workload has layers 0 .. {len(workload.layers) - 1}")
    bench = Bench(workload, arch, keep_traces=True)
    lines, cycles, writes = [], [], []
    base, start = 0, 0
    for part in bench.aggregate(workload.inputs[layer], config.fmt, config):
        trace = part.round.trace
        assert trace is not None, "the bench keeps traces"
        lines.append(trace.line + base)
        cycles.append(trace.cycle + start)
        writes.append(trace.write)
        base += int(trace.line.max(initial=-1)) + 1
        start += part.round.cycles
    return trace_text(
        np.concatenate(lines) * arch.cache.line_bytes, np.concatenate(writes), np.concatenate(cycles)
    )


def trace_text(addresses: NDArray[np.int64], writes: NDArray[np.bool_], cycles: NDArray[np.int64]) -> str:
    """Write requests as DRAMsim3 reads them, columns of fixed width.

    Parameters
    ----------
    addresses, cycles : ndarray
        int64, (n,), not below 0.
    writes : ndarray
        bool, (n,).
    """
    if not addresses.size:
        return ""
    digits = max(1, -(-int(addresses.max()).bit_length() // 4))
    places = len(str(int(cycles.max())))
    shifts = np.arange(4 * (digits - 1), -1, -4)
    tens = 10 ** np.arange(places - 1, -1, -1, dtype=np.int64)
    address = _HEX[(addresses[:, None] >> shifts) & 15]
    cycle = (cycles[:, None] // tens % 10).astype(np.uint8) + ord("0")
    num = addresses.size
    prefix = np.broadcast_to(np.frombuffer(b"0x", dtype=np.uint8), (num, 2))
    newline = np.full((num, 1), ord("\n"), dtype=np.uint8)
    table = np.concatenate([prefix, address, _WORDS[writes.astype(np.intp)], cycle, newline], axis=1)
    return table.tobytes().decode("ascii")
