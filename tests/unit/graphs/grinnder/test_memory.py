"""The process itself stays within its budgets, as the kernel counts its memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONSTANT_MIB = 128
"""Beyond both budgets: what malloc keeps of freed tensors (nothing with a small mmap threshold), code that
loads with the first epoch."""
SETUP = """
import sys, torch
from pathlib import Path
from shoestring.data.graphs.generators import block_model
from shoestring.graphs.grinnder import Config, PreparedGraph, Trainer, prepare
from shoestring.graphs.models import build_gnn
torch.set_num_threads(1)
torch.manual_seed(0)
config = Config(storage=Path(sys.argv[1]), device_budget="64MiB", host_budget="256MiB")
model = build_gnn("sage", 64, 128, 64, 3)
"""
PREPARE = """
data = block_model(150_000, 8, num_features=64, seed=0)
print(prepare(data, config, model).folder)
"""
TRAIN = """
import json
def status(field):
    lines = dict(l.split(":", 1) for l in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024
before = status("VmRSS")
with Trainer(model, PreparedGraph(Path(sys.argv[2])), config) as trainer:
    trainer.passes.loss_and_gradients(dropout=None)
    trainer.passes.loss_and_gradients(dropout=None)
    budgets = (trainer.tiers.device.peak_bytes, trainer.tiers.host.peak_bytes)
    layer = trainer.graph.num_nodes * 128 * 4 / 2**20
    parts = trainer.graph.num_parts
print(json.dumps({"grown": status("VmHWM") - before, "device": budgets[0] / 2**20, "host": budgets[1] / 2**20,
                  "layer": layer, "parts": parts}))
"""


def run(code: str, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SETUP + code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


@pytest.mark.slow
def test_a_run_within_64_and_256_mib_stays_there(tmp_path: Path) -> None:
    folder = run(PREPARE, str(tmp_path)).strip()
    seen = json.loads(run(TRAIN, str(tmp_path), folder))
    assert seen["device"] <= 64
    assert seen["host"] <= 256
    assert 5 * seen["layer"] > 320  # inputs, activations and gradients would not fit
    assert seen["grown"] <= 64 + 256 + CONSTANT_MIB
