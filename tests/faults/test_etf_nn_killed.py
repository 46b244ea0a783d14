"""A walk-forward that is killed leaves whole fits only, and goes on to the same bits."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shoestring.finance.etf_nn import StatementNet

PROGRAM = Path(__file__).parent / "_etf_nn_program.py"


def start(folder: Path, result: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(PROGRAM), str(folder), str(result)])


@pytest.mark.slow
def test_a_killed_walk_forward_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    assert start(tmp_path / "whole", tmp_path / "whole.parquet").wait(300) == 0
    fits = tmp_path / "fits"
    killed = start(fits, tmp_path / "result.parquet")
    end = time.monotonic() + 300
    while len(list(fits.glob("*.safetensors"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "result.parquet").exists()
    kept = {p.name: p.stat().st_mtime_ns for p in fits.glob("*.safetensors")}
    for name in kept:
        StatementNet.load(fits / name)  # whole, or it would say that it is damaged
    assert start(fits, tmp_path / "result.parquet").wait(300) == 0
    assert (tmp_path / "result.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    after = {p.name: p.stat().st_mtime_ns for p in fits.glob("*.safetensors")}
    assert {n: after[n] for n in kept} == kept  # the finished fits were not made again
    assert set(after) == {p.name for p in (tmp_path / "whole").glob("*.safetensors")}
