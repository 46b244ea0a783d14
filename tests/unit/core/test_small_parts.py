"""Seeds, recorders, progress and optional imports."""

import io
import json
from pathlib import Path

import pytest

from shoestring.core.errors import MissingExtraError
from shoestring.core.optional import optional
from shoestring.core.progress import progress
from shoestring.core.recorder import JsonLinesRecorder, MemoryRecorder, NullRecorder
from shoestring.core.seeds import derive_seed


def test_seeds_differ_by_purpose_and_are_the_same_every_day() -> None:
    seeds = {
        derive_seed(s, *names) for s in (0, 1) for names in ((), ("a",), ("a", 1), ("b",), ("a", "1", 1))
    }
    assert len(seeds) == 10
    assert all(0 <= s < 2**63 for s in seeds)
    assert derive_seed(7, "generator") == 6565299211335994200


def test_joined_names_are_not_confused() -> None:
    assert derive_seed(0, "ab", "c") != derive_seed(0, "a", "bc")


def test_recorders_take_the_same_rows(tmp_path: Path) -> None:
    memory = MemoryRecorder()
    with JsonLinesRecorder(tmp_path / "deep" / "m.jsonl") as lines:
        for recorder in (memory, lines, NullRecorder()):
            recorder.record(3, {"loss": 1})
            recorder.record(4, {"loss": 0.5})
        rows = [json.loads(line) for line in (tmp_path / "deep" / "m.jsonl").read_text().splitlines()]
    assert rows == memory.rows == [{"step": 3.0, "loss": 1.0}, {"step": 4.0, "loss": 0.5}]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_passes_every_item_and_is_silent_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = io.StringIO()
    monkeypatch.setattr("sys.stderr", quiet)
    assert list(progress(iter("abc"), "work")) == ["a", "b", "c"]
    assert quiet.getvalue() == ""


def test_progress_ends_with_the_whole_count_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(progress([1, 2, 3], "work")) == [1, 2, 3]
    assert "work 3/3" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


def test_a_missing_package_names_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'shoestring\[magic\]'"):
        optional("no_such_package_here.part", extra="magic")


def test_a_package_that_is_broken_inside_raises_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_inside.py").write_text("import no_such_package_here")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_here") as raised:
        optional("broken_inside", extra="magic")
    assert not isinstance(raised.value, MissingExtraError)
