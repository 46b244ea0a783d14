"""Refused io_uring, refused O_DIRECT, and the environment's word."""

import errno
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shoestring.core.errors import ConfigError, StorageError
from shoestring.native.io import Engine

PAGE = 4096

# A filter of system calls: io_uring_setup (number 425 everywhere) answers EPERM, as in many containers.
WITHOUT_URING = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050000 | 1), (0x06, 0, 0, 0x7FFF0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(filters)))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0
"""


def test_refused_io_uring_warns_once_and_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOESTRING_IO_REFUSE", "io_uring")
    with pytest.warns(RuntimeWarning, match="refuses io_uring") as caught:
        engine = Engine("io_uring")
    assert len(caught) == 1
    with engine:
        stats = engine.stats()
        assert stats["backend"] == "threads"
        assert any("io_uring -> threads" in row for row in stats["fallbacks"])
        with engine.open(tmp_path / "a", "create", PAGE) as file:
            assert engine.write(file, 0, engine.buffer(PAGE), PAGE).result() == PAGE


def test_io_uring_refused_by_the_kernel_falls_back(tmp_path: Path) -> None:
    program = WITHOUT_URING + textwrap.dedent(f"""
        import warnings
        from shoestring.native.io import Engine
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            engine = Engine("io_uring")
        with engine, engine.open({str(tmp_path / "a")!r}, "create", 4096) as file:
            engine.write(file, 0, engine.buffer(4096), 4096).result()
            print(engine.stats()["backend"], len(caught), caught[0].message)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "AssertionError" in done.stderr:
        pytest.skip("this system does not allow filters of system calls")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("threads 1 ")
    assert "refuses io_uring: Operation not permitted" in done.stdout or "without liburing" in done.stdout


def test_refused_o_direct_warns_once_and_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOESTRING_IO_REFUSE", "direct")
    with Engine("threads") as engine:
        with pytest.warns(RuntimeWarning, match="refuses O_DIRECT") as caught:
            files = [engine.open(tmp_path / name, "create", PAGE) for name in "abc"]
        assert len(caught) == 1
        for file in files:
            assert not file.direct
            engine.write(file, 0, engine.buffer(PAGE), PAGE).result()
            file.close()
        assert len(engine.stats()["fallbacks"]) == 3
        assert engine.stats()["direct"] is False


def test_required_o_direct_is_an_error_when_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHOESTRING_IO_REFUSE", "direct")
    with (
        Engine("threads", direct=True) as engine,
        pytest.raises(StorageError, match="direct='auto'") as caught,
    ):
        engine.open(tmp_path / "a", "create", PAGE)
    assert caught.value.errno == errno.EINVAL


def test_the_environment_forces_a_backend_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOESTRING_IO", "threads")
    with Engine("io_uring") as engine:
        assert engine.stats()["backend"] == "threads"
        assert engine.stats()["fallbacks"] == []
    monkeypatch.setenv("SHOESTRING_IO", "magic")
    with pytest.raises(ConfigError, match="SHOESTRING_IO='magic'"):
        Engine()
