import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from shoestring.evidence.environment import (
    git_commit,
    hardware,
    package_version,
    resources,
    usable_cores,
    versions,
)


def test_hardware_has_figures_and_no_name_of_the_machine() -> None:
    found = hardware()
    assert found["cores"] == usable_cores() >= 1
    assert found["memory_bytes"] is None or found["memory_bytes"] > 1 << 20
    assert found["cpu"]
    text = json.dumps(dict(found))
    assert platform.node() not in text.split('"')
    assert resources() >= {"cpu"}


def test_versions_are_read_without_importing_anything() -> None:
    assert versions()["python"] == platform.python_version()
    assert versions()["numpy"] == importlib.metadata.version("numpy")
    code = "import sys, shoestring.evidence.environment as e; e.versions(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_is_never_empty() -> None:
    assert package_version()


def test_the_commit_is_that_of_the_sources_only(tmp_path: Path) -> None:
    package = tmp_path / "src" / "shoestring"
    package.mkdir(parents=True)
    (package / "a.py").write_text("a = 1")
    assert git_commit(package) is None
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=n", "-c", "user.email=e@x", "commit", "-q", "-m", "one"],
    ):
        done = subprocess.run(["git", "-C", str(tmp_path), *command], check=False, capture_output=True)
        if done.returncode:
            pytest.skip("git does not work here")
    commit = git_commit(package)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "other.txt").write_text("not a source")
    assert git_commit(package) == commit
    (package / "a.py").write_text("a = 2")
    assert git_commit(package) == commit + "+"
    installed = tmp_path / "venv" / "shoestring"
    installed.mkdir(parents=True)
    assert git_commit(installed) is None
