from dataclasses import replace

import numpy as np
import pytest

from shoestring.core.errors import ConfigError
from shoestring.silicon.aggregation import DensePhase, contiguous_strip, even_bounds, machine_of
from shoestring.silicon.sgcn import (
    SYSTEMS,
    Arch,
    Config,
    Grid,
    Report,
    Workload,
    compare,
    simulate,
    tune,
)

OFF = Config(fmt="dense", slice=0, tiles=1, schedule="contiguous", compressor=False, sparse_aggregator=False)
SMALL = Grid(slices=(0, 32), tiles=(1, 3), layers=2)


def hidden(report: Report) -> list[int]:
    return [r.feature_bytes for r in report.rows[1:]]


@pytest.mark.parametrize("tiles", [1, 3])
def test_all_parts_off_equals_a_dense_aggregation_built_without_this_system(
    arch: Arch, workload: Workload, tiles: int
) -> None:
    report = simulate(workload, arch, OFF, tiles=tiles)
    num = workload.topology.num_nodes
    phase = DensePhase(workload.topology, machine_of(arch))
    wanted = phase.run(80, even_bounds(num, tiles), contiguous_strip(num, arch.engines))
    for row in report.rows:
        assert row.agg_cycles == wanted.cycles
        assert row.feature_bytes == 64 * wanted.feature_lines
        assert row.topology_bytes == 64 * wanted.topology_lines
        assert row.partial_write_bytes == 64 * wanted.partial_write_lines
        assert row.partial_read_bytes == 64 * wanted.partial_read_lines
        assert row.output_bytes == 64 * wanted.output_lines
        assert (row.accesses, row.hits) == (wanted.accesses, wanted.hits + wanted.merges)


def test_dense_layers_do_not_depend_on_the_zeros_and_compressed_ones_do(
    arch: Arch, workload: Workload
) -> None:
    other = Workload.random_zeros("sbm:n=600,deg=8,low=32,high=64", 4, 80, 0.1, seed=1)
    assert hidden(simulate(workload, arch, OFF)) == hidden(simulate(other, arch, OFF))
    assert hidden(simulate(workload, arch))[0] < hidden(simulate(other, arch))[0]


