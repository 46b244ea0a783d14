"""``shoestring graph train`` on a tiny graph: files, figures, resumption, refusals."""

import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch_geometric.nn import GAT, GCN, GraphSAGE

from shoestring.cli import main
from shoestring.cli.graph_folder import MetricsFile

CLASSES, PER_CLASS = 3, 20


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a small clustered graph: three rings, noisy one-hot features."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    num = CLASSES * PER_CLASS
    y = np.repeat(np.arange(CLASSES), PER_CLASS)
    inside = [(i, i - i % PER_CLASS + (i + s) % PER_CLASS) for i in range(num) for s in (1, 3)]
    pairs = np.array([*inside, (0, PER_CLASS), (PER_CLASS, 2 * PER_CLASS)]).T
    masks = {f"{n}_mask": np.arange(num) % 4 == k for n, k in (("train", 0), ("val", 1), ("test", 2))}
    x = np.eye(CLASSES)[y] + rng.normal(0, 0.3, (num, CLASSES))
    edge_index = np.concatenate([pairs, pairs[::-1]], axis=1)
    np.savez("g.npz", edge_index=edge_index, x=x.astype(np.float32), y=y, **masks)
    return tmp_path


BASE = ("graph", "train", "g.npz", "--epochs", "12", "--set", "model.hidden=8", "--set", "options.parts=3")


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*BASE, *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_time(report: dict[str, Any]) -> dict[str, Any]:
    timed = ("wall_s", "epoch_seconds")
    resumed = ("storage_read_bytes", "storage_write_bytes", "hit_rate")  # of the process that ended it
    return {k: v for k, v in report.items() if k not in (*timed, *resumed)}


def test_a_training_leaves_weights_logits_metrics_and_a_result(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_json(capsys, "--out", "run")
    assert {p.name for p in (work / "run").iterdir()} - {".lock"} == {
        "job.json",
        "metrics.jsonl",
        "model.safetensors",
        "predictions.npy",
        "result.json",
    }
    assert json.loads((work / "run" / "result.json").read_text()) == report
    rows = metrics(work / "run")
    assert len(rows) == 12
    assert rows[-1]["loss"] == report["loss"] < rows[0]["loss"]
    logits = np.load(work / "run" / "predictions.npy")
    assert logits.shape == (CLASSES * PER_CLASS, CLASSES)
    graph = np.load("g.npz")
    test = graph["test_mask"]
    right = (logits[test].argmax(1) == graph["y"][test]).mean()
    assert report["test_accuracy"] == pytest.approx(100 * right)
    assert report["test_accuracy"] > 80
    assert report["parts"] == 3


@pytest.mark.parametrize(("kind", "model"), [("gcn", GCN), ("sage", GraphSAGE), ("gat", GAT)])
def test_the_weights_load_into_pygs_own_model_and_give_the_predictions(
    work: Path, capsys: pytest.CaptureFixture[str], kind: str, model: type[GCN | GraphSAGE | GAT]
) -> None:
    run_json(capsys, "--model", kind, "--out", kind)
    peer = model(CLASSES, 8, 2, CLASSES, dropout=0.5).eval()
    peer.load_state_dict(load_file(work / kind / "model.safetensors"))
    graph = np.load("g.npz")
    with torch.no_grad():
        logits = peer(torch.from_numpy(graph["x"]), torch.from_numpy(graph["edge_index"]).long())
    saved = torch.from_numpy(np.load(work / kind / "predictions.npy"))
    torch.testing.assert_close(saved, logits, rtol=1e-4, atol=1e-5)  # float32, sums in another order
    with safe_open(work / kind / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["model"])["kind"] == kind


@contextmanager
def stopped_after(monkeypatch: pytest.MonkeyPatch, steps: int, error: BaseException) -> Iterator[None]:
    """Let a training end in the middle of an epoch's bookkeeping, as a signal would."""
    record = MetricsFile.record

    def stop(self: MetricsFile, step: int, values: dict[str, float]) -> None:
        record(self, step, values)
        if step == steps:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "record", stop)
        yield


