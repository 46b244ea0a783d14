from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.silicon.arch import Arch
from shoestring.silicon.slice_and_forge import MorphingConfig, SnfConfig, simulate, sweep
from shoestring.silicon.slice_and_forge._baselines import BASELINES, best_of_baseline
from shoestring.silicon.topology import Topology, load_graph, topology_from_edges

ARCH = Arch.from_yaml("snf_hbm2").replaced(cache__bytes=32 << 10)
SBM = load_graph("sbm:n=2048,deg=12", seed=1)
RMAT = load_graph("rmat:n=2048,deg=12", seed=1)
GRID = load_graph("grid:n=2025,deg=12")
OFF = MorphingConfig(
    global_phase=False, policy_phase=False, local_phase=False, warm_start=False, start_tiles=4
)


def config(**options: Any) -> SnfConfig:
    return SnfConfig(**{"width": 256, "slices": 16, **options})


@pytest.mark.parametrize("graph", [SBM, RMAT, GRID], ids=["sbm", "rmat", "grid"])
@pytest.mark.parametrize("machine", [ARCH, Arch.from_yaml("snf_ddr4_small").replaced(cache__bytes=32 << 10)])
def test_morphing_ends_within_five_percent_of_the_oracle(graph: Topology, machine: Arch) -> None:
    run = simulate(graph, machine, config())
    best = sweep(graph, machine, slices=[16]).best()
    assert 16 * run.final.round.cycles <= 1.05 * best.cycles
    assert run.aggregation_cycles <= 1.15 * 2 * best.cycles
    assert run.settled


def test_with_all_parts_off_it_equals_fixed_tiles() -> None:
    off = simulate(SBM, ARCH, config(morphing=OFF))
    fixed = simulate(SBM, ARCH, config(tiler="fixed", tiles=4))
    drop = ["decision"]
    pd.testing.assert_frame_equal(off.rounds.drop(columns=drop), fixed.rounds.drop(columns=drop))
    assert off.cycles == fixed.cycles


def test_without_slices_a_layer_is_one_round() -> None:
    run = simulate(SBM, ARCH, config(slices=1, tiler="fixed", tiles=2, layers=1))
    assert [row.lines for row in run.rows] == [16]


@pytest.mark.parametrize(
    ("part", "column"), [("global_phase", "tiles "), ("policy_phase", "strip"), ("local_phase", "split")]
)
def test_a_phase_that_is_off_decides_nothing(part: str, column: str) -> None:
    with_it = simulate(RMAT, ARCH, config())
    off: dict[str, Any] = {part: False}
    without = simulate(RMAT, ARCH, config(morphing=MorphingConfig(**off)))
    assert any(column in r.decision for r in with_it.rows)
    assert not any(column in r.decision for r in without.rows)


def test_a_warm_start_goes_on_where_the_layer_before_ended() -> None:
    warm = simulate(RMAT, ARCH, config())
    cold = simulate(RMAT, ARCH, config(morphing=MorphingConfig(warm_start=False)))
    second = [r.decision for r in cold.rows if r.layer == 1]
    assert second[0] == "start"
    assert "start" not in [r.decision for r in warm.rows if r.layer == 1]
    assert warm.cycles < cold.cycles


def test_a_graph_smaller_than_the_cache_settles_on_one_tile_at_once() -> None:
    run = simulate(load_graph("rmat:n=256,deg=12"), ARCH, config())
    assert {r.setting.tiles for r in run.rows} == {1}


def test_more_tiles_than_vertices_and_empty_tiles_are_no_trouble() -> None:
    graph = topology_from_edges(np.array([[0, 1], [2, 2]]), 3)
    one = simulate(graph, ARCH, config(tiler="fixed", tiles=1))
    many = simulate(graph, ARCH, config(tiler="fixed", tiles=50))
    assert many.rows[0].setting.tiles == 3
    assert many.rows[0].round.misses == one.rows[0].round.misses == 2
    simulate(graph, ARCH, config())


@pytest.mark.parametrize("num", [0, 1, 5])
def test_vertices_without_edges_write_their_zeros_and_read_nothing(num: int) -> None:
    run = simulate(topology_from_edges(np.zeros((2, 0), np.int64), num), ARCH, config(layers=1))
    assert all(r.round.accesses == 0 and r.round.output_lines == num for r in run.rows)


def test_self_loops_and_duplicate_edges_are_read_as_often_as_they_are_there() -> None:
    graph = topology_from_edges(np.array([[0, 0, 0, 1], [0, 0, 1, 1]]), 2)
    assert simulate(graph, ARCH, config(layers=1)).rows[0].round.accesses == 4


def test_edges_are_aggregated_where_they_end() -> None:
    out = nx.DiGraph([(0, v) for v in range(1, 40)])
    into = out.reverse()
    assert simulate(out, ARCH, config(layers=1)).rows[0].round.tile_cold.sum() == 1
    assert simulate(into, ARCH, config(layers=1)).rows[0].round.tile_cold.sum() == 39


