"""The analytic DRAM in the loop of the aggregation core against the command-level model, on its own lines."""

import numpy as np
import pytest

from shoestring.native.sim import Aggregation, Records, Schedule
from shoestring.silicon.aggregation import even_bounds, machine_of
from shoestring.silicon.arch import Arch
from shoestring.silicon.dram import Dram
from shoestring.silicon.topology import load_graph


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["snf_hbm2", "snf_ddr4_small"])
@pytest.mark.parametrize("graph", ["rmat:n=8192,deg=15", "sbm:n=8192,deg=15"])
@pytest.mark.parametrize(("lines", "tiles"), [(16, 1), (1, 1), (1, 4), (1, 16)])
def test_a_round_takes_what_the_commands_of_its_lines_take(
    machine: str, graph: str, lines: int, tiles: int
) -> None:
    arch = Arch.from_yaml(machine).replaced(cache__bytes=128 << 10)
    topology = load_graph(graph)
    core = Aggregation(topology.indptr, topology.indices, num_sources=topology.num_nodes)
    done = core.run(
        Records(lines=lines, region_lines=lines),
        Schedule(bounds=even_bounds(topology.num_nodes, tiles)),
        machine_of(arch),
        output_lines=lines,
        partial_lines=lines,
        trace=True,
    )
    assert done.trace is not None
    dram = Dram.from_config(arch.dram)
    addresses = done.trace.line.astype(np.uint64) * np.uint64(arch.cache.line_bytes)
    # All lines at once: the least that the memory needs. The engines can only add to it.
    commands = dram.simulate(addresses, done.trace.write)
    least = commands.counts.cycles * dram.device.clock_ns * arch.clock_ghz
    engines = done.accesses / arch.engines
    assert 0.88 * max(least, engines) <= done.cycles <= 1.2 * max(least, engines)
    assert done.row_hits / (done.row_hits + done.row_misses) == pytest.approx(commands.row_hit_rate, abs=0.04)
