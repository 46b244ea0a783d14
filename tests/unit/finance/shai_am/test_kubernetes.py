from pathlib import Path
from typing import Any

import pytest
import yaml

from shoestring.core.errors import ConfigError
from shoestring.finance.shai_am._kubernetes import (
    KubernetesConfig,
    dagster_tags,
    render_cron_job,
    render_job,
    to_yaml,
    validate_manifest,
)
from shoestring.finance.strategies.interface import Resources

pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
GOLDEN = Path(__file__).parents[3] / "golden" / "finance" / "kubernetes.yaml"
CLUSTER = KubernetesConfig(image="registry.example/mom_lowvol:1.2", claim="shoestring", namespace="quant")
RESOURCES = Resources(cpu=1.5, memory="2G", timeout_s=1800.0)


def job(**changes: Any) -> dict[str, Any]:
    words = ["finance", "backtest", "mom_lowvol"]
    return render_job("mom_lowvol", "1.2", words, changes.pop("resources", RESOURCES), CLUSTER, **changes)


def cron_job() -> dict[str, Any]:
    return render_cron_job(
        "mom_lowvol",
        "1.2",
        ["finance", "live", "mom_lowvol"],
        RESOURCES,
        CLUSTER,
        cron="0 6 * * *",
        timezone="America/New_York",
    )


def test_the_manifests_are_the_golden_ones() -> None:
    # Regenerate with to_yaml([job(retries=2), cron_job()]); it may change when the rendered jobs should.
    assert to_yaml([job(retries=2), cron_job()]) == GOLDEN.read_text()


def test_the_golden_manifests_are_valid_in_old_and_new_versions() -> None:
    for version in ("1.27", "1.32", "1.37"):
        for manifest in yaml.safe_load_all(GOLDEN.read_text()):
            validate_manifest(manifest, version)


def nested_keys(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all mappings in a manifest whose keys the schema fixes."""
    found = []
    if isinstance(value, dict):
        free = {"labels", "requests", "limits"}
        found = [] if path and path[-1] in free else [path]
        for key, inner in value.items():
            found += nested_keys(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += nested_keys(inner, (*path, number))
    return found


def test_a_mistyped_key_is_refused_wherever_it_stands() -> None:
    paths = nested_keys(cron_job())
    assert len(paths) > 15
    for path in paths:
        manifest = cron_job()
        place: Any = manifest
        for step in path:
            place = place[step]
        place["retstartPolicy"] = "Never"
        with pytest.raises(ConfigError, match="retstartPolicy"):
            validate_manifest(manifest, "1.32")


def test_a_value_of_the_wrong_type_is_named_with_its_path() -> None:
    manifest = job()
    manifest["spec"]["backoffLimit"] = "none"
    with pytest.raises(ConfigError, match=r"at spec\.backoffLimit: 'none' is not of type"):
        validate_manifest(manifest, "1.32")


@pytest.mark.parametrize(("kind", "version"), [("Jobs", "1.32"), ("Job", "9.99")])
def test_an_unknown_kind_or_version_is_refused(kind: str, version: str) -> None:
    with pytest.raises(ConfigError, match="has no schema for Kubernetes"):
        validate_manifest({**job(), "kind": kind}, version)


def test_resources_become_requests_and_a_limit_of_memory() -> None:
    (container,) = job(resources=Resources(cpu=0.5, memory="1.5G", gpu=1))["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["resources"] == {
        "requests": {"cpu": "0.5", "memory": "1536Mi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "1536Mi", "nvidia.com/gpu": "1"},
    }


def test_the_namespace_may_be_left_to_whoever_applies_the_job() -> None:
    open_ = KubernetesConfig(image="i", claim="c")
    manifest = render_job("mom", "1", ["finance", "backtest"], RESOURCES, open_)
    assert "namespace" not in manifest["metadata"]
    assert job()["metadata"]["namespace"] == "quant"


def test_a_live_date_is_neither_repeated_nor_run_beside_another() -> None:
    spec = cron_job()["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert spec["timeZone"] == "America/New_York"


def test_dagsters_launcher_takes_our_tags_and_makes_a_valid_job() -> None:
    k8s = pytest.importorskip("dagster_k8s.job", reason="dagster-k8s is not installed")
    client = pytest.importorskip("kubernetes.client")
    tags = k8s.UserDefinedDagsterK8sConfig.from_dict(dagster_tags(RESOURCES)["dagster-k8s/config"])
    config = k8s.DagsterK8sJobConfig(job_image="registry.example/mom_lowvol:1.2", dagster_home="/dagster")
    made = k8s.construct_dagster_k8s_job(config, ["dagster", "api"], "step", tags)
    manifest = client.ApiClient().sanitize_for_serialization(made)
    validate_manifest(manifest, "1.32")
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "2048Mi"}


@pytest.mark.parametrize(
    ("strategy", "version", "message"),
    [
        ("a" * 60, "1.2", "characters"),
        ("mom lowvol", "1", "label"),
        ("mom", "-1", "label"),
        ("___", "1", "label"),
    ],
)
def test_names_that_kubernetes_lacks_are_refused(strategy: str, version: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        render_job(strategy, version, ["finance", "backtest"], RESOURCES, CLUSTER)


@pytest.mark.parametrize("change", [{"image": ""}, {"claim": ""}, {"mount": "workspace"}, {"keep_s": -1}])
def test_what_a_cluster_must_give_is_checked(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        KubernetesConfig(**{"image": "i", "claim": "c", **change})
