"""Runs whose worker died with the host are reported failed, so that they can be resumed and hold no slot.

Dagster's default launcher has no health check of workers: after a crash of the host a run stays STARTED for
good, occupies a place of the queue and cannot be re-executed from its failure. The sweep is done before the
daemon starts.
"""

from dataclasses import dataclass
from typing import Any

from shoestring.core.optional import optional
from shoestring.finance.records.worker import Worker, is_running_since

__all__ = ["WORKER_TAG", "LostRun", "sweep_dead_runs", "tag_worker"]

WORKER_TAG = "shoestring/worker"


@dataclass(frozen=True, kw_only=True, slots=True)
class LostRun:
    """A run that was reported failed."""

    run_id: str
    job: str
    worker: str
    """What was known of its process."""


def tag_worker(instance: Any, run_id: str) -> None:
    """Write into a run of a Dagster `instance` that this process works on it."""
    instance.add_run_tags(run_id, {WORKER_TAG: str(Worker.this())})


def sweep_dead_runs(instance: Any) -> tuple[LostRun, ...]:
    """Report every run failed whose process has provably ended.

    Parameters
    ----------
    instance : dagster.DagsterInstance
        Its run storage is read and changed.

    Returns
    -------
    tuple of LostRun
        Runs that were STARTING, STARTED or CANCELING and whose worker is gone. A run without any process
        yet, and one on another host, is left alone: the run monitor ends the first after its time to start.

    Notes
    -----
    A worker names itself by a tag (host, boot, pid, start in ticks). A run that died before its first step
    has only the pid in Dagster's own events, which is compared by the wall clock. Nothing is done for
    launchers that check the health of workers themselves (Kubernetes, ECS).
    """
    dagster = optional("dagster", "ops")
    if instance.run_launcher.supports_check_run_worker_health:
        return ()
    status = dagster.DagsterRunStatus
    active = dagster.RunsFilter(statuses=[status.STARTING, status.STARTED, status.CANCELING])
    lost = []
    for run in instance.get_runs(filters=active):
        worker = _gone_worker(instance, run)
        if worker is not None:
            instance.report_run_failed(run, f"worker lost: process {worker} is gone; re-execute from failure")
            lost.append(LostRun(run_id=run.run_id, job=run.job_name, worker=worker))
    return tuple(lost)


def _gone_worker(instance: Any, run: Any) -> str | None:
    """Describe the process of a run if it is gone; None if it lives or cannot be told."""
    tag = Worker.parse(run.tags.get(WORKER_TAG, ""))
    reported = _reported_processes(instance, run.run_id)
    known = [str(tag)] * (tag is not None) + [str(pid) for pid, _ in reported]
    # A re-execution inherits the tag of its parent until its own worker writes one: both must be gone.
    lives = (tag is not None and not tag.is_gone()) or any(is_running_since(*p) for p in reported)
    return None if lives or not known else known[0]


def _reported_processes(instance: Any, run_id: str) -> list[tuple[int, float]]:
    """Pids in Dagster's own events of a run, with the time of the event."""
    dagster = optional("dagster", "ops")
    found = []
    for entry in instance.all_logs(run_id, of_type=dagster.DagsterEventType.ENGINE_EVENT):
        pid = entry.dagster_event.engine_event_data.metadata.get("pid")
        if pid is not None:
            found.append((int(pid.value), float(entry.timestamp)))
    return found
