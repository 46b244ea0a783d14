"""The verification is well formed, its comparisons are fair, and what it measures is what it says."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from shoestring.core.config import from_dict
from shoestring.core.entry import load_entry_point
from shoestring.core.errors import ConfigError
from shoestring.core.recorder import NullRecorder
from shoestring.evidence.checks import check_study
from shoestring.evidence.model import Context, Outcome, Profile, Workload
from shoestring.silicon.residual_gcn import TrainingConfig
from shoestring.silicon.sgcn import EXISTING, SYSTEMS, Arch, Config, Grid, simulate
from shoestring.silicon.sgcn import Workload as Gcn
from shoestring.silicon.sgcn._prepare import WORKLOAD_FILE, prepare_workload
from shoestring.silicon.sgcn.evidence import study

PROFILES: tuple[Profile, ...] = get_args(Profile)
WORKLOADS = [w for p in PROFILES for w in study(p).workloads]
GRAPH = {"text": "sbm:n=400,deg=8,low=32,high=64"}
TINY = {"layers": 3, "width": 48, "epochs": 3}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_study_is_consistent(profile: Profile) -> None:
    check_study(study(profile))


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)
def test_every_option_is_one_that_exists(workload: Workload) -> None:
    for arm in workload.arms:
        options: dict[str, Any] = {**workload.options, **arm.options}
        for key, kind in (("training", TrainingConfig), ("grid", Grid), ("config", Config)):
            if key in options:
                from_dict(kind, options[key])
        if "arch" in options:
            Arch.from_yaml(options["arch"]).replaced(**options["machine"])
        assert set(options.get("systems", ())) <= set(SYSTEMS)
        replace(Config(), **options.get("override", {}))


def test_accelerators_of_one_workload_share_machine_grid_and_features() -> None:
    for workload in WORKLOADS:
        if workload.name.startswith("systems"):
            assert all(set(arm.options) <= {"systems", "override"} for arm in workload.arms)
            assert {"arch", "machine", "grid", "training"} <= set(workload.options)
            five = next(arm for arm in workload.arms if arm.name == "five")
            assert tuple(five.options["systems"]) == EXISTING


def run(context: Context, name: str) -> Outcome:
    outcome = load_entry_point(f"shoestring.silicon.sgcn._measure:{name}")(context)
    assert isinstance(outcome, Outcome)
    return outcome


def context(tmp_path: Path, prepared: Path | None = None, **options: Any) -> Context:
    return Context(
        options=options,
        seed=0,
        folder=tmp_path,
        prepared=prepared,
        data=None,
        recorder=NullRecorder(),
        report_progress=lambda _fraction, _word: None,
    )


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    folder = tmp_path / "prepared"
    folder.mkdir()
    prepare_workload(replace(context(folder, graph=GRAPH, training=TINY), folder=folder))
    return folder


def test_zeros_are_those_of_the_hidden_layers(tmp_path: Path) -> None:
    outcome = run(context(tmp_path, graph=GRAPH, training=TINY), "measure_zeros")
    assert outcome.series["zeros"].x == (1.0, 2.0)
    assert outcome.metrics["zeros"] == pytest.approx(sum(outcome.series["zeros"].y) / 2)


def test_real_graphs_need_their_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data graphs=FOLDER"):
        run(context(tmp_path, graph={"file": "cora.npz"}, training=TINY), "measure_zeros")


def test_lines_of_dense_rows_are_their_bytes(tmp_path: Path, prepared: Path) -> None:
    outcome = run(context(tmp_path, prepared, fmt="dense", slices=[0, 16], block=4), "measure_formats")
    assert outcome.metrics["lines_row"] == 3
    assert outcome.metrics["lines_16"] == 3
    pointed = run(context(tmp_path, prepared, fmt="csr", slices=[0], block=4), "measure_formats")
    assert pointed.metrics["lines_row"] > 1


def test_a_system_reports_its_tuned_run_and_several_their_geometric_mean(
    tmp_path: Path, prepared: Path
) -> None:
    shared: dict[str, Any] = {
        "arch": "sgcn_hbm2",
        "machine": {"cache__bytes": 16384},
        "grid": {"slices": [0, 16], "tiles": [1], "layers": 1},
    }
    one, two, both = (
        run(context(tmp_path, prepared, systems=s, **shared), "measure_system").metrics
        for s in (["gcnax"], ["sgcn"], ["gcnax", "sgcn"])
    )
    for name in ("mcycles", "dram_mb", "energy_mj"):
        assert both[name] == pytest.approx((one[name] * two[name]) ** 0.5)
    assert both["trials"] == one["trials"] + two["trials"] == 4
    off = run(
        context(tmp_path, prepared, systems=["sgcn"], override={"fmt": "dense"}, **shared), "measure_system"
    )
    workload = Gcn.from_npz(prepared / WORKLOAD_FILE)
    arch = Arch.from_yaml("sgcn_hbm2").replaced(cache__bytes=16384)
    config = Config(fmt="dense", slice=int(two["slice"]), tiles=1)
    assert off.metrics["mcycles"] == simulate(workload, arch, config).cycles / 1e6


def test_random_zeros_take_the_best_tiles_and_cooperation_compares_both_schedules(tmp_path: Path) -> None:
    machine: dict[str, Any] = {"arch": "sgcn_hbm2", "machine": {"cache__bytes": 16384}}
    shared = {"graph": GRAPH["text"], "width": 64, "zeros": 0.7, **machine}
    tiled = [
        run(context(tmp_path, config={"slice": 32}, tiles=t, **shared), "measure_random_zeros").metrics
        for t in ([1], [4], [1, 4])
    ]
    assert tiled[2]["aggregation_mb"] == min(t["aggregation_mb"] for t in tiled[:2])
    saved = run(context(tmp_path, config={"slice": 32}, **shared), "measure_cooperation").metrics
    assert -100 < saved["misses_saved"] < 100
