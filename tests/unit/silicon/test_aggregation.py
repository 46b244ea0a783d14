import numpy as np
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.silicon.aggregation import (
    DensePhase,
    aggregate_rows,
    contiguous_strip,
    even_bounds,
    machine_of,
    slice_bounds,
)
from shoestring.silicon.arch import Arch
from shoestring.silicon.topology import load_graph, topology_from_edges

GRAPH = load_graph("rmat:n=512,deg=9", seed=3)
ARCH = Arch.from_yaml("snf_hbm2").replaced(cache__bytes=16 << 10)


@pytest.mark.parametrize(("tiles", "slices"), [(1, 1), (4, 5), (7, 3), (512, 16)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_sums_are_those_of_scipy(tiles: int, slices: int, weighted: bool) -> None:
    graph = GRAPH.normalized() if weighted else GRAPH
    x = np.random.default_rng(0).standard_normal((512, 100), dtype=np.float32)
    ours = aggregate_rows(graph, x, slice_bounds(100, slices), even_bounds(512, tiles))
    theirs = graph.to_scipy() @ x
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_the_sums_refuse_tiles_that_leave_sources_out() -> None:
    x = np.zeros((512, 16), np.float32)
    with pytest.raises(DataError, match="bounds must rise from 0 to 512"):
        aggregate_rows(GRAPH, x, slice_bounds(16, 1), np.array([0, 500]))
    with pytest.raises(DataError, match="give a row for each of 512"):
        aggregate_rows(GRAPH, x[:5], slice_bounds(16, 1), even_bounds(512, 1))


@pytest.mark.parametrize(
    ("width", "slices", "widths"),
    [
        (256, 16, [16] * 16),
        (256, 3, [96, 96, 64]),
        (100, 3, [48, 48, 4]),
        (100, 16, [16] * 6 + [4]),  # a slice is at least a cache line
        (5, 4, [5]),
    ],
)
def test_slices_are_whole_cache_lines_and_share_none(width: int, slices: int, widths: list[int]) -> None:
    assert np.diff(slice_bounds(width, slices)).tolist() == widths


def test_tiles_cover_the_sources_once_even_when_there_are_more_tiles_than_sources() -> None:
    for num, tiles in ((10, 3), (3, 8), (0, 4)):
        bounds = even_bounds(num, tiles)
        assert len(bounds) == tiles + 1
        assert (bounds[0], bounds[-1]) == (0, num)
        assert (np.diff(bounds) >= 0).all()


def test_a_contiguous_strip_gives_every_engine_one_run() -> None:
    assert contiguous_strip(100, 8) == 13
    assert contiguous_strip(0, 8) == 1


def test_the_machine_is_that_of_the_file_in_cycles_of_the_accelerator() -> None:
    arch = Arch.from_yaml("snf_ddr4_small").replaced(clock_ghz=2.0)
    machine = machine_of(arch)
    dram = machine.dram
    assert (machine.engines, machine.queue_lines, machine.max_outstanding) == (1, 256, 10240)
    assert (dram.channels, dram.groups, dram.banks, dram.mapping) == (1, 4, 4, arch.dram.mapping)
    assert dram.burst_cycles == 4 * 0.75 * 2  # BL8 at 0.75 ns, two cycles a nanosecond
    assert machine.cache.bytes == arch.cache.bytes


def test_twice_the_clock_is_never_fewer_cycles() -> None:
    slow, fast = (
        DensePhase(GRAPH, machine_of(ARCH.replaced(clock_ghz=clock))).run(16, even_bounds(512, 4), 32)
        for clock in (1.0, 2.0)
    )
    assert slow.cycles <= fast.cycles <= 2 * slow.cycles
    assert slow.misses == fast.misses


def test_a_cache_line_must_hold_whole_accesses_of_the_dram() -> None:
    with pytest.raises(ConfigError, match="no multiple of the 64 bytes"):
        machine_of(ARCH.replaced(cache__line_bytes=32))


def test_equal_settings_are_simulated_once_and_give_equal_rounds() -> None:
    phase = DensePhase(GRAPH, machine_of(ARCH))
    one = phase.run(16, even_bounds(512, 4), 32)
    assert phase.run(13, even_bounds(512, 4), 32) is one  # 13 columns are a line too
    assert DensePhase(GRAPH, machine_of(ARCH)).run(16, even_bounds(512, 4), 32).cycles == one.cycles


def test_one_engine_knows_no_strips() -> None:
    phase = DensePhase(GRAPH, machine_of(ARCH.replaced(engines=1)))
    assert phase.run(16, even_bounds(512, 1), 8) is phase.run(16, even_bounds(512, 1), 512)


def test_pinned_vertices_take_half_of_the_capacity() -> None:
    plain = DensePhase(GRAPH, machine_of(ARCH)).run(16, even_bounds(512, 1), 32)
    pinned = DensePhase(GRAPH, machine_of(ARCH), pinned_share=0.5).run(16, even_bounds(512, 1), 32)
    assert plain.pinned_lines == 0
    assert pinned.pinned_lines == (8 << 10) // 64
    assert pinned.pinned_hits > GRAPH.num_edges * pinned.pinned_lines / 512  # those that are read most
    with pytest.raises(ConfigError, match=r"neither 0 nor 0\.5"):
        DensePhase(GRAPH, machine_of(ARCH), pinned_share=0.3)


def test_a_directed_edge_is_read_by_its_destination_alone() -> None:
    graph = topology_from_edges(np.array([[0, 0, 0], [1, 1, 2]]), 4)
    x = np.eye(4, 16, dtype=np.float32)
    out = aggregate_rows(graph, x, slice_bounds(16, 1), even_bounds(4, 2))
    assert out[:, 0].tolist() == [0, 2, 1, 0]  # twice over the duplicate edge
    done = DensePhase(graph, machine_of(ARCH)).run(16, even_bounds(4, 2), 32)
    assert (done.accesses, done.tile_cold.sum(), done.output_lines) == (3, 1, 4)
