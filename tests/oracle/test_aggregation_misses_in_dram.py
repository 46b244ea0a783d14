"""The lines that an aggregation sends to DRAM, replayed command by command: the DRAM in its loop is true.

Two models see the same lines: the banks inside the aggregation core, and the commands.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from shoestring.native.sim import Aggregation, Records, Round, Schedule
from shoestring.silicon.aggregation import even_bounds, machine_of
from shoestring.silicon.arch import Arch
from shoestring.silicon.dram import Dram

NODES, DEGREE = 2048, 12


def graph(local: bool) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(NODES), DEGREE)
    near = (targets + rng.integers(-64, 64, len(targets))) % NODES
    sources = np.where(
        rng.random(len(targets)) < (0.7 if local else 0.0), near, rng.integers(0, NODES, len(targets))
    )
    sources = np.sort(sources.reshape(NODES, DEGREE), axis=1).reshape(-1)
    return np.arange(NODES + 1, dtype=np.int64) * DEGREE, sources.astype(np.int32)


def one_round(arch: Arch, lines: int, tiles: int, local: bool) -> Round:
    indptr, indices = graph(local)
    return Aggregation(indptr, indices, num_sources=NODES).run(
        Records(lines=lines, region_lines=lines),
        Schedule(bounds=even_bounds(NODES, tiles)),
        machine_of(arch),
        output_lines=lines,
        partial_lines=lines,
        trace=True,
    )


@pytest.mark.parametrize("machine", ["sgcn_hbm2", "snf_ddr4_small"])
@pytest.mark.parametrize("lines", [1, 8])
@pytest.mark.parametrize("tiles", [1, 8])
@pytest.mark.parametrize("local", [False, True])
def test_misses_cost_in_the_models_what_they_cost_in_commands(
    machine: str, lines: int, tiles: int, local: bool
) -> None:
    arch = Arch.from_yaml(machine).replaced(cache__bytes=65_536)
    memory = Dram.from_config(arch.dram)
    done = one_round(arch, lines, tiles, local)
    trace = done.trace
    assert trace is not None
    addresses = trace.line.astype(np.uint64) * np.uint64(64)
    clocks = (trace.cycle / (memory.device.clock_ns * arch.clock_ghz)).astype(np.int64)
    all_at_once = memory.simulate(addresses, trace.write, log_commands=True)
    assert memory.check(all_at_once) == ()
    as_asked = memory.simulate(addresses, trace.write, clocks)
    replayed = as_asked.counts.cycles * memory.device.clock_ns * arch.clock_ghz
    assert done.cycles == pytest.approx(replayed, rel=0.10)
