"""A backtest and a live run are killed with -9; nothing half may stay, and no date may run twice."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoestring.finance.records.ledger import Ledger
from shoestring.finance.records.store import Store
from shoestring.finance.shai_am import Platform
from shoestring.finance.shai_am.functional import read_orders

LIMIT_S = 120.0  # generous: a busy machine is no fault
PROGRAM = Path(__file__).parent / "_finance_program.py"
DATE = "2001-06-01"


@contextmanager
def program(mode: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {**os.environ, "SHOESTRING_TEST_FOLDER": str(folder)}
    command = [sys.executable, str(PROGRAM), mode, str(folder / "ws")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def finished(mode: str, folder: Path) -> str:
    with program(mode, folder) as process:
        out, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0
    return out.strip()


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.01)


def executed(folder: Path) -> list[str]:
    path = folder / "executed"
    return path.read_text().split() if path.exists() else []


def objects_are_whole(folder: Path) -> bool:
    store = Store(folder / "ws" / "store")
    refs = [path.name for path in store.folder.glob("obj/*/*") if not path.name.startswith(".")]
    return bool(refs) and all(store.get(ref) is not None or ref.endswith("json") for ref in refs)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """Return the ref of the net asset value of a run that nobody disturbs, and its dates."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return finished("backtest", folder), executed(folder)


def test_a_killed_backtest_goes_on_behind_its_last_whole_step(
    tmp_path: Path, undisturbed: tuple[str, list[str]]
) -> None:
    nav, dates = undisturbed
    (tmp_path / "block").write_text(DATE)
    with program("backtest", tmp_path) as process:
        wait_until(lambda: DATE in executed(tmp_path))
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_S)
    (tmp_path / "block").unlink()
    before = executed(tmp_path)
    assert objects_are_whole(tmp_path)
    assert finished("backtest", tmp_path) == nav
    again = executed(tmp_path)[len(before) :]
    first_year = [d for d in dates if d.startswith("2000")]
    assert set(first_year) <= set(before)
    assert not set(first_year) & set(again), "the finished fold ran again"
    assert set(before) | set(again) == set(dates)
    with Platform(tmp_path / "ws") as platform:
        assert Counter(row.status for row in platform.metadata.runs()) == {"done": 1, "lost": 1}


@pytest.mark.slow
def test_a_backtest_killed_at_random_moments_always_ends_with_the_same_result(
    tmp_path: Path, undisturbed: tuple[str, list[str]]
) -> None:
    nav, _ = undisturbed
    for after in (1, 4, 9, 15):
        with program("backtest", tmp_path) as process:
            start = len(executed(tmp_path))
            wait_until(lambda: process.poll() is not None or len(executed(tmp_path)) >= start + after)  # noqa: B023  # used at once
            process.kill()
            process.wait(LIMIT_S)
    assert finished("backtest", tmp_path) == nav
    assert objects_are_whole(tmp_path)


def test_a_killed_live_run_leaves_no_orders_and_the_next_start_runs_the_date(tmp_path: Path) -> None:
    (tmp_path / "block").write_text(DATE)
    with program("live", tmp_path) as process:
        wait_until(lambda: DATE in executed(tmp_path))
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_S)
    (tmp_path / "block").unlink()
    orders = tmp_path / "ws" / "orders" / "slow" / "1" / f"{DATE}.csv"
    assert not orders.exists()
    with Ledger(tmp_path / "ws") as ledger:
        assert ledger.claim("slow", "1", DATE) is None, "the claim of the dead stands until it is swept"
    with Platform(tmp_path / "ws") as platform:
        assert [e.date for e in platform.swept.released] == [DATE]
    assert finished("live", tmp_path) == str(orders)
    assert finished("live", tmp_path) == str(orders)
    assert executed(tmp_path) == [DATE, DATE], "once killed, once done, and the third start does nothing"
    assert [p.name for p in orders.parent.iterdir()] == [f"{DATE}.csv"]
    assert read_orders(orders.read_bytes()).sum() == pytest.approx(1.0)


@pytest.mark.slow
def test_live_runs_at_the_same_time_write_one_order_file(tmp_path: Path) -> None:
    (tmp_path / "block").write_text(DATE)
    with program("live", tmp_path) as first:
        wait_until(lambda: DATE in executed(tmp_path))
        with program("live", tmp_path) as second:
            second.wait(LIMIT_S)
            assert second.returncode != 0, "the date is being run"
        (tmp_path / "block").unlink()
        first.wait(LIMIT_S)
        assert first.returncode == 0
    assert executed(tmp_path) == [DATE]
    assert len(list((tmp_path / "ws" / "orders").rglob("*.csv"))) == 1