def test_a_cache_that_holds_everything_fetches_every_record_once(arch: Arch, workload: Workload) -> None:
    """Closed form of all streams with one tile (section 2)."""
    large = arch.replaced(cache__bytes=1 << 22)
    config = Config(slice=48, first_layer="aggregation")
    report = simulate(workload, large, config)
    num, edges = workload.topology.num_nodes, workload.topology.num_edges
    for row, pattern in zip(report.rows, workload.inputs, strict=True):
        nnz = pattern.count(48)
        words = [-(-48 // 32) + nnz[0], -(-32 // 32) + nnz[1]]
        assert row.feature_bytes == 64 * int(sum((-(-w // 16)).sum() for w in words))
        assert row.output_bytes == num * (48 + 32) * 4
        assert (row.partial_write_bytes, row.partial_read_bytes) == (0, 0)
        ideal = 2 * (8 * edges + 4 * (num + 1))
        assert ideal <= row.topology_bytes <= 1.02 * ideal + 64 * 8 * large.engines


def test_macs_are_those_of_the_stored_values(arch: Arch, workload: Workload) -> None:
    row = simulate(workload, arch).rows[1]
    reads = workload.topology.out_degrees
    values = int(workload.inputs[1].count()[0] @ reads)
    product = workload.topology.num_nodes * 80 * 80
    assert row.macs == values + product
    expanded = simulate(workload, arch, Config(sparse_aggregator=False)).rows[1]
    assert expanded.macs == workload.topology.num_edges * 80 + product
    assert expanded.agg_cycles >= row.agg_cycles
    assert expanded.feature_bytes == row.feature_bytes


def test_without_the_compressor_features_are_written_and_read_once_more(
    arch: Arch, workload: Workload
) -> None:
    with_it, without = (simulate(workload, arch, Config(compressor=on)).rows[1] for on in (True, False))
    dense = workload.topology.num_nodes * 80 * 4
    assert without.comb_read_bytes - with_it.comb_read_bytes == dense
    assert without.comb_write_bytes - with_it.comb_write_bytes == dense
    assert without.agg_cycles == with_it.agg_cycles
    last = simulate(workload, arch, Config(compressor=False)).rows[-1]
    assert last == simulate(workload, arch).rows[-1]  # logits are not compressed


def test_tiles_put_sums_aside_and_fetch_them_again(arch: Arch, workload: Workload) -> None:
    row = simulate(workload, arch, tiles=4).rows[1]
    assert row.partial_write_bytes == row.partial_read_bytes > 0
    assert simulate(workload, arch, tiles=1).rows[1].partial_write_bytes == 0


def test_slices_read_the_topology_once_each(arch: Arch, workload: Workload) -> None:
    one = simulate(workload, arch, slice=0).rows[1].topology_bytes
    assert simulate(workload, arch, slice=16).rows[1].topology_bytes == 5 * one


def test_the_combination_reads_sums_weights_and_states(arch: Arch, workload: Workload) -> None:
    num = workload.topology.num_nodes
    rows = simulate(workload, arch).rows
    state = num * 80 * 4
    assert rows[1].comb_read_bytes == state + 80 * 80 * 4 + state
    written = 64 * sum(int((-(-(3 + n) // 16)).sum()) for n in workload.inputs[2].count())
    assert rows[1].comb_write_bytes == state + written
    assert rows[-1].comb_write_bytes == state


def test_dense_features_beside_a_state_are_not_written(arch: Arch, workload: Workload) -> None:
    state = workload.topology.num_nodes * 80 * 4
    assert simulate(workload, arch, OFF).rows[1].comb_write_bytes == state
    both = replace(OFF, features_from_state=False)
    assert simulate(workload, arch, both).rows[1].comb_write_bytes == 2 * state
    half = replace(OFF, element="float16", compressor=True)
    assert simulate(workload, arch, half).rows[1].comb_write_bytes == state + 600 * 3 * 64  # 160 bytes a row


def test_the_first_layer_multiplies_first_unless_told_otherwise(arch: Arch, workload: Workload) -> None:
    num = workload.topology.num_nodes
    first = simulate(workload, arch).rows[0]
    assert first.first == "combination"
    stored = int(workload.inputs[0].count().sum()) * 8 + 8 * (num + 1)
    assert first.comb_read_bytes == stored + 80 * 80 * 4
    other = simulate(workload, arch, Config(first_layer="aggregation")).rows[0]
    assert other.first == "aggregation"
    assert other.feature_bytes < first.feature_bytes  # 90 % zeros are read compressed


@pytest.mark.parametrize(("element", "most"), [("float16", 0.75), ("bfloat16", 0.75), ("int8", 0.6)])
def test_narrow_elements_move_fewer_bytes(arch: Arch, workload: Workload, element: str, most: float) -> None:
    full = hidden(simulate(workload, arch, slice=0))[0]
    narrow = hidden(simulate(workload, arch, Config(slice=0, element=element)))[0]  # type: ignore[arg-type]  # names
    assert narrow < most * full


def test_cooperation_saves_misses_where_ids_are_local() -> None:
    arch = Arch.from_yaml("sgcn_hbm2").replaced(cache__bytes=32768)
    local = Workload.random_zeros("sbm:n=2048,deg=16,low=64,high=128,inside=0.9", 1, 96, 0.6)
    off, on = (simulate(local, arch, schedule=s) for s in ("contiguous", "sac"))
    assert hidden_misses(on) < 0.9 * hidden_misses(off)


def hidden_misses(report: Report) -> int:
    return sum(r.accesses - r.hits for r in report.rows)


def test_energy_is_the_sum_of_its_parts_and_rises_with_traffic(arch: Arch, workload: Workload) -> None:
    report = simulate(workload, arch)
    summary = report.summary()
    assert summary["energy_pj"] == pytest.approx(summary["dram_pj"] + summary["sram_pj"] + summary["mac_pj"])
    assert simulate(workload, arch, OFF).summary()["dram_pj"] > summary["dram_pj"]
    assert summary["dram_bytes"] == sum(r.dram_bytes for r in report.rows)
    assert report.modelled_s == report.cycles / 1e9


def test_equal_arguments_give_equal_reports_and_equal_slices_are_run_once(
    arch: Arch, workload: Workload
) -> None:
    from shoestring.silicon.sgcn._bench import Bench

    assert simulate(workload, arch).rows == simulate(workload, arch).rows
    bench = Bench(workload, arch)
    for pattern in workload.inputs:
        bench.aggregate(pattern, "dense", replace(OFF, slice=16))
    assert len(bench._rounds) == 1


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_runs_at_the_best_setting_that_it_tried(
    arch: Arch, workload: Workload, name: str
) -> None:
    report, trials = tune(workload, arch, name, SMALL)
    assert report.config in [t.config for t in trials]
    best = min(t.cycles for t in trials)
    assert next(t.cycles for t in trials if t.config == report.config) == best
    assert len({t.config for t in trials}) == len(trials)
    assert len(report.rows) == 4


def test_tuning_on_all_layers_finds_the_best_of_full_runs(arch: Arch, workload: Workload) -> None:
    grid = Grid(slices=(0, 32, 16), tiles=(1, 2), layers=3)
    report, trials = tune(workload, arch, "sgcn", grid)
    full = [sum(r.cycles for r in simulate(workload, arch, t.config).rows[1:]) for t in trials]
    assert sum(r.cycles for r in report.rows[1:]) == min(full)


def test_settings_that_do_not_differ_are_tried_once(arch: Arch, workload: Workload) -> None:
    _, trials = tune(workload, arch, "gcnax", Grid(slices=(0, 80, 128), tiles=(1,), layers=1))
    assert len(trials) == 1


def test_a_comparison_has_a_row_a_system_and_geometric_means(arch: Arch, workload: Workload) -> None:
    made = compare(workload, arch, ["gcnax", "csr", "sgcn"], SMALL)
    frame = made.frame
    assert frame.system.tolist() == ["gcnax", "csr", "sgcn"]
    ratio = frame.cycles[:2].to_numpy() / frame.cycles[2]
    assert made.speedup("sgcn", ["gcnax", "csr"]) == pytest.approx(float(np.sqrt(ratio.prod())))
    assert made.traffic_gain("sgcn", ["sgcn"]) == 1
    assert made.energy_gain("sgcn", ["gcnax"]) > 0


def test_layers_are_a_frame_with_every_stream(arch: Arch, workload: Workload) -> None:
    layers = simulate(workload, arch).layers
    streams = [c for c in layers.columns if c.endswith("_bytes") and c != "dram_bytes"]
    assert len(streams) == 7
    np.testing.assert_array_equal(layers[streams].sum(axis=1), layers.dram_bytes)
    np.testing.assert_allclose(layers.zeros, workload.zeros)


def test_one_layer_and_one_vertex_run(arch: Arch) -> None:
    single = Workload.random_zeros("karate", 1, 5, 0.5)
    assert simulate(single, arch, tiles=99).rows[0].first == "aggregation"


def test_unknown_systems_and_bad_options_are_named(arch: Arch, workload: Workload) -> None:
    for call, text in (
        (lambda: tune(workload, arch, "tpu"), "'tpu'"),
        (lambda: compare(workload, arch, []), "systems is empty"),
        (lambda: simulate(workload, arch, slice=-1), "slice=-1"),
        (lambda: simulate(workload, arch, schedule="random"), "schedule='random'"),
        (lambda: Config(fmt="zip"), "fmt='zip'"),  # type: ignore[arg-type]  # the point of the test
        (lambda: Config(pinned_share=1.0), "pinned_share=1.0"),
        (lambda: Config(element="float8"), "element='float8'"),  # type: ignore[arg-type]  # the point of the test
        (lambda: Grid(tiles=()), "at least one of each"),
        (lambda: Grid(tiles=(0,)), "start at 0"),
    ):
        with pytest.raises(ConfigError, match=text):
            call()
