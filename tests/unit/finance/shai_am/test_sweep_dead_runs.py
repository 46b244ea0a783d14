import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shoestring.finance.records.worker import Worker, is_running_since
from shoestring.finance.shai_am._sweep_dead_runs import WORKER_TAG, sweep_dead_runs, tag_worker

dg = pytest.importorskip("dagster", reason="dagster is not installed")


def nothing() -> None: ...


def call_nothing() -> None:
    op()


op = dg.op(nothing)
job = dg.job(name="job")(call_nothing)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Any]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as made:
        yield made


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def started_run(instance: Any, worker: str = "", pids: tuple[int, ...] = ()) -> str:
    """A run that Dagster believes to be running."""
    run = instance.create_run_for_job(job, tags={WORKER_TAG: worker} if worker else None)
    for pid in pids:
        instance.report_engine_event("Started process", run, dg._core.events.EngineEventData.in_process(pid))
    event = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name)
    instance.report_dagster_event(event, run.run_id)
    assert status(instance, run.run_id) == "STARTED"
    return str(run.run_id)


def status(instance: Any, run_id: str) -> str:
    return str(instance.get_run_by_id(run_id).status.value)


def test_a_run_whose_tagged_worker_is_gone_is_reported_failed(instance: Any, ended: int) -> None:
    worker = str(replace(Worker.this(), pid=ended))
    run_id = started_run(instance, worker)
    (lost,) = sweep_dead_runs(instance)
    assert (lost.run_id, lost.job, lost.worker) == (run_id, "job", worker)
    assert status(instance, run_id) == "FAILURE"
    assert sweep_dead_runs(instance) == ()


def test_a_run_that_lives_is_left_alone(instance: Any) -> None:
    run_id = started_run(instance)
    tag_worker(instance, run_id)
    assert sweep_dead_runs(instance) == ()
    assert status(instance, run_id) == "STARTED"


def test_a_number_taken_over_by_another_process_is_no_worker(instance: Any) -> None:
    this = Worker.this()
    run_id = started_run(instance, str(replace(this, start_ticks=this.start_ticks - 1)))
    assert [lost.run_id for lost in sweep_dead_runs(instance)] == [run_id]


def test_a_worker_of_an_earlier_boot_is_gone(instance: Any) -> None:
    run_id = started_run(instance, str(replace(Worker.this(), boot_id="an-earlier-one")))
    assert [lost.run_id for lost in sweep_dead_runs(instance)] == [run_id]


def test_a_worker_of_another_host_is_left_to_whoever_knows(instance: Any, ended: int) -> None:
    started_run(instance, str(replace(Worker.this(), host="elsewhere", pid=ended)))
    assert sweep_dead_runs(instance) == ()


def test_a_run_that_died_before_its_first_step_is_found_by_dagsters_own_events(
    instance: Any, ended: int
) -> None:
    run_id = started_run(instance, pids=(ended,))
    (lost,) = sweep_dead_runs(instance)
    assert (lost.run_id, lost.worker) == (run_id, str(ended))


def test_a_re_execution_that_still_carries_its_parents_worker_is_not_dead(instance: Any, ended: int) -> None:
    run_id = started_run(instance, str(replace(Worker.this(), pid=ended)), pids=(os.getpid(),))
    assert sweep_dead_runs(instance) == ()
    assert status(instance, run_id) == "STARTED"


def test_a_run_without_any_process_is_left_to_the_monitor(instance: Any) -> None:
    started_run(instance)
    assert sweep_dead_runs(instance) == ()


def test_finished_and_waiting_runs_are_not_touched(instance: Any, ended: int) -> None:
    run_id = started_run(instance, str(replace(Worker.this(), pid=ended)))
    instance.report_run_canceled(instance.get_run_by_id(run_id))
    waiting = instance.create_run_for_job(job, tags={WORKER_TAG: str(replace(Worker.this(), pid=ended))})
    assert sweep_dead_runs(instance) == ()
    assert status(instance, run_id) == "CANCELED"
    assert status(instance, waiting.run_id) == "NOT_STARTED"


def test_a_worker_reads_back_what_it_writes() -> None:
    this = Worker.this()
    assert Worker.parse(str(this)) == this
    assert not this.is_gone()
    for text in ("", "host", "host/boot/1", "host/boot/x/1", "host/boot/1/-1"):
        assert Worker.parse(text) is None


def test_a_process_that_nobody_waited_for_counts_as_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    worker = replace(Worker.this(), pid=process.pid, start_ticks=int(stat[19]))
    assert not worker.is_gone()
    process.kill()
    end = time.monotonic() + 30
    while not worker.is_gone() and time.monotonic() < end:
        time.sleep(0.01)
    assert worker.is_gone()
    process.communicate()


def test_a_process_that_started_after_the_moment_is_another_one() -> None:
    assert is_running_since(os.getpid(), time.time())
    assert not is_running_since(os.getpid(), time.time() - 1e6)
