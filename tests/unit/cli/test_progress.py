import io
from typing import Any

import pytest

from shoestring.cli.progress import TaskLines
from shoestring.evidence.events import Notice, TaskFinished, TaskProgress, TaskStarted
from shoestring.evidence.tasks import Task

TASK = Task(
    system="good",
    workload="play",
    arm="ours",
    seed=0,
    profile="quick",
    entry="m:f",
    options={},
    timeout_s=1.0,
    sources=(),
    fingerprint="f",
    key="k",
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def events(made_up: Any, status: str = "ok", error: str = "") -> list[Any]:
    record = made_up.record("gdfq", 0, status, error=error, wall_s=12.3, peak_bytes=3 << 20)
    return [
        TaskStarted(task=TASK, num_done=0, num_total=4, eta_s=None),
        TaskProgress(task=TASK, fraction=0.5, word="training", num_done=0, num_total=4, eta_s=90.0),
        TaskFinished(task=TASK, record=record, reused=False, num_done=1, num_total=4, eta_s=60.0),
    ]


def test_a_log_gets_a_line_for_each_start_and_end(made_up: Any) -> None:
    log = io.StringIO()
    with TaskLines(log) as show:
        for event in events(made_up):
            show(event)
    assert log.getvalue().splitlines() == [
        "[0/4] started   good play ours seed 0",
        "[1/4] ok        good play ours seed 0  12.3 s, 3 MiB, 60 s left",
    ]


def test_a_failure_shows_the_line_that_says_most(made_up: Any) -> None:
    log = io.StringIO()
    with TaskLines(log) as show:
        for event in events(made_up, "failed", "Traceback\n  x\nValueError: \x1b[31mno"):
            show(event)
    assert "failed    good play ours seed 0  ValueError:  [31mno" in log.getvalue()
    with TaskLines(log) as show:
        for event in events(made_up, "failed", "RuntimeError: first\n  at toy.py:3"):
            show(event)
    assert "seed 0  RuntimeError: first" in log.getvalue()


def test_a_terminal_gets_one_line_that_is_drawn_over(made_up: Any) -> None:
    terminal = Terminal()
    with TaskLines(terminal) as show:
        for event in events(made_up):
            show(event)
    text = terminal.getvalue()
    assert "\n" not in text
    assert " 12%  0/4, 90 s left  good play ours seed 0 training" in text
    assert " 25%  1/4" in text
    assert text.endswith("\r\x1b[2K"), "the line is gone when the table comes"


def test_a_failure_stays_visible_on_a_terminal(made_up: Any) -> None:
    terminal = Terminal()
    with TaskLines(terminal) as show:
        for event in events(made_up, "timeout", "time is over"):
            show(event)
    assert "[1/4] timeout   good play ours seed 0  time is over" in terminal.getvalue()


def test_progress_can_be_switched_off(made_up: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOESTRING_PROGRESS", "0")
    terminal = Terminal()
    with TaskLines(terminal) as show:
        for event in events(made_up):
            show(event)
    assert "\x1b" not in terminal.getvalue()


def test_notices_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with TaskLines(io.StringIO()) as show:
        show(Notice(text="a record was damaged"))
    assert capsys.readouterr().err == "shoestring: a record was damaged\n"
