from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.evidence.model import Preparation, Study, Workload
from shoestring.evidence.tasks import Task, data_identity, fingerprint, plan

MakeStudy = Callable[..., Study]
MakeWorkload = Callable[..., Workload]
TEACHER = Preparation(run="_fake:train", options={"epochs": 2}, sources=("core", "nn"))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Sources of a package with two systems of one family."""
    top = tmp_path / "shoestring"
    for name in (
        "core/a.py",
        "nn/deep/b.py",
        "cli/c.py",
        "bits/shared.py",
        "bits/one/card.toml",
        "bits/one/evidence.py",
        "bits/one/_measure.py",
        "bits/one/parts/d.py",
        "bits/two/card.toml",
        "bits/two/e.py",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"# {name}")
    return top


@pytest.fixture
def study(make_study: MakeStudy, make_workload: MakeWorkload) -> Study:
    workload = make_workload(run="shoestring.bits.one._measure:run", prepare=TEACHER)
    return make_study(workload, system="one", family="bits")


def keys(study: Study, package: Path, *, threads: int = 1) -> dict[str, str]:
    return {f"{t.arm}-{t.seed}": t.key for t in plan(study, threads=threads, data={}, package=package)}


def test_tasks_go_seed_by_seed_with_the_preparation_first(study: Study, package: Path) -> None:
    tasks = plan(study, threads=1, data={}, package=package)
    order = [(t.arm, t.seed) for t in tasks]
    assert order == [("prepare", 0), ("ours", 0), ("theirs", 0), ("prepare", 1), ("ours", 1), ("theirs", 1)]
    assert [t.needs for t in tasks] == [None, tasks[0].key, tasks[0].key, None, tasks[3].key, tasks[3].key]


def test_one_preparation_may_serve_all_seeds(study: Study, package: Path) -> None:
    once = with_workload(study, prepare=replace(TEACHER, per_seed=False), seeds=(5, 6))
    tasks = plan(once, threads=1, data={}, package=package)
    assert [(t.arm, t.seed) for t in tasks if t.arm == "prepare"] == [("prepare", 0)]
    assert {t.needs for t in tasks if t.arm != "prepare"} == {tasks[0].key}


def test_options_of_an_arm_go_over_those_of_the_workload(study: Study, package: Path) -> None:
    merged = with_workload(study, options={"score": 1, "batch": 8})
    tasks = plan(merged, threads=1, data={}, package=package)
    assert tasks[0].options == {"score": 1, "batch": 8, "epochs": 2}
    assert tasks[1].options == {"score": 20, "batch": 8}


def test_the_same_study_has_the_same_keys_and_each_task_its_own(study: Study, package: Path) -> None:
    assert keys(study, package) == keys(study, package)
    assert len(set(keys(study, package).values())) == 6


def test_folder_names_tell_arm_seed_and_key(study: Study, package: Path) -> None:
    task: Task = plan(study, threads=1, data={}, package=package)[1]
    assert task.folder_name == f"ours-0-{task.key[:12]}"


@pytest.mark.parametrize(
    ("changed", "arms_run_again", "preparation_runs_again"),
    [
        ("core/a.py", True, True),
        ("nn/deep/b.py", True, True),
        ("nn/new.py", True, True),
        ("bits/shared.py", True, False),
        ("bits/one/_measure.py", True, False),
        ("bits/one/parts/d.py", True, False),
        ("bits/one/evidence.py", False, False),
        ("bits/one/README.md", False, False),
        ("bits/two/e.py", False, False),
        ("cli/c.py", False, False),
    ],
)
def test_an_edit_runs_again_what_it_may_change(
    study: Study, package: Path, changed: str, *, arms_run_again: bool, preparation_runs_again: bool
) -> None:
    before = keys(study, package)
    (package / changed).write_text("edited")
    after = keys(study, package)
    assert (before["ours-0"] != after["ours-0"]) is arms_run_again
    assert (before["prepare-0"] != after["prepare-0"]) is preparation_runs_again


def test_the_file_of_the_entry_point_counts_even_in_evidence(study: Study, package: Path) -> None:
    inside = with_workload(study, run="shoestring.bits.one.evidence:run")
    before = keys(inside, package)
    (package / "bits/one/evidence.py").write_text("edited")
    assert keys(inside, package) != before


def test_the_file_of_an_entry_point_elsewhere_counts(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "task.py").write_text("a = 1")
    before = fingerprint(("core",), "mine.task:run", package)
    (tmp_path / "mine" / "task.py").write_text("a = 22")
    assert fingerprint(("core",), "mine.task:run", package) != before


def test_a_renamed_file_is_a_change(package: Path) -> None:
    before = fingerprint(("core",), "nowhere:run", package)
    (package / "core" / "a.py").rename(package / "core" / "z.py")
    assert fingerprint(("core",), "nowhere:run", package) != before


def test_what_decides_a_result_decides_the_key(study: Study, package: Path) -> None:
    base = keys(study, package)
    assert keys(replace(study, profile="full"), package)["ours-0"] != base["ours-0"]
    assert keys(with_workload(study, options={"x": 1}), package)["ours-0"] != base["ours-0"]
    assert keys(with_workload(study, run="_fake:other"), package)["ours-0"] != base["ours-0"]
    other_teacher = keys(with_workload(study, prepare=replace(TEACHER, options={"epochs": 3})), package)
    assert other_teacher["ours-0"] != base["ours-0"]


def test_what_does_not_decide_a_result_does_not(study: Study, package: Path) -> None:
    reworded = with_workload(study, title="Other words", budget="said differently", timeout_s=1.0)
    assert keys(reworded, package) == keys(study, package)


def test_threads_decide_arms_but_not_preparations(study: Study, package: Path) -> None:
    one, two = keys(study, package, threads=1), keys(study, package, threads=2)
    assert one["prepare-0"] == two["prepare-0"]
    assert one["ours-0"] != two["ours-0"]


def test_data_count_by_names_and_sizes_not_by_place(study: Study, package: Path, tmp_path: Path) -> None:
    needy = with_workload(study, needs_data="cars")
    found = []
    for name, text in (("here", "abc"), ("there", "xyz"), ("changed", "longer")):
        (tmp_path / name / "train").mkdir(parents=True)
        (tmp_path / name / "train" / "1.txt").write_text(text)
        found.append(plan(needy, threads=1, data={"cars": tmp_path / name}, package=package)[1].key)
    assert found[0] == found[1] != found[2]


def test_a_data_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; give an existing one as --data"):
        data_identity(tmp_path / "none")


def test_options_must_be_json(study: Study, package: Path) -> None:
    with pytest.raises(ConfigError, match="options of toy/prepare are no JSON values"):
        keys(with_workload(study, options={"f": object()}), package)


def with_workload(study: Study, **changes: object) -> Study:
    return replace(study, workloads=(replace(study.workloads[0], **changes),))  # type: ignore[arg-type]  # any field
