"""``shoestring simulate sgcn`` on files: what it writes, prints and refuses."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from shoestring.cli import main
from shoestring.silicon.sgcn import Arch, Workload

OWN = {
    "edge_index": np.array([[0, 1, 2, 3], [1, 2, 3, 0]]),
    "x_0": np.eye(4, 6, dtype=np.float32),
    "x_1": np.maximum(np.random.default_rng(0).standard_normal((4, 32)), 0),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "workload.npz"
    Workload.random_zeros("sbm:n=300,deg=6,low=32,high=64", 3, 48, 0.7).save(path)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_reports_are_written(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["simulate", "sgcn", "--workload", str(saved), "--out", str(out), "--set", "trace_layer=1"]
    assert (
        main([*words, "--set", "options.slice=16", "--compare", "gcnax,sgcn", "--set", "grid.layers=1"]) == 0
    )
    assert "gcnax" in capsys.readouterr().out
    summary, layers = rows(out / "summary.csv"), rows(out / "layers.csv")
    assert [r["system"] for r in summary] == ["options", "gcnax", "sgcn"]
    assert len(layers) == 9
    assert int(summary[0]["cycles"]) == sum(int(r["cycles"]) for r in layers[:3])
    resolved = yaml.safe_load((out / "config.resolved.yaml").read_text())
    assert resolved["arch"]["cache"]["bytes"] == 524288
    assert resolved["job"]["options"]["slice"] == 16
    assert resolved["workload"]["origin"] == "random zeros"
    assert (out / "dram.trace").read_text().startswith("0x")
    assert "<svg" in (out / "layers.svg").read_text()


def test_json_is_the_summary(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "sgcn", "--workload", str(saved), "--out", str(tmp_path / "run"), "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["systems"][0]["cycles"] > 0
    assert len(printed["zeros"]) == 3


def test_a_network_can_be_trained_on_the_way(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["simulate", "sgcn", "--train", "sbm:n=300,deg=6,low=32,high=64", "--out", str(out)]
    settings = ["training.layers=3", "training.width=16", "training.epochs=3"]
    assert main([*words, *(w for s in settings for w in ("--set", s))]) == 0
    assert Workload.from_npz(out / "workload.npz").origin == "trained"
    assert len(rows(out / "layers.csv")) == 3


def test_your_own_activations_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **OWN)  # type: ignore[arg-type]  # numpy's stub takes keywords for options
    assert (
        main(["simulate", "sgcn", "--workload", str(tmp_path / "own.npz"), "--out", str(tmp_path / "run")])
        == 0
    )


def test_the_resolved_options_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "sgcn", "--print-config", "--set", "options.tiles=4"]) == 0
    assert "tiles = 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"speed": 3}, "speed"),
        ({"cache": {"bytes": 300_000, "ways": 16}}, "bytes=300000"),
        ({"clock_ghz": -1.0}, "clock_ghz"),
        ({"dram": {"device": "ddr9"}}, "ddr9"),
    ],
)
def test_a_bad_machine_names_its_key(
    changes: dict[str, Any], key: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**Arch.from_yaml("sgcn_hbm2").model_dump(), **changes}
    (tmp_path / "arch.yaml").write_text(yaml.safe_dump(values))
    words = ["simulate", "sgcn", "--arch", str(tmp_path / "arch.yaml"), "--workload", str(saved)]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert key in error


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"edge_index": np.array([[0, 9], [1, 2]])}, "ids 0 .. 9"),
        ({"weights": np.array([1, np.nan, 1, 1])}, "NaN"),
        ({"x_0": np.zeros((4, 0))}, "shape"),
    ],
)
def test_a_bad_workload_gets_one_line(
    changes: dict[str, np.ndarray], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **{**OWN, **changes})  # type: ignore[arg-type]  # numpy's stub takes keywords for options
    assert main(["simulate", "sgcn", "--workload", str(path), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert text in error
    assert not (tmp_path / "run" / "summary.csv").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "--workload FILE or --train GRAPH"),
        (["--workload", "none.npz"], "does not exist"),
        (["--workload", "none.npz", "--train", "karate"], "one of them"),
        (["--train", "sbm:n=x"], "no number"),
        (["--compare", "tpu"], "compare='tpu'"),
        (["--set", "options.slice=-2"], "slice=-2"),
        (["--set", "options.width=3"], "width"),
        (["--arch", "nothing"], "nothing"),
    ],
)
def test_wrong_words_get_one_line(
    words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "sgcn", "--out", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert text in error


def test_a_folder_that_is_a_file_is_refused_before_the_work(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("")
    assert main(["simulate", "sgcn", "--workload", str(saved), "--out", str(tmp_path / "run")]) == 2
    assert "is a file; give another name" in capsys.readouterr().err
