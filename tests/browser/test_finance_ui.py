"""``shoestring finance ui`` opened in a real browser: the assets of a strategy, and a run that finished."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytest.importorskip("dagster", reason="dagster is not installed")
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
LIMIT_S = 120.0  # generous: a busy machine is no fault


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
def served(workspace: Path, running_ui: ModuleType) -> Iterator[Any]:
    """The command as a user starts it, ended by Ctrl-C."""
    with running_ui.start_ui(workspace, "momentum") as ui:
        yield ui


@pytest.fixture(scope="module")
def live_run(served: Any) -> str:
    return succeeded(served, served.launch_date("momentum", DATE))


@pytest.fixture(scope="module")
def backtest_run(served: Any) -> str:
    return succeeded(served, served.launch("momentum", "__ASSET_JOB", ("backtest",)))


def succeeded(served: Any, run_id: str) -> str:
    status, _, errors = served.finished(run_id)
    assert status == "SUCCESS", errors
    return run_id


def text_of(browser: Any) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def open_page(browser: Any, url: str, *texts: str) -> str:
    """Open a page and wait until it shows all of `texts`."""
    browser.get(url)
    end = time.monotonic() + LIMIT_S
    while not all(text in text_of(browser) for text in texts):
        assert time.monotonic() < end, f"{url} does not show {texts}"
        time.sleep(0.2)
    return text_of(browser)


def keep_shot(browser: Any, name: str) -> None:
    folder = os.environ.get("SHOESTRING_SCREENSHOTS")
    if folder:
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_the_command_says_where_its_pages_are(served: Any) -> None:
    assert served.url.startswith("http://127.0.0.1:")
    assert served.report["strategies"] == ["momentum"]
    assert served.report["failed"] == {}
    assert served.report["lost_runs"] == []


def test_the_assets_of_a_strategy_are_found(browser: Any, served: Any) -> None:
    open_page(browser, f"{served.url}/locations/__repository__@momentum/assets", "momentum")
    for stage in ("data", "weights", "orders", "backtest"):
        open_page(browser, f"{served.url}/assets/momentum/{stage}", stage, "momentum")
    keep_shot(browser, "asset")
    page = open_page(browser, f"{served.url}/asset-groups/~/momentum", "weights", "orders", "backtest")
    assert "data" in page
    keep_shot(browser, "graph")


def test_a_finished_run_is_found(browser: Any, served: Any, live_run: str) -> None:
    open_page(browser, f"{served.url}/runs", live_run[:8], "Success")
    keep_shot(browser, "runs")
    open_page(browser, f"{served.url}/runs/{live_run}", "momentum__orders", "Success", DATE)
    keep_shot(browser, "run")


def test_what_a_date_gave_is_shown_with_its_order_file(
    browser: Any, served: Any, live_run: str, workspace: Path
) -> None:
    assert live_run
    (orders,) = workspace.rglob(f"orders/momentum/*/{DATE}.csv")
    address = f"{served.url}/assets/momentum/orders?partition={DATE}&view=partitions"
    open_page(browser, address, DATE, str(orders.relative_to(workspace)))
    keep_shot(browser, "orders")


def test_the_tear_sheet_of_a_backtest_opens_from_its_asset(
    browser: Any, served: Any, backtest_run: str
) -> None:
    assert backtest_run
    open_page(browser, f"{served.url}/assets/momentum/backtest?view=overview", "sharpe", "tear_sheet_page")
    links = [a.get_attribute("href") for a in browser.find_elements("tag name", "a")]
    (sheet,) = {link for link in links if link and link.startswith(served.report["tear_sheets"])}
    open_page(browser, sheet, "momentum", "drawdown")
    assert browser.execute_script("return document.querySelectorAll('svg').length") > 3
    keep_shot(browser, "tear-sheet")


def test_nobody_is_greeted_and_nothing_is_missing_without_a_network(browser: Any, served: Any) -> None:
    page = open_page(browser, f"{served.url}/assets", "momentum")
    assert "Join" not in page
    failed = [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert not [message for message in failed if "127.0.0.1" in message], failed
