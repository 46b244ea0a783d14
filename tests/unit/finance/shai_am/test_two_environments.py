"""Two strategies that need contradictory versions of one library, side by side under one user interface."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.records.ledger import Ledger
from shoestring.finance.shai_am._deployments import (
    Deployment,
    add_deployment,
    locations,
    probe,
    read_deployments,
)

pytest.importorskip("dagster", reason="dagster is not installed")
pytest.importorskip("dagster_webserver", reason="dagster-webserver is not installed")
pytestmark = pytest.mark.slow
DATE = "2022-12-01"
# Version 2 renamed the function and turned its meaning round: no strategy can use both.
LIBRARY = {
    "1.0": "def best(scores, k):\n    return scores.nlargest(k).index\n",
    "2.0": "def worst(scores, k):\n    return scores.nsmallest(k).index\n",
}
STRATEGY = """
import pandas as pd
from importlib.metadata import version
from tinypicks import {function}
from shoestring.finance.strategies.interface import Strategy, strategy

if version("tinypicks") != {needs!r}:
    raise ImportError("needs tinypicks {needs}")

@strategy(name={name!r}, version="1.0", schedule="BMS 06:00 America/New_York")
class Picks(Strategy):
    def on_rebalance(self, ctx, data):
        px = data.prices(lookback=64)
        return pd.Series(0.2, index={function}(px.iloc[-1] / px.iloc[0], 5))
"""


def make_wheel(folder: Path, version: str, code: str) -> Path:
    """A wheel of the library, as small as they come."""
    info = f"tinypicks-{version}.dist-info"
    files = {
        "tinypicks.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinypicks\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    path = folder / f"tinypicks-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


def make_environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel of its own; Shoestring and Dagster come from this one's."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", "-q"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    parent = sysconfig.get_path("purelib")
    (site / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
    return python


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments ``one`` and ``two`` with their strategies."""
    folder = tmp_path_factory.mktemp("environments")
    for name, version, function in (("one", "1.0", "best"), ("two", "2.0", "worst")):
        wheel = make_wheel(folder, version, LIBRARY[version])
        make_environment(folder / name, wheel)
        text = STRATEGY.format(name=name, needs=version, function=function)
        (folder / f"{name}.py").write_text(text)
    return folder


def deployment(made: Path, name: str, **changes: Any) -> Deployment:
    given = {"strategy": str(made / f"{name}.py"), "environment": str(made / name), **changes}
    return Deployment(**given)


def test_each_strategy_loads_in_its_own_environment_only(made: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        assert probe(deployment(made, name)).name == name
        with pytest.raises(ConfigError, match="cannot be imported"):
            probe(deployment(made, name, environment=str(made / other)))
        with pytest.raises(ConfigError, match="tinypicks"):
            probe(deployment(made, name, environment=""))


def test_an_environment_without_the_same_dagster_is_refused(made: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    make_environment(bare, next(made.glob("*1.0*.whl")))
    (site,) = bare.glob("lib/python*/site-packages")
    old = site / "dagster-0.1.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: dagster\nVersion: 0.1\n")
    with pytest.raises(ConfigError, match=r"has dagster 0\.1, this one .* -m pip install dagster=="):
        add_deployment(tmp_path, deployment(made, "one", environment=str(bare)))
    assert read_deployments(tmp_path) == {}


def test_an_environment_without_shoestring_is_refused(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    with pytest.raises(ConfigError, match="No module named 'shoestring'; install Shoestring"):
        probe(Deployment(strategy="momentum", environment=str(tmp_path / "bare")))


def test_two_versions_of_one_library_run_side_by_side_under_one_user_interface(
    made: Path, tmp_path: Path, running_ui: ModuleType
) -> None:
    for name in ("one", "two"):
        assert add_deployment(tmp_path, deployment(made, name)) == name
    pythons = {place.name: place.python for place in locations(read_deployments(tmp_path))}
    assert pythons == {name: made / name / "bin" / "python" for name in ("one", "two")}
    with running_ui.start_ui(tmp_path) as ui:
        assert ui.report["strategies"] == ["one", "two"]
        runs = {name: ui.launch_date(name, DATE) for name in ("one", "two")}
        for run_id in runs.values():
            status, _, errors = ui.finished(run_id)
            assert status == "SUCCESS", errors
    with Ledger(tmp_path) as ledger:
        entries = {e.strategy: tmp_path / e.orders for e in ledger.entries()}
    held = {n: set(pd.read_csv(path)["asset"]) - {"CASH"} for n, path in entries.items()}
    assert set(held) == {"one", "two"}
    assert [len(assets) for assets in held.values()] == [5, 5]
    assert not held["one"] & held["two"], "the best five and the worst five of twenty"
