"""Two hundred backtests of a sweep on a local Ray of two workers, and the same again from the cache.

The cold sweep begins with an empty workspace and a Ray that is not running; the warm one asks for the same.
It is done twice, A/A, so that the noise is known.

    python benchmarks/finance_sweep.py
    python benchmarks/finance_sweep.py --executor process    # our own processes instead of Ray
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from shoestring.finance.shai_am import Platform, RunConfig, SweepConfig
from shoestring.finance.shai_am._platform import Executor

GRID = {"lookback": tuple(range(40, 240, 4)), "share": (0.1, 0.2, 0.3, 0.4)}


def seconds(folder: Path, executor: Executor, options: RunConfig) -> float:
    """Return the wall time of the sweep in a workspace, opening it included."""
    started = time.perf_counter()
    with Platform(folder) as platform:
        runs = platform.sweep("momentum", SweepConfig(grid=GRID, jobs=2), config=options, executor=executor)
    assert len(runs) == 200
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executor", choices=("ray", "process"), default="ray")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--start", default="2013-01-01")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    options = RunConfig(start=given.start)
    cold, warm, again = [], [], []
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(seconds(Path(folder), given.executor, options))
            warm.append(seconds(Path(folder), given.executor, options))
            again.append(seconds(Path(folder), given.executor, options))
    noise = statistics.median(abs(a - b) / min(a, b) for a, b in zip(warm, again, strict=True))
    ratios = sorted(c / w for c, w in zip(cold, warm, strict=True))
    row = {
        "executor": given.executor,
        "backtests": 200,
        "cold_s": sorted(cold),
        "warm_s": sorted(warm + again),
        "warm_a_a": noise,
        "times_faster": ratios,
    }
    print(
        f"200 backtests by {given.executor}: cold {statistics.median(cold):.1f} s, "
        f"warm {statistics.median(warm + again):.2f} s (A/A {noise:.0%}), "
        f"{statistics.median(ratios):.0f} times faster ({ratios[0]:.0f} to {ratios[-1]:.0f})"
    )
    if given.out is not None:
        given.out.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
