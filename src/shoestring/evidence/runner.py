"""Run a study: every task in a process of its own, resumable, then judge and store."""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from shoestring.core.errors import ConfigError
from shoestring.evidence._schedule import Schedule
from shoestring.evidence.backend import Backend
from shoestring.evidence.checks import check_study, narrow_study
from shoestring.evidence.environment import git_commit, hardware, package_version, versions
from shoestring.evidence.events import Event
from shoestring.evidence.local import LocalBackend
from shoestring.evidence.lock import folder_lock
from shoestring.evidence.model import Record, Study, Workload
from shoestring.evidence.store import Verification, save_verification
from shoestring.evidence.tasks import plan
from shoestring.evidence.verdicts import judge

__all__ = ["verify"]

_log = logging.getLogger(__name__)


def verify(  # noqa: PLR0913  # keyword-only, one a choice of the user
    study: Study,
    *,
    out: Path,
    seeds: int | None = None,
    jobs: int = 1,
    threads: int | None = None,
    data: Mapping[str, Path] | None = None,
    workloads: Collection[str] | None = None,
    rerun: bool = False,
    timeout_scale: float = 1.0,
    backend: Backend | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> list[Verification]:
    """Run every arm of a study with every seed, judge its claims and store the evidence.

    A task that an earlier call finished is not run again while its key (entry point, options,
    seed, profile, sources, preparation, data, threads) is the same. A task that crashes, times out or
    is skipped becomes a record with that status, and the others go on. When this process is killed,
    its tasks die with it, and the next call runs only what is missing.

    Parameters
    ----------
    study : Study
        What to run.
    out : Path
        Folder of results: ``runs/`` holds a folder a task, ``evidence/<system>/`` the verifications.
    seeds : int, optional
        How many seeds to run; those that each workload declares when omitted.
    jobs : int
        Tasks at once on this machine; not used when `backend` is given.
    threads : int, optional
        Threads a task; cores divided by `jobs` when omitted. Not used when `backend` is given.
    data : mapping of str to Path, optional
        Folders of data sets that workloads ask for by name.
    workloads : collection of str, optional
        Names of the workloads to run; all when omitted.
    rerun : bool
        Run everything again, finished or not.
    timeout_scale : float
        Multiplies every time limit.
    backend : Backend, optional
        Where tasks run; this machine when omitted. The caller closes a backend that it gives.
    on_event : callable, optional
        Called in this thread with every `Event`.

    Returns
    -------
    list of Verification
        One a workload, in the order of the study; each is stored already.

    Raises
    ------
    ConfigError
        For an unknown workload or data set, or a number that is out of range.
    DataError
        If a data folder does not exist.
    StorageError
        If another verification of this system is running in `out`, or `out` cannot be written.
    """
    check_study(study)
    known_data = {w.needs_data for w in study.workloads if w.needs_data}
    study = narrow_study(study, workloads, seeds)
    data = dict(data or {})
    for name in data:
        if name not in known_data:
            known = ", ".join(sorted(known_data)) or "none"
            raise ConfigError(f"no workload of {study.system!r} needs data {name!r}; it can use: {known}")
    if not timeout_scale > 0:
        raise ConfigError(f"timeout_scale={timeout_scale} must be above 0")
    holder = nullcontext(backend) if backend is not None else closing(LocalBackend(jobs, threads))
    with (
        holder as place,
        folder_lock(out / "runs" / f".{study.system}.lock", f"a verification of {study.system!r}"),
    ):
        schedule = Schedule(
            tasks=plan(study, threads=place.threads, data=data),
            runs=out / "runs",
            data=data,
            backend=place,
            rerun=rerun,
            timeout_scale=timeout_scale,
            on_event=on_event or _ignore,
        )
        by_workload = schedule.run()
        made = []
        for workload in study.workloads:
            available = set(place.resources)
            if workload.needs_data in data:
                available.add("licensed data")
            verification = _conclude(study, workload, by_workload[workload.name], available)
            path = save_verification(out / "evidence", verification)
            _log.info("evidence of %s/%s is in %s", study.system, workload.name, path)
            made.append(verification)
    return made


def _conclude(
    study: Study, workload: Workload, records: tuple[Record, ...], available: Collection[str]
) -> Verification:
    own = replace(
        study,
        workloads=(workload,),
        claims=tuple(c for c in study.claims if c.workload == workload.name),
        plots=tuple(p for p in study.plots if p.workload == workload.name),
    )
    return Verification(
        study=own,
        records=records,
        verdicts=tuple(judge(c, records, metrics=study.metrics, available=available) for c in own.claims),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        shoestring=package_version(),
        commit=git_commit(),
        hardware=hardware(),
        versions=versions(),
    )


def _ignore(event: Event) -> None:
    """Take an event and do nothing."""
    del event
