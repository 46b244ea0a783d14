"""Parts of the user interface that need no services; these are started by the slow tests."""

import os
import signal
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.shai_am import _ui
from shoestring.finance.shai_am._services import Service, ServiceError
from shoestring.finance.shai_am._ui import Ui, UiConfig
from shoestring.finance.shai_am._workspace import Location


def entry(name: str, status: str = "LOADED", result: dict[str, Any] | None = None) -> dict[str, Any]:
    loaded = {"__typename": "RepositoryLocation"}
    return {"name": name, "loadStatus": status, "locationOrLoadError": loaded if result is None else result}


def state(*entries: dict[str, Any], healthy: bool = True) -> dict[str, Any]:
    daemons = [
        {"daemonType": "SCHEDULER", "required": True, "healthy": healthy},
        {"daemonType": "BACKFILL", "required": False, "healthy": False},
    ]
    return {
        "workspaceOrError": {"__typename": "Workspace", "locationEntries": list(entries)},
        "instance": {"daemonHealth": {"allDaemonStatuses": daemons}},
    }


def test_it_is_ready_when_every_location_has_loaded_and_the_daemon_is_healthy() -> None:
    assert _ui._loaded(state(entry("a"), entry("b"))) == {}
    assert _ui._loaded(state(entry("a"), entry("b", "LOADING"))) is None
    assert _ui._loaded(state(entry("a"), healthy=False)) is None


def test_a_location_that_cannot_load_is_named_and_does_not_stop_the_others() -> None:
    broken = entry("b", result={"__typename": "PythonError", "message": "no module named x\n"})
    assert _ui._loaded(state(entry("a"), broken)) == {"b": "no module named x"}


def test_a_workspace_that_dagster_cannot_read_is_an_error() -> None:
    answer = {**state(), "workspaceOrError": {"__typename": "PythonError", "message": "bad file"}}
    with pytest.raises(ServiceError, match="bad file"):
        _ui._loaded(answer)


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    pytest.importorskip("dagster_webserver", reason="dagster-webserver is not installed")
    with socket.socket() as other:
        other.bind((_ui.HOST, 0))
        other.listen()
        config = UiConfig(port=other.getsockname()[1])
        locations = [Location(name="mom", python=Path(sys.executable))]
        with (
            pytest.raises(ConfigError, match=r"port=\d+ cannot be used"),
            _ui.serve_ui(tmp_path, locations, config),
        ):
            pass
    assert not (tmp_path / "dagster" / "logs").exists()


def test_one_home_has_one_user_interface(tmp_path: Path) -> None:
    with (
        _ui._only_one(tmp_path),
        pytest.raises(ConfigError, match=rf"runs already .*process {os.getpid()}"),
        _ui._only_one(tmp_path),
    ):
        pass
    with _ui._only_one(tmp_path):
        pass


def test_tear_sheets_are_served_and_nothing_beside_them(tmp_path: Path) -> None:
    (tmp_path / "reports" / "mom").mkdir(parents=True)
    (tmp_path / "reports" / "mom" / "1.html").write_text("<p>tear sheet</p>")
    (tmp_path / "secret").write_text("secret")
    with _ui._reports_server(tmp_path / "reports", 0) as url:
        with urllib.request.urlopen(f"{url}/mom/1.html") as answer:
            assert answer.read() == b"<p>tear sheet</p>"
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as raw:
            raw.sendall(b"GET /../secret HTTP/1.0\r\n\r\n")
            answered = raw.makefile("rb").read()
        assert b"404" in answered.splitlines()[0]
        assert b"secret\n" not in answered
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/mom/1.html")


def test_nobody_answering_is_no_answer() -> None:
    port = _ui._free_port(0, "port")
    assert _ui._ask(f"http://127.0.0.1:{port}", "{ version }") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_ends_at_a_signal_and_puts_the_handlers_back(number: int) -> None:
    before = signal.getsignal(number)
    ui = Ui(url="", reports_url="", lost_runs=(), failed_locations={}, services=())
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
    ui.wait()
    assert signal.getsignal(number) is before


def test_waiting_ends_when_a_service_does(tmp_path: Path) -> None:
    one = Service("daemon", [sys.executable, "-c", "print('why')"], dict(os.environ), tmp_path)
    ui = Ui(url="", reports_url="", lost_runs=(), failed_locations={}, services=(one,))
    with pytest.raises(ServiceError, match="the daemon ended with code 0"):
        ui.wait()
    one.stop(1.0)


def test_services_are_told_where_they_are_and_to_say_nothing_to_anybody(tmp_path: Path) -> None:
    environment = _ui._environment(tmp_path, "http://127.0.0.1:1")
    assert environment["DAGSTER_HOME"] == str(tmp_path)
    assert environment["DAGSTER_DISABLE_TELEMETRY"] == "1"
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert environment["SHOESTRING_REPORTS_URL"] == "http://127.0.0.1:1"


def test_what_does_not_get_ready_in_time_is_an_error_with_the_logs(tmp_path: Path) -> None:
    code = "import time; print('still importing', flush=True); time.sleep(600)"
    one = Service("webserver", [sys.executable, "-c", code], dict(os.environ), tmp_path)
    while "importing" not in one.log_end():
        time.sleep(0.02)
    port = _ui._free_port(0, "port")
    with pytest.raises(ServiceError, match=r"not ready after 0\.1 s.*webserver: still importing"):
        _ui._wait_until_ready(f"http://127.0.0.1:{port}", [one], 0.1)
    one.stop(5.0)


@pytest.mark.parametrize(
    "change",
    [{"port": -1}, {"port": 1 << 16}, {"reports_port": -1}, {"start_timeout_s": 0}, {"stop_patience_s": 0}],
)
def test_options_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        UiConfig(**change)


def test_the_query_of_the_state_is_one_that_dagster_knows() -> None:
    graphql = pytest.importorskip("graphql")
    schema = pytest.importorskip("dagster_graphql.schema").create_schema().graphql_schema
    assert graphql.validate(schema, graphql.parse(_ui._STATE)) == []
