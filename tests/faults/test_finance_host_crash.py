"""Everything of the user interface dies at once, as when the host does; the next start puts it right."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("dagster", reason="dagster is not installed")
pytest.importorskip("dagster_webserver", reason="dagster-webserver is not installed")
pytestmark = pytest.mark.slow
DATE = "2022-12-01"
# Decides like everybody, but as long as a file is there it does not come to an end.
STRATEGY = """
import time
from pathlib import Path
from shoestring.finance.strategies.interface import Strategy, strategy

BLOCK = Path({block!r})

@strategy(name="sleepy", version="1.0", schedule="BMS 06:00 America/New_York")
class Sleepy(Strategy):
    def on_rebalance(self, ctx, data):
        if BLOCK.exists():
            BLOCK.with_name("reached").touch()
        while BLOCK.exists():
            time.sleep(0.05)
        return data.prices(lookback=1).iloc[-1] * 0 + 1 / len(data.assets)
"""


def test_a_crash_of_the_host_is_swept_at_the_next_start_and_the_run_goes_on(
    tmp_path: Path, running_ui: ModuleType
) -> None:
    workspace, block = tmp_path / "workspace", tmp_path / "block"
    workspace.mkdir()
    strategy = tmp_path / "sleepy.py"
    strategy.write_text(STRATEGY.format(block=str(block)))
    block.touch()

    with running_ui.start_ui(workspace, str(strategy)) as ui:
        run_id = ui.launch_date("sleepy", DATE)
        running_ui.wait_for((tmp_path / "reached").exists)
        all_of_it = running_ui.descendants(ui.process.pid)
        assert len(all_of_it) >= 6, "webserver, daemon, two code servers, the worker and the command"
        running_ui.kill_all(all_of_it)
        ui.process.wait()
        assert ui.status(run_id) == "STARTED", "nobody was left to report it"
    assert not list(workspace.rglob("*.csv"))

    block.unlink()
    with running_ui.start_ui(workspace) as ui:
        assert ui.report["lost_runs"] == [run_id]
        assert ui.status(run_id) == "FAILURE"
        again = ui.from_failure(run_id)
        status, steps, errors = ui.finished(again)
        assert status == "SUCCESS", errors
        assert "sleepy__data" not in steps, "what was finished does not run again"
        assert steps[-1] == "sleepy__orders"
    (orders,) = workspace.rglob("*.csv")
    assert orders.name == f"{DATE}.csv"
    assert not_whole(workspace) == []

    with running_ui.start_ui(workspace) as ui:
        assert ui.report["lost_runs"] == [], "swept once"


def test_the_end_of_the_user_interface_leaves_no_run_that_seems_to_go_on(
    tmp_path: Path, running_ui: ModuleType
) -> None:
    workspace, block = tmp_path / "workspace", tmp_path / "block"
    workspace.mkdir()
    strategy = tmp_path / "sleepy.py"
    strategy.write_text(STRATEGY.format(block=str(block)))
    block.touch()
    with running_ui.start_ui(workspace, str(strategy)) as ui:
        run_id = ui.launch_date("sleepy", DATE)
        running_ui.wait_for((tmp_path / "reached").exists)
        all_of_it = running_ui.descendants(ui.process.pid)
    assert ui.status(run_id) in ("FAILURE", "CANCELED")
    assert not list(workspace.rglob("*.csv"))
    left = [pid for pid in all_of_it if Path(f"/proc/{pid}").exists()]
    assert not [pid for pid in left if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] != "Z"]


def not_whole(workspace: Path) -> list[Any]:
    """Objects of the store whose content is not what their name says."""
    from shoestring.finance.records.digest import digest_bytes

    objects = [p for p in (workspace / "store" / "obj").rglob("*") if p.is_file() and p.suffix != ".tmp"]
    assert objects
    return [p for p in objects if digest_bytes(p.read_bytes()) != p.name.partition(".")[0]]
