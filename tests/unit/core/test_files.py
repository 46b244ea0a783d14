import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.core.errors import StorageError
from shoestring.core.files import write_bytes_atomic, write_json_atomic, write_text_atomic


def test_a_file_is_made_with_its_folders_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "f.txt"
    write_text_atomic(path, "\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert path.read_bytes() == b"\xc3\xa9"
    assert [p.name for p in path.parent.iterdir()] == ["f.txt"]


def test_a_file_gets_the_permissions_that_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes_atomic(tmp_path / "f", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_what_is_no_json_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    write_json_atomic(path, {"b": 1, "a": 2})
    old = path.read_text()
    assert old.index('"a"') < old.index('"b"')
    for bad in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            write_json_atomic(path, {"x": bad})
    assert path.read_text() == old


def test_a_target_that_cannot_be_replaced_leaves_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "inside").write_text("kept")
    with pytest.raises(StorageError, match=r"could not write .*nothing was changed"):
        write_bytes_atomic(path, b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    assert (path / "inside").read_text() == "kept"


SHORT = """
import resource, sys
from pathlib import Path
from shoestring.core.errors import StorageError
from shoestring.core.files import write_bytes_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_bytes_atomic(Path(sys.argv[1]), b"x" * 1000)
except StorageError as e:
    print(e)
"""


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", SHORT, str(path)]
    told = subprocess.run(command, check=True, env=env, capture_output=True, text=True).stdout
    assert "could not write" in told
    assert "nothing was changed" in told
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert path.read_bytes() == b"old"
