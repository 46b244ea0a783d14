"""The DRAM lines of one layer as a trace that the command-level memory, or DRAMsim3, replays."""

import numpy as np

from shoestring.core.errors import ConfigError
from shoestring.silicon.arch import Arch
from shoestring.silicon.dram_trace import DramTrace
from shoestring.silicon.sgcn._bench import Bench
from shoestring.silicon.sgcn.config import Config
from shoestring.silicon.workload import Workload

__all__ = ["trace_layer"]


def trace_layer(workload: Workload, arch: Arch, config: Config, layer: int) -> DramTrace:
    """Simulate the aggregation of one layer and return its DRAM lines.

    Parameters
    ----------
    workload, arch, config
        As `simulate`.
    layer : int
        Number of the layer; its input is aggregated as it is stored.

    Returns
    -------
    DramTrace
        In the order of the cycles, slice after slice; every slice has its own addresses. Clocks are cycles of
        the accelerator.

    Raises
    ------
    ConfigError
        A layer that is not there.
    """
    if not 0 <= layer < len(workload.layers):
        raise ConfigError(f"trace_layer={layer}; the workload has layers 0 .. {len(workload.layers) - 1}")
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
        start += max(part.round.cycles, int(trace.cycle.max(initial=0)))
    return DramTrace(
        addresses=(np.concatenate(lines) * arch.cache.line_bytes).astype(np.uint64),
        writes=np.concatenate(writes),
        clocks=np.concatenate(cycles),
    )
