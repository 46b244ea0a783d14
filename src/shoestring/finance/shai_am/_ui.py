"""Dagster's webserver and daemon as two services, and the tear sheets beside them."""

import contextlib
import fcntl
import functools
import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.finance.shai_am._pipeline import REPORTS_URL
from shoestring.finance.shai_am._platform import Platform
from shoestring.finance.shai_am._services import Service, ServiceError
from shoestring.finance.shai_am._sweep_dead_runs import LostRun, sweep_dead_runs
from shoestring.finance.shai_am._workspace import Location, dagster_home, write_workspace

__all__ = ["Ui", "UiConfig", "serve_ui"]

HOST = "127.0.0.1"  # Dagster's own server asks nobody for a password
_POLL_S = 0.25
_STATE = """
{ workspaceOrError { __typename
    ... on PythonError { message }
    ... on Workspace { locationEntries { name loadStatus
      locationOrLoadError { __typename ... on PythonError { message } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class UiConfig:
    """Where the user interface is served and how long its parts may take."""

    port: int = 3000
    """Of Dagster's pages; 0 takes a free one."""
    reports_port: int = 0
    """Of the tear sheets; 0 takes a free one."""
    start_timeout_s: float = 180.0
    """Until every location is loaded and the daemon works, in seconds."""
    stop_patience_s: float = 15.0
    """For a service to end by itself, in seconds."""

    def __post_init__(self) -> None:
        for name in ("port", "reports_port"):
            if not 0 <= getattr(self, name) < 1 << 16:
                raise ConfigError(f"{name}={getattr(self, name)} is no port; give 0 to 65535")
        for name in ("start_timeout_s", "stop_patience_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)} must be above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ui:
    """A user interface that runs."""

    url: str
    """Of Dagster's pages."""
    reports_url: str
    """Of the folder of tear sheets."""
    lost_runs: tuple[LostRun, ...]
    """Runs of an earlier start that were found dead and reported failed."""
    failed_locations: dict[str, str]
    """Strategies whose environment could not load them, with the reason."""
    services: tuple[Service, ...]

    def wait(self) -> None:
        """Return at Ctrl-C or SIGTERM; raise a `ServiceError` if a service ends."""
        with _until_told() as told:
            while not told.wait(_POLL_S):
                for service in self.services:
                    service.check()


@contextlib.contextmanager
def serve_ui(root: Path, locations: Sequence[Location], config: UiConfig | None = None) -> Iterator[Ui]:
    """Start the user interface of the platform in `root`; it ends with the ``with`` block.

    Parameters
    ----------
    root : Path
        Folder of the platform; Dagster's files are written to ``root/dagster``, tear sheets are read from
        ``root/reports``.
    locations : sequence of Location
        One a strategy.
    config : UiConfig or None
        Ports and limits.

    Yields
    ------
    Ui
        Once every location has loaded (or failed to) and the daemon is healthy.

    Raises
    ------
    ConfigError
        If the port is taken, or a user interface runs in this folder already.
    ServiceError
        If a service ends or does not get ready in time.
    MissingExtraError
        Without Dagster and its webserver.

    Notes
    -----
    First the sweep of dead runs, then the services: the daemon never sees a run that holds a slot for
    nobody. All of it stays on this machine: telemetry is off, and the server listens on 127.0.0.1.
    """
    config = config or UiConfig()
    dagster = optional("dagster", "ops")
    optional("dagster_webserver", "ops")
    reports = root / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    home = dagster_home(root)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_one(home))
        write_workspace(root, locations)
        port = _free_port(config.port, "port")
        reports_url = stack.enter_context(_reports_server(reports, config.reports_port))
        lost = _sweep(dagster, home)
        Platform(root).close()  # settles the claims of dead processes in the ledger, likewise
        stack.callback(_sweep, dagster, home)  # runs that were cut off by the end
        environment = _environment(home, reports_url)
        commands = {
            "webserver": ["-m", "dagster_webserver", "--host", HOST, "--port", str(port)],
            "daemon": ["-m", "dagster._daemon", "run"],
        }
        services = []
        for name, words in commands.items():
            command = [sys.executable, *words, "--workspace", str(home / "workspace.yaml")]
            service = Service(name, command, environment, home / "logs")
            stack.callback(service.stop, config.stop_patience_s)
            services.append(service)
        for service in services:
            stack.callback(service.ask_to_stop)  # both, before the first is waited for
        url = f"http://{HOST}:{port}"
        failed = _wait_until_ready(url, services, config.start_timeout_s)
        yield Ui(
            url=url,
            reports_url=reports_url,
            lost_runs=lost,
            failed_locations=failed,
            services=tuple(services),
        )


def _sweep(dagster: Any, home: Path) -> tuple[LostRun, ...]:
    with dagster.DagsterInstance.from_config(str(home)) as instance:
        return sweep_dead_runs(instance)


def _environment(home: Path, reports_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        REPORTS_URL: reports_url,
    }


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Hold the lock of a home: two daemons on one home would launch every date twice."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "ui.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ConfigError(
                f"a user interface runs already on {home.parent} (process {lock.read().strip() or '?'}); "
                "use that one, or end it first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _free_port(port: int, option: str) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as e:
            raise ConfigError(
                f"{option}={port} cannot be used ({e.strerror}); give another, or 0 for a free one"
            ) from e
        return int(probe.getsockname()[1])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of one folder, no log on stderr."""

    def log_message(self, format: str, *args: Any) -> None:  # as the base class calls it
        """Say nothing."""


@contextlib.contextmanager
def _reports_server(folder: Path, port: int) -> Iterator[str]:
    """Serve the tear sheets, which a page of Dagster cannot open as files."""
    _free_port(port, "reports_port")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((HOST, port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="reports", daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _wait_until_ready(url: str, services: Sequence[Service], limit_s: float) -> dict[str, str]:
    """Wait for every location and the daemon; return the locations that failed to load, with reasons."""
    end = time.monotonic() + limit_s
    while True:
        for service in services:
            service.check()
        state = _ask(url, _STATE)
        if state is not None and (failed := _loaded(state)) is not None:
            return failed
        if time.monotonic() > end:
            logs = "; ".join(f"{s.name}: {s.log_end(3)}" for s in services)
            raise ServiceError(
                f"the user interface was not ready after {limit_s:g} s; raise start_timeout_s. "
                f"Logs end: {logs}"
            )
        time.sleep(_POLL_S)


def _loaded(state: dict[str, Any]) -> dict[str, str] | None:
    """Read an answer to `_STATE`: reasons by failed location, or None while something still loads."""
    workspace = state["workspaceOrError"]
    if workspace["__typename"] != "Workspace":
        raise ServiceError(f"Dagster cannot read its workspace: {workspace.get('message', workspace)}")
    entries = workspace["locationEntries"]
    daemons = state["instance"]["daemonHealth"]["allDaemonStatuses"]
    ready = all(e["loadStatus"] == "LOADED" and e["locationOrLoadError"] for e in entries)
    if not ready or not all(d["healthy"] for d in daemons if d["required"]):
        return None
    results = {e["name"]: e["locationOrLoadError"] for e in entries}
    return {n: r["message"].strip() for n, r in results.items() if r["__typename"] == "PythonError"}


def _ask(url: str, query: str) -> dict[str, Any] | None:
    """Send a GraphQL query; None while nobody answers."""
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            data: dict[str, Any] | None = json.load(answer).get("data")
            return data
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


@contextlib.contextmanager
def _until_told() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event, within the block."""
    told = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        told.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
