"""Runs and versions of strategies in MLflow on SQLite: no server, no model flavour, no pickle."""

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from shoestring.core.optional import optional

__all__ = ["Alias", "MlflowStore", "RegisteredVersion"]

Alias = Literal["paper", "live"]
ALIASES: tuple[Alias, ...] = ("paper", "live")
_FORBID_PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredVersion:
    """One version in the registry."""

    name: str
    """Of the strategy."""
    number: int
    """MLflow's, counted from 1."""
    tags: Mapping[str, str]
    """What was written when it was registered and when it moved on."""
    aliases: frozenset[str] = field(default_factory=frozenset)
    """Of `ALIASES`, those that point at it."""
    source: str = ""
    """Folder of its artifacts, as a URI."""


class MlflowStore:
    """Tracking and registry in one SQLite file below a platform's folder.

    Parameters
    ----------
    root : Path
        Folder of the platform; ``root/mlflow`` is made at first use.

    Notes
    -----
    The first use makes the database (about two seconds), later ones take some milliseconds a run. Artifacts
    are JSON, Parquet and safetensors files. MLflow is forbidden, for this process and its children, to
    unpickle anything.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root.absolute() / "mlflow"

    @property
    def uri(self) -> str:
        """Address of the database, as for ``mlflow server --backend-store-uri``."""
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @cached_property
    def client(self) -> Any:
        """MLflow's own client."""
        os.environ[_FORBID_PICKLE] = "false"
        mlflow = optional("mlflow", "ops")
        logging.getLogger("alembic").setLevel(logging.WARNING)  # tells of every table that it makes
        self.folder.mkdir(parents=True, exist_ok=True)
        return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def log_run(
        self,
        experiment: str,
        name: str,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        documents: Mapping[str, Mapping[str, Any]],
    ) -> str:
        """Write one finished run in one batch.

        Parameters
        ----------
        experiment, name : str
            Of the strategy; of the run.
        params, metrics, tags : mapping
            Written as text, floats and text.
        documents : mapping
            JSON artifacts by file name.

        Returns
        -------
        str
            MLflow's id of the run.
        """
        entities = optional("mlflow.entities", "ops")
        run = self.client.create_run(self._experiment(experiment), run_name=name, tags=dict(tags))
        run_id = str(run.info.run_id)
        now = int(time.time() * 1000)
        self.client.log_batch(
            run_id,
            params=[entities.Param(key, str(value)) for key, value in params.items()],
            metrics=[entities.Metric(key, float(value), now, 0) for key, value in metrics.items()],
        )
        for file_name, document in documents.items():
            self.client.log_dict(run_id, dict(document), file_name)
        self.client.set_terminated(run_id)
        return run_id

    def register(self, name: str, run_id: str, tags: Mapping[str, str]) -> RegisteredVersion:
        """Make the artifacts of a run the next version of a strategy."""
        errors = optional("mlflow.exceptions", "ops")
        try:
            self.client.get_registered_model(name)
        except errors.MlflowException as e:
            if e.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self.client.create_registered_model(name)
        source = self.client.get_run(run_id).info.artifact_uri
        made = self.client.create_model_version(name, source=source, run_id=run_id, tags=dict(tags))
        return RegisteredVersion(name=name, number=int(made.version), tags=dict(tags), source=source)

    def versions(self, name: str) -> list[RegisteredVersion]:
        """Return all versions of a strategy, oldest first; none if it was never registered."""
        found = self.client.search_model_versions(f"name='{name}'", max_results=10_000)
        if not found:
            return []
        aliases: Mapping[str, Any] = self.client.get_registered_model(name).aliases
        made = [
            RegisteredVersion(
                name=name,
                number=int(v.version),
                tags=dict(v.tags),
                aliases=frozenset(a for a, number in aliases.items() if int(number) == int(v.version)),
                source=str(v.source),
            )
            for v in found
        ]
        return sorted(made, key=lambda v: v.number)

    def tag(self, version: RegisteredVersion, key: str, value: str) -> None:
        """Write one tag of a version."""
        self.client.set_model_version_tag(version.name, str(version.number), key, value)

    def point(self, alias: Alias, version: RegisteredVersion) -> None:
        """Let an alias point at a version, and at no other."""
        self.client.set_registered_model_alias(version.name, alias, str(version.number))

    def unpoint(self, alias: Alias, name: str) -> None:
        """Remove an alias of a strategy."""
        self.client.delete_registered_model_alias(name, alias)

    def read_artifacts(self, version: RegisteredVersion) -> Path:
        """Return the local folder with the artifacts of a version."""
        artifacts = optional("mlflow.artifacts", "ops")
        return Path(artifacts.download_artifacts(version.source, tracking_uri=self.uri))

    def _experiment(self, name: str) -> str:
        """Find or make an experiment; its artifacts lie beside the database, wherever this is run from."""
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        errors = optional("mlflow.exceptions", "ops")
        try:
            where = (self.folder / "artifacts" / name).as_uri()
            return str(self.client.create_experiment(name, artifact_location=where))
        except errors.MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return str(self.client.get_experiment_by_name(name).experiment_id)  # another process made it
