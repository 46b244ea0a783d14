"""What ``verify`` shows on stderr while tasks run: one live line on a terminal, a line a task elsewhere."""

import os
import sys
from types import TracebackType
from typing import Self, TextIO

from shoestring.cli.console import note
from shoestring.evidence.events import Event, Notice, TaskFinished, TaskProgress, TaskStarted
from shoestring.evidence.report.rows import format_bytes, format_seconds
from shoestring.evidence.tasks import Task

__all__ = ["TaskLines"]

_BAR = 24


class TaskLines:
    """Turns events of the runner into progress; use as a context manager and as ``on_event``.

    Parameters
    ----------
    stream : TextIO, optional
        Where to write; stderr when omitted. A terminal gets one line that is drawn over and over, unless
        ``SHOESTRING_PROGRESS=0``; anything else gets a plain line for every task that starts or ends.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("SHOESTRING_PROGRESS", "1") != "0"
        self._running: dict[str, float] = {}
        self._drawn = False

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Notice):
            self._wipe()
            note(event.text)
            return
        if isinstance(event, TaskFinished):
            self._running.pop(event.task.key, None)
            self._finished(event)
            return
        self._running[event.task.key] = event.fraction if isinstance(event, TaskProgress) else 0.0
        if self._live:
            self._draw(event, event.word if isinstance(event, TaskProgress) else "")
        elif isinstance(event, TaskStarted):
            self._line(event, f"started   {_name(event.task)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wipe()

    def _finished(self, event: TaskFinished) -> None:
        record = event.record
        word = "kept" if event.reused and record.status == "ok" else record.status
        text = f"{word:<9} {_name(event.task)}"
        if record.status == "ok":
            text += f"  {format_seconds(record.wall_s)}, {format_bytes(record.peak_bytes)}"
        elif record.error.strip():
            lines = record.error.strip().splitlines()
            text += f"  {_short(lines[-1] if lines[0].startswith('Traceback') else lines[0], 160)}"
        if not self._live:
            self._line(event, text)
            return
        if record.status in ("failed", "timeout"):
            self._wipe()
            self._line(event, text)
        self._draw(event, "")

    def _line(self, event: TaskStarted | TaskFinished, text: str) -> None:
        width = len(str(event.num_total))
        plain = "".join(c if c.isprintable() else " " for c in text)
        self._stream.write(f"[{event.num_done:>{width}}/{event.num_total}] {plain}{_left(event.eta_s)}\n")
        self._stream.flush()

    def _draw(self, event: TaskStarted | TaskProgress | TaskFinished, word: str) -> None:
        share = min(1.0, (event.num_done + sum(self._running.values())) / max(event.num_total, 1))
        full = round(share * _BAR)
        bar = "\N{BOX DRAWINGS HEAVY HORIZONTAL}" * full + "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (_BAR - full)
        count = f"{event.num_done}/{event.num_total}{_left(event.eta_s)}"
        text = f"{bar} {share:4.0%}  {count}  {_name(event.task)} {word}"
        self._stream.write("\r\x1b[2K" + _short(text, self._columns() - 1))
        self._stream.flush()
        self._drawn = True

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _wipe(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
            self._drawn = False


def _name(task: Task) -> str:
    return f"{task.system} {task.workload} {task.arm} seed {task.seed}"


def _left(eta_s: float | None) -> str:
    if eta_s is None or eta_s < 1:
        return ""
    return f", {eta_s:.0f} s left" if eta_s < 99.5 else f", {format_seconds(eta_s)} left"


def _short(text: str, most: int) -> str:
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
