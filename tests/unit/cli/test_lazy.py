"""What a verb sets up before it is imported."""

import subprocess
import sys

import pytest

from shoestring.cli.lazy import SPINS

CODE = """
import os, sys
{before}
from shoestring.cli import main
main({words!r})
print("SPINS", os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("words", "before", "spins"),
    [
        (["quantize", "--help"], "", SPINS),
        (["graph", "train", "--help"], "", SPINS),
        (["simulate", "sgcn", "--help"], "", SPINS),
        (["simulate", "sgcn", "--help"], "os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'", "None"),
        (["simulate", "sgcn", "--help"], "os.environ['GOMP_SPINCOUNT'] = '7'", "7"),
        (["verify", "--help"], "", "None"),
    ],
)
def test_threads_of_verbs_that_compute_spin_briefly_unless_the_user_decided(
    words: list[str], before: str, spins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    code = CODE.format(before=before, words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"SPINS {spins}" in done.stdout
