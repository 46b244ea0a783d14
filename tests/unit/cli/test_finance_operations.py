"""``shoestring finance promote``, ``render`` and ``ui``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from shoestring.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow's
STRATEGY = """
import pandas as pd
from shoestring.finance.strategies.interface import Strategy, strategy

@strategy(name="steady", version="1.0", schedule="BMS 06:00 America/New_York")
class Steady(Strategy):
    lookback: int = 5

    def on_rebalance(self, ctx, data):
        best = data.prices(lookback=self.lookback).mean().nlargest(2)
        return pd.Series(0.5, index=best.index)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a strategy and three years of prices, which is the current one."""
    (tmp_path / "steady.py").write_text(STRATEGY)
    dates = pd.bdate_range("2019-01-01", "2021-12-30", name="date")
    steps = np.random.default_rng(3).normal(0.0003, 0.01, (len(dates), 4))
    prices = pd.DataFrame(100 * np.exp(steps.cumsum(axis=0)), dates, list("ABCD"))
    prices.to_csv(tmp_path / "prices.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert main(["finance", *words]) == code
    shown = capsys.readouterr()
    return shown.out, shown.err


DATA = ("--data", "prices.csv")


@pytest.mark.slow
def test_a_strategy_goes_live_by_what_was_stored_about_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    promote = ("promote", "steady.py")
    _, refused = run(capsys, *promote, "validated", *DATA, code=2)
    assert "steady 1.0 stays draft: walk_forward was not checked for this code" in refused
    run(capsys, "backtest", "steady.py", *DATA)
    _, refused = run(capsys, *promote, "validated", *DATA, code=2)
    assert "walk_forward" not in refused
    assert "look_ahead was not checked" in refused
    run(capsys, "check", "steady.py", *DATA)
    out, _ = run(capsys, *promote, "validated", *DATA)
    assert out.strip() == "steady 1.0 (number 1): draft -> validated"
    _, refused = run(capsys, *promote, "live", *DATA, code=2)
    assert "is validated, so it cannot become live; its next stage is paper" in refused

    with (place / "prices.csv").open("a") as f:  # another day, so other data
        f.write("2021-12-31,100,100,100,100\n")
    _, refused = run(capsys, *promote, "paper", *DATA, code=2)
    assert "walk_forward was not checked for this code, these parameters and this data" in refused
    run(capsys, "backtest", "steady.py", *DATA)
    run(capsys, "check", "steady.py", *DATA)
    (place / "limits.toml").write_text("max_weight = 0.4\n")
    _, refused = run(capsys, *promote, "paper", *DATA, "--config", "limits.toml", code=2)
    assert "weight is 0.5, above 0.4" in refused
    out, _ = run(capsys, *promote, "paper", *DATA, "--json")
    assert json.loads(out) == {
        "strategy": "steady",
        "version": "1.0",
        "number": 1,
        "before": "validated",
        "after": "paper",
        "replaced": None,
    }

    (place / "steady.py").write_text(STRATEGY.replace("nlargest", "nsmallest"))
    _, refused = run(capsys, *promote, "live", *DATA, code=2)
    assert "registered with other code (number 1); raise the version" in refused
    out, _ = run(capsys, *promote)
    assert [line.split() for line in out.splitlines()][1][:3] == ["1", "1.0", "paper"]
    _, refused = run(capsys, *promote, "--rollback", code=2)
    assert "has no earlier live version" in refused


def test_rolling_back_leads_to_live_and_takes_no_stage(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, refused = run(capsys, "promote", str(place / "steady.py"), "paper", "--rollback", code=2)
    assert "leave out the stage 'paper'" in refused


RENDER = ("render", "steady.py", "--image", "registry.example/steady:1.0", "--claim", "workspace")


def rendered(text: str) -> tuple[Any, Any]:
    job, cron = yaml.safe_load_all(text)
    return job, cron


def words_of(manifest: Any) -> list[str]:
    spec = manifest["spec"]
    spec = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
    (container,) = spec["template"]["spec"]["containers"]
    return list(container["command"] + container["args"])


@pytest.mark.usefixtures("place")
def test_a_strategy_is_rendered_as_a_job_and_a_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    out, _ = run(capsys, *RENDER, "--set", "lookback=10", *DATA)
    job, cron = rendered(out)
    common = ["--workspace", "/workspace", "--data", "prices.csv", "--set", "lookback=10"]
    assert words_of(job) == ["shoestring", "finance", "backtest", "steady.py", *common]
    assert words_of(cron) == ["shoestring", "finance", "live", "steady.py", "--date", "due", *common]
    assert (cron["spec"]["schedule"], cron["spec"]["timeZone"]) == ("0 6 * * *", "America/New_York")
    assert "namespace" not in job["metadata"]
    as_json, _ = run(capsys, *RENDER, "--set", "lookback=10", *DATA, "--json")
    assert json.loads(as_json) == [job, cron]


@pytest.mark.usefixtures("place")
def test_the_commands_that_are_rendered_exist(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    out, _ = run(capsys, *RENDER, *DATA)
    for manifest in rendered(out):
        words = ["here" if word == "/workspace" else word for word in words_of(manifest)[1:]]
        assert main(words) == 0, capsys.readouterr().err
    assert "orders" not in capsys.readouterr().err, "the last session of the prices is not a due one"


def test_manifests_are_written_to_a_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    out, err = run(capsys, *RENDER, "--out", "jobs.yaml", "--namespace", "quant")
    assert out == ""
    assert "kubectl apply -f jobs.yaml" in err
    job, _ = rendered((place / "jobs.yaml").read_text())
    assert job["metadata"]["namespace"] == "quant"


def test_a_path_dependent_strategy_needs_its_first_date(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    text = STRATEGY.replace('version="1.0",', 'version="1.0", uses_previous=True,')
    (place / "steady.py").write_text(text)
    _, refused = run(capsys, *RENDER, code=2)
    assert "give --since" in refused
    out, _ = run(capsys, *RENDER, "--since", "2021-01-04")
    assert words_of(rendered(out)[1])[4:8] == ["--date", "due", "--since", "2021-01-04"]


def test_a_workspace_without_strategies_has_nothing_to_show(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dagster_webserver", reason="dagster-webserver is not installed")
    _, refused = run(capsys, "ui", "--workspace", str(place), code=2)
    assert "has no strategy; name one on the command line" in refused


@pytest.mark.usefixtures("place")
def test_a_strategy_that_cannot_be_loaded_is_not_added(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("dagster", reason="dagster is not installed")
    _, refused = run(capsys, "ui", "momentumm", "--workspace", "here", code=2)
    assert "'momentumm' is not known" in refused
    assert not Path("here", "strategies.toml").exists()
