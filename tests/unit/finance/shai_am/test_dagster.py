"""Definitions made from a strategy, run on an instance in memory."""

import datetime as dt
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.records.ledger import Ledger
from shoestring.finance.records.worker import Worker
from shoestring.finance.running.run import run_strategy
from shoestring.finance.shai_am._checks import read_check, subject_of
from shoestring.finance.shai_am._dagster import build_definitions
from shoestring.finance.shai_am._deployments import Deployment
from shoestring.finance.shai_am._mlflow import MlflowStore
from shoestring.finance.shai_am._pipeline import Made, Pipeline
from shoestring.finance.shai_am._platform import Platform
from shoestring.finance.shai_am._published import write_published
from shoestring.finance.shai_am._sweep_dead_runs import WORKER_TAG

dg = pytest.importorskip("dagster", reason="dagster is not installed")

STRATEGY = """
import pandas as pd
from shoestring.finance.strategies.interface import Strategy, strategy

@strategy(name="learner", version="1.0", schedule="BMS 06:00 America/New_York", refit="BYS")
class Learner(Strategy):
    lookback: int = 20

    def fit(self, ctx, data):
        return {"mean": data.returns(self.lookback).mean().to_dict()}

    def on_rebalance(self, ctx, data):
        recent = data.returns(self.lookback).mean()
        best = (recent + pd.Series(ctx.state["mean"])).nlargest(3)
        return pd.Series(1 / 3, index=best.index)
"""
DATES = ("2021-03-01", "2021-04-01", "2021-05-03")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("dagster").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strategy and prices that end on 2021-05-20."""
    made = tmp_path_factory.mktemp("strategy")
    (made / "learner.py").write_text(STRATEGY)
    dates = pd.bdate_range("2019-12-02", "2021-05-20")
    close = gbm_panel(6, len(dates), seed=1).close.set_axis(dates)
    close.to_csv(made / "prices.csv", index_label="date")
    return made


@pytest.fixture
def pipeline(folder: Path, tmp_path: Path) -> Pipeline:
    deployment = Deployment(strategy=str(folder / "learner.py"), data=str(folder / "prices.csv"))
    made = Pipeline(tmp_path, deployment)
    write_published(tmp_path, "learner", {"paper": subject_of(made.strategy).key})
    return made


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Any]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as made:
        yield made


@pytest.fixture
def instance_on_disk(tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(tempdir=str(tmp_path / "home")) as made:
        yield made


def run_dates(pipeline: Pipeline, instance: Any, *dates: str, **options: Any) -> Any:
    """Run the live job for dates, in one run, as the daemon would."""
    instance.add_dynamic_partitions("learner_dates", list(dates))
    job = build_definitions(pipeline).resolve_job_def("learner_live")
    if len(dates) == 1:
        return job.execute_in_process(partition_key=dates[0], instance=instance, **options)
    ends = {"start": dates[0], "end": dates[-1]}
    tags = {f"dagster/asset_partition_range_{end}": date for end, date in ends.items()}
    return job.execute_in_process(instance=instance, tags=tags, **options)


def materialised(result: Any) -> dict[str, Any]:
    events = result.get_asset_materialization_events()
    made = [e.step_materialization_data.materialization for e in events]
    return {m.asset_key.path[-1]: m for m in made}


def test_a_strategy_is_a_chain_of_assets_with_a_check_a_job_and_a_schedule(pipeline: Pipeline) -> None:
    definitions = build_definitions(pipeline)
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    names = {key.path[-1] for key in graph.get_all_asset_keys()}
    assert names == {"data", "fit", "weights", "orders", "backtest"}
    assert {k.path[0] for k in graph.get_all_asset_keys()} == {"learner"}

    def parents(name: str) -> set[str]:
        return {k.path[-1] for k in graph.get(dg.AssetKey(["learner", name])).parent_keys}

    assert parents("fit") == {"data"}
    assert parents("weights") == {"fit"}
    assert parents("orders") == {"data", "weights"}
    assert not graph.get(dg.AssetKey(["learner", "backtest"])).is_partitioned
    assert graph.get(dg.AssetKey(["learner", "weights"])).is_partitioned
    schedule = definitions.resolve_schedule_def("learner_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * *", "America/New_York")


def test_a_date_gives_the_weights_of_every_other_mode(pipeline: Pipeline, instance: Any) -> None:
    made = materialised(run_dates(pipeline, instance, DATES[0]))
    market = pd.read_csv(pipeline.deployment.data, index_col=0, parse_dates=True)
    expected = run_strategy(pipeline.strategy, market).loc[pd.Timestamp(DATES[0])]
    assert isinstance(expected, pd.Series)
    ref = made["weights"].tags["dagster/data_version"]
    pd.testing.assert_series_equal(
        pipeline.store.get(ref), expected, check_exact=True, check_names=False, check_index_type=False
    )
    entry = Ledger(pipeline.root).entry("learner", "1.0", DATES[0])
    assert entry is not None
    assert (pipeline.root / entry.orders).read_bytes().startswith(b"asset,target_weight\n")
    assert made["orders"].tags["dagster/data_version"] == entry.sha256


def test_a_second_run_of_a_date_finds_everything_done(pipeline: Pipeline, instance: Any) -> None:
    first = materialised(run_dates(pipeline, instance, DATES[0]))
    files = sorted((pipeline.root / "orders").rglob("*"))
    second = materialised(run_dates(pipeline, instance, DATES[0]))
    for name, one in first.items():
        assert one.tags["dagster/data_version"] == second[name].tags["dagster/data_version"]
    assert first["orders"].metadata["wrote_now"].value is True
    assert second["orders"].metadata["wrote_now"].value is False
    assert second["weights"].metadata["cache_hit"].value is True
    assert sorted((pipeline.root / "orders").rglob("*")) == files


def test_several_dates_in_one_run_are_those_dates_one_by_one(pipeline: Pipeline, instance: Any) -> None:
    assert run_dates(pipeline, instance, *DATES).success
    ledger = Ledger(pipeline.root)
    assert [e.date for e in ledger.entries("learner")] == list(DATES)
    alone = materialised(run_dates(pipeline, instance, DATES[1]))
    assert alone["weights"].metadata["cache_hit"].value is True


def test_assets_hand_over_text_and_nothing_is_pickled(pipeline: Pipeline, instance: Any) -> None:
    run_dates(pipeline, instance, DATES[0])
    for path in pipeline.root.rglob("*"):
        if path.is_file():
            assert not path.read_bytes().startswith(b"\x80"), f"{path} is a pickle"
    ref = (pipeline.root / "dagster" / "refs" / "learner" / "weights" / DATES[0]).read_text()
    assert pipeline.store.has(ref)


def test_a_date_that_the_data_do_not_reach_fails_and_writes_nothing(
    pipeline: Pipeline, instance: Any
) -> None:
    result = run_dates(pipeline, instance, "2021-06-01", raise_on_error=False)
    assert not result.success
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert "have no prices of 2021-06-01; they end on 2021-05-20" in failure.step_failure_data.error.message
    assert not (pipeline.root / "orders").exists()
    assert Ledger(pipeline.root).entries() == []


class Levered(Pipeline):
    """Decides twice as much as it may."""

    def decide(self, date: str, data: str) -> dict[str, Made]:
        made = super().decide(date, data)
        return {**made, "weights": Made(ref=self.store.put(self.store.get(made["weights"].ref) * 2))}


def test_weights_beyond_the_limits_stop_the_run_before_its_orders(pipeline: Pipeline, instance: Any) -> None:
    result = run_dates(Levered(pipeline.root, pipeline.deployment), instance, DATES[0], raise_on_error=False)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.metadata["broken"].value == [f"{DATES[0]}: gross 2 is above 1"]
    assert "orders" not in materialised(result)
    assert not (pipeline.root / "orders").exists()


@pytest.mark.parametrize(
    ("weights", "fault"),
    [([0.5, 0.6], "gross 1.1 is above 1"), ([0.5, -0.1], "negative"), ([0.5, float("nan")], "NaN")],
)
def test_weights_that_may_not_be_ordered_are_named(
    pipeline: Pipeline, weights: list[float], fault: str
) -> None:
    ref = pipeline.store.put(pd.Series(weights, index=["A", "B"]))
    assert fault in " ".join(pipeline.faults(ref))
    assert pipeline.faults(pipeline.store.put(pd.Series([0.5, 0.5], index=["A", "B"]))) == []


def test_a_run_names_its_worker(pipeline: Pipeline, instance: Any) -> None:
    result = run_dates(pipeline, instance, DATES[0])
    run = instance.get_run_by_id(result.run_id)
    assert Worker.parse(run.tags[WORKER_TAG]) == Worker.this()


def test_other_data_for_a_date_that_was_ordered_are_an_error_and_leave_the_file(
    pipeline: Pipeline, instance: Any, folder: Path
) -> None:
    run_dates(pipeline, instance, DATES[0])
    (before,) = (pipeline.root / "orders").rglob("*.csv")
    content = before.read_bytes()
    prices = pd.read_csv(folder / "prices.csv", index_col=0, parse_dates=True)
    prices.iloc[:, :] = prices.to_numpy()[:, ::-1]
    revised = pipeline.root / "revised.csv"
    prices.to_csv(revised, index_label="date")
    other = Pipeline(pipeline.root, replace(pipeline.deployment, data=str(revised)))
    result = run_dates(other, instance, DATES[0], raise_on_error=False)
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert "was ordered on 2021-03-01 with other weights" in failure.step_failure_data.error.message
    assert before.read_bytes() == content


NEW_YORK = "America/New_York"


def at(text: str) -> dt.datetime:
    return pd.Timestamp(text).tz_localize(NEW_YORK).to_pydatetime()


@pytest.mark.parametrize(
    ("catch_up", "since", "now", "due"),
    [
        ("latest", "", "2021-03-02 06:00", ["2021-03-01"]),
        ("latest", "", "2021-03-02 05:59", ["2021-02-01"]),
        ("latest", "", "2021-05-10 06:00", ["2021-05-03"]),
        ("none", "", "2021-03-02 06:00", ["2021-03-01"]),
        ("none", "", "2021-03-03 06:00", []),
        ("none", "", "2021-05-10 06:00", []),
        ("all", "2021-03-01", "2021-05-10 06:00", list(DATES)),
        ("all", "2021-03-02", "2021-05-10 06:00", list(DATES[1:])),
        ("latest", "2021-06-01", "2021-05-10 06:00", []),
    ],
)
def test_dates_that_were_missed_are_caught_up_by_the_policy(
    pipeline: Pipeline, catch_up: Any, since: str, now: str, due: list[str]
) -> None:
    deployment = replace(pipeline.deployment, catch_up=catch_up, since=since)
    assert Pipeline(pipeline.root, deployment).due(at(now))[0] == due


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
def test_a_date_in_the_ledger_is_not_due_again(pipeline: Pipeline, catch_up: Any) -> None:
    deployment = replace(pipeline.deployment, catch_up=catch_up, since=DATES[2])
    one = Pipeline(pipeline.root, deployment)
    with Platform(pipeline.root) as platform:
        platform.live(pipeline.strategy, DATES[2], pipeline.deployment.data)
    due, why = one.due(at("2021-05-04 06:00"))
    assert due == []
    assert "the last due date is 2021-05-03, the data end on 2021-05-20" in why


def test_a_tick_asks_for_a_run_of_each_date_that_is_due(pipeline: Pipeline, instance_on_disk: Any) -> None:
    instance = instance_on_disk
    deployment = replace(pipeline.deployment, catch_up="all", since=DATES[0])
    definitions = build_definitions(Pipeline(pipeline.root, deployment))
    schedule = definitions.resolve_schedule_def("learner_schedule")

    def tick() -> Any:
        context = dg.build_schedule_context(
            instance=instance,
            repository_def=definitions.get_repository_def(),
            scheduled_execution_time=at("2021-05-10 06:00"),
        )
        return schedule.evaluate_tick(context)

    asked = tick().run_requests
    assert [request.partition_key for request in asked] == list(DATES)
    assert instance.get_dynamic_partitions("learner_dates") == list(DATES)
    run_dates(pipeline, instance, *DATES)
    assert tick().run_requests == []
    assert "nothing to run" in tick().skip_message


def test_a_manual_launch_and_a_tick_leave_one_order_file(pipeline: Pipeline, instance: Any) -> None:
    manual = run_dates(pipeline, instance, DATES[2])
    ticked = run_dates(pipeline, instance, DATES[2], tags={"dagster/schedule_name": "learner_schedule"})
    wrote = [materialised(run)["orders"].metadata["wrote_now"].value for run in (manual, ticked)]
    assert wrote == [True, False]
    assert len(list((pipeline.root / "orders").rglob("*"))) == 3  # learner / 1.0 / date.csv


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow's models
def test_a_backtest_is_one_run_with_a_tear_sheet_a_record_and_an_mlflow_run(
    pipeline: Pipeline, instance: Any
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    backtest = build_definitions(pipeline).resolve_assets_def(["learner", "backtest"])
    result = dg.materialize([backtest], instance=instance)
    made = materialised(result)["backtest"]
    with Platform(pipeline.root) as platform:
        run = platform.run(made.metadata["run"].value)
        data = platform.data_hash(pipeline.deployment.data)
    assert made.tags["dagster/data_version"] == run.artifacts["nav"]
    assert made.metadata["sharpe"].value == run.metrics["sharpe"]
    assert "<svg" in Path(made.metadata["tear_sheet"].value).read_text()
    check = read_check(pipeline.root, subject_of(pipeline.strategy), data, "walk_forward")
    assert check is not None
    assert check.figures["rebalances"] > 10
    assert check.figures["rebalances"] == run.metrics["rebalances"]
    logged = MlflowStore(pipeline.root).client.get_run(made.metadata["mlflow_run"].value)
    assert logged.data.metrics["sharpe"] == pytest.approx(run.metrics["sharpe"])
    assert logged.data.tags["data"] == data


def test_only_what_was_promoted_runs_by_itself(pipeline: Pipeline, instance: Any) -> None:
    now = at("2021-05-04 06:00")
    assert pipeline.due(now)[0] == [DATES[2]]
    other = Pipeline(pipeline.root, replace(pipeline.deployment, parameters=("lookback=10",)))
    due, why = other.due(now)
    assert due == []
    assert "is neither paper nor live; promote it" in why
    write_published(pipeline.root, "learner", {})
    assert pipeline.due(now)[0] == []
    assert run_dates(pipeline, instance, DATES[2]).success, "by hand it runs"


def test_catching_up_on_all_dates_needs_a_beginning() -> None:
    with pytest.raises(ConfigError, match="give since"):
        Deployment(strategy="momentum", catch_up="all")
    with pytest.raises(ConfigError, match="is no date"):
        Deployment(strategy="momentum", since="May")
