"""What the runner reports while it works, so that a caller can draw progress."""

from dataclasses import dataclass

from shoestring.evidence.model import Record
from shoestring.evidence.tasks import Task

__all__ = ["Event", "Notice", "TaskFinished", "TaskProgress", "TaskStarted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskStarted:
    """A task was handed to the backend."""

    task: Task
    num_done: int
    """Tasks that are finished, whether run, reused or skipped."""
    num_total: int
    """Tasks of the whole verification, preparations included."""
    eta_s: float | None
    """Estimated seconds until everything is done; None while nothing is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskProgress:
    """A running task said how far it is (at most twice a second a task)."""

    task: Task
    fraction: float
    """Share of the task that is done, in 0..1."""
    word: str
    """What the task is doing."""
    num_done: int
    num_total: int
    eta_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFinished:
    """A task has its record."""

    task: Task
    record: Record
    reused: bool
    """True when an earlier run had finished this task and nothing that decides its result has changed."""
    num_done: int
    num_total: int
    eta_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something that the user should read, e.g. a damaged record that makes a task run again."""

    text: str


Event = TaskStarted | TaskProgress | TaskFinished | Notice
