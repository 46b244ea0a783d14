"""The files of a Dagster home, and services that end with their parent."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from shoestring.core.errors import ConfigError
from shoestring.finance.shai_am._services import Service, ServiceError
from shoestring.finance.shai_am._workspace import Location, dagster_home, write_workspace

PYTHON = Path(sys.executable)
LIMIT_S = 60.0  # generous: a busy machine is no fault


def test_every_strategy_is_a_location_with_its_own_interpreter(tmp_path: Path) -> None:
    other = tmp_path / "env" / "bin" / "python"
    other.parent.mkdir(parents=True)
    other.symlink_to(PYTHON)
    home = write_workspace(
        tmp_path, [Location(name="mom", python=PYTHON), Location(name="maps", python=other)]
    )
    assert home == dagster_home(tmp_path)
    (mom, maps) = yaml.safe_load((home / "workspace.yaml").read_text())["load_from"]
    assert mom["python_file"]["location_name"] == "mom"
    assert maps["python_file"]["executable_path"] == str(other), "a link must not be resolved"
    for name in ("mom", "maps"):
        compile((home / "locations" / f"{name}.py").read_text(), name, "exec")


def test_a_folder_with_quotes_and_letters_of_all_kinds_can_be_named(tmp_path: Path) -> None:
    root = tmp_path / 'we\'ll "see" \\ ä'
    write_workspace(root, [Location(name="mom", python=PYTHON)])
    text = (root / "dagster" / "locations" / "mom.py").read_text()
    call = text.rpartition("location_definitions")[2]
    assert ast.literal_eval(call.strip()) == (str(root), "mom")


def test_dagster_says_nothing_to_anybody_and_greets_nobody(tmp_path: Path) -> None:
    home = write_workspace(tmp_path, [Location(name="mom", python=PYTHON)])
    settings = yaml.safe_load((home / "dagster.yaml").read_text())
    assert settings["telemetry"] == {"enabled": False}
    assert settings["nux"] == {"enabled": False}
    assert settings["run_coordinator"]["config"]["max_concurrent_runs"] == 2


def test_dagster_takes_the_instance_file(tmp_path: Path) -> None:
    dg = pytest.importorskip("dagster", reason="dagster is not installed")
    home = write_workspace(tmp_path, [Location(name="mom", python=PYTHON)])
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.run_coordinator.get_run_queue_config().max_concurrent_runs == 2
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled


def test_a_name_that_is_there_twice_or_not_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'mom' is there twice"):
        write_workspace(tmp_path, [Location(name="mom", python=PYTHON)] * 2)
    with pytest.raises(ConfigError, match="has no strategy"):
        write_workspace(tmp_path, [])
    assert not dagster_home(tmp_path).exists()


@pytest.mark.parametrize("name", ["", "a b", "../x", "1st", "a-b"])
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="rename it"):
        Location(name=name, python=PYTHON)


def test_an_environment_without_an_interpreter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no interpreter"):
        Location(name="mom", python=tmp_path / "bin" / "python")


def service(folder: Path, code: str) -> Service:
    return Service("test", [sys.executable, "-c", code], dict(os.environ), folder)


def wait_for(path: Path) -> str:
    end = time.monotonic() + LIMIT_S
    while not (path.exists() and path.read_text().endswith("\n")) and time.monotonic() < end:
        time.sleep(0.02)
    return path.read_text().strip()


def is_gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_service_that_ends_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    one = service(tmp_path, "print('what went wrong'); raise SystemExit(3)")
    end = time.monotonic() + LIMIT_S
    while not is_gone(one.pid) and time.monotonic() < end:
        time.sleep(0.02)
    with pytest.raises(ServiceError, match=r"(?s)ended with code 3.*what went wrong"):
        one.check()
    one.stop(1.0)


# A child that ignores the wish to end, and writes its number.
STUBBORN = """
import signal, subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
code += "; print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
child.stdout.readline()
open(sys.argv[1], "w").write(f"{child.pid}\\n")
time.sleep(600)
"""


def test_stopping_a_service_ends_what_it_started_too(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    one = Service("test", [sys.executable, "-c", STUBBORN, str(note)], dict(os.environ), tmp_path)
    child = int(wait_for(note))
    one.check()
    one.stop(0.2)
    assert is_gone(one.pid)
    assert is_gone(child)


def test_a_service_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from shoestring.finance.shai_am._services import Service
code = "import time; time.sleep(600)"
one = Service("test", [sys.executable, "-c", code], dict(os.environ), Path({str(tmp_path)!r}))
Path({str(tmp_path / "pid")!r}).write_text(f"{{one.pid}}\\n")
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    child = int(wait_for(tmp_path / "pid"))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + LIMIT_S
    while not is_gone(child) and time.monotonic() < end:
        time.sleep(0.02)
    assert is_gone(child)
