import re

import numpy as np
import pytest

from shoestring.core.errors import ConfigError
from shoestring.silicon.sgcn import Arch, Config, Workload, simulate
from shoestring.silicon.sgcn._trace import trace_layer, trace_text


def test_a_trace_by_hand() -> None:
    text = trace_text(np.array([0, 64, 4096]), np.array([False, True, False]), np.array([0, 7, 120]))
    assert text == "0x0000 READ  000\n0x0040 WRITE 007\n0x1000 READ  120\n"
    assert trace_text(np.zeros(0, int), np.zeros(0, bool), np.zeros(0, int)) == ""


def test_a_trace_has_every_line_of_the_layer_in_order(arch: Arch, workload: Workload) -> None:
    config = Config(slice=32, tiles=2)
    lines = trace_layer(workload, arch, config, 2).splitlines()
    row = simulate(workload, arch, config).rows[2]
    moved = row.dram_bytes - row.comb_read_bytes - row.comb_write_bytes
    assert 64 * len(lines) == moved
    parts = [re.fullmatch(r"0x([0-9A-F]+) (READ|WRITE) +(\d+)", line) for line in lines]
    assert all(parts)
    cycles = [int(m[3]) for m in parts if m]
    assert cycles == sorted(cycles)
    written = sum(m[2] == "WRITE" for m in parts if m)
    assert 64 * written == row.partial_write_bytes + row.output_bytes
    assert all(int(m[1], 16) % 64 == 0 for m in parts if m)


def test_a_layer_that_is_not_there_is_named(arch: Arch, workload: Workload) -> None:
    with pytest.raises(ConfigError, match=r"trace\.layer=9"):
        trace_layer(workload, arch, Config(), 9)
