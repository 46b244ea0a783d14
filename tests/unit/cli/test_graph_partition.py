"""``shoestring graph partition`` on small graphs and on wrong input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoestring.cli import main


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a ring of 60 vertices as an edge list without features."""
    monkeypatch.chdir(tmp_path)
    np.savetxt(tmp_path / "ring.csv", [(i, (i + 1) % 60) for i in range(60)], fmt="%d", delimiter=",")
    return tmp_path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["graph", "partition", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


UNDIRECTED = ("ring.csv", "--set", "input.undirected=yes")


def test_the_part_of_every_vertex_is_written_and_the_figures_are_those_of_the_file(
    ring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_json(capsys, *UNDIRECTED, "--parts", "4", "--out", "made/part.npy")
    (row,) = report["results"]
    part = np.load(ring / "made" / "part.npy")
    assert part.shape == (60,)
    assert part.dtype == np.int32
    assert set(part.tolist()) == {0, 1, 2, 3}
    neighbours = np.stack([np.roll(part, 1), np.roll(part, -1)])
    read = sum(len({v for v in range(60) if part[v] != p and p in neighbours[:, v]}) for p in range(4))
    assert row["alpha"] == pytest.approx((60 + read) / 60, abs=1e-4)
    assert row["balance"] == pytest.approx(np.bincount(part).max() / 15, abs=1e-4)
    assert row["seconds"] >= 0


def test_all_methods_are_compared_and_each_writes_its_file(
    ring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_json(capsys, *UNDIRECTED, "--parts", "3", "--method", "all", "--out", "p.npy")
    alpha = {row["method"]: row["alpha"] for row in report["results"]}
    assert set(alpha) == {"random", "spinner", "switching", "metis"}
    assert alpha["switching"] < alpha["random"]
    assert {p.name for p in ring.glob("p-*.npy")} == {f"p-{m}.npy" for m in alpha}


def test_one_seed_gives_one_partition(ring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        run_json(capsys, *UNDIRECTED, "--method", "random", "--seed", seed, "--out", f"{name}.npy")
    a, b, c = (np.load(ring / f"{n}.npy") for n in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_table_names_what_it_measured(ring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del ring
    assert main(["graph", "partition", *UNDIRECTED]) == 0
    out = capsys.readouterr().out
    for word in ("switching", "alpha", "balance", "seconds", "extra memory"):
        assert word in out


def test_the_printed_config_can_be_given_back(ring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "partition", "ring.csv", "--parts", "5", "--seed", "2", "--print-config"]) == 0
    (ring / "job.toml").write_text(capsys.readouterr().out)
    report = run_json(capsys, "ring.csv", "--config", "job.toml", "--seed", "7")
    assert (report["parts"], report["seed"]) == (5, 7)


def test_ids_that_leave_gaps_are_counted_and_said(ring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (ring / "gaps.csv").write_text("0,10\n10,20\n")
    assert main(["graph", "partition", "gaps.csv", "--parts", "2", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["num_nodes"], json.loads(out)["num_edges"]) == (21, 2)
    assert "3 vertices with edges; ids run up to 20, so 18 vertices without an edge are counted too" in err
    assert main(["graph", "partition", *UNDIRECTED, "--parts", "2"]) == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "holds no vertex and no edge"), ("0,1\n1,2000000000\n", "run up to 2,000,000,000, but at most 4")],
)
def test_a_list_without_edges_or_with_names_for_ids_is_refused(
    ring: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    (ring / "odd.csv").write_text(text)
    assert main(["graph", "partition", "odd.csv"]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.npz"], "none.npz does not exist"),
        (["ring.csv", "--parts", "0"], "parts=0"),
        (["ring.csv", "--method", "voronoi"], "allowed: random, spinner, switching, metis, all"),
        (["ring.csv", "--out", "p.txt"], "must end in .npy"),
        (["ring.csv", "--set", "options.zap=1"], "zap"),
        (["ring.csv", "--method", "all", "--set", "options.init=random"], "options are those of one method"),
        (["ring.csv", "--set", "input.zap=1"], "allowed: name, features"),
    ],
)
def test_wrong_input_is_one_line_and_code_two(
    ring: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    before = {p.name for p in ring.iterdir()}
    assert main(["graph", "partition", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert {p.name for p in ring.iterdir()} == before


def test_an_output_that_cannot_be_written_is_found_before_the_work(
    ring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ring / "file").touch()
    assert main(["graph", "partition", "ring.csv", "--out", "file/p.npy"]) == 2
    assert "permissions" in capsys.readouterr().err
