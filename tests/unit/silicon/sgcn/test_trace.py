from pathlib import Path

import numpy as np
import pytest

from shoestring.core.errors import ConfigError
from shoestring.silicon.dram import Dram
from shoestring.silicon.dram_trace import read_trace, write_trace
from shoestring.silicon.sgcn import Arch, Config, Workload, simulate
from shoestring.silicon.sgcn._trace import trace_layer


def test_a_trace_has_every_line_of_the_layer_in_order(arch: Arch, workload: Workload, tmp_path: Path) -> None:
    config = Config(slice=32, tiles=2)
    trace = trace_layer(workload, arch, config, 2)
    row = simulate(workload, arch, config).rows[2]
    moved = row.dram_bytes - row.comb_read_bytes - row.comb_write_bytes
    assert 64 * trace.addresses.size == moved
    assert 64 * int(trace.writes.sum()) == row.partial_write_bytes + row.output_bytes
    assert (np.diff(trace.clocks) >= 0).all()
    assert (trace.addresses % 64 == 0).all()
    write_trace(tmp_path / "dram.trace", trace)
    back = read_trace(tmp_path / "dram.trace")
    np.testing.assert_array_equal(back.addresses, trace.addresses)


def test_a_trace_replays_at_command_level_without_breaking_a_rule(arch: Arch, workload: Workload) -> None:
    trace = trace_layer(workload, arch, Config(slice=48), 1)
    memory = Dram.from_config(arch.dram)
    run = memory.simulate(trace.addresses, trace.writes, trace.clocks, log_commands=True)
    assert run.counts.reads + run.counts.writes == trace.addresses.size
    assert memory.check(run) == ()


def test_a_layer_that_is_not_there_is_named(arch: Arch, workload: Workload) -> None:
    with pytest.raises(ConfigError, match="trace_layer=9"):
        trace_layer(workload, arch, Config(), 9)
