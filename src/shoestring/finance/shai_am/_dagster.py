"""Dagster definitions of one strategy: chained assets that hand each other hashes, and its schedule.

Dagster is the control plane: it shows, schedules and records. The work is done by `Pipeline`, which needs
no engine, so that a date decided here and one decided on the command line are the same task of the store.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from shoestring.core.errors import ShoestringError
from shoestring.core.files import write_text_atomic
from shoestring.core.optional import optional
from shoestring.finance.records.digest import digest_json
from shoestring.finance.records.worker import Worker
from shoestring.finance.shai_am._kubernetes import dagster_tags
from shoestring.finance.shai_am._pipeline import Made, Pipeline
from shoestring.finance.shai_am._sweep_dead_runs import WORKER_TAG, tag_worker

__all__ = ["build_definitions", "hash_io_manager"]

DATES_PER_RUN = 50
"""Most live dates that one run fills: it fails as a whole."""
_REFS = "refs"


def build_definitions(pipeline: Pipeline) -> Any:
    """Return the `dagster.Definitions` of a strategy.

    Parameters
    ----------
    pipeline : Pipeline
        The strategy on its data.

    Returns
    -------
    dagster.Definitions
        Assets ``[name, stage]``: those of a live date are partitioned by date, ``backtest`` is one asset and
        one run. A blocking check of the weights stands before the orders, a schedule launches due dates.
    """
    dg = optional("dagster", "ops")
    name = pipeline.info.name
    dates = dg.DynamicPartitionsDefinition(name=f"{name}_dates")
    with _beta(dg):
        assets = [
            _data_asset(dg, pipeline, dates),
            _decision_assets(dg, pipeline, dates),
            _orders_asset(dg, pipeline, dates),
        ]
        live = dg.define_asset_job(
            f"{name}_live",
            selection=dg.AssetSelection.assets(*assets),
            tags={"dagster/max_runtime": str(int(pipeline.info.resources.timeout_s))},
        )
        return dg.Definitions(
            assets=[*assets, _backtest_asset(dg, pipeline)],
            asset_checks=[_weights_check(dg, pipeline, dates)],
            jobs=[live],
            schedules=[_schedule(dg, pipeline, live, dates)],
            resources={_REFS: hash_io_manager(pipeline.root / "dagster" / "refs")},
            executor=dg.in_process_executor,  # a live date is a short chain: no process a step
        )


def hash_io_manager(folder: Path) -> Any:
    """Return an IO manager that keeps, for every asset and date, which ref of the store it is: text."""
    base: Any = optional("dagster", "ops").IOManager

    class _HashIOManager(base):  # type: ignore[misc]  # its type is known when it runs
        """Dagster's own default would pickle."""

        def handle_output(self, context: Any, obj: Mapping[str, str]) -> None:
            for date, ref in obj.items():
                write_text_atomic(self._path(context, date), ref)

        def load_input(self, context: Any) -> dict[str, str]:
            dates = context.asset_partition_keys
            return {date: self._path(context, date).read_text() for date in dates}

        def _path(self, context: Any, date: str) -> Path:
            return folder.joinpath(*context.asset_key.path, date)

    return _HashIOManager()


def _data_asset(dg: Any, pipeline: Pipeline, dates: Any) -> Any:
    """Return the asset of the panel as it was known at the date."""

    def data(context: Any) -> Any:
        return _output(dg, _each(dg, context, pipeline.data))

    return _decorate(dg, pipeline, "data", dates, {})(data)


def _decision_assets(dg: Any, pipeline: Pipeline, dates: Any) -> Any:
    """Return the assets of the decision, all made by the one call that every mode shares."""
    stages = pipeline.stages
    previous = ["data", *stages]

    def decide(context: Any, data: Mapping[str, str]) -> Iterator[Any]:
        made = _each(dg, context, lambda date: pipeline.decide(date, data[date]))
        for stage in stages:
            yield _output(dg, {date: of[stage] for date, of in made.items()}, stage)

    return dg.multi_asset(
        name=f"{pipeline.info.name}__decide",
        ins={"data": dg.AssetIn(key=[pipeline.info.name, "data"])},
        outs={
            stage: dg.AssetOut(
                key=[pipeline.info.name, stage],
                io_manager_key=_REFS,
                code_version=pipeline.code_version,
                description=pipeline.describe(stage),
            )
            for stage in stages
        },
        internal_asset_deps={
            stage: {dg.AssetKey([pipeline.info.name, previous[place]])} for place, stage in enumerate(stages)
        },
        partitions_def=dates,
        backfill_policy=dg.BackfillPolicy.multi_run(DATES_PER_RUN),
        group_name=pipeline.info.name,
        op_tags=dagster_tags(pipeline.info.resources),
    )(_plain(decide))


def _orders_asset(dg: Any, pipeline: Pipeline, dates: Any) -> Any:
    """Return the asset of the order file of a date, written once."""

    def orders(context: Any, data: Mapping[str, str], weights: Mapping[str, str]) -> Any:
        return _output(dg, _each(dg, context, lambda d: pipeline.orders(d, data[d], weights[d])))

    ins = {name: dg.AssetIn(key=[pipeline.info.name, name]) for name in ("data", "weights")}
    return _decorate(dg, pipeline, "orders", dates, ins)(orders)


