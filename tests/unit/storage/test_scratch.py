"""Scratch of a killed run goes, that of a living one stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.core.errors import StorageError
from shoestring.storage.scratch import Scratch

HOLD = """
import sys, time
from pathlib import Path
from shoestring.storage.scratch import Scratch
s = Scratch(Path(sys.argv[1]))
(s.folder / "act-1.bin").write_bytes(b"x" * 100)
print(s.folder, flush=True)
time.sleep(60)
"""


def test_a_run_removes_its_own_folder(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    (scratch.folder / "act-1.bin").write_bytes(b"x")
    scratch.remove()
    assert list(tmp_path.iterdir()) == []
    scratch.remove()


def test_the_folder_of_a_living_run_stays_that_of_a_killed_one_goes(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env
    ) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        first = Scratch(tmp_path)
        assert first.removed == []
        assert folder.exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
    second = Scratch(tmp_path)
    assert second.removed == [folder]
    assert not folder.exists()
    assert first.folder.exists()
    first.remove()
    second.remove()


def test_a_place_that_is_no_folder_is_a_clean_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="scratch"):
        Scratch(tmp_path / "file")
