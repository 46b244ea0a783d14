"""Which task next, what may be used again, and what is left to do."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from shoestring.core.errors import StorageError
from shoestring.evidence.backend import Backend, Done, Job, Progress
from shoestring.evidence.environment import hardware, versions
from shoestring.evidence.events import Event, Notice, TaskFinished, TaskProgress, TaskStarted
from shoestring.evidence.model import Outcome, Record, Status
from shoestring.evidence.process import FILES, fresh_folder
from shoestring.evidence.store import read_record, write_record
from shoestring.evidence.tasks import PREPARE, Task

__all__: list[str] = []

_log = logging.getLogger(__name__)
_POLL_S = 0.25
_RESUMED = "continued from an interrupted attempt: times and memory are of the last part only"


class Schedule:
    """Runs tasks on a backend and collects their records.

    Parameters
    ----------
    tasks : list of Task
        In the order to run; a preparation stands before the arms that need it.
    runs : Path
        Folder of all task folders.
    data : mapping of str to Path
        Folders of data sets.
    backend : Backend
        Where tasks run.
    rerun : bool
        Ignore finished records.
    timeout_scale : float
        Multiplies every time limit.
    on_event : callable
        Takes every event.
    """

    def __init__(
        self,
        *,
        tasks: list[Task],
        runs: Path,
        data: Mapping[str, Path],
        backend: Backend,
        rerun: bool,
        timeout_scale: float,
        on_event: Callable[[Event], None],
    ) -> None:
        self._tasks = tasks
        self._runs = runs
        self._data = data
        self._backend = backend
        self._rerun = rerun
        self._timeout_scale = timeout_scale
        self._tell = on_event
        self._records: dict[tuple[str, str], Record] = {}
        self._by_preparation = {(t.workload, t.key): t for t in tasks if t.arm == PREPARE}
        self._started: dict[tuple[str, str], float] = {}
        self._resumed: set[tuple[str, str]] = set()

    def run(self) -> dict[str, tuple[Record, ...]]:
        """Run what is to run and return the records by workload, in the order of the tasks."""
        waiting = self._use_finished()
        try:
            while waiting or self._started:
                waiting = self._start_ready(waiting)
                if self._started:
                    for event in self._backend.poll(_POLL_S):
                        self._take(event)
        except BaseException:
            self._backend.close()  # nothing goes on behind the back of a caller that was interrupted
            raise
        found: dict[str, list[Record]] = {}
        for task in self._tasks:
            found.setdefault(task.workload, []).append(self._records[_id(task)])
        return {name: tuple(records) for name, records in found.items()}

    def _use_finished(self) -> list[Task]:
        """Take records of an earlier call; return the tasks without one."""
        if self._rerun:
            return list(self._tasks)
        finished = {_id(t): record for t in self._tasks if (record := self._finished_record(t)) is not None}
        in_use = {(t.workload, t.needs) for t in self._tasks if _id(t) not in finished}
        for task in self._tasks:
            # Files of a preparation may have been deleted; that matters only to arms that are left to run.
            lost = task.arm == PREPARE and not (self._folder(task) / FILES).is_dir()
            if lost and (task.workload, task.key) in in_use:
                finished.pop(_id(task), None)
            if _id(task) in finished:
                self._finish(task, finished[_id(task)], reused=True)
        return [task for task in self._tasks if _id(task) not in finished]

    def _finished_record(self, task: Task) -> Record | None:
        path = self._folder(task) / "record.json"
        if not path.exists():
            return None
        try:
            record = read_record(path)
        except StorageError as e:
            text = f"{task.workload}/{task.arm} seed {task.seed} runs again: {e}"
            _log.warning("%s", text)
            self._tell(Notice(text=text))
            return None
        return record if record.key == task.key and record.status == "ok" else None

    def _start_ready(self, waiting: list[Task]) -> list[Task]:
        """Start tasks while there are slots, skip those that cannot run, return those that must wait."""
        left = []
        for task in waiting:
            first = self._preparation(task)
            if task.data is not None and task.data not in self._data:
                hint = f"needs the data set {task.data!r}; give it with --data {task.data}=FOLDER"
                self._finish(task, self._record(task, "skipped", hint))
            elif first is not None and _id(first) not in self._records:
                left.append(task)
            elif first is not None and self._records[_id(first)].status != "ok":
                self._finish(
                    task, self._record(task, "skipped", _why_not_prepared(self._records[_id(first)]))
                )
            elif len(self._started) < self._backend.slots:
                self._start(task, first)
            else:
                left.append(task)
        return left

    def _start(self, task: Task, first: Task | None) -> None:
        folder = self._folder(task)
        # Only an attempt that was cut off may go on where it was; it left files but no record.
        interrupted = (folder / FILES).is_dir() and not (folder / "record.json").exists() and not self._rerun
        if not interrupted:
            fresh_folder(folder)
        elif any((folder / FILES).iterdir()):
            self._resumed.add(_id(task))
        self._started[_id(task)] = time.monotonic()
        self._backend.start(
            Job(
                task=task,
                folder=folder,
                prepared=None if first is None else self._folder(first) / FILES,
                data=None if task.data is None else self._data[task.data],
                threads=self._backend.threads,
                timeout_s=task.timeout_s * self._timeout_scale,
            )
        )
        self._tell(TaskStarted(task=task, **self._counts()))

    def _take(self, event: Progress | Done) -> None:
        task = event.job.task
        if isinstance(event, Progress):
            self._tell(TaskProgress(task=task, fraction=event.fraction, word=event.word, **self._counts()))
            return
        record = self._record(
            task,
            event.status,
            event.error,
            outcome=event.outcome,
            wall_s=event.wall_s,
            cpu_s=event.cpu_s,
            peak_bytes=event.peak_bytes,
            threads=event.job.threads,
            started_at=event.started_at,
            hardware=event.hardware,
            versions=event.versions,
        )
        if _id(task) in self._resumed:
            record = replace(record, notes=(*record.notes, _RESUMED))
        write_record(self._folder(task) / "record.json", record)
        del self._started[_id(task)]
        self._finish(task, record)

    def _finish(self, task: Task, record: Record, *, reused: bool = False) -> None:
        self._records[_id(task)] = record
        self._tell(TaskFinished(task=task, record=record, reused=reused, **self._counts()))

    def _record(self, task: Task, status: Status, error: str, **measured: Any) -> Record:
        outcome: Outcome = measured.pop("outcome", Outcome(metrics={}))
        nothing = {
            "wall_s": 0.0,
            "cpu_s": 0.0,
            "peak_bytes": 0,
            "threads": self._backend.threads,
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "hardware": hardware(),
            "versions": versions(),
        }
        return Record(
            system=task.system,
            workload=task.workload,
            arm=task.arm,
            seed=task.seed,
            profile=task.profile,
            status=status,
            key=task.key,
            options=task.options,
            metrics=outcome.metrics,
            series=outcome.series,
            notes=outcome.notes,
            error=error,
            **{**nothing, **measured},
        )

    def _preparation(self, task: Task) -> Task | None:
        return None if task.needs is None else self._by_preparation[task.workload, task.needs]

    def _folder(self, task: Task) -> Path:
        return self._runs / task.system / task.workload / task.folder_name

    def _counts(self) -> dict[str, Any]:
        return {"num_done": len(self._records), "num_total": len(self._tasks), "eta_s": self._eta_s()}

    def _eta_s(self) -> float | None:
        """Seconds until all is done, from the times of the same arm, else workload, else all, so far."""
        times: dict[str, list[float]] = {}
        for record in self._records.values():
            if record.wall_s > 0:
                for group in (f"{record.workload}/{record.arm}", record.workload, ""):
                    times.setdefault(group, []).append(record.wall_s)
        if not times:
            return None
        now, left = time.monotonic(), 0.0
        for task in self._tasks:
            if _id(task) not in self._records:
                group = next(g for g in (f"{task.workload}/{task.arm}", task.workload, "") if g in times)
                spent = now - self._started.get(_id(task), now)
                left += max(fmean(times[group]) - spent, 0.0)
        return left / self._backend.slots


def _id(task: Task) -> tuple[str, str]:
    """Tell tasks apart: equal arms of two workloads have the same key."""
    return task.workload, f"{task.arm}-{task.seed}-{task.key}"


def _why_not_prepared(record: Record) -> str:
    word = {"timeout": "timed out", "skipped": "was skipped"}.get(record.status, "failed")
    return f"its preparation {word}: {record.error.partition(chr(10))[0]}"
