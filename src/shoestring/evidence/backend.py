"""Where tasks run: the protocol that the runner drives."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shoestring.evidence.model import Outcome, Status
from shoestring.evidence.tasks import Task

__all__ = ["Backend", "Done", "Job", "Progress"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A task with everything that a backend needs to run it."""

    task: Task
    folder: Path
    """The task's folder, already there; the function's own files go into ``folder / "files"``."""
    prepared: Path | None
    data: Path | None
    threads: int
    timeout_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a job is."""

    job: Job
    fraction: float
    word: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """How a job ended."""

    job: Job
    status: Status
    error: str
    outcome: Outcome
    """Empty unless the status is ``"ok"``."""
    wall_s: float
    cpu_s: float
    peak_bytes: int
    started_at: str
    hardware: Mapping[str, Any]
    versions: Mapping[str, str]


class Backend(Protocol):
    """Runs jobs somewhere; every job ends in exactly one `Done`, however it dies."""

    @property
    def slots(self) -> int:
        """How many jobs may run at once."""
        ...

    @property
    def threads(self) -> int:
        """Threads that a job gets."""
        ...

    @property
    def resources(self) -> frozenset[str]:
        """What is there of ``"cpu"``, ``"gpu"``, ``"cluster"``."""
        ...

    def start(self, job: Job) -> None:
        """Begin a job; called at most `slots` times more than jobs were done."""
        ...

    def poll(self, wait_s: float) -> list[Progress | Done]:
        """Return what happened, after at most `wait_s` seconds."""
        ...

    def close(self) -> None:
        """Kill what still runs and let go of everything."""
        ...
