"""Updates a second of MAPS: 8 agents, batch 2048, windows of 20 prices of 300 companies and 2,500 days.

The same arm runs twice (A/A) before it is compared with a loop over eight single networks on the same states;
all arms take turns in one run. The floor is what the multiplications of an update take at the rate of a large
product, and what its activations take at the rate of a large copy, both measured here.

    python benchmarks/maps_updates.py --threads 2 --rounds 7 --json out.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shoestring.evidence.environment import hardware, versions
from shoestring.finance.maps import MapsConfig, TrainingConfig
from shoestring.finance.maps._learner import DqnLearner
from shoestring.finance.maps._windows import PriceWindows

GOAL = 150.0
COMPANIES, DAYS, AGENTS = 300, 2500, 8


def prices() -> np.ndarray:
    """Random walks."""
    rng = np.random.default_rng(0)
    walks: np.ndarray = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (DAYS, COMPANIES)), axis=0))
    return walks


def flops_of_update(config: MapsConfig) -> int:
    """Multiplications and additions: to act, in both forward passes, and twice in the backward pass."""
    widths = (config.window, *config.network.encoder)
    encoder = sum(a * b for a, b in pairwise(widths))
    head = widths[-1] * config.network.head + config.network.head * 3
    per_state = 2 * (encoder + config.n_agents * head)
    batch, collect = config.training.batch_size, config.training.collect
    return per_state * (4 * batch + collect)


def bytes_of_update(config: MapsConfig) -> int:
    """Activations written once and read once in every forward pass, and twice that in the backward pass."""
    layers = 3 * sum(config.network.encoder) + config.n_agents * (2 * config.network.head + 3)
    states = 4 * config.training.batch_size + config.training.collect
    return 4 * 2 * layers * states


def seconds_of(call: Callable[[], Any], repeats: int = 20) -> float:
    """Median seconds of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def floor(config: MapsConfig) -> dict[str, float]:
    """Milliseconds that products and copies of an update take at this machine's rates."""
    one, two = torch.rand(1024, 1024), torch.rand(1024, 1024)
    flops_a_s = 2 * 1024**3 / seconds_of(lambda: one @ two)
    big, out = torch.rand(1 << 24), torch.empty(1 << 24)
    bytes_a_s = 2 * 4 * (1 << 24) / seconds_of(lambda: out.copy_(big))
    flops, moved = flops_of_update(config), bytes_of_update(config)
    return {
        "gflop_a_s": flops_a_s / 1e9,
        "gb_a_s": bytes_a_s / 1e9,
        "mflop": flops / 1e6,
        "mb": moved / 1e6,
        "products_ms": 1000 * flops / flops_a_s,
        "copies_ms": 1000 * moved / bytes_a_s,
    }


def loop_of_single_networks(windows: PriceWindows, config: MapsConfig) -> Callable[[], None]:
    """Eight plain DQNs, one after another: what the vectorised form replaces (without a global loss)."""
    alone = replace(config, n_agents=1)
    learners = [DqnLearner(windows, alone, 0, DAYS // 2, seed=s) for s in range(config.n_agents)]

    def step() -> None:
        for learner in learners:
            learner.step()

    return step


Rates = dict[str, list[tuple[float, float]]]


def measure(arms: dict[str, Callable[[], Any]], rounds: int, updates: int) -> Rates:
    """Updates a second, by the clock and by processor time, of every arm; arms take turns.

    The first round warms up and does not count. On a machine that others use too, the processor's time is the
    steadier figure.
    """
    rates: Rates = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, step in arms.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            for _ in range(updates):
                step()
            spent, spent_cpu = time.perf_counter() - start, time.process_time() - start_cpu
            if turn:
                rates[name].append((updates / spent, updates / spent_cpu))
    return rates


def run(options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """All arms at one number of threads."""
    torch.set_num_threads(threads)
    windows = PriceWindows(prices(), 20)
    config = MapsConfig(n_agents=AGENTS, training=TrainingConfig(batch_size=options.batch))

    def learner(changed: MapsConfig) -> Callable[[], Any]:
        return DqnLearner(windows, changed, 0, DAYS // 2, seed=0).step

    arms = {
        "MAPS, 8 agents": learner(config),
        "MAPS, 8 agents, again": learner(config),
        "MAPS, 8 agents, full information": learner(replace(config, full_information=True)),
        "MAPS, 16 agents": learner(replace(config, n_agents=16)),
        "single DQN": learner(replace(config, n_agents=1)),
        "loop of 8 single DQNs": loop_of_single_networks(windows, config),
    }
    rates = measure(arms, options.rounds, options.updates)
    return report(threads, rates, floor(config))


def report(threads: int, rates: Rates, least: dict[str, float]) -> dict[str, Any]:
    """Print and return medians, the A/A ratio, the floor and whether the goal is met."""
    medians = {name: statistics.median(v for v, _ in values) for name, values in rates.items()}
    print(f"{threads} thread(s)")
    for name, median in medians.items():
        low, high = min(rates[name])[0], max(rates[name])[0]
        processor = 1000 / statistics.median(v for _, v in rates[name])
        print(
            f"  {name:34} {median:7.1f} updates/s [{low:.1f}, {high:.1f}]   {1000 / median:7.2f} ms, "
            f"of the processors {processor:.2f} ms"
        )
    ours = medians["MAPS, 8 agents"]
    a_a = medians["MAPS, 8 agents, again"] / ours
    gain = ours / medians["loop of 8 single DQNs"]
    print(
        f"  floor: {least['mflop']:.0f} MFLOP at {least['gflop_a_s']:.0f} GFLOP/s = "
        f"{least['products_ms']:.2f} ms, {least['mb']:.0f} MB at {least['gb_a_s']:.1f} GB/s = "
        f"{least['copies_ms']:.2f} ms"
    )
    print(f"  A/A {a_a:.3f}; over the loop {gain:.2f} x", end="")
    print(f"; goal {GOAL:.0f} updates/s: {'met' if ours >= GOAL else 'missed'}")
    return {"threads": threads, "rates": rates, "floor": least, "a_a": a_a, "over_loop": gain}


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description="Updates a second of MAPS")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = [run(options, threads) for threads in options.threads]
    if options.json:
        result = {"runs": runs, "hardware": hardware(), "versions": versions(), "goal": GOAL}
        options.json.write_text(json.dumps(result, indent=1, default=str))


if __name__ == "__main__":
    main()