def _backtest_asset(dg: Any, pipeline: Pipeline) -> Any:
    """Return the asset of the walk-forward backtest: one run, whatever the number of dates."""

    class Span(dg.Config):  # type: ignore[misc]  # dagster has no types here
        """First and last date; empty for all of the data."""

        start: str = ""
        end: str = ""

    def backtest(context: Any, config: Any) -> Any:
        _begin(context)
        made = _guarded(dg, lambda: pipeline.backtest(config.start, config.end))
        with _beta(dg):
            return dg.MaterializeResult(
                data_version=dg.DataVersion(made.ref),
                metadata={n: _metadata_value(dg, v) for n, v in made.metadata.items()},
            )

    backtest.__annotations__ = {"config": Span}
    return dg.asset(
        key=[pipeline.info.name, "backtest"],
        group_name=pipeline.info.name,
        code_version=pipeline.code_version,
        description=pipeline.describe("backtest"),
        op_tags=dagster_tags(pipeline.info.resources),
    )(backtest)


def _weights_check(dg: Any, pipeline: Pipeline, dates: Any) -> Any:
    """Return the check of exposure limits that stands before the orders."""

    def within_limits(context: Any, weights: Mapping[str, str]) -> Any:
        _begin(context)
        faults = {date: pipeline.faults(ref) for date, ref in weights.items()}
        broken = [f"{date}: {fault}" for date, found in faults.items() for fault in found]
        return dg.AssetCheckResult(passed=not broken, metadata={"broken": broken, "dates": len(faults)})

    return dg.asset_check(
        asset=[pipeline.info.name, "weights"],
        partitions_def=dates,
        blocking=True,
        description="Weights keep to the limits of the strategy.",
    )(_plain(within_limits))


def _schedule(dg: Any, pipeline: Pipeline, job: Any, dates: Any) -> Any:
    """Return the schedule that launches dates that are due and not in the ledger."""
    schedule = pipeline.info.schedule

    def tick(context: Any) -> Any:
        due, why = pipeline.due(context.scheduled_execution_time)
        if not due:
            return dg.SkipReason(why)
        context.instance.add_dynamic_partitions(dates.name, due)
        return [dg.RunRequest(run_key=date, partition_key=date) for date in due]

    return dg.schedule(
        name=f"{pipeline.info.name}_schedule",
        job=job,
        cron_schedule=schedule.cron,
        execution_timezone=schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{schedule}; dates of the exchange's calendar, each once by the ledger.",
    )(tick)


def _decorate(dg: Any, pipeline: Pipeline, stage: str, dates: Any, ins: Mapping[str, Any]) -> Any:
    """Return the decorator of a one-output stage of a live date."""
    decorate = dg.asset(
        key=[pipeline.info.name, stage],
        ins=dict(ins),
        partitions_def=dates,
        io_manager_key=_REFS,
        group_name=pipeline.info.name,
        code_version=pipeline.code_version,
        description=pipeline.describe(stage),
        backfill_policy=dg.BackfillPolicy.multi_run(DATES_PER_RUN),
        op_tags=dagster_tags(pipeline.info.resources),
    )
    return lambda function: decorate(_plain(function))


@contextlib.contextmanager
def _beta(dg: Any) -> Iterator[None]:
    """Use what Dagster says may still change: backfill policies, data versions, checks by partition."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        yield


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take the annotations off, from which Dagster would make types of its own."""
    function.__annotations__ = {}
    return function


def _begin(context: Any) -> None:
    """Name this process as the worker of the run, so that a later start can prove it gone."""
    if Worker.parse(context.run.tags.get(WORKER_TAG, "")) != Worker.this():
        tag_worker(context.instance, context.run.run_id)


def _each(dg: Any, context: Any, make: Callable[[str], Any]) -> dict[str, Any]:
    """Make a stage for every date of a run."""
    _begin(context)
    return {date: _guarded(dg, functools.partial(make, date)) for date in context.partition_keys}


def _guarded(dg: Any, make: Callable[[], Any]) -> Any:
    """Turn an error that says what to do into a failure that shows just that."""
    try:
        return make()
    except ShoestringError as e:
        raise dg.Failure(description=str(e), allow_retries=False) from e


def _output(dg: Any, made: Mapping[str, Made], name: str = "result") -> Any:
    """Return refs by date as a step's output; the ref of the one date is its data version."""
    refs = {date: of.ref for date, of in made.items()}
    if len(made) == 1:
        (of,) = made.values()
        version, shown = of.ref, of.metadata
    else:
        version, shown = digest_json(refs), {"dates": len(made)}
    metadata = {key: _metadata_value(dg, value) for key, value in shown.items()}
    with _beta(dg):
        return dg.Output(refs, output_name=name, data_version=dg.DataVersion(version), metadata=metadata)


def _metadata_value(dg: Any, value: Any) -> Any:
    """Return a value as Dagster shows it; a path as a path, an address as a link."""
    if isinstance(value, Path):
        return dg.MetadataValue.path(str(value))
    if isinstance(value, str) and value.startswith("http://"):
        return dg.MetadataValue.url(value)
    return value
