"""The output folder of a training: whose it is, what goes on, what is refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from shoestring.cli.graph_folder import CHECKPOINTS, MetricsFile, job_folder
from shoestring.core.errors import ConfigError, StorageError

JOB = {"system": "grinnder", "training": {"epochs": 3}}


def rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_new_folder_belongs_to_its_job_and_the_same_job_may_go_on(tmp_path: Path) -> None:
    out = tmp_path / "a" / "run"
    with job_folder(out, JOB, replace=False) as one:
        assert one.result is None
    with job_folder(out, JOB, replace=False) as two:
        assert two.path == out
    assert json.loads((out / "job.json").read_text()) == JOB


def test_another_job_is_refused_and_the_difference_is_named(tmp_path: Path) -> None:
    other = {**JOB, "training": {"epochs": 4}}
    with job_folder(tmp_path, JOB, replace=False):
        pass
    refused = pytest.raises(ConfigError, match=r"training.epochs: 3 there, 4 asked for.*--replace")
    with refused, job_folder(tmp_path, other, replace=False):
        pass
    with job_folder(tmp_path, other, replace=True):
        pass
    assert json.loads((tmp_path / "job.json").read_text()) == other


def test_replacing_removes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    with job_folder(tmp_path, JOB, replace=False) as folder:
        folder.checkpoints.mkdir()
        (folder.checkpoints / "x.safetensors").touch()
    (tmp_path / "notes.txt").write_text("mine")
    with job_folder(tmp_path, JOB, replace=True):
        assert not (tmp_path / CHECKPOINTS).exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_of_something_else_is_refused_even_for_replacing(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(ConfigError, match=r"thesis.tex.*not the folder of a training"),
        job_folder(tmp_path, JOB, replace=replace),
    ):
        pass


def test_two_processes_cannot_work_in_one_folder(tmp_path: Path) -> None:
    with (
        job_folder(tmp_path, JOB, replace=False),
        pytest.raises(StorageError, match="running already"),
        job_folder(tmp_path, JOB, replace=False),
    ):
        pass


def test_a_file_in_the_way_and_a_damaged_job_are_clean_errors(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="is a file"), job_folder(out, JOB, replace=False):
            pass
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "job.json").write_text("{")
    with pytest.raises(StorageError, match="--replace"), job_folder(tmp_path / "run", JOB, replace=False):
        pass


def test_a_folder_without_permission_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(StorageError, match="permissions"), job_folder(tmp_path, JOB, replace=False):
        pass


def test_the_end_leaves_weights_predictions_and_result_and_drops_the_checkpoints(tmp_path: Path) -> None:
    weights = {"convs.0.lin.weight": torch.arange(6.0).view(2, 3)}
    with job_folder(tmp_path, JOB, replace=False) as folder:
        folder.checkpoints.mkdir()
        folder.finish(weights, {"model": "{}"}, torch.ones(4, 2), {"loss": 0.5})
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("convs.0.lin.weight"), weights["convs.0.lin.weight"])
        assert file.metadata() == {"model": "{}"}
    assert np.load(tmp_path / "predictions.npy").shape == (4, 2)
    assert not (tmp_path / CHECKPOINTS).exists()
    with job_folder(tmp_path, JOB, replace=False) as again:
        assert again.result == {"loss": 0.5}


def test_repeated_steps_replace_themselves_and_what_came_after(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    for step in (1, 2, 3):
        metrics.record(step, {"loss": float(step)})
    resumed = MetricsFile(path)
    resumed.record(2, {"loss": 20.0})
    resumed.record(3, {"loss": 30.0})
    assert rows(path) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 20.0}, {"step": 3, "loss": 30.0}]


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    MetricsFile(path).record(2, {"loss": 2.0})
    assert [r["step"] for r in rows(path)] == [1, 2]
