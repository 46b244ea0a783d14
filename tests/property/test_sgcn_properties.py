"""What holds for every graph, pattern of zeros and setting of the simulated accelerator."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.silicon.formats import footprints, format_names
from shoestring.silicon.patterns import Pattern
from shoestring.silicon.reorder import Order
from shoestring.silicon.sgcn import Arch, Config, Workload, simulate
from shoestring.silicon.topology import topology_from_edges
from shoestring.silicon.workload import LayerShape

FEW = settings(max_examples=20, deadline=None)
ARCH = Arch.from_yaml("sgcn_hbm2").replaced(cache__bytes=4096, engines=4)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    num, width = draw(st.integers(1, 60)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    edges = rng.integers(0, num, (2, draw(st.integers(0, 200))))
    topology = topology_from_edges(edges, num).normalized()
    layers = draw(st.integers(1, 3))
    inputs = tuple(Pattern.random(num, width, z, n) for n, z in enumerate(rng.random(layers)))
    return Workload(topology, inputs, (LayerShape(width, width, True),) * layers, "random zeros")


CONFIGS = st.builds(
    Config,
    fmt=st.sampled_from(format_names()),
    slice=st.sampled_from([0, 1, 16, 33, 96]),
    tiles=st.sampled_from([1, 2, 5, 99]),
    schedule=st.sampled_from(["sac", "contiguous"]),
    strip=st.sampled_from([1, 4, 32]),
    compressor=st.booleans(),
    sparse_aggregator=st.booleans(),
    first_layer=st.sampled_from(["combination", "aggregation"]),
    element=st.sampled_from(["float32", "float16", "int8"]),
    order=st.sampled_from(["given", "bfs", "rcm", "community"]),
    pinned_share=st.sampled_from([0.0, 0.25]),
)


@FEW
@given(workloads(), CONFIGS)
def test_every_edge_asks_for_the_lines_of_its_source_in_every_slice(
    workload: Workload, config: Config
) -> None:
    config = replace(config, first_layer="aggregation", order="given")
    report = simulate(workload, ARCH, config)
    reads = workload.topology.out_degrees
    size = {"float32": 4, "float16": 2, "int8": 1}[config.element]
    for row, pattern in zip(report.rows, workload.inputs, strict=True):
        parts = footprints(pattern, config.fmt, config.slice_width, element_bytes=size)
        asked = sum(int(p.lines.astype(np.int64) @ reads) for p in parts)
        pointers = sum(p.pointer == "line" for p in parts) * workload.topology.num_edges
        assert asked <= row.accesses <= asked + pointers
        if not config.pinned_share:  # pinned records need no pointer
            assert row.accesses == asked + pointers


@FEW
@given(workloads(), CONFIGS)
def test_streams_add_up_and_nothing_is_faster_than_its_parts(workload: Workload, config: Config) -> None:
    report = simulate(workload, ARCH, config)
    for row in report.rows:
        assert 0 <= row.hits <= row.accesses
        assert row.partial_write_bytes == row.partial_read_bytes
        assert row.cycles >= max(row.agg_cycles, row.comb_cycles, row.dram_cycles)
        assert row.output_bytes >= workload.topology.num_nodes * row.width_in * 4
        assert min(row.dram_pj, row.sram_pj, row.mac_pj) >= 0
        if config.tiles == 1:
            assert row.partial_write_bytes == 0
    assert report.cycles == sum(r.cycles for r in report.rows)


@FEW
@given(workloads(), CONFIGS, st.integers(0, 2**32 - 1))
def test_accesses_and_arithmetic_do_not_depend_on_the_order_of_the_work(
    workload: Workload, config: Config, seed: int
) -> None:
    """Blocks of rows depend on the numbering, so only formats of single rows are compared."""
    config = replace(config, fmt="beicsr" if config.fmt in ("bsr", "bell") else config.fmt)
    if config.fmt in ("csr", "coo", "bitmap"):
        config = replace(
            config, fmt="dense"
        )  # where packed records start, and how many lines they touch, moves
    orders: list[Order] = ["given", "bfs", "rcm", "community"]
    one = simulate(workload, ARCH, replace(config, order=orders[seed % 4]))
    two = simulate(
        workload, ARCH, replace(config, order=orders[seed // 4 % 4], schedule="contiguous", tiles=3)
    )
    for a, b in zip(one.rows, two.rows, strict=True):
        assert (a.accesses, a.macs, a.output_bytes) == (b.accesses, b.macs, b.output_bytes)
        assert (a.comb_read_bytes, a.comb_write_bytes) == (b.comb_read_bytes, b.comb_write_bytes)
