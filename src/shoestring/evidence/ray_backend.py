"""Send the same tasks to a Ray cluster (extra ``ray``)."""

import dataclasses
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.files import write_bytes_atomic
from shoestring.core.optional import optional
from shoestring.evidence.backend import Done, Job, Progress
from shoestring.evidence.environment import hardware, resources, versions
from shoestring.evidence.model import Outcome
from shoestring.evidence.process import TaskProcess, search_path
from shoestring.evidence.tasks import Task, fingerprint

__all__ = ["RayBackend"]

_LOCAL_CPUS = 2
_POLL_S = 0.05


class RayBackend:
    """Tasks as remote functions of Ray; each node runs the same process a task as this machine would.

    Parameters
    ----------
    address : str
        Address of a cluster (``"auto"``, ``"host:port"``, ``"ray://host:port"``), or ``"local"``,
        which starts a Ray of two CPUs on this machine.
    threads : int
        Threads a task, and CPUs that Ray sets aside for it.

    Raises
    ------
    ConfigError
        If `threads` is below 1 or more than the cluster has, or the cluster cannot be reached.
    MissingExtraError
        If Ray is not installed.

    Notes
    -----
    Every node needs the same Shoestring: a task refuses to run where the sources differ. Files of a
    preparation and of a task travel through Ray's object store. Data sets do not travel; they must lie at
    the same path everywhere. A task reports no progress until it ends, and one that was cut off starts
    from the beginning.
    """

    def __init__(self, address: str, threads: int = 1) -> None:
        if threads < 1:
            raise ConfigError(f"threads={threads} is below 1; give how many threads a task gets")
        self._ray: Any = optional("ray", "ray")
        self._local = address == "local"
        self._threads = threads
        self._running: dict[Any, tuple[Job, float, str]] = {}
        self._shipped: dict[Path, Any] = {}
        common = {"include_dashboard": False} if self._local else {}
        # Two CPUs for "local", also where this process sees an address of a cluster in its environment.
        where = {"address": "local", "num_cpus": _LOCAL_CPUS} if self._local else {"address": address}
        try:
            self._ray.init(**where, **common, log_to_driver=False, configure_logging=False)
        except Exception as e:  # Ray has no narrower class for what can go wrong here
            self._ray.shutdown()
            raise ConfigError(
                f"could not reach Ray at {address!r} ({type(e).__name__}: {e}); check it with 'ray status'"
            ) from e
        self._slots = int(self._ray.cluster_resources().get("CPU", 0)) // threads
        if self._slots < 1:
            self._ray.shutdown()
            raise ConfigError(
                f"threads={threads} is more than the CPUs of the Ray cluster {address!r}; give fewer"
            )
        # No retries: a task that takes its node down is a result, not something to do again.
        self._remote = self._ray.remote(num_cpus=threads, max_retries=0)(run_remotely)

    @property
    def slots(self) -> int:
        """CPUs of the cluster divided by the threads of a task."""
        return self._slots

    @property
    def threads(self) -> int:
        """Threads a task."""
        return self._threads

    @property
    def resources(self) -> frozenset[str]:
        """A cluster unless local; a GPU if some node has one."""
        found = set(resources()) if self._local else {"cpu", "cluster"}
        if self._ray.cluster_resources().get("GPU", 0):
            found.add("gpu")
        return frozenset(found)

    def start(self, job: Job) -> None:
        """Send a job to the cluster."""
        prepared = None if job.prepared is None else self._ship(job.prepared)
        data = None if job.data is None else str(job.data.resolve())
        reference = self._remote.remote(job.task, job.threads, job.timeout_s, data, prepared, search_path())
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._running[reference] = (job, time.monotonic(), started_at)

    def poll(self, wait_s: float) -> list[Progress | Done]:
        """Return the tasks that ended, after at most `wait_s` seconds, with their files written here."""
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=wait_s)
        return [self._collect(reference) for reference in ready]

    def close(self) -> None:
        """Cancel what still runs and leave the cluster."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._shipped.clear()
        self._ray.shutdown()

    def _ship(self, folder: Path) -> Any:
        if folder not in self._shipped:
            self._shipped[folder] = self._ray.put(pack_folder(folder))
        return self._shipped[folder]

    def _collect(self, reference: Any) -> Done:
        job, start, started_at = self._running.pop(reference)
        try:
            done: Done
            done, files = self._ray.get(reference)
        except self._ray.exceptions.RayError as e:
            cause = getattr(e, "cause", None) or e
            first = str(cause).strip().partition("\n")[0]
            return Done(
                job=job,
                status="failed",
                error=f"Ray could not run it: {type(cause).__name__}: {first}",
                outcome=Outcome(metrics={}),
                wall_s=time.monotonic() - start,
                cpu_s=0.0,
                peak_bytes=0,
                started_at=started_at,
                hardware=hardware(),
                versions=versions(),
            )
        unpack_folder(job.folder, files)
        return dataclasses.replace(done, job=job)


def run_remotely(
    task: Task,
    threads: int,
    timeout_s: float,
    data: str | None,
    prepared: Mapping[str, bytes] | None,
    search: Sequence[str],
) -> tuple[Done, dict[str, bytes]]:
    """Run one task on a node of the cluster and return its end and its files.

    Raises
    ------
    ConfigError
        If the sources on this node differ from those where the task was planned.
    DataError
        If the data folder is not on this node.
    """
    # Entry points outside the package are found where the driver finds them, if the node has that folder.
    sys.path.extend(entry for entry in search if entry not in sys.path and Path(entry).is_dir())
    if fingerprint(task.sources, task.entry) != task.fingerprint:
        raise ConfigError(
            "the sources of Shoestring on this node differ from the driver's; install the same version"
        )
    if data is not None and not Path(data).is_dir():
        raise DataError(f"data folder {data} is not on this node; put it there")
    with tempfile.TemporaryDirectory(prefix="shoestring-") as name:
        top = Path(name)
        if prepared is not None:
            (top / "prepared").mkdir()
            unpack_folder(top / "prepared", prepared)
        (top / "task").mkdir()
        process = TaskProcess(
            Job(
                task=task,
                folder=top / "task",
                prepared=None if prepared is None else top / "prepared",
                data=None if data is None else Path(data),
                threads=threads,
                timeout_s=timeout_s,
            )
        )
        try:
            while not isinstance(end := process.poll(), Done):
                time.sleep(_POLL_S)
        finally:
            process.kill()
        return end, pack_folder(top / "task")


def pack_folder(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below `folder` by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def unpack_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that `pack_folder` took, below `folder`.

    Raises
    ------
    DataError
        If a name would lead out of `folder`.
    """
    for name, content in files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"refused to write {name!r}, which leads out of the task's folder")
        write_bytes_atomic(folder / name, content, durable=False)
