"""Time and peak memory of the backtest, beside bt on the same prices, weights and costs.

Both start from the same frames and end with a net asset value; the values are compared, so that the same work
is timed. The runs are interleaved; an A/A pair of our own comes first, so that the noise is known. Times are
those of the clock and, where "cpu" says so, of the processor, which other programs disturb less. bt is
event-driven and runs any Python at every date, which a schedule of weights does not need: the ratio says what
that costs here, not that bt is slow for what it is.

    python benchmarks/backtest.py
    python benchmarks/backtest.py --large    # also 500 assets x 5,000 days against bt: minutes
"""

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import bt
import numpy as np
import pandas as pd

from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import backtest

RATE = 10e-4


@dataclass(frozen=True)
class Row:
    what: str
    ours_s: float
    ours_cpu_s: float
    peak_mb: float
    bt_s: float | None
    bt_cpu_s: float | None
    difference: float | None
    """Largest relative difference of the two net asset values."""


def interleaved(calls: list[Callable[[], object]], repeats: int) -> list[tuple[float, float]]:
    """Return the median time of every call, by the clock and of the processor."""
    times: list[list[tuple[float, float]]] = [[] for _ in calls]
    for i in range(repeats + 1):
        for call, kept in zip(calls, times, strict=True):
            start, busy = time.perf_counter(), time.process_time()
            call()
            if i:  # the first round warms up
                kept.append((time.perf_counter() - start, time.process_time() - busy))
    return [(statistics.median(t for t, _ in kept), statistics.median(c for _, c in kept)) for kept in times]


def problem(assets: int, days: int, step: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("1990-01-01", periods=days, name="date")
    names = [f"a{i}" for i in range(assets)]
    prices = 100 * np.exp(np.cumsum(rng.normal(0.0002, 0.01, (days, assets)), axis=0))
    weights = rng.dirichlet(np.ones(assets), len(dates[::step]))
    return pd.DataFrame(prices, dates, names), pd.DataFrame(weights, dates[::step], names)


def ours(prices: pd.DataFrame, weights: pd.DataFrame) -> "pd.Series[float]":
    return backtest(prices, weights, costs=Costs(commission_bps=RATE * 1e4)).nav


def theirs(prices: pd.DataFrame, weights: pd.DataFrame) -> "pd.Series[float]":
    run = bt.Backtest(
        bt.Strategy("s", [bt.algos.WeighTarget(weights), bt.algos.Rebalance()]),
        prices,
        initial_capital=1e6,
        commissions=lambda q, p: abs(q) * p * RATE,
        integer_positions=False,
        progress_bar=False,
    )
    run.run()
    values: pd.Series[float] = run.strategy.values.iloc[1:] / 1e6
    return values


def measure(what: str, prices: pd.DataFrame, weights: pd.DataFrame, repeats: int, bt_repeats: int) -> Row:
    tracemalloc.start()
    nav = ours(prices, weights)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    if not bt_repeats:
        (mine,) = interleaved([lambda: ours(prices, weights)], repeats)
        return Row(what, *mine, peak, None, None, None)
    mine, other = interleaved([lambda: ours(prices, weights), lambda: theirs(prices, weights)], bt_repeats)
    difference = float((nav / theirs(prices, weights) - 1).abs().max())
    return Row(what, *mine, peak, *other, difference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--bt-repeats", type=int, default=2)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    prices, weights = problem(20, 8000, 21)
    aa = interleaved([lambda: ours(prices, weights)] * 2, 3 * given.repeats)
    spread = abs(aa[0][0] / aa[1][0] - 1)
    rows = []
    for assets, days in ((20, 8000), (500, 5000)):
        for name, step in (("monthly", 21), ("daily", 1)):
            against = given.bt_repeats if assets == 20 else int(given.large)
            what = f"{assets} assets x {days:,} days, {name}"
            rows.append(measure(what, *problem(assets, days, step), given.repeats, against))
    print(f"A/A: {100 * spread:.1f} % between two medians of the same backtest")
    heads = ("ours ms", "cpu ms", "peak MB", "bt ms", "bt cpu ms", "ratio", "difference")
    print(" " * 36 + "".join(f"{head:>11}" for head in heads))
    for r in rows:
        line = f"{r.what:36}{1e3 * r.ours_s:11.1f}{1e3 * r.ours_cpu_s:11.1f}{r.peak_mb:11.1f}"
        if r.bt_s is not None and r.bt_cpu_s is not None:
            line += (
                f"{1e3 * r.bt_s:11.1f}{1e3 * r.bt_cpu_s:11.1f}{r.bt_s / r.ours_s:10.0f}x{r.difference:11.1e}"
            )
        print(line)
    if given.json:
        given.json.write_text(json.dumps({"aa_spread": spread, "rows": [asdict(r) for r in rows]}, indent=1))


if __name__ == "__main__":
    main()
