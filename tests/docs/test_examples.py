"""Every example runs offline, in an empty folder, within its minute, and is short enough to read."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# No socket leaves the machine: ranks may talk to each other over the loopback device.
OFFLINE = """
import runpy, socket, sys
connect = socket.socket.connect
def local(self, address):
    here = ("127.", "::1", "localhost")
    if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(here):
        raise OSError(f"an example must not use the network, it asked for {address}")
    return connect(self, address)
socket.socket.connect = local
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_there_are_examples_of_at_most_80_lines() -> None:
    assert EXAMPLES
    for path in EXAMPLES:
        lines = path.read_text().splitlines()
        assert len(lines) <= 80, path.name
        assert lines[0].startswith('"""'), f"{path.name} does not say what it shows"


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_the_example_runs_offline_within_a_minute(path: Path, tmp_path: Path) -> None:
    source = [str(ROOT / "src"), *(p for p in sys.path if p)]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(source)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example prints what it found"
    assert time.monotonic() - start < 120  # a minute on two quiet cores; the machine may be loaded
