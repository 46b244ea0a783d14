"""Reports and tear sheets in a real browser: wide and narrow, light and dark."""

import base64
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoestring.evidence.report import write_report, write_scoreboard
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import Backtest, backtest
from shoestring.finance.backtest.tearsheet import Notes, write_tearsheet
from shoestring.finance.market.generators import gbm_panel

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
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
    "--hide-scrollbars",
)
WIDTHS = (1280, 390)
OVERLAPS = """
const found = [];
for (const svg of document.querySelectorAll("svg.plot")) {
  const texts = [...svg.querySelectorAll("text")].filter(t => t.textContent.trim());
  const boxes = texts.map(t => [t.textContent, t.getBoundingClientRect()]);
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const [a, b] = [boxes[i][1], boxes[j][1]];
    const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (width > 1 && height > Math.min(a.height, b.height) * 0.35) found.push([boxes[i][0], boxes[j][0]]);
  }
}
return found;
"""
CUT_OFF = """
return [...document.querySelectorAll("svg.plot")].flatMap(svg => {
  const card = svg.closest("figure").getBoundingClientRect();
  return [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()])
    .filter(([, b]) => b.left < card.left || b.right > card.right || b.bottom > card.bottom)
    .map(([text]) => text);
});
"""
CONTRAST = """
const parts = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
const numbers = colour => colour.startsWith("color(srgb") // a mixture: shares instead of bytes
  ? parts(colour).map((v, i) => i < 3 ? 255 * v : v) : parts(colour);
const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = colour => numbers(colour).slice(0, 3).map(v => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = e => {
  for (; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (numbers(colour)[3] !== 0) return colour;
  }
};
const written = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
const shown = [...document.querySelectorAll("main *")].filter(e => written(e) && e.getClientRects().length);
return shown.map(e => {
  const style = getComputedStyle(e);
  const [b, a] = [light(e.closest("svg") ? style.fill : style.color), light(ground(e))].sort((x, y) => x - y);
  return [(a + 0.05) / (b + 0.05), e.textContent.trim().slice(0, 40)];
}).filter(([ratio]) => ratio < 4.5);
"""
COLOURS = """
return [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector("svg.plot text")).fill];
"""


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
def pages(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it, a scoreboard, and a tear sheet."""
    folder = tmp_path_factory.mktemp("pages")
    whole = made_up.verification()
    good = [r for r in whole.records if r.arm != "noise"]
    bad = [made_up.record("noise", s, "failed", error="ValueError: " + "x" * 400) for s in range(3)]
    wide = tuple(
        replace(made_up.METRICS[0], name=f"m{i}", title=f"A measure with a long name, number {i}")
        for i in range(9)
    )
    many = [replace(r, metrics={**r.metrics, **{m.name: 12345.678 for m in wide}}) for r in good]
    left_out = made_up.study(made_up.workload(needs_data="cifar10", data="real", title="CIFAR-10"), claims=())
    verifications = [
        made_up.verification(records=[*good, *bad]),
        made_up.verification(made_up.study(metrics=(*made_up.METRICS, *wide), claims=()), many, []),
        made_up.verification(left_out, [made_up.record("gdfq", 0, "skipped")], []),
    ]
    write_report(folder / "report.html", verifications)
    write_scoreboard(folder / "scoreboard.html", verifications)
    notes = Notes(data=["Synthetic prices: for a test."], lineage={"data": "0123456789abcdef" * 4})
    write_tearsheet(folder / "tearsheet.html", backtests(), benchmark="market", notes=notes)
    return folder


def backtests() -> dict[str, Backtest]:
    """Long-only, long-short and idle runs on a panel with holes, some with names that are hard to place."""
    panel = gbm_panel(12, 2600, seed=1, delisted=0.3, late=0.2, gaps=0.01)
    rng = np.random.default_rng(0)
    dates = panel.dates[::21]
    long = pd.DataFrame(rng.dirichlet(np.ones(12), len(dates)), dates, panel.assets)
    short = long.sub(long.mean(axis=1), axis=0) / 2
    costs = Costs(commission_bps=5)
    return {
        "a strategy with quite a long name": backtest(panel, long, costs=costs),
        "long-short": backtest(panel, short, costs=costs, allow_short=True),
        "two months": backtest(panel, long, end=panel.dates[40]),
        "nothing": backtest(panel, long.iloc[:0]),
        "market": backtest(panel, long.iloc[:1], costs=costs),
    }


def look(browser: Any, page: Path, width: int, mode: str) -> None:
    """Open a page at a width in light or dark mode, with all its details unfolded."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": mode}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report.html", "scoreboard.html", "tearsheet.html"])
def test_a_page_reads_at_every_width_and_mode(
    browser: Any, pages: Path, tmp_path: Path, name: str, width: int, mode: str
) -> None:
    look(browser, pages / name, width, mode)
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.clientWidth") == width
    assert browser.execute_script(f"return {root}.scrollWidth") == width, "the page scrolls sideways"
    assert browser.execute_script(OVERLAPS) == []
    assert browser.execute_script(CUT_OFF) == []
    assert browser.execute_script(CONTRAST) == []
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    (tmp_path / f"{width}-{mode}.png").write_bytes(base64.b64decode(shot["data"]))
    assert not [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]


def test_the_page_follows_the_readers_mode(browser: Any, pages: Path) -> None:
    seen = []
    for mode in ("light", "dark"):
        look(browser, pages / "report.html", 1280, mode)
        seen.append(browser.execute_script(COLOURS))
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]


def test_tables_and_plots_are_all_there(browser: Any, pages: Path, made_up: Any) -> None:
    look(browser, pages / "report.html", 1280, "light")
    rows = browser.execute_script("return document.querySelectorAll('table.measurements tbody tr').length")
    assert rows == 2 * len(made_up.ARMS)
    assert browser.execute_script("return document.querySelectorAll('li.claim').length") == len(
        made_up.CLAIMS
    )
    drawn = "return [...document.querySelectorAll('svg.plot')].filter(s => s.getBBox().width > 100).length"
    assert browser.execute_script(drawn) == 2 * len(made_up.PLOTS)
    narrow = (
        "return [...document.querySelectorAll('svg.plot text')].map(t => t.getBoundingClientRect().height)"
    )
    look(browser, pages / "report.html", 390, "light")
    assert min(browser.execute_script(narrow)) >= 11, "text of plots is too small on a phone"
