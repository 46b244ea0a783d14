"""The committed types of the compiled module are what it says itself."""

import subprocess
import sys
from pathlib import Path

import pytest

STUBS = Path(__file__).parents[3] / "src" / "shoestring" / "native" / "_core"


def test_the_stubs_are_up_to_date(tmp_path: Path) -> None:
    pytest.importorskip("nanobind")
    command = [
        sys.executable,
        "-m",
        "nanobind.stubgen",
        "-q",
        "-r",
        "-m",
        "shoestring.native._core",
        "-O",
        str(tmp_path),
    ]
    subprocess.run(command, check=True)
    fresh = {p.name: p.read_text() for p in (tmp_path / "_core").glob("*.pyi")}
    # Whether liburing was found is a fact of the machine.
    fresh["io.pyi"] = fresh["io.pyi"].replace("has_liburing: bool = False", "has_liburing: bool = True")
    assert fresh == {p.name: p.read_text() for p in STUBS.glob("*.pyi")}, "run: make stubs"
