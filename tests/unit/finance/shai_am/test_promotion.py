"""Stages of versions: what a promotion reads, refuses and writes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shoestring.core.errors import ConfigError, StorageError
from shoestring.finance.shai_am._checks import Check, Subject, file_digest, read_check, write_check
from shoestring.finance.shai_am._mlflow import MlflowStore, RegisteredVersion
from shoestring.finance.shai_am._promotion import (
    NEXT,
    REQUIRED,
    Limits,
    PromotionError,
    Registry,
    Stage,
    missing,
    stage_of,
)
from shoestring.finance.shai_am._published import read_published, write_published

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated",  # mlflow's models
)
SUBJECT = Subject(strategy="mom_lowvol", version="1.2", code="ab" * 32, params={"lookback": 252})
DATA, OTHER_DATA = "0" * 64, "1" * 64
FIGURES = {"annual_turnover": 6.0, "gross": 1.0, "weight": 0.2, "rebalances": 120.0}
LIMITS = Limits()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "platform"


@pytest.fixture(scope="module")
def registry_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    folder = tmp_path_factory.mktemp("registry")
    assert MlflowStore(folder).client is not None  # imports MLflow and makes the tables: seconds, once
    return folder


@pytest.fixture
def registry(registry_folder: Path) -> Registry:
    """One database for all tests, each with a strategy of its own: making one takes two seconds."""
    return Registry(registry_folder)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Subject:
    return replace(SUBJECT, strategy=request.node.name.split("[")[0][:80])


def pass_checks(root: Path, subject: Subject, data: str = DATA, **figures: float) -> None:
    report = root / "reports" / f"{subject.key}.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("<html>report</html>")
    for name in REQUIRED:
        check = Check(name=name, passed=True, detail="as it should be")
        if name == "walk_forward":
            check = replace(
                check,
                figures={**FIGURES, **figures},
                report=str(report.relative_to(root)),
                report_sha256=file_digest(report),
            )
        write_check(root, subject, data, check)


def test_a_check_reads_back_as_it_was_written(root: Path) -> None:
    check = Check(name="look_ahead", passed=False, detail="3 leaks", figures={"leaks": 3.0})
    write_check(root, SUBJECT, DATA, check)
    found = read_check(root, SUBJECT, DATA, "look_ahead")
    assert found is not None
    assert replace(found, checked_at="") == check
    assert found.checked_at.endswith("+00:00")


@pytest.mark.parametrize(
    "other",
    [
        replace(SUBJECT, version="1.3"),
        replace(SUBJECT, code="cd" * 32),
        replace(SUBJECT, params={"lookback": 126}),
        replace(SUBJECT, strategy="another"),
    ],
)
def test_a_check_is_of_one_code_version_and_parameters_only(root: Path, other: Subject) -> None:
    pass_checks(root, SUBJECT)
    assert missing(root, SUBJECT, DATA, LIMITS) == []
    assert len(missing(root, other, DATA, LIMITS)) == len(REQUIRED)


def test_a_check_on_other_data_does_not_count(root: Path) -> None:
    pass_checks(root, SUBJECT)
    faults = missing(root, SUBJECT, OTHER_DATA, LIMITS)
    assert [f.partition(" ")[0] for f in faults] == list(REQUIRED)


@pytest.mark.parametrize("name", REQUIRED)
def test_each_check_is_required(root: Path, name: str) -> None:
    pass_checks(root, SUBJECT)
    write_check(root, SUBJECT, DATA, Check(name=name, passed=False, detail="the reason"))
    (fault,) = missing(root, SUBJECT, DATA, LIMITS)
    assert fault == f"{name} failed: the reason"


@pytest.mark.parametrize(
    ("figures", "fault"),
    [
        ({"annual_turnover": 24.1}, "annual_turnover is 24.1, above 24"),
        ({"gross": 1.01}, "gross is 1.01, above 1"),
        ({"weight": 1.2}, "weight is 1.2, above 1"),
        ({"rebalances": 11.0}, "rebalances are 11, below 12"),
    ],
)
def test_a_broken_limit_is_named(root: Path, figures: dict[str, float], fault: str) -> None:
    pass_checks(root, SUBJECT, DATA, **figures)
    assert missing(root, SUBJECT, DATA, LIMITS) == [fault]


def test_figures_at_their_limits_pass(root: Path) -> None:
    pass_checks(root, SUBJECT, annual_turnover=24.0, weight=1.0, rebalances=12.0)
    assert missing(root, SUBJECT, DATA, LIMITS) == []


def test_a_figure_that_is_not_stated_or_no_number_breaks_its_limit() -> None:
    check = Check(name="walk_forward", passed=True, detail="", figures={"gross": float("nan")})
    faults = LIMITS.broken_by(check)
    assert "the report does not state annual_turnover" in faults
    assert "gross is nan, above 1" in faults


def test_a_report_that_is_gone_or_changed_does_not_count(root: Path) -> None:
    pass_checks(root, SUBJECT)
    report = next(root.glob("reports/*.html"))
    report.write_text("<html>better</html>")
    (fault,) = missing(root, SUBJECT, DATA, LIMITS)
    assert "is not the one that was checked" in fault
    report.unlink()
    (fault,) = missing(root, SUBJECT, DATA, LIMITS)
    assert "is not there" in fault


@pytest.mark.parametrize(
    "damage", [lambda _: "", lambda t: t[:-30], lambda t: t.replace("false", "true"), lambda _: "[]"]
)
def test_a_damaged_or_edited_check_is_an_error(root: Path, damage: Any) -> None:
    path = write_check(root, SUBJECT, DATA, Check(name="look_ahead", passed=False, detail="3 leaks"))
    path.write_text(damage(path.read_text()))
    with pytest.raises(StorageError, match="check again"):
        read_check(root, SUBJECT, DATA, "look_ahead")


def test_a_check_copied_to_another_version_is_an_error(root: Path) -> None:
    other = replace(SUBJECT, version="1.3")
    mine = write_check(root, SUBJECT, DATA, Check(name="look_ahead", passed=True, detail=""))
    theirs = write_check(root, other, DATA, Check(name="look_ahead", passed=False, detail=""))
    theirs.write_text(mine.read_text())
    with pytest.raises(StorageError, match="of something else"):
        read_check(root, other, DATA, "look_ahead")


@pytest.mark.parametrize("bad", ["", "latest", "../../etc"])
def test_what_is_no_hash_is_refused(root: Path, bad: str) -> None:
    with pytest.raises(ConfigError, match="is no hash"):
        read_check(root, SUBJECT, bad, "look_ahead")
    with pytest.raises(ConfigError, match="is no digest"):
        replace(SUBJECT, code=bad)


@pytest.mark.parametrize(
    ("tags", "aliases", "stage"),
    [
        ((), (), "draft"),
        (("validated_at",), (), "validated"),
        (("validated_at", "paper_at"), ("paper",), "paper"),
        (("validated_at", "paper_at"), (), "validated"),
        (("validated_at", "paper_at", "live_at"), ("paper",), "paper"),  # died before the alias moved
        (("validated_at", "paper_at", "live_at"), ("paper", "live"), "live"),  # died before it left paper
        (("validated_at", "paper_at", "live_at"), ("live",), "live"),
        (("validated_at", "paper_at", "live_at"), (), "retired"),
        (("validated_at", "retired_at"), (), "retired"),
    ],
)
def test_the_stage_follows_from_aliases_first(
    tags: tuple[str, ...], aliases: tuple[str, ...], stage: str
) -> None:
    version = RegisteredVersion(
        name="s", number=1, tags=dict.fromkeys(tags, "2026-01-01"), aliases=frozenset(aliases)
    )
    assert stage_of(version) == stage


@pytest.mark.parametrize("name", ["max_annual_turnover", "max_gross", "max_weight", "min_rebalances"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: 0})


def test_a_version_goes_up_one_stage_at_a_time(registry: Registry, subject: Subject) -> None:
    pass_checks(registry.root, subject)
    assert registry.stage(subject) == "draft"
    with pytest.raises(PromotionError, match="is draft, so it cannot become live; its next stage is valid"):
        registry.promote(subject, DATA, "live")
    steps: list[tuple[str, Stage]] = [("draft", "validated"), ("validated", "paper"), ("paper", "live")]
    for before, after in steps:
        move = registry.promote(subject, DATA, after)
        assert (move.before, move.after) == (before, after)
        assert registry.stage(subject) == after
    ((version, stage),) = registry.versions(subject.strategy)
    assert stage == "live"
    assert version.aliases == {"live"}
    assert version.tags["live_data"] == DATA
    with pytest.raises(PromotionError, match="cannot become live"):
        registry.promote(subject, DATA, "live")
    assert read_published(registry.root, subject.strategy) == {"live": subject.key}
    registry.promote(subject, DATA, "retired")
    assert registry.stage(subject) == "retired"
    assert read_published(registry.root, subject.strategy) == {}
    with pytest.raises(PromotionError, match="give changed code a new version"):
        registry.promote(subject, DATA, "validated")


def test_a_promotion_reads_the_checks_at_every_stage(registry: Registry, subject: Subject) -> None:
    with pytest.raises(PromotionError, match="stays draft: walk_forward was not checked"):
        registry.promote(subject, DATA, "validated")
    pass_checks(registry.root, subject)
    registry.promote(subject, DATA, "validated")
    failed = Check(name="look_ahead", passed=False, detail="weights of 2012-03-01 change with later data")
    write_check(registry.root, subject, DATA, failed)
    with pytest.raises(PromotionError, match="stays validated: look_ahead failed: weights of 2012-03-01"):
        registry.promote(subject, DATA, "paper")
    with pytest.raises(PromotionError, match="for this code, these parameters and this data"):
        registry.promote(subject, OTHER_DATA, "paper")
    assert registry.stage(subject) == "validated"


def test_the_limits_are_those_of_the_moment(registry: Registry, subject: Subject) -> None:
    pass_checks(registry.root, subject, annual_turnover=6.0)
    with pytest.raises(PromotionError, match="annual_turnover is 6, above 5"):
        Registry(registry.root, Limits(max_annual_turnover=5.0)).promote(subject, DATA, "validated")
    registry.promote(subject, DATA, "validated")


def go_live(registry: Registry, subject: Subject) -> None:
    pass_checks(registry.root, subject)
    for stage in NEXT.values():
        registry.promote(subject, DATA, stage)


def test_one_version_is_live_and_a_rollback_brings_the_one_before_back(
    registry: Registry, subject: Subject
) -> None:
    first, second, third = (replace(subject, version=f"{n}.0", code=f"{n}{n}" * 32) for n in (1, 2, 3))
    for each in (first, second, third):
        go_live(registry, each)
    assert [s for _, s in registry.versions(subject.strategy)] == ["retired", "retired", "live"]
    assert read_published(registry.root, subject.strategy) == {"live": third.key}
    move = registry.rollback(subject.strategy)
    assert read_published(registry.root, subject.strategy) == {"live": second.key}
    assert (move.version, move.before, move.after, move.replaced) == ("2.0", "retired", "live", 3)
    assert [s for _, s in registry.versions(subject.strategy)] == ["retired", "live", "retired"]
    assert registry.rollback(subject.strategy).version == "1.0"
    assert [s for _, s in registry.versions(subject.strategy)] == ["live", "retired", "retired"]
    with pytest.raises(PromotionError, match="no earlier live version"):
        registry.rollback(subject.strategy)


def test_a_version_retired_on_purpose_does_not_come_back(registry: Registry, subject: Subject) -> None:
    first, second = (replace(subject, version=f"{n}.0", code=f"{n}{n}" * 32) for n in (1, 2))
    go_live(registry, first)
    registry.promote(first, DATA, "retired")
    go_live(registry, second)
    with pytest.raises(PromotionError, match="no earlier live version"):
        registry.rollback(subject.strategy)


def test_other_code_under_the_same_version_is_refused(registry: Registry, subject: Subject) -> None:
    registry.register(subject, DATA)
    with pytest.raises(ConfigError, match=r"registered with other code .*raise the version"):
        registry.register(replace(subject, code="cd" * 32), DATA)
    other = registry.register(replace(subject, params={"lookback": 126}), DATA)
    assert other.number == 2
    assert registry.register(subject, OTHER_DATA).number == 1


def test_an_unknown_stage_is_refused(registry: Registry, subject: Subject) -> None:
    for stage in ("production", "draft"):
        with pytest.raises(ConfigError, match="is not one of validated, paper, live, retired"):
            registry.promote(subject, DATA, stage)  # type: ignore[arg-type]  # that is the test


def test_what_is_registered_is_json_that_can_be_read_back(registry: Registry, subject: Subject) -> None:
    registry.register(subject, DATA)
    ((version, _),) = registry.versions(subject.strategy)
    folder = registry.mlflow.read_artifacts(version)
    assert [p.name for p in folder.iterdir()] == ["strategy.json"]
    assert '"lookback": 252' in (folder / "strategy.json").read_text()
    assert folder.is_relative_to(registry.mlflow.folder)


def test_runs_are_logged_with_parameters_figures_and_documents(registry: Registry) -> None:
    store = MlflowStore(registry.root)
    run_id = store.log_run(
        "backtests",
        "one",
        params={"lookback": 252},
        metrics={"sharpe": 0.5},
        tags={"data": DATA},
        documents={"weights.json": {"A": 0.5}},
    )
    run = store.client.get_run(run_id)
    assert run.data.params == {"lookback": "252"}
    assert run.data.metrics == {"sharpe": 0.5}
    assert run.data.tags["data"] == DATA
    assert run.info.status == "FINISHED"
    assert list((registry.root / "mlflow" / "artifacts" / "backtests").rglob("weights.json"))


def test_mlflow_may_not_unpickle(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    store = MlflowStore(registry.root)
    assert store.client is not None
    variables = pytest.importorskip("mlflow.environment_variables")
    assert variables.MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get() is False


def test_a_damaged_list_of_what_may_run_is_an_error(root: Path) -> None:
    assert read_published(root, "s") == {}
    write_published(root, "s", {"live": SUBJECT.key})
    assert read_published(root, "s") == {"live": SUBJECT.key}
    path = root / "stages" / "s.json"
    for text in (
        "",
        "[]",
        '{"schema": 2, "subjects": {}}',
        '{"schema": 1}',
        '{"schema": 1, "subjects": {"live": 1}}',
    ):
        path.write_text(text)
        with pytest.raises(StorageError, match="any promotion of s writes it again"):
            read_published(root, "s")
