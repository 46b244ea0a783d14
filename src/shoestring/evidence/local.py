"""Run tasks on this machine, a few at once."""

import time

from shoestring.core.errors import ConfigError
from shoestring.evidence.backend import Done, Job, Progress
from shoestring.evidence.environment import resources, usable_cores
from shoestring.evidence.process import TaskProcess

__all__ = ["LocalBackend"]

_POLL_S = 0.02


class LocalBackend:
    """A pool of processes on this machine, one a task.

    Parameters
    ----------
    jobs : int
        Tasks at once.
    threads : int, optional
        Threads a task; usable cores divided by `jobs` (at least 1) when omitted.

    Raises
    ------
    ConfigError
        If a number is below 1.
    """

    def __init__(self, jobs: int = 1, threads: int | None = None) -> None:
        if jobs < 1:
            raise ConfigError(f"jobs={jobs} is below 1; give how many tasks run at once")
        if threads is not None and threads < 1:
            raise ConfigError(f"threads={threads} is below 1; give how many threads a task gets")
        self._jobs = jobs
        self._threads = threads if threads is not None else max(1, usable_cores() // jobs)
        self._running: list[TaskProcess] = []

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        return self._jobs

    @property
    def threads(self) -> int:
        """Threads a task."""
        return self._threads

    @property
    def resources(self) -> frozenset[str]:
        """What this machine has of ``"cpu"`` and ``"gpu"``."""
        return resources()

    def start(self, job: Job) -> None:
        """Start the process of a job."""
        self._running.append(TaskProcess(job))

    def poll(self, wait_s: float) -> list[Progress | Done]:
        """Return what happened, after at most `wait_s` seconds."""
        until = time.monotonic() + wait_s
        while True:
            events = []
            for process in tuple(self._running):
                event = process.poll()
                if event is not None:
                    events.append(event)
                if isinstance(event, Done):
                    self._running.remove(process)
            left = until - time.monotonic()
            if events or left <= 0 or not self._running:
                return events
            time.sleep(min(_POLL_S, left))

    def close(self) -> None:
        """Kill every process that still runs."""
        while self._running:
            self._running.pop().kill()
