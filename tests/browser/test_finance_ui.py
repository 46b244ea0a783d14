"""``shoestring finance ui`` opened in a real browser: the assets of a strategy, and a run that finished."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
dg = pytest.importorskip("dagster", reason="dagster is not installed")
pytest.importorskip("dagster_webserver", reason="dagster-webserver is not installed")
pytest.importorskip("mlflow", reason="mlflow is not installed")
pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1400,1000",
    # Nothing but this machine can be reached, as on a machine without a network.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
DATE = "2022-12-01"
LIMIT_S = 240.0  # generous: a busy machine is no fault
COMMAND = "from shoestring.cli import main; raise SystemExit(main())"
LAUNCH = """
mutation($selector: JobOrPipelineSelector!, $tags: [ExecutionTag!], $config: RunConfigData) {
  launchRun(executionParams: {selector: $selector, mode: "default", runConfigData: $config,
                              executionMetadata: {tags: $tags}}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""


def wait_for(what: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    end = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip(f"needs a browser ({', '.join(BROWSERS)}) and chromedriver")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    running = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield running
    running.quit()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def served(workspace: Path) -> Iterator[dict[str, Any]]:
    """The command as a user starts it, ended by Ctrl-C; what it prints when it is ready."""
    words = ["finance", "ui", "momentum", "--workspace", str(workspace), "--port", "0", "--json"]
    with (workspace / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]  # it is a pipe
    reader.start()
    try:
        wait_for(lambda: "}\n" in lines or process.poll() is not None)
        assert process.poll() is None, (workspace / "stderr").read_text()
        yield json.loads("".join(lines))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0, (workspace / "stderr").read_text()
        reader.join()
        process.stdout.close()


def ask(url: str, query: str, **variables: Any) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def launch(workspace: Path, url: str, job: str, assets: list[str], **tags: str) -> str:
    """Launch a run through the server and wait for its success."""
    selector = {
        "repositoryLocationName": "momentum",
        "repositoryName": "__repository__",
        "pipelineName": job,
        "assetSelection": [{"path": ["momentum", name]} for name in assets],
    }
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    answer = ask(url, LAUNCH, selector=selector, tags=listed, config="{}")["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run_id = str(answer["run"]["runId"])
    with dg.DagsterInstance.from_config(str(workspace / "dagster")) as instance:
        wait_for(lambda: instance.get_run_by_id(run_id).is_finished)
        status = instance.get_run_by_id(run_id).status.value
        errors = [e.dagster_event.message for e in instance.all_logs(run_id) if e.level >= 40]
    assert status == "SUCCESS", errors
    return run_id


@pytest.fixture(scope="module")
def live_run(workspace: Path, served: dict[str, Any]) -> str:
    with dg.DagsterInstance.from_config(str(workspace / "dagster")) as instance:
        instance.add_dynamic_partitions("momentum_dates", [DATE])
    assets = ["data", "weights", "orders"]
    return launch(workspace, served["url"], "momentum_live", assets, **{"dagster/partition": DATE})


@pytest.fixture(scope="module")
def backtest_run(workspace: Path, served: dict[str, Any]) -> str:
    return launch(workspace, served["url"], "__ASSET_JOB", ["backtest"])


def text_of(browser: Any) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def open_page(browser: Any, url: str, *texts: str) -> str:
    """Open a page and wait until it shows all of `texts`."""
    browser.get(url)
    wait_for(lambda: all(text in text_of(browser) for text in texts), 60.0)
    return text_of(browser)


def keep_shot(browser: Any, name: str) -> None:
    folder = os.environ.get("SHOESTRING_SCREENSHOTS")
    if folder:
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_the_command_says_where_its_pages_are(served: dict[str, Any]) -> None:
    assert served["url"].startswith("http://127.0.0.1:")
    assert served["strategies"] == ["momentum"]
    assert served["failed"] == {}
    assert served["lost_runs"] == []


def test_the_assets_of_a_strategy_are_found(browser: Any, served: dict[str, Any]) -> None:
    open_page(browser, f"{served['url']}/locations/__repository__@momentum/assets", "momentum")
    for stage in ("data", "weights", "orders", "backtest"):
        open_page(browser, f"{served['url']}/assets/momentum/{stage}", stage, "momentum")
    keep_shot(browser, "asset")
    page = open_page(browser, f"{served['url']}/asset-groups/~/momentum", "weights", "orders", "backtest")
    assert "data" in page
    keep_shot(browser, "graph")


def test_a_finished_run_is_found(browser: Any, served: dict[str, Any], live_run: str) -> None:
    open_page(browser, f"{served['url']}/runs", live_run[:8], "Success")
    keep_shot(browser, "runs")
    open_page(browser, f"{served['url']}/runs/{live_run}", "momentum__orders", "Success", DATE)
    keep_shot(browser, "run")


def test_what_a_date_gave_is_shown_with_its_order_file(
    browser: Any, served: dict[str, Any], live_run: str, workspace: Path
) -> None:
    assert live_run
    (orders,) = workspace.rglob(f"orders/momentum/*/{DATE}.csv")
    address = f"{served['url']}/assets/momentum/orders?partition={DATE}&view=partitions"
    open_page(browser, address, DATE, str(orders.relative_to(workspace)))
    keep_shot(browser, "orders")


def test_the_tear_sheet_of_a_backtest_opens_from_its_asset(
    browser: Any, served: dict[str, Any], backtest_run: str
) -> None:
    assert backtest_run
    open_page(browser, f"{served['url']}/assets/momentum/backtest?view=overview", "sharpe", "tear_sheet_page")
    links = [a.get_attribute("href") for a in browser.find_elements("tag name", "a")]
    (sheet,) = {link for link in links if link and link.startswith(served["tear_sheets"])}
    open_page(browser, sheet, "momentum", "drawdown")
    assert browser.execute_script("return document.querySelectorAll('svg').length") > 3
    keep_shot(browser, "tear-sheet")


def test_nobody_is_greeted_and_nothing_is_missing_without_a_network(
    browser: Any, served: dict[str, Any]
) -> None:
    page = open_page(browser, f"{served['url']}/assets", "momentum")
    assert "Join" not in page
    failed = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert not [message for message in failed if "127.0.0.1" in message], failed
