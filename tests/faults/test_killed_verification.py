"""A verification is killed, doubled or robbed of its folder; nothing wrong may come of it."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoestring.core.errors import StorageError
from shoestring.evidence.model import Record
from shoestring.evidence.runner import verify
from shoestring.evidence.store import load_verifications, read_record

LIMIT_S = 300.0  # generous: a busy machine is no fault
PROGRAM = Path(__file__).parent / "_verify_program.py"
ALL_TASKS = {"prepare 0", *(f"{arm} {seed}" for arm in ("first", "second", "slow") for seed in (0, 1))}


@contextmanager
def verification(out: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, str(PROGRAM), str(out)], stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_a_killed_verification_takes_its_tasks_along_and_goes_on_later(tmp_path: Path) -> None:
    (tmp_path / "block").touch()
    with verification(tmp_path) as process:
        # Both quick arms of both seeds are done, and both slow ones hang, each with a child.
        assert wait_until(lambda: len(records(tmp_path)) == 5 and len(pids(tmp_path)) == 4, LIMIT_S)
        assert not any(is_gone(pid) for pid in pids(tmp_path))
        process.send_signal(signal.SIGKILL)
    assert wait_until(lambda: all(is_gone(pid) for pid in pids(tmp_path))), "a task outlived the verification"
    assert {(r.arm, r.status) for r in records(tmp_path)} == {
        ("prepare", "ok"),
        ("first", "ok"),
        ("second", "ok"),
    }
    assert load_verifications(tmp_path / "evidence") == []
    before = dict.fromkeys(ALL_TASKS, 1)
    assert executed(tmp_path) == before

    (tmp_path / "block").unlink()
    with verification(tmp_path) as process:
        assert process.wait(LIMIT_S) == 0
    assert executed(tmp_path) == {**before, "slow 0": 2, "slow 1": 2}
    (found,) = load_verifications(tmp_path / "evidence")
    assert [(r.status, r.metrics.get("score")) for r in found.records] == [("ok", None)] + [("ok", 7.0)] * 6
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05])
def test_a_kill_at_any_moment_leaves_whole_records_only(tmp_path: Path, after_s: float) -> None:
    with verification(tmp_path) as process:
        wait_until((tmp_path / "runs").exists)
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
    done = {f"{r.arm} {r.seed}" for r in records(tmp_path)}
    ran = executed(tmp_path)
    with verification(tmp_path) as process:
        assert process.wait(LIMIT_S) == 0
    again = {name for name, num in executed(tmp_path).items() if num > ran.get(name, 0)}
    assert again == ALL_TASKS - done
    (found,) = load_verifications(tmp_path / "evidence")
    assert {r.status for r in found.records} == {"ok"}


def test_two_verifications_at_once_do_not_mix(tmp_path: Path, program_study: Callable[..., object]) -> None:
    (tmp_path / "block").touch()
    with verification(tmp_path) as process:
        assert wait_until(lambda: len(pids(tmp_path)) >= 2, LIMIT_S)
        with pytest.raises(
            StorageError, match=rf"running already \(process {process.pid}, lock .*; wait for it"
        ):
            program_study(tmp_path)
        with verification(tmp_path) as second:
            assert second.stderr is not None
            assert b"running already" in second.stderr.read()
            assert second.wait(LIMIT_S) == 1
        (tmp_path / "block").unlink()
        assert process.wait(LIMIT_S) == 0
    assert executed(tmp_path) == dict.fromkeys(ALL_TASKS, 1)


def test_a_lock_of_a_dead_verification_holds_nobody(
    tmp_path: Path, program_study: Callable[..., object]
) -> None:
    (tmp_path / "block").touch()
    with verification(tmp_path) as process:
        assert wait_until(lambda: len(pids(tmp_path)) >= 2, LIMIT_S)
        process.send_signal(signal.SIGKILL)
    (tmp_path / "block").unlink()
    program_study(tmp_path)
    assert len(records(tmp_path)) == 7


def test_a_damaged_record_is_never_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, program_study: Callable[..., object]
) -> None:
    program_study(tmp_path)
    (path,) = tmp_path.glob("runs/fragile/toy/first-0-*/record.json")
    (other,) = tmp_path.glob("runs/fragile/toy/second-0-*/record.json")
    whole = path.read_text()
    for num, text in enumerate(
        ["", "{", whole[:-40], whole.replace("7.0", "8.0"), other.read_text()], start=1
    ):
        caplog.clear()
        path.write_text(text)
        program_study(tmp_path)
        assert executed(tmp_path) == {**dict.fromkeys(ALL_TASKS, 1), "first 0": 1 + num}
        foreign = text == other.read_text()  # whole, but its key is another: nothing to warn of
        assert ("toy/first seed 0 runs again" in caplog.text) is not foreign
        assert read_record(path).metrics == {"score": 7.0}


def test_an_output_folder_that_cannot_be_one_is_an_error(
    tmp_path: Path, program_study: Callable[..., object]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="give a folder to write to"):
        program_study(tmp_path / "file")


@pytest.fixture
def program_study(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], object]:
    """Verify the study of the program in this process."""
    monkeypatch.syspath_prepend(PROGRAM.parent)
    import _verify_program  # type: ignore[import-not-found]  # found through the path just set

    return lambda out: verify(_verify_program.study(out), out=out, jobs=3)


def records(out: Path) -> list[Record]:
    return [read_record(path) for path in sorted(out.glob("runs/fragile/toy/*/record.json"))]


def executed(out: Path) -> dict[str, int]:
    return dict(Counter((out / "executed").read_text().splitlines())) if (out / "executed").exists() else {}


def pids(out: Path) -> list[int]:
    return [int(line) for line in (out / "pids").read_text().split()] if (out / "pids").exists() else []


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waited for counts as ended."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
