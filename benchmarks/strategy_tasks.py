"""What the strategy platform costs: an empty task in this process and in a warm worker, and a date of a rule.

All run interleaved; the same task twice, A/A, says how large the noise is.

    python benchmarks/strategy_tasks.py --tasks 300
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.records.store import Store, task_document
from shoestring.finance.running.run import decisions
from shoestring.finance.shai_am._pool import Pool
from shoestring.finance.shai_am._ten_lines import MomLowVol


def kept(task: tuple[str, int]) -> str:
    folder, number = task
    document = task_document("empty", code="", params={"number": number}, inputs={})
    return Store(folder).cached(document, lambda: None).ref


def nothing(task: tuple[str, int]) -> int:
    return task[1]


def interleaved(runs: dict[str, Callable[[int], Any]], tasks: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(tasks + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(number)
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return times


def show_tasks(folder: Path, tasks: int) -> dict[str, float]:
    with Pool(1) as pool:
        list(pool.map(kept, [(str(folder / "warm"), 0)]))
        runs: dict[str, Callable[[int], Any]] = {
            "a plain call": lambda n: nothing(("", n)),
            "kept in this process": lambda n: kept((str(folder / "here"), n)),
            "kept in this process (A/A)": lambda n: kept((str(folder / "again"), n)),
            "a call in a warm worker": lambda n: list(pool.map(nothing, [("", n)])),
            "kept in a warm worker": lambda n: list(pool.map(kept, [(str(folder / "there"), n)])),
        }
        times = interleaved(runs, tasks)
    medians = {name: statistics.median(values) for name, values in times.items()}
    spread = abs(medians["kept in this process"] / medians["kept in this process (A/A)"] - 1)
    print(f"A/A: {100 * spread:.1f} % between two medians of the same task; {tasks} tasks each")
    for name, values in times.items():
        quartiles = statistics.quantiles(values, n=4)
        print(f"{name:30} {1e3 * medians[name]:8.3f} ms [{1e3 * quartiles[0]:.3f}, {1e3 * quartiles[2]:.3f}]")
    return {**medians, "aa_spread": spread}


def show_dates(tasks: int) -> dict[str, float]:
    panel = gbm_panel(20, 1500, seed=0)
    strategy = MomLowVol(lookback=126)
    rounds = max(tasks // 60, 3)
    with tempfile.TemporaryDirectory() as name:

        def by_hand(_: int) -> None:
            for date in dates:
                window = panel.window(date, 126)
                score = window.iloc[-21] / window.iloc[0] - 1 - window.pct_change(fill_method=None).std() * 16
                best = score.sort_values(ascending=False, kind="stable").iloc[:5]
                best.mul(0.0).add(0.2)

        dates = decisions(strategy, panel).weights.index
        runs: dict[str, Callable[[int], Any]] = {
            "the rule's own arithmetic": by_hand,
            "through the framework": lambda n: decisions(strategy, panel, seed=n),
            "through the framework, kept": lambda n: decisions(
                strategy, panel, seed=n, store=Store(Path(name) / str(n))
            ),
        }
        times = interleaved(runs, rounds)
    medians = {name: statistics.median(values) / len(dates) for name, values in times.items()}
    print(f"\na date of the ten-line rule, 20 assets, {len(dates)} dates, {rounds} rounds")
    for name, value in medians.items():
        print(f"{name:30} {1e3 * value:8.3f} ms")
    return medians


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory() as name:
        found: dict[str, Any] = {"tasks": show_tasks(Path(name), given.tasks)}
        found["dates"] = show_dates(given.tasks)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
