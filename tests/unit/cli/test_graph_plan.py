"""``shoestring graph plan`` on a small graph and on wrong input."""

import json
from pathlib import Path
from typing import Any

import pytest

from shoestring.cli import main
from shoestring.data.graphs.formats import save_graph
from shoestring.data.graphs.generators import block_model


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a small synthetic graph."""
    monkeypatch.chdir(tmp_path)
    save_graph(tmp_path / "g.npz", block_model(400, 6, num_communities=4, num_features=8, seed=0))
    return tmp_path


BASE = ("graph", "plan", "g.npz", "--set", "model.hidden=8")
GRANNDIS = ("--system", "granndis", "--set", "options.link.inter_bits_per_s=1e8")


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*BASE, *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_mode_of_grinnder_is_predicted_and_nothing_is_left_behind(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_json(capsys, "--set", "options.parts=4", "--set", "options.host_budget=64KiB")
    modes = {row["mode"]: row for row in report["modes"]}
    assert set(modes) == {"grinnder", "regather", "hongtu", "snapshot", "plain"}
    fitting = [row for row in modes.values() if row["fits"]]
    assert fitting
    for row in fitting:
        assert row["parts"] == 4
        assert row["device_host_bytes"] > 0
        assert row["modelled_epoch_s"] > 0
    assert [p.name for p in work.iterdir()] == ["g.npz"]


def test_the_least_budgets_that_are_named_are_enough(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del work
    parts = ("--set", "options.parts=4")
    row = run_json(capsys, *parts, "--set", "options.host_budget=1KiB")["modes"][0]
    assert not row["fits"]
    assert "host" in row["why_not"]
    least = [f"--set=options.{t}_budget={row[f'{t}_minimum_bytes']}" for t in ("host", "device")]
    assert run_json(capsys, *parts, *least)["modes"][0]["fits"]


def test_every_mode_of_granndis_is_predicted(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del work
    report = run_json(capsys, *GRANNDIS, "--set", "options.plan.mem_budget_bytes=30000")
    rows = report["modes"]
    assert [(r["mode"], r["k"]) for r in rows][:3] == [("full", 0), ("flexible", 1), ("flexible", 2)]
    assert {r["mode"] for r in rows} == {"full", "flexible", "eas", "cooperative", "minibatch"}
    by_k = [r["inter_feature_bytes"] for r in rows[:3]]
    assert by_k[0] > by_k[1] > by_k[2] == 0
    assert rows[1]["replication"] < rows[2]["replication"]
    assert rows[0]["modelled_link_s"] == pytest.approx(8 * by_k[0] / 2 / 1e8)
    assert [r["fits"] for r in rows] == [r["rank_minimum_bytes"] <= 30000 for r in rows]


@pytest.mark.parametrize("arguments", [(), GRANNDIS], ids=["grinnder", "granndis"])
def test_the_table_has_a_column_a_mode(
    arguments: tuple[str, ...], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del work
    assert main([*BASE, *arguments]) == 0
    out = capsys.readouterr().out
    for word in (*(("hongtu", "snapshot") if not arguments else ("flexible k=2", "eas")), "modelled", "MiB"):
        assert word in out


def test_the_printed_config_trains(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--model", "sage", "--set", "training.epochs=1", "--print-config"]) == 0
    (work / "job.toml").write_text(capsys.readouterr().out)
    assert main(["graph", "train", "g.npz", "--config", "job.toml", "--out", "run"]) == 0
    assert (work / "run" / "result.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--system", "dgl"], "'grinnder', 'granndis'"),
        (["--model", "gin"], "'gcn', 'sage', 'gat'"),
        (["--set", "options.zap=1"], "zap"),
        (["--set", "mode=warp"], "allowed: grinnder"),
        ([*GRANNDIS, "--model", "gat"], "use --system grinnder"),
    ],
)
def test_wrong_options_are_one_line_and_code_two(
    work: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    del work
    assert main([*BASE, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
