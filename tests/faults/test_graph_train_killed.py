"""kill -9 amid ``shoestring graph train``: the same command goes on and ends as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shoestring.data.graphs.formats import save_graph
from shoestring.data.graphs.generators import block_model

COMMAND = "import sys; from shoestring.cli import main; sys.exit(main(sys.argv[1:]))"
EPOCHS = 80
COMMON = (*("graph", "train", "g.npz", "--epochs", str(EPOCHS), "--json"), "--set", "model.hidden=16")
SYSTEMS = {
    "grinnder": ("--set", "options.parts=6", "--set", "options.host_budget=48KiB"),
    "granndis": (
        *("--system", "granndis", "--set", "options.servers=2", "--set", "options.ranks_per_server=1"),
        *("--set", "training.checkpoint_every=1"),
    ),
}


def start(folder: Path, out: str, system: str) -> "subprocess.Popen[str]":
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", COMMAND, *COMMON, *SYSTEMS[system], "--out", out]
    return subprocess.Popen(
        arguments, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]") -> dict[str, float]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    report: dict[str, float] = json.loads(out)
    return report


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_killed_training_ends_at_the_same_weights(system: str, tmp_path: Path) -> None:
    save_graph(tmp_path / "g.npz", block_model(600, 6, num_communities=4, num_features=8, seed=0))
    whole = finish(start(tmp_path, "whole", system))
    victim = start(tmp_path, "killed", system)
    checkpoint = tmp_path / "killed" / "checkpoints" / "run.safetensors"
    until = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < until and victim.poll() is None:
        time.sleep(0.01)
    time.sleep(0.3)  # some epochs on
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "result.json").exists()
    resumed = finish(start(tmp_path, "killed", system))
    assert resumed["loss"] == whole["loss"]
    assert resumed["test_accuracy"] == whole["test_accuracy"]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(one[k], two[k]) for k in one)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "killed")]
    losses = [[json.loads(line)["loss"] for line in part] for part in lines]
    assert losses[0] == losses[1]
    assert len(losses[0]) == EPOCHS
    assert {p.name for p in (tmp_path / "killed").iterdir()} == {
        p.name for p in (tmp_path / "whole").iterdir()
    }
