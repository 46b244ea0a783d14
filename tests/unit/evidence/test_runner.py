import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shoestring.core.errors import ConfigError, DataError, StorageError
from shoestring.evidence.events import Event, Notice, TaskFinished, TaskProgress, TaskStarted
from shoestring.evidence.local import LocalBackend
from shoestring.evidence.lock import folder_lock
from shoestring.evidence.model import Claim, Plot, Preparation, Record, Study, Workload
from shoestring.evidence.runner import verify
from shoestring.evidence.store import load_verifications, read_record

MakeStudy = Callable[..., Study]
MakeWorkload = Callable[..., Workload]
TEACHER = Preparation(run="_fake:train", timeout_s=60.0)


@pytest.fixture
def misbehave(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> Callable[..., dict[str, Record]]:
    """Run arms that do what their name says; return their records by name."""

    def run(
        *names: str, options: Mapping[str, Any] | None = None, timeout_s: float = 60.0, **rest: Any
    ) -> dict[str, Record]:
        arms = {name.replace(" ", "-"): {"do": name, **(options or {})} for name in names}
        workload = make_workload(arms, seeds=(0,), run="_fake:misbehave", timeout_s=timeout_s)
        (found,) = verify(make_study(workload), out=tmp_path, **{"jobs": 2, **rest})
        return {record.arm: record for record in found.records}

    return run


def runs_of(folder: Path, arm: str = "*") -> list[Path]:
    return sorted(folder.glob(f"runs/fake/toy/{arm}-*"))


def counted(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines()) if path.exists() else []


def test_every_arm_is_run_with_every_seed_judged_and_stored(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload, claim: Claim, plot: Plot
) -> None:
    workload = make_workload(seeds=(0, 1, 2), prepare=TEACHER)
    study = make_study(workload, claims=(claim,), plots=(plot,))
    (found,) = verify(study, out=tmp_path, jobs=2, threads=1)
    assert [(r.arm, r.seed, r.status) for r in found.records][:4] == [
        ("prepare", 0, "ok"),
        ("ours", 0, "ok"),
        ("theirs", 0, "ok"),
        ("prepare", 1, "ok"),
    ]
    ours = found.records[4]
    assert ours.metrics == {"score": 21.0, "teacher": 101.0}
    assert ours.series["curve"].y == (2.0, 3.0)
    assert (ours.notes, ours.error, ours.threads, ours.options) == (("fine",), "", 1, {"score": 20})
    assert ours.wall_s > 0
    assert ours.cpu_s > 0
    assert ours.peak_bytes > 5 << 20
    (verdict,) = found.verdicts
    assert (verdict.word, verdict.measured) == (
        "holds",
        "21.0 against 11.0 %, difference +10.0 [+10.0, +10.0] over 3 seeds",
    )
    (stored,) = load_verifications(tmp_path / "evidence")
    assert [r.key for r in stored.records] == [r.key for r in found.records]
    assert stored.verdicts == found.verdicts
    (folder,) = runs_of(tmp_path, "ours-0")
    assert (folder / "files" / "model.txt").read_text() == "weights"
    assert '"loss": 1.0' in (folder / "metrics.jsonl").read_text()
    assert read_record(folder / "record.json").seed == 0


def test_finished_tasks_are_not_run_again_unless_asked(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    count = tmp_path / "count"
    study = make_study(make_workload(prepare=TEACHER, options={"count_file": str(count)}, seeds=(0,)))
    first = verify(study, out=tmp_path)
    assert len(counted(count)) == 3
    events: list[Event] = []
    second = verify(study, out=tmp_path, on_event=events.append)
    assert len(counted(count)) == 3
    assert [e.reused for e in events if isinstance(e, TaskFinished)] == [True] * 3
    assert [r.started_at for r in second[0].records] == [r.started_at for r in first[0].records]
    verify(study, out=tmp_path, rerun=True)
    assert len(counted(count)) == 6
    verify(study, out=tmp_path, seeds=2)
    assert len(counted(count)) == 9


def test_only_the_arm_whose_options_changed_is_run_again(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    count = tmp_path / "count"
    for score in (10, 11):
        arms = {"ours": {"score": 20}, "theirs": {"score": score}}
        verify(make_study(make_workload(arms, seeds=(0,), options={"count_file": str(count)})), out=tmp_path)
    assert counted(count) == ["run 0 10", "run 0 11", "run 0 20"]


def test_a_failed_arm_is_a_record_and_the_others_go_on(misbehave: Callable[..., dict[str, Record]]) -> None:
    names = ("raise", "exit 3", "leave", "nan", "uneven", "number", "segfault", "killed", "fine")
    found = misbehave(*names)
    status = {name: record.status for name, record in found.items()}
    assert status == {**{n.replace(" ", "-"): "failed" for n in names}, "fine": "ok"}
    first = {name: record.error.partition("\n")[0] for name, record in found.items()}
    assert first["raise"] == "ValueError: learning rate is negative"
    assert first["exit-3"] == "SystemExit: 3"
    assert first["leave"] == "ended with exit code 0 and left no outcome"
    assert first["nan"].endswith(
        "metric 'score' is nan; every figure must be finite, leave out what could not be measured"
    )
    assert "series 'curve' has 1 x and 2 y" in first["uneven"]
    assert "returned float; it must return an Outcome" in first["number"]
    assert first["segfault"] == "killed by SIGSEGV"
    assert first["killed"].startswith("killed by SIGKILL, as the system does when memory runs out (peak seen")
    assert "at _fake.py:" in found["raise"].error


def test_errors_name_no_folder_of_this_machine(
    misbehave: Callable[..., dict[str, Record]], tmp_path: Path
) -> None:
    found = misbehave("raise", "segfault")
    for record in found.values():
        assert "_fake.py" in record.error
        assert str(Path(__file__).parent) not in record.error
    assert "Traceback" in (next(tmp_path.glob("runs/fake/toy/raise-*")) / "traceback.txt").read_text()


def test_a_timeout_kills_the_task_with_all_that_it_started_and_the_others_go_on(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    pid_file = tmp_path / "pid"
    arms = {"ours": {"do": "child hangs", "pid_file": str(pid_file)}}
    fine = make_workload({"ours": {"score": 1}}, name="fine", seeds=(0,))
    for limit_s in (2.0, 8.0, 32.0, 128.0):  # until it had the time to start its child, on a busy machine
        hanging = make_workload(arms, seeds=(0,), run="_fake:misbehave", timeout_s=limit_s)
        hung, finished = (v.records[0] for v in verify(make_study(hanging, fine), out=tmp_path, jobs=2))
        assert (hung.status, finished.status) == ("timeout", "ok")
        assert hung.error == f"stopped after {limit_s:g} s, its time limit"
        assert hung.wall_s >= limit_s
        if pid_file.exists() and pid_file.read_text():
            break
    assert is_gone(int(pid_file.read_text()))


def test_the_time_limit_can_be_scaled(misbehave: Callable[..., dict[str, Record]]) -> None:
    found = misbehave("hang", timeout_s=100.0, timeout_scale=0.005)
    assert found["hang"].error == "stopped after 0.5 s, its time limit"


def test_memory_and_time_are_those_of_the_task(misbehave: Callable[..., dict[str, Record]]) -> None:
    ballast = b"x" * (300 << 20)  # this process is larger than any task
    found = misbehave("allocate", "burn", "fine", options={"bytes": 200 << 20})
    del ballast
    assert 200 << 20 <= found["allocate"].peak_bytes < 290 << 20
    assert found["fine"].peak_bytes < 100 << 20
    assert 0.5 <= found["burn"].cpu_s < 3.0
    assert found["burn"].wall_s >= 0.5


def test_threads_are_fixed_before_the_task_starts(misbehave: Callable[..., dict[str, Record]]) -> None:
    found = misbehave("threads", threads=3)
    assert (found["threads"].metrics, found["threads"].threads) == ({"score": 3.0}, 3)


def test_a_task_may_wait_for_all_its_children(misbehave: Callable[..., dict[str, Record]]) -> None:
    assert misbehave("wait for all")["wait-for-all"].status == "ok"


def test_failed_tasks_are_run_again(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    for _ in range(2):
        events: list[Event] = []
        workload = make_workload(
            {"bad": {"do": "raise"}, "good": {"do": "-"}}, seeds=(0,), run="_fake:misbehave"
        )
        verify(make_study(workload), out=tmp_path, jobs=2, on_event=events.append)
    reused = {e.task.arm: e.reused for e in events if isinstance(e, TaskFinished)}
    assert reused == {"bad": False, "good": True}


def test_arms_without_their_preparation_are_skipped_with_the_reason(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload, claim: Claim
) -> None:
    workload = make_workload(prepare=TEACHER, options={"prepare_fails": True}, seeds=(0,))
    (found,) = verify(make_study(workload, claims=(claim,)), out=tmp_path)
    assert [(r.arm, r.status) for r in found.records] == [
        ("prepare", "failed"),
        ("ours", "skipped"),
        ("theirs", "skipped"),
    ]
    reason = "its preparation failed: RuntimeError: teacher did not learn"
    assert found.records[1].error == reason
    assert found.verdicts[0].word == "not checkable here"
    assert f"arm 'ours' was skipped: {reason}" in found.verdicts[0].reason


def test_one_preparation_serves_all_seeds_when_told_so(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    count = tmp_path / "count"
    workload = make_workload(
        {"ours": {"score": 1}},
        prepare=replace(TEACHER, per_seed=False),
        seeds=(3, 4),
        options={"count_file": str(count)},
    )
    (found,) = verify(make_study(workload), out=tmp_path, jobs=2)
    assert counted(count) == ["prepare 0 -", "run 3 1", "run 4 1"]
    assert [r.metrics.get("teacher") for r in found.records] == [None, 100.0, 100.0]


def test_a_preparation_with_lost_files_runs_again_only_for_arms_that_need_it(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    count = tmp_path / "count"
    options = {"count_file": str(count)}

    def run(**arms: Mapping[str, Any]) -> None:
        study = make_study(make_workload(arms, prepare=TEACHER, options=options, seeds=(0,)))
        assert {r.status for r in verify(study, out=tmp_path)[0].records} == {"ok"}

    run(ours={"score": 1})
    (folder,) = runs_of(tmp_path, "prepare")
    (folder / "files").rename(folder / "gone")
    run(ours={"score": 1})
    assert counted(count) == ["prepare 0 -", "run 0 1"]
    run(ours={"score": 1}, theirs={"score": 2})
    assert counted(count) == ["prepare 0 -", "prepare 0 -", "run 0 1", "run 0 2"]


def test_a_workload_whose_data_set_is_missing_is_skipped_with_a_hint(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload, claim: Claim
) -> None:
    study = make_study(
        make_workload(needs_data="cars", prepare=TEACHER, seeds=(0, 1, 2)),
        claims=(replace(claim, needs=("cpu", "licensed data")),),
    )
    (found,) = verify(study, out=tmp_path)
    assert {r.status for r in found.records} == {"skipped"}
    assert found.records[1].error == "needs the data set 'cars'; give it with --data cars=FOLDER"
    assert found.verdicts[0].reason == "needs licensed data, which this run did not have"
    (tmp_path / "cars").mkdir()
    (tmp_path / "cars" / "1.jpg").write_text("car")
    (found,) = verify(study, out=tmp_path, data={"cars": tmp_path / "cars"}, jobs=2)
    assert found.records[1].metrics["files"] == 1.0
    assert found.verdicts[0].word == "holds"


def test_a_damaged_record_is_run_again_and_it_says_so(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload, caplog: pytest.LogCaptureFixture
) -> None:
    study = make_study(make_workload(seeds=(0,)))
    verify(study, out=tmp_path)
    (folder,) = runs_of(tmp_path, "ours")
    path = folder / "record.json"
    path.write_text(path.read_text().replace('"score": 20.0', '"score": 99.0'))
    events: list[Event] = []
    (found,) = verify(study, out=tmp_path, on_event=events.append)
    assert found.records[0].metrics["score"] == 20.0
    (notice,) = [e for e in events if isinstance(e, Notice)]
    assert notice.text.startswith("toy/ours seed 0 runs again:")
    assert str(path) in notice.text
    assert notice.text in caplog.text
    assert [e.reused for e in events if isinstance(e, TaskFinished)] == [True, False]


def test_a_cut_off_attempt_goes_on_from_its_files_and_says_so(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    study = make_study(make_workload({"ours": {}}, seeds=(0,), run="_fake:resume"))
    verify(study, out=tmp_path)
    (folder,) = runs_of(tmp_path)
    (folder / "record.json").unlink()  # as if killed before its end
    (found,) = verify(study, out=tmp_path)
    assert found.records[0].metrics["score"] == 2.0
    assert found.records[0].notes[-1].startswith("continued from an interrupted attempt")
    (found,) = verify(study, out=tmp_path, rerun=True)
    assert found.records[0].metrics["score"] == 1.0


def test_events_count_tasks_and_estimate_the_rest(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    events: list[Event] = []
    verify(make_study(make_workload(prepare=TEACHER, seeds=(0,))), out=tmp_path, on_event=events.append)
    kinds = [(type(e), e.task.arm) for e in events if isinstance(e, TaskStarted | TaskFinished)]
    arms = ("prepare", "ours", "theirs")
    assert kinds == [(kind, arm) for arm in arms for kind in (TaskStarted, TaskFinished)]
    finished = [e for e in events if isinstance(e, TaskFinished)]
    assert [(e.num_done, e.num_total, e.reused) for e in finished] == [
        (1, 3, False),
        (2, 3, False),
        (3, 3, False),
    ]
    assert finished[0].eta_s is not None
    assert finished[0].eta_s > 0
    assert finished[2].eta_s == 0


def test_progress_of_a_running_task_is_told(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    events: list[Event] = []
    workload = make_workload({"ours": {}}, seeds=(0,), run="_fake:slow")
    verify(make_study(workload), out=tmp_path, on_event=events.append)
    progress = [(e.fraction, e.word, e.num_done) for e in events if isinstance(e, TaskProgress)]
    assert progress == [(0.5, "half way", 0)]


def test_an_interrupt_kills_the_tasks_and_lets_the_lock_go(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    pid_file = tmp_path / "pid"
    arms = {"ours": {"do": "child hangs", "pid_file": str(pid_file)}}
    study = make_study(make_workload(arms, seeds=(0,), run="_fake:misbehave"))

    def interrupt() -> None:
        wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        verify(study, out=tmp_path)
    thread.join()
    assert is_gone(int(pid_file.read_text()))
    assert not list(tmp_path.glob("runs/fake/toy/*/record.json"))
    with folder_lock(tmp_path / "runs" / ".fake.lock", "a verification"):
        pass


def test_a_backend_that_is_given_is_used_and_left_open(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload
) -> None:
    backend = LocalBackend(jobs=2, threads=1)
    for seed in (0, 1):
        (found,) = verify(make_study(make_workload(seeds=(seed,))), out=tmp_path, backend=backend, jobs=99)
        assert {r.status for r in found.records} == {"ok"}
    backend.close()


def test_only_named_workloads_are_run(
    tmp_path: Path, make_study: MakeStudy, make_workload: MakeWorkload, claim: Claim
) -> None:
    study = make_study(make_workload(), make_workload(name="other", seeds=(0,)), claims=(claim,))
    (found,) = verify(study, out=tmp_path, workloads=["other"])
    assert (found.workload.name, found.verdicts) == ("other", ())
    assert [p.name for p in (tmp_path / "evidence" / "fake").iterdir()] == ["other-quick.json"]


def test_a_second_verification_of_the_same_system_is_refused(tmp_path: Path, make_study: MakeStudy) -> None:
    with (
        folder_lock(tmp_path / "runs" / ".fake.lock", "a verification of 'fake'"),
        pytest.raises(StorageError, match="wait for it, stop it, or give another output folder") as caught,
    ):
        verify(make_study(), out=tmp_path)
    assert f"process {os.getpid()}" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"jobs": 0}, ConfigError, "jobs=0 is below 1"),
        ({"threads": 0}, ConfigError, "threads=0 is below 1"),
        ({"seeds": 0}, ConfigError, "seeds=0 is below 1"),
        ({"timeout_scale": 0.0}, ConfigError, "timeout_scale=0.0 must be above 0"),
        ({"workloads": ["none"]}, ConfigError, "workload 'none' does not exist"),
        ({"data": {"dogs": Path("x")}}, ConfigError, "needs data 'dogs'; it can use: cars"),
        ({"data": {"cars": Path("/nowhere")}}, DataError, "/nowhere does not exist"),
    ],
)
def test_wrong_choices_are_refused_before_anything_runs(
    tmp_path: Path,
    make_study: MakeStudy,
    make_workload: MakeWorkload,
    wrong: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        verify(make_study(make_workload(needs_data="cars")), out=tmp_path, **wrong)
    assert not list(tmp_path.glob("runs/fake"))


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waited for counts as ended."""

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    return wait_until(gone)


def wait_until(condition: Callable[[], bool], limit_s: float = 60.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
