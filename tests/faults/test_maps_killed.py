"""A fit that is killed leaves a checkpoint that is whole, and goes on to the same bits."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from shoestring.finance.maps import MAPS
from shoestring.finance.maps._checkpoint import read_tensors

PROGRAM = Path(__file__).parent / "_maps_program.py"


def command(folder: Path, name: str, pause_s: float) -> list[str]:
    return [
        sys.executable,
        str(PROGRAM),
        str(folder / f"{name}.ckpt"),
        str(folder / f"{name}.model"),
        str(pause_s),
    ]


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    subprocess.run(command(tmp_path, "whole", 0), check=True, timeout=120)
    checkpoint = tmp_path / "cut.ckpt"
    for number in range(2):
        process = subprocess.Popen(command(tmp_path, "cut", 0.2))
        deadline = time.monotonic() + 60
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == seen:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.wait()
        _, meta = read_tensors(checkpoint, "training")
        assert 0 < meta["history"][-1]["update"] < 40, f"kill {number} came too late"
        assert not (tmp_path / "cut.model").exists()
    subprocess.run(command(tmp_path, "cut", 0), check=True, timeout=120)
    assert (tmp_path / "cut.model").read_bytes() == (tmp_path / "whole.model").read_bytes()
    assert MAPS.load(tmp_path / "cut.model").history_[-1]["update"] == 40