def test_a_narrow_last_slice_runs_at_the_best_setting_and_teaches_nothing() -> None:
    run = simulate(RMAT, ARCH, config(width=2 * 96 + 32, slices=3, layers=4))  # 80, 80 and 64 columns
    narrow = [r for r in run.rows if r.columns == 64]
    assert [r.decision for r in narrow] == ["keep"] * 4
    assert {r.lines for r in run.rows} == {5, 4}
    assert all(r.cost == r.round.cycles / r.lines for r in run.rows)
    wide = [r.decision for r in run.rows if r.columns == 80]
    assert wide[:2] == ["start", "tiles 16"]  # the narrow round lies between the second and the third
    assert wide[2].startswith("tiles")


def test_the_same_run_gives_the_same_rounds() -> None:
    one, two = (simulate(SBM, ARCH, config()).rounds for _ in range(2))
    pd.testing.assert_frame_equal(one, two)


def test_exploring_rounds_count_and_the_last_ones_do_not_explore() -> None:
    run = simulate(RMAT, ARCH, config())
    assert run.aggregation_cycles == run.rounds["cycles"].sum()
    assert run.aggregation_cycles > 2 * 16 * run.final.round.cycles
    for layer in (0, 1):
        last = [r.decision for r in run.rows if r.layer == layer][-4:]
        assert last == ["keep"] * 4


def test_the_oracle_is_never_beaten_by_a_fixed_setting() -> None:
    oracle = simulate(SBM, ARCH, config(tiler="oracle", layers=1))
    assert oracle.oracle is not None
    for tiles in (1, 4, 32):
        assert oracle.cycles <= simulate(SBM, ARCH, config(tiler="fixed", tiles=tiles, layers=1)).cycles
    point = oracle.oracle.best()
    assert point.cycles == oracle.aggregation_cycles
    assert oracle.oracle.frame["cycles"].min() == point.cycles
    with pytest.raises(ConfigError, match="no point of the sweep"):
        oracle.oracle.best(slices=3)


def test_the_combination_counts_where_it_takes_longer() -> None:
    small = ARCH.replaced(systolic__rows=1, systolic__cols=1, systolic__count=1)
    run = simulate(SBM, small, config(layers=2))
    assert run.combination_cycles > run.aggregation_cycles
    assert run.cycles == 2 * run.combination_cycles
    assert run.layers["cycles"].tolist() == [run.combination_cycles] * 2


def test_edges_without_weights_move_half_the_topology() -> None:
    eight, four = (simulate(SBM, ARCH, config(edge_bytes=b, tiler="fixed", layers=1)) for b in (8, 4))
    edges = SBM.num_edges
    saved = eight.rows[0].round.topology_lines - four.rows[0].round.topology_lines
    assert abs(saved - 4 * edges / 64) <= 1


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_is_at_its_best_of_the_grid(name: Any) -> None:
    point = best_of_baseline(name, SBM, ARCH)
    if name == "gcnax":
        assert point.slices > 1
        return
    whole = sweep(SBM, ARCH, slices=[1])
    assert point.slices == 1
    if name == "tiled":
        assert point.cycles == whole.best().cycles
    elif name == "hygcn":
        assert point.cycles == whole.best(strip=0).cycles
    else:
        assert point.cycles <= whole.best().cycles
    with pytest.raises(ConfigError, match="is not one of tiled"):
        best_of_baseline("awb", SBM, ARCH)  # type: ignore[arg-type]  # refused at run time


def test_a_run_is_written_as_tables_machine_and_picture(tmp_path: Path) -> None:
    run = simulate(SBM, ARCH, config(tiler="oracle", layers=1))
    run.write(tmp_path / "run")
    names = {p.name for p in (tmp_path / "run").iterdir()}
    tables = {"rounds.csv", "layers.csv", "summary.csv", "sweep.csv"}
    assert names == tables | {"config.resolved.yaml", "convergence.svg"}
    assert pd.read_csv(tmp_path / "run" / "rounds.csv")["cycles"].sum() == run.aggregation_cycles
    assert Arch.from_yaml(tmp_path / "run" / "config.resolved.yaml") == ARCH
    picture = (tmp_path / "run" / "convergence.svg").read_text()
    run.write(tmp_path / "again")
    assert "<svg" in picture
    assert picture == (tmp_path / "again" / "convergence.svg").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width=0 must be at least 1"),
        ({"slices": -1}, "slices=-1"),
        ({"strip": -2}, "strip=-2 is below 0"),
        ({"edge_bytes": 5}, "edge_bytes=5"),
        ({"tiler": "magic"}, "tiler='magic' is not one of"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SnfConfig(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"start_tiles": 0},
        {"strips": ()},
        {"strips": (-1,)},
        {"climb": -0.1},
        {"share": 2.0},
        {"patience": 0},
        {"split_above": 0.5},
        {"merge_below": 1.3},
    ],
)
def test_controller_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        MorphingConfig(**options)
