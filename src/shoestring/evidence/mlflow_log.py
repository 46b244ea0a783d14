"""Log finished verifications to an MLflow server or store (extra ``mlflow``)."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from shoestring.core.optional import optional
from shoestring.evidence.model import Record, Series
from shoestring.evidence.store import Verification

__all__ = ["log_verification"]

_MAX_PARAM = 500
_MAX_TAG = 5000
_BATCH = 500


def log_verification(uri: str, verifications: Iterable[Verification]) -> list[str]:
    """Log verifications, one experiment a system (``shoestring/<system>``).

    Each verification is a run that carries its verdicts as tags ``verdict.<claim>``; below it is one run
    a record with options as parameters, metrics, series as histories, and the tags system, workload, arm,
    seed, status and key.

    Parameters
    ----------
    uri : str
        Tracking address of MLflow, e.g. ``sqlite:///mlflow.db`` or ``http://host:5000``.
    verifications : iterable of Verification
        As `verify` returns them. Logging one again makes new runs.

    Returns
    -------
    list of str
        Ids of the runs of the verifications.

    Raises
    ------
    MissingExtraError
        If MLflow is not installed.
    """
    mlflow: Any = optional("mlflow", "mlflow")
    entities: Any = optional("mlflow.entities", "mlflow")
    client = mlflow.tracking.MlflowClient(tracking_uri=uri)
    return [_log_one(client, entities, verification) for verification in verifications]


def _log_one(client: Any, entities: Any, verification: Verification) -> str:
    name = f"shoestring/{verification.system}"
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment is not None else client.create_experiment(name)
    tags = {
        "system": verification.system,
        "family": verification.family,
        "workload": verification.workload.name,
        "profile": verification.profile,
        "shoestring": verification.shoestring,
        "commit": verification.commit or "",
        "hardware": json.dumps(dict(verification.hardware)),
        **{f"version.{name}": text for name, text in verification.versions.items()},
    }
    for verdict in verification.verdicts:
        tags[f"verdict.{verdict.claim}"] = verdict.word
        tags[f"measured.{verdict.claim}"] = verdict.measured
        tags[f"reason.{verdict.claim}"] = verdict.reason
    title = f"{verification.workload.name}-{verification.profile}"
    parent = client.create_run(experiment_id, run_name=title, tags=_clean_tags(tags)).info.run_id
    for record in verification.records:
        _log_record(client, entities, experiment_id, parent, record)
    client.set_terminated(parent)
    return str(parent)


def _log_record(client: Any, entities: Any, experiment_id: str, parent: str, record: Record) -> None:
    start_ms = int(datetime.fromisoformat(record.started_at).timestamp() * 1000)
    end_ms = start_ms + int(record.wall_s * 1000)
    tags = {
        "mlflow.parentRunId": parent,
        "system": record.system,
        "workload": record.workload,
        "profile": record.profile,
        "arm": record.arm,
        "seed": str(record.seed),
        "status": record.status,
        "key": record.key,
        "error": record.error,
        "threads": str(record.threads),
    }
    run = client.create_run(
        experiment_id,
        start_time=start_ms,
        run_name=f"{record.workload}/{record.arm}-{record.seed}",
        tags=_clean_tags(tags),
    ).info.run_id
    scalars = {
        **record.metrics,
        "wall_s": record.wall_s,
        "cpu_s": record.cpu_s,
        "peak_bytes": float(record.peak_bytes),
    }
    rows = [entities.Metric(_clean(k), float(v), end_ms, 0) for k, v in scalars.items()]
    for name, series in record.series.items():
        rows += [entities.Metric(_clean(f"series/{name}"), y, end_ms, step) for step, y in _steps(series)]
    params = [entities.Param(_clean(k), str(v)[:_MAX_PARAM]) for k, v in _flat(record.options, "")]
    for at in range(0, max(len(rows), 1), _BATCH):
        client.log_batch(run, metrics=rows[at : at + _BATCH], params=params if at == 0 else [])
    client.set_terminated(run, status="FINISHED" if record.status == "ok" else "FAILED", end_time=end_ms)


def _steps(series: Series) -> list[tuple[int, float]]:
    """Return whole x as they are, else the position: MLflow knows whole steps only."""
    whole = all(x == int(x) for x in series.x)
    return [(int(x) if whole else at, y) for at, (x, y) in enumerate(zip(series.x, series.y, strict=True))]


def _flat(options: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _clean(name: str) -> str:
    """Replace what MLflow allows in no name."""
    return re.sub(r"[^\w\-./ ]", "_", name)


def _clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {_clean(name): text[:_MAX_TAG] for name, text in tags.items()}
