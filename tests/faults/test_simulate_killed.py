"""A simulation that is killed leaves nothing that looks like a result; the same command then makes one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shoestring.cli import main

WORDS = ["simulate", "sgcn", "--train", "sbm:n=300,deg=6,low=32,high=64", "--set", "training.layers=3"]


@pytest.mark.slow
def test_a_killed_simulation_leaves_no_summary(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [*WORDS, "--set", "training.epochs=1000000", "--out", str(out)]
    program = f"import sys; from shoestring.cli import main; sys.exit(main({words!r}))"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    time.sleep(10)  # in the middle of the training, which takes hours
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists() or list(out.iterdir()) == []
    assert main([*WORDS, "--set", "training.epochs=2", "--out", str(out)]) == 0
    assert (out / "summary.csv").exists()
