"""Scratch folders: of one run, gone with it, those of killed runs removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.core.errors import StorageError
from shoestring.storage.scratch import Scratch

KILLED = """
import os, signal, sys
from pathlib import Path
from shoestring.storage.scratch import Scratch
made = Scratch(Path(sys.argv[1]))
(made.folder / "act-1.bin").write_bytes(b"stale")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_of_a_killed_run_is_removed_and_a_living_one_is_not(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, env=env)
    (stale,) = tmp_path.glob("run-*")
    living = Scratch(tmp_path)
    assert living.removed == [stale]
    assert not stale.exists()
    other = Scratch(tmp_path)
    assert other.removed == []
    assert living.folder.is_dir()
    living.remove()
    other.remove()
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Give a folder"):
        Scratch(tmp_path / "file")
