from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoestring.evidence.model import Claim, Preparation, Study, Workload
from shoestring.evidence.runner import verify

mlflow: Any = pytest.importorskip("mlflow")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow's own warnings are not ours

from shoestring.evidence.mlflow_log import log_verification  # noqa: E402  # after the skip


def test_every_record_is_a_run_below_that_of_its_verification(
    tmp_path: Path, make_study: Callable[..., Study], make_workload: Callable[..., Workload], claim: Claim
) -> None:
    arms = {"ours": {"score": 20, "nested": {"a": 1}}, "theirs": {"score": "not a number"}}
    workload = make_workload(arms, prepare=Preparation(run="_fake:train"), seeds=(0, 1))
    found = verify(make_study(workload, claims=(claim,)), out=tmp_path / "out", jobs=2)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (parent,) = log_verification(uri, found)

    client = mlflow.tracking.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("shoestring/fake")
    top = client.get_run(parent)
    assert top.data.tags["verdict.ours-wins"] == "not checkable here"
    assert "arm 'theirs' failed" in top.data.tags["reason.ours-wins"]
    runs = client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    assert len(runs) == 6
    by_arm = {(r.data.tags["arm"], r.data.tags["seed"]): r for r in runs}
    ours = by_arm["ours", "1"]
    assert ours.data.metrics["score"] == 21.0
    assert ours.data.metrics["peak_bytes"] > 0
    assert ours.data.params == {"score": "20", "nested.a": "1"}
    assert (ours.info.status, ours.data.tags["status"], ours.data.tags["system"]) == (
        "FINISHED",
        "ok",
        "fake",
    )
    assert ours.data.tags["key"] == next(r.key for r in found[0].records if (r.arm, r.seed) == ("ours", 1))
    history = client.get_metric_history(ours.info.run_id, "series/curve")
    assert [(m.step, m.value) for m in history] == [(0, 2.0), (1, 3.0)]
    theirs = by_arm["theirs", "0"]
    assert (theirs.info.status, theirs.data.tags["status"]) == ("FAILED", "failed")
    assert "could not convert string to float" in theirs.data.tags["error"]
