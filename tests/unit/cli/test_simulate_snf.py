import json
from pathlib import Path

import pandas as pd
import pytest

from shoestring.cli import main


def simulate(folder: Path, *words: str) -> int:
    return main(["simulate", "snf", "--graph", "sbm:n=512,deg=8", "--out", str(folder / "run"), *words])


def test_a_run_prints_its_summary_and_writes_its_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(tmp_path, "--width", "64", "--slices", "4", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    rounds = pd.read_csv(tmp_path / "run" / "rounds.csv")
    assert summary["aggregation_cycles"] == rounds["cycles"].sum()
    assert len(rounds) == 8
    assert rounds["decision"][0] == "start"
    names = {"rounds.csv", "layers.csv", "summary.csv", "config.resolved.yaml", "convergence.svg"}
    assert {p.name for p in (tmp_path / "run").iterdir()} == names


@pytest.mark.parametrize(
    ("tiler", "decisions"), [("fixed:2", {"fixed"}), ("analytic", {"analytic"}), ("oracle", {"oracle"})]
)
def test_every_tiler_has_its_word(tmp_path: Path, tiler: str, decisions: set[str]) -> None:
    assert simulate(tmp_path, "--width", "64", "--tiler", tiler, "--set", "options.layers=1") == 0
    rounds = pd.read_csv(tmp_path / "run" / "rounds.csv")
    assert set(rounds["decision"]) == decisions
    assert tiler != "fixed:2" or set(rounds["tiles"]) == {2}
    assert (tmp_path / "run" / "sweep.csv").exists() == (tiler == "oracle")


def test_fewer_slices_than_asked_for_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path, "--width", "64", "--slices", "8", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["slices"] == 4
    assert "64 columns make 4 slices, not 8: a slice is whole cache lines, of 64 bytes here" in err
    assert simulate(tmp_path, "--width", "64", "--slices", "4", "--json") == 0
    assert "columns make" not in capsys.readouterr().err


def test_a_folder_that_is_a_file_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").touch()
    assert main(["simulate", "snf", "--graph", "nowhere.mtx", "--out", str(tmp_path / "run")]) == 2
    assert "is a file; give another name" in capsys.readouterr().err


def test_the_table_is_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(tmp_path, "--width", "32", "--arch", "snf_ddr4_small") == 0
    assert "final tiles" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tiler", "fixed"], ""),
        (["--tiler", "fixed:x"], "is not one of morph, fixed:TILES"),
        (["--tiler", "best"], "options.tiler='best'"),
        (["--slices", "0"], "slices=0 must be at least 1"),
        (["--arch", "nowhere"], "is no file and no shipped name"),
        (["--set", "options.morphing.speed=3"], "unknown option"),
    ],
)
def test_wrong_words_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code = simulate(tmp_path, *words)
    error = capsys.readouterr().err
    assert code == (2 if message else 0)
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_print_config_prints_every_option_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(tmp_path, "--print-config", "--tiler", "fixed:4") == 0
    text = capsys.readouterr().out
    assert "tiles = 4" in text
    assert "[options.morphing]" in text
    assert not (tmp_path / "run").exists()
