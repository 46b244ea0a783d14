"""One task in a process of its own: start it, watch it, say how it ended."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from shoestring.core.config import from_dict
from shoestring.core.files import write_json_atomic
from shoestring.evidence._worker import high_water_bytes
from shoestring.evidence.backend import Done, Job, Progress
from shoestring.evidence.environment import hardware, versions
from shoestring.evidence.model import Outcome, Status
from shoestring.evidence.tasks import PREPARE

__all__ = ["FILES", "TaskProcess", "fresh_folder", "search_path"]

FILES = "files"
"""Name of the folder, inside that of a task, that belongs to the task's function."""
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)
_LOOK_EVERY_S = 0.25
_LEFTOVERS = ("outcome.json", "error.txt", "traceback.txt", "progress.json", "record.json")


class TaskProcess:
    """A running task.

    Parameters
    ----------
    job : Job
        What to run. Files that an interrupted attempt left in ``job.folder / "files"`` stay, so
        that the function may go on from there; what says how that attempt ended is removed.

    Notes
    -----
    The process leads a session and group of its own, so that a terminal's Ctrl-C does not reach it,
    and the whole group is killed at its end, whatever it was. It dies with this process.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        for name in _LEFTOVERS:
            (job.folder / name).unlink(missing_ok=True)
        (job.folder / FILES).mkdir(parents=True, exist_ok=True)
        self._peak_seen = 0
        self._peak_of_parent = high_water_bytes(os.getpid())
        self._next_look = 0.0
        self._last_progress = ""
        self._cpu_s = 0.0
        self._peak = 0
        self._closed = False
        read_fd, self._alive_fd = os.pipe()
        try:
            self._start = time.monotonic()
            self._process = self._spawn(read_fd)
        except BaseException:
            os.close(self._alive_fd)
            raise
        finally:
            os.close(read_fd)

    def poll(self) -> Progress | Done | None:
        """Return the end if the process ended or its time is over, new progress, or None."""
        if self._wait(os.WNOHANG):
            return self._finish(timed_out=False)
        if time.monotonic() - self._start > self.job.timeout_s:
            return self._finish(timed_out=True)
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK_EVERY_S
            self._peak_seen = max(self._peak_seen, high_water_bytes(self._process.pid))
            return self._read_progress()
        return None

    def kill(self) -> None:
        """Kill the process and all that it started, and wait for it."""
        if not self._closed:
            self._reap()

    def _spawn(self, read_fd: int) -> "subprocess.Popen[bytes]":
        job = self.job
        write_json_atomic(
            job.folder / "task.json",
            {
                "entry": job.task.entry,
                "options": job.task.options,
                "seed": job.task.seed,
                "prepared": None if job.prepared is None else str(job.prepared.resolve()),
                "data": None if job.data is None else str(job.data.resolve()),
                "may_return_none": job.task.arm == PREPARE,
                "sys_path": search_path(),
                "parent_pid": os.getpid(),
                "alive_fd": read_fd,
            },
            durable=False,
        )
        given = [str(Path(p).resolve()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
        environment = {
            **os.environ,
            **dict.fromkeys(_THREAD_VARIABLES, str(job.threads)),
            "PYTHONPATH": os.pathsep.join([str(_PACKAGE_PARENT), *given]),
            "PYTHONHASHSEED": "0",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONUNBUFFERED": "1",
        }
        task_file = str((job.folder / "task.json").resolve())
        command = [sys.executable, "-P", "-m", "shoestring.evidence._worker", task_file]
        with (job.folder / "log.txt").open("ab") as log:
            return _popen(command, environment, log, job.folder / FILES, read_fd)

    def _wait(self, how: int) -> bool:
        """Take note of the end of the process; False if it has not ended."""
        if self._process.returncode is not None:
            return True
        pid, status, usage = os.wait4(self._process.pid, how)
        if pid == 0:
            return False
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._cpu_s = usage.ru_utime + usage.ru_stime
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        # Linux counts our own memory at the start into it; only a greater figure is the child's.
        self._peak = peak if peak > self._peak_of_parent else self._peak_seen
        return True

    def _reap(self) -> None:
        """Kill the whole group and wait for its leader; the guard keeps the group's number ours till then."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies only
            os.killpg(self._process.pid, signal.SIGKILL)
        self._wait(0)
        os.close(self._alive_fd)
        self._closed = True

    def _finish(self, *, timed_out: bool) -> Done:
        wall_s = time.monotonic() - self._start
        self._reap()
        code, peak = self._process.returncode, self._peak
        outcome, error = Outcome(metrics={}), ""
        status: Status = "failed"
        if timed_out:
            status, error = "timeout", f"stopped after {self.job.timeout_s:.6g} s, its time limit"
        elif code == 0 and (found := self._read("outcome.json")):
            values = json.loads(found)
            peak = values.pop("peak_bytes") or peak
            outcome, status = from_dict(Outcome, values), "ok"
        else:
            error = self._read("error.txt") or self._explain(code, peak)
        return Done(
            job=self.job,
            status=status,
            error=error,
            outcome=outcome,
            wall_s=wall_s,
            cpu_s=self._cpu_s,
            peak_bytes=peak,
            started_at=self.started_at,
            hardware=hardware(),
            versions=versions(),
        )

    def _explain(self, code: int, peak: int) -> str:
        """Say how a process ended that left no word."""
        last = self._log_tail()
        if code >= 0:
            return f"ended with exit code {code} and left no outcome{last}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if name == "SIGKILL":
            memory = hardware()["memory_bytes"]
            of = f" of {memory / 2**30:.1f}" if memory else ""
            name += f", as the system does when memory runs out (peak seen {peak / 2**30:.1f}{of} GiB)"
        return f"killed by {name}{last}"

    def _log_tail(self) -> str:
        text = re.sub(r"(?:/[\w.+-]+)+/", "", self._read("log.txt")[-4000:])  # no folders of this machine
        lines = text.splitlines()[-8:]
        return "\n" + "\n".join(f"  log: {line}" for line in lines) if lines else ""

    def _read(self, name: str) -> str:
        try:
            return (self.job.folder / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _read_progress(self) -> Progress | None:
        text = self._read("progress.json")
        if not text or text == self._last_progress:
            return None
        self._last_progress = text
        values: dict[str, Any] = json.loads(text)
        return Progress(job=self.job, fraction=values["fraction"], word=values["word"])


def search_path() -> list[str]:
    """Return the folders in which this process finds modules, as absolute paths."""
    return [str(Path(entry or ".").resolve()) for entry in sys.path]


def fresh_folder(folder: Path) -> None:
    """Empty a task's folder, or make it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def _popen(
    command: list[str], environment: dict[str, str], log: IO[bytes], folder: Path, read_fd: int
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        pass_fds=(read_fd,),
        start_new_session=True,
    )