def test_an_interrupted_training_goes_on_and_ends_as_if_it_had_not_been(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_json(capsys, "--out", "whole")
    with stopped_after(monkeypatch, 5, KeyboardInterrupt()):
        assert main([*BASE, "--out", "broken"]) == 130
    assert "goes on" in capsys.readouterr().err
    assert not (work / "broken" / "result.json").exists()
    assert len(metrics(work / "broken")) == 6
    resumed = run_json(capsys, "--out", "broken")
    assert without_time(resumed) == without_time(whole)
    one, two = (load_file(work / n / "model.safetensors") for n in ("whole", "broken"))
    assert all(torch.equal(one[k], two[k]) for k in one)
    losses = [[row["loss"] for row in metrics(work / n)] for n in ("whole", "broken")]
    assert losses[0] == losses[1]


def test_a_finished_training_is_not_run_again_unless_told(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run_json(capsys, "--out", "run")
    stamp = (work / "run" / "model.safetensors").stat().st_mtime_ns
    assert main([*BASE, "--out", "run", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == first
    assert "complete" in err
    assert (work / "run" / "model.safetensors").stat().st_mtime_ns == stamp
    again = run_json(capsys, "--out", "run", "--replace")
    assert without_time(again) == without_time(first)
    assert (work / "run" / "model.safetensors").stat().st_mtime_ns != stamp


def test_a_folder_of_another_job_or_graph_is_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_json(capsys, "--out", "run")
    assert main([*BASE, "--out", "run", "--set", "training.lr=0.5"]) == 2
    assert "training.lr: 0.01 there, 0.5 asked for" in capsys.readouterr().err
    arrays = dict(np.load("g.npz"))
    arrays["x"] = arrays["x"] + 1
    np.savez(work / "g.npz", **arrays)
    assert main([*BASE, "--out", "run"]) == 2
    assert "graph" in capsys.readouterr().err


def test_an_edge_list_with_features_and_labels_is_trained(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = np.load("g.npz")
    np.savetxt(work / "g.csv", graph["edge_index"].T, fmt="%d", delimiter=",")
    np.save(work / "x.npy", graph["x"])
    np.save(work / "y.npy", graph["y"])
    assert main(["graph", "train", "g.csv", "--epochs", "2", "--out", "none"]) == 2
    assert "input.features" in capsys.readouterr().err
    inputs = ("--set", "input.features=x.npy", "--set", "input.labels=y.npy")
    assert main(["graph", "train", "g.csv", "--epochs", "2", *inputs, "--out", "run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["num_nodes"] == CLASSES * PER_CLASS
    assert "seed 0" in report["split"]


def test_the_printed_config_is_whole_and_can_be_given_back(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*BASE, "--model", "sage", "--print-config"]) == 0
    text = capsys.readouterr().out
    assert "device_budget" in text
    assert not (work / "graph-run").exists()
    (work / "job.toml").write_text(text)
    assert main(["graph", "train", "g.npz", "--config", "job.toml", "--out", "run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["epochs"], report["parts"]) == ("sage", 12, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--system", "dgl"], "'grinnder', 'granndis'"),
        (["--mode", "warp"], "allowed: grinnder"),
        (["--model", "gin"], "'gcn', 'sage', 'gat'"),
        (["--epochs", "0"], "training.epochs=0"),
        (["--set", "training.lr=-1"], "training.lr=-1"),
        (["--set", "model.dropout=1.5"], "model.dropout=1.5"),
        (["--set", "options.zap=1"], "zap"),
        (["--set", "options.device_budget=lots"], "device_budget"),
        (["--set", "options.device_budget=1KiB"], "minimum"),
        (["--set", "options.host_budget=64B"], "minimum"),
        (["--set", "seed=1", "--set", "options.seed=2"], "set that alone"),
        (["--model", "gat", "--set", "model.heads=3"], "heads"),
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


@pytest.mark.parametrize("system", [(), ("--system", "granndis", "--set", "options.servers=1")])
def test_a_training_that_diverges_is_one_line_and_code_two(
    work: Path, capsys: pytest.CaptureFixture[str], system: tuple[str, ...]
) -> None:
    base = ("graph", "train", "g.npz", "--epochs", "5", "--out", str(work / "run"))
    assert main([*base, "--set", "training.lr=1e30", "--json", *system]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "the training diverged; lower the learning rate (1e+30)" in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_a_graph_without_training_vertices_is_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = dict(np.load("g.npz"))
    arrays["train_mask"][:] = False
    np.savez(work / "bad.npz", **arrays)
    assert main(["graph", "train", "bad.npz"]) == 2
    assert "train_mask" in capsys.readouterr().err


def test_a_missing_library_names_the_extra(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del work
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    assert main([*BASE]) == 2
    assert "pip install 'shoestring[graphs]'" in capsys.readouterr().err


def test_a_full_disk_is_a_clean_error_and_the_training_goes_on_later(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))  # no file may grow beyond it
    try:
        assert main([*BASE, "--out", "run"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "could not" in err
    assert not (work / "run" / "result.json").exists()
    assert run_json(capsys, "--out", "run")["epochs"] == 12


GRANNDIS = (
    *("graph", "train", "g.npz", "--system", "granndis", "--epochs", "4", "--set", "model.hidden=8"),
    *("--set", "options.servers=2", "--set", "options.ranks_per_server=1"),
)


@pytest.mark.slow
def test_granndis_trains_on_two_servers_and_no_feature_crosses_between_them(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*GRANNDIS, "--model", "sage", "--set", "model.dropout=0", "--out", "run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["inter_feature_bytes"] == 0
    assert report["inter_weights_bytes"] > 0
    rows = metrics(work / "run")
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[-1]["loss"] == report["loss"] < rows[0]["loss"]
    GraphSAGE(CLASSES, 8, 2, CLASSES).load_state_dict(load_file(work / "run" / "model.safetensors"))
    logits = np.load(work / "run" / "predictions.npy")
    graph = np.load("g.npz")
    right = (logits.argmax(1) == graph["y"])[graph["test_mask"]].mean()
    assert report["test_accuracy"] == pytest.approx(100 * right)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode", "warp"], "allowed: flexible"),
        (["--model", "gat"], "use --system grinnder"),
        (["--set", "options.model.layers=3"], "set model.layers"),
        (["--set", "options.plan.mode=eas"], "set mode"),
        (["--set", "training.weight_decay=0.1"], "weight_decay"),
        (["--set", "options.servers=0"], "servers"),
        (["--set", "options.plan.k=5"], "plan.k=5"),
        (["--set", "options.servers=50", "--set", "options.ranks_per_server=2"], "as many ranks as vertices"),
    ],
)
def test_wrong_options_of_granndis_are_one_line_and_code_two(
    work: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    del work
    assert main([*GRANNDIS, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


def test_the_printed_config_of_granndis_can_be_given_back(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*GRANNDIS, "--mode", "eas", "--print-config"]) == 0
    text = capsys.readouterr().out
    (work / "job.toml").write_text(text)
    assert main(["graph", "train", "g.npz", "--config", "job.toml", "--print-config"]) == 0
    assert capsys.readouterr().out == text
