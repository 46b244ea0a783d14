"""Kill a backtest and a live run with -9, again and again, and look at what is left."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from shoestring.core.errors import StorageError
from shoestring.evidence.model import Context, Outcome
from shoestring.finance.records.store import Store
from shoestring.finance.shai_am._measured_child import DIE_AFTER, LIVE_DATE, TRACE
from shoestring.finance.shai_am._platform import Platform

__all__ = ["measure_kills"]

_LIMIT_S = 600.0


def measure_kills(context: Context) -> Outcome:
    """Kill at several decisions; with ``keep`` the workspace survives, without it nothing is kept."""
    shutil.rmtree(context.folder, ignore_errors=True)  # left by a task that was killed
    context.folder.mkdir(parents=True)
    deaths = [int(n) for n in context.options["deaths"]]
    keep = bool(context.options["keep"])
    trace = context.folder / "undisturbed-trace"
    expected = _run("backtest", context.folder / "undisturbed", trace, 0)
    alone = len(trace.read_text().split())
    trace, folder = context.folder / "trace", context.folder / "killed"
    decided = damaged = 0
    for number, death in enumerate(deaths):
        if not keep:
            folder = context.folder / f"killed-{number}"
        trace.unlink(missing_ok=True)
        _run("backtest", folder, trace, death)
        decided += len(trace.read_text().split())
        damaged += _damaged(folder)
        context.report_progress((number + 1) / (len(deaths) + 2), "killed")
    if not keep:
        folder = context.folder / "last"
    trace.unlink(missing_ok=True)
    result = _run("backtest", folder, trace, 0)
    decided += len(trace.read_text().split()) if trace.exists() else 0
    orders, live_damaged = _live(
        context.folder / "live", context.folder / "live-trace", int(context.options["again"])
    )
    return Outcome(
        metrics={
            "repeated_percent": 100.0 * (decided - alone) / alone,
            "results_differ": float(result != expected),
            "damaged": float(damaged + _damaged(folder) + live_damaged),
            "order_files": float(orders),
            "kills": float(len(deaths) + 1),
        }
    )


def _live(folder: Path, trace: Path, again: int) -> tuple[int, int]:
    """Kill a live run in its decision and start it again; how many order files, how many faults."""
    _run("live", folder, trace, 1)
    made = {_run("live", folder, trace, 0) for _ in range(again)}
    files = sorted(p.name for p in (folder / "orders").rglob("*") if p.is_file())
    wrong = (len(made) != 1) + (files != [f"{LIVE_DATE}.csv"]) + _damaged(folder)
    return len(files), int(wrong)


def _run(mode: str, folder: Path, trace: Path, die_after: int) -> str:
    """Run the child; what it printed, empty if it was killed."""
    environment = {**os.environ, TRACE: str(trace), DIE_AFTER: str(die_after)}
    command = [sys.executable, "-m", "shoestring.finance.shai_am._measured_child", mode, str(folder)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )
    if done.returncode not in (0, -9):
        raise StorageError(f"the child ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout if done.returncode == 0 else ""


def _damaged(folder: Path) -> int:
    """Count objects that are not what their name says, and keys without an object."""
    with Platform(folder) as platform:
        store: Store = platform.store
    bad = 0
    for path in store.folder.glob("obj/*/*"):
        if not path.name.startswith("."):
            try:
                store.get(path.name)
            except StorageError:
                bad += 1
    return bad + sum(store.by_key(path.stem) is None for path in store.folder.glob("key/*/*.json"))
