"""Manifests of Kubernetes jobs, checked against the published schema without a cluster."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.finance.strategies.interface import Resources

__all__ = [
    "KubernetesConfig",
    "dagster_tags",
    "render_cron_job",
    "render_job",
    "to_yaml",
    "validate_manifest",
]

_MAX_NAME = 52  # a CronJob adds 11 characters to make the name of a Job, which has at most 63
_NOT_IN_NAME = re.compile(r"[^a-z0-9]+")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class KubernetesConfig:
    """What a cluster gives to every job of the platform."""

    image: str
    """Image of the strategy's environment, with Shoestring in it; one an environment."""
    claim: str
    """PersistentVolumeClaim that holds the platform's folder; of block storage, since SQLite on a network
    file system loses locks."""
    namespace: str = ""
    """Namespace of the jobs; empty leaves it to whoever applies them."""
    mount: str = "/workspace"
    """Where the claim is mounted; the platform's folder."""
    version: str = "1.32"
    """Version of the Kubernetes schema to check against."""
    keep_s: int = 7 * 86400
    """How long a finished job stays to be looked at, in seconds."""

    def __post_init__(self) -> None:
        for name in ("image", "claim"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty; name the {name} of your cluster")
        if not self.mount.startswith("/"):
            raise ConfigError(f"mount={self.mount!r} is not absolute; begin it with /")
        if self.keep_s < 0:
            raise ConfigError(f"keep_s={self.keep_s} must be at least 0 seconds")


def render_job(
    strategy: str,
    version: str,
    arguments: Sequence[str],
    resources: Resources,
    config: KubernetesConfig,
    *,
    retries: int = 0,
) -> dict[str, Any]:
    """Render the Job that runs one command of Shoestring for a strategy.

    Parameters
    ----------
    strategy, version : str
        Become the name and the labels.
    arguments : sequence of str
        Words after ``shoestring``.
    resources : Resources
        Resources.
    config : KubernetesConfig
        The cluster's side.
    retries : int
        How often a failed pod is started again.

    Returns
    -------
    dict
        The manifest, validated.

    Raises
    ------
    ConfigError
        If a name or quantity is not one of Kubernetes.
    """
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(strategy, version, arguments, config),
        "spec": _job_spec(strategy, version, arguments, resources, config, retries),
    }
    validate_manifest(manifest, config.version)
    return manifest


def render_cron_job(
    strategy: str,
    version: str,
    arguments: Sequence[str],
    resources: Resources,
    config: KubernetesConfig,
    *,
    cron: str,
    timezone: str,
) -> dict[str, Any]:
    """Render the CronJob that starts a live date at the schedule's time of day.

    Parameters
    ----------
    strategy, version, arguments, resources, config
        As of `render_job`.
    cron : str
        Five fields; which days are due is decided by the command, which knows the exchange's calendar.
    timezone : str
        IANA name.

    Returns
    -------
    dict
        The manifest, validated.

    Raises
    ------
    ConfigError
        As of `render_job`.

    Notes
    -----
    Two jobs of a strategy never run side by side (``Forbid``) and the cluster repeats none that failed. The
    ledger's claim of the date decides, also when a pod outlives what the cluster believes.
    """
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": _metadata(strategy, version, arguments, config),
        "spec": {
            "schedule": cron,
            "timeZone": timezone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 7,
            "failedJobsHistoryLimit": 7,
            "jobTemplate": {"spec": _job_spec(strategy, version, arguments, resources, config, 0)},
        },
    }
    validate_manifest(manifest, config.version)
    return manifest


def dagster_tags(resources: Resources) -> dict[str, Any]:
    """Return the tags by which Dagster's launcher and executor for Kubernetes give a step its resources."""
    return {"dagster-k8s/config": {"container_config": {"resources": _quantities(resources)}}}


def validate_manifest(manifest: Mapping[str, Any], version: str) -> None:
    """Check a manifest against the schema of a Kubernetes version; a key that it lacks is an error.

    Raises
    ------
    ConfigError
        Naming the path of what is wrong.
    MissingExtraError
        Without ``kubernetes-validate``.
    """
    schemas = optional("kubernetes_validate", "kubernetes")
    try:
        schemas.validate(dict(manifest), version, strict=True)
    except schemas.ValidationError as e:
        where = ".".join(str(part) for part in e.absolute_path) or "the manifest"
        raise ConfigError(
            f"{manifest.get('kind')} is not valid in Kubernetes {version}: at {where}: {e.message}"
        ) from e
    except (schemas.utils.SchemaNotFoundError, schemas.utils.VersionNotSupportedError) as e:
        raise ConfigError(
            f"kind {manifest.get('kind')!r} of {manifest.get('apiVersion')!r} has no schema for Kubernetes "
            f"{version}; correct it, or give a version up to {schemas.latest_version()}"
        ) from e


def to_yaml(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Return manifests as one YAML stream for ``kubectl apply -f -``."""
    return str(yaml.safe_dump_all([dict(m) for m in manifests], sort_keys=False))


def _quantities(resources: Resources) -> dict[str, dict[str, str]]:
    """Return the ``resources`` of a container; processor time may be exceeded when it is idle, memory not."""
    hard = {"memory": f"{math.ceil(resources.memory_bytes / (1 << 20))}Mi"}
    if resources.gpu:
        hard["nvidia.com/gpu"] = str(resources.gpu)
    return {"requests": {"cpu": f"{resources.cpu:g}", **hard}, "limits": hard}


def _metadata(
    strategy: str, version: str, arguments: Sequence[str], config: KubernetesConfig
) -> dict[str, Any]:
    verb = next((word for word in arguments if word not in ("finance",)), "run")
    name = _NOT_IN_NAME.sub("-", f"{strategy}-{version}-{verb}".lower()).strip("-")
    if not name or len(name) > _MAX_NAME:
        raise ConfigError(
            f"the job name {name!r} has {len(name)} characters; Kubernetes allows 1 to {_MAX_NAME}, "
            "shorten the strategy's name"
        )
    place = {"namespace": config.namespace} if config.namespace else {}
    return {"name": name, **place, "labels": _labels(strategy, version)}


def _labels(strategy: str, version: str) -> dict[str, str]:
    for what, value in (("name", strategy), ("version", version)):
        if not _LABEL.fullmatch(value):
            raise ConfigError(
                f"strategy {what} {value!r} is no Kubernetes label; use at most 63 letters, digits, . _ -"
            )
    return {
        "app.kubernetes.io/name": "shoestring",
        "app.kubernetes.io/component": "strategy",
        "app.kubernetes.io/instance": strategy,
        "app.kubernetes.io/version": version,
    }


def _job_spec(
    strategy: str,
    version: str,
    arguments: Sequence[str],
    resources: Resources,
    config: KubernetesConfig,
    retries: int,
) -> dict[str, Any]:
    container = {
        "name": "strategy",
        "image": config.image,
        "command": ["shoestring"],
        "args": list(arguments),
        "workingDir": config.mount,
        "env": [
            {"name": "OMP_NUM_THREADS", "value": str(max(1, int(resources.cpu)))},
            {"name": "MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "value": "false"},
        ],
        "resources": _quantities(resources),
        "volumeMounts": [{"name": "workspace", "mountPath": config.mount}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "backoffLimit": retries,
        "activeDeadlineSeconds": math.ceil(resources.timeout_s),
        "ttlSecondsAfterFinished": config.keep_s,
        "template": {
            "metadata": {"labels": _labels(strategy, version)},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [container],
                "volumes": [
                    {"name": "workspace", "persistentVolumeClaim": {"claimName": config.claim}},
                ],
            },
        },
    }
