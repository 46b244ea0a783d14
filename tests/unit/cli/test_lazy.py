"""What a verb sets up before it is imported."""

import subprocess
import sys

import pytest

CODE = """
import os, sys
{before}
from shoestring.cli import main
main({words!r})
print("POLICY", os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(
    ("words", "before", "policy"),
    [
        (["quantize", "--help"], "", "PASSIVE"),
        (["graph", "train", "--help"], "", "PASSIVE"),
        (["simulate", "sgcn", "--help"], "", "PASSIVE"),
        (["simulate", "sgcn", "--help"], "os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'", "ACTIVE"),
        (["verify", "--help"], "", "None"),
    ],
)
def test_threads_of_verbs_that_compute_sleep_while_they_wait(
    words: list[str], before: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    code = CODE.format(before=before, words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"POLICY {policy}" in done.stdout
