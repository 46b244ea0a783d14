"""Start ``shoestring finance ui`` as a user does, and talk to it; shared by the slow tests."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 300.0  # generous: a busy machine is no fault
COMMAND = "from shoestring.cli import main; raise SystemExit(main())"
LAUNCH = """
mutation($selector: JobOrPipelineSelector!, $tags: [ExecutionTag!]) {
  launchRun(executionParams: {selector: $selector, mode: "default", runConfigData: "{}",
                              executionMetadata: {tags: $tags}}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
FROM_FAILURE = """
mutation($run: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: FROM_FAILURE}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""


@dataclass
class RunningUi:
    """A user interface in processes of its own."""

    workspace: Path
    process: "subprocess.Popen[str]"
    report: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.report["url"])

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["data"]

    def launch_date(self, strategy: str, date: str) -> str:
        """Launch the live run of a date."""
        with self.instance() as instance:
            instance.add_dynamic_partitions(f"{strategy}_dates", [date])
        return self.launch(strategy, f"{strategy}_live", (), **{"dagster/partition": date})

    def launch(self, strategy: str, job: str, assets: tuple[str, ...] = (), **tags: str) -> str:
        selector: dict[str, Any] = {
            "repositoryLocationName": strategy,
            "repositoryName": "__repository__",
            "pipelineName": job,
        }
        if assets:
            selector["assetSelection"] = [{"path": [strategy, name]} for name in assets]
        listed = [{"key": key, "value": value} for key, value in tags.items()]
        return _launched(self.ask(LAUNCH, selector=selector, tags=listed)["launchRun"])

    def from_failure(self, run_id: str) -> str:
        """Execute what failed in a run and what follows from it."""
        return _launched(self.ask(FROM_FAILURE, run=run_id)["launchRunReexecution"])

    @contextlib.contextmanager
    def instance(self) -> Iterator[Any]:
        import dagster as dg

        with dg.DagsterInstance.from_config(str(self.workspace / "dagster")) as made:
            yield made

    def finished(self, run_id: str) -> tuple[str, list[str], str]:
        """Wait for the end of a run; return its status, the steps that ran and its errors."""
        with self.instance() as instance:
            wait_for(lambda: instance.get_run_by_id(run_id).is_finished)
            events = [e for e in instance.all_logs(run_id) if e.is_dagster_event]
            status = str(instance.get_run_by_id(run_id).status.value)
        steps = [e.dagster_event.step_key for e in events if e.dagster_event.is_step_success]
        errors = [
            e.dagster_event.step_failure_data.error.to_string()
            for e in events
            if e.dagster_event.is_step_failure
        ]
        return status, steps, "\n".join(errors)

    def status(self, run_id: str) -> str:
        with self.instance() as instance:
            return str(instance.get_run_by_id(run_id).status.value)


@contextlib.contextmanager
def start_ui(workspace: Path, *words: str) -> Iterator[RunningUi]:
    """Run the command until it says that it is ready; end it by Ctrl-C."""
    command = ["finance", "ui", *words, "--workspace", str(workspace), "--port", "0", "--json"]
    with (workspace / "ui-stderr").open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *command], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    output = process.stdout
    assert output is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(output.readline, "")), daemon=True)
    reader.start()
    try:
        wait_for(lambda: "}\n" in lines or process.poll() is not None)
        assert process.poll() is None, (workspace / "ui-stderr").read_text()
        yield RunningUi(workspace=workspace, process=process, report=json.loads("".join(lines)))
    finally:
        ended = process.poll()
        if ended is None:
            process.send_signal(signal.SIGINT)
            ended = process.wait(LIMIT_S)
        reader.join()
        output.close()
    assert ended in (0, -signal.SIGKILL), (workspace / "ui-stderr").read_text()


def wait_for(what: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    end = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
    return found


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, its own number first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def kill_all(pids: list[int]) -> None:
    """Kill as a crash of the host does: everything, without a word."""
    for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that nobody reacts to another's end
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _launched(answer: dict[str, Any]) -> str:
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])
