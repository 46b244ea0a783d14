"""Commands a second of the DRAM.

The same stream is timed twice a round under two names (A/A), so that the spread of two equal things stands
beside the rates, which are CPU time of one core. The goal is 5 million commands a second on every stream.

    python benchmarks/dram_commands.py --requests 500_000 --json out.json
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.evidence.environment import hardware, versions
from shoestring.silicon.dram import Device, Dram

GOAL = 5e6
MAPPING = "ro-ba-co-ra-ch-bg"
Stream = tuple[NDArray[np.uint64], NDArray[np.bool_]]


def streams(memory: Dram, n: int) -> dict[str, Stream]:
    """Easy and hard streams: hits, misses, reads and writes that turn the bus, rows of one bank."""
    rng = np.random.default_rng(0)
    no_writes = np.zeros(n, np.bool_)
    anywhere = rng.integers(0, memory.spec.accesses, n).astype(np.uint64)
    momentum = np.arange(n) // 5 + np.array([0, 1, 2, 1, 0])[np.arange(n) % 5] * (1 << 20)
    accesses: dict[str, tuple[NDArray[np.uint64], NDArray[np.bool_]]] = {
        "sequential reads": (np.arange(n, dtype=np.uint64), no_writes),
        "random reads": (anywhere, no_writes),
        "random, a third writes": (anywhere, rng.random(n) < 1 / 3),
        "3 reads 2 writes, in place": (momentum.astype(np.uint64), np.arange(n) % 5 >= 3),
    }
    return {name: (lines * np.uint64(64), writes) for name, (lines, writes) in accesses.items()}


def seconds(arms: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every arm, arms interleaved; the first round warms up and does not count."""
    out: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, arm in arms.items():
            start = time.process_time()
            arm()
            if turn:
                out[name].append(time.process_time() - start)
    return out


def measure(memory: Dram, requests: Stream, rounds: int) -> dict[str, float]:
    """Rates on one stream, and the A/A ratio."""
    counts = memory.simulate(*requests).counts
    assert counts.precharges is not None
    commands = counts.reads + counts.writes + counts.activates + counts.precharges + counts.refreshes
    times = seconds(
        {
            "commands": lambda: memory.simulate(*requests),
            "commands, again": lambda: memory.simulate(*requests),
        },
        rounds,
    )
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "commands_per_s": commands / median["commands"],
        "a_a": median["commands, again"] / median["commands"],
        "spread": max(times["commands"]) / min(times["commands"]),
        "requests_per_s": len(requests[0]) / median["commands"],
    }


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description="Commands a second of the DRAM model")
    parser.add_argument("--requests", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for device, ranks in (("ddr4_2133", 1), ("ddr4_2133", 4), ("hbm2", 1)):
        memory = Dram(Device.from_yaml(device), ranks=ranks, mapping=MAPPING)
        for name, requests in streams(memory, options.requests).items():
            row = measure(memory, requests, options.rounds)
            rows.append({"device": device, "ranks": ranks, "stream": name, **row})
            print(
                f"{device:10} {ranks} rank(s)  {name:27} {row['commands_per_s'] / 1e6:6.1f} M commands/s   "
                f"A/A {row['a_a']:.2f}   spread {row['spread']:.2f}"
            )
    worst = min(row["commands_per_s"] for row in rows)
    print(
        f"worst {worst / 1e6:.1f} M commands/s, goal {GOAL / 1e6:.0f}: {'met' if worst >= GOAL else 'missed'}"
    )
    if options.json:
        result = {"rows": rows, "goal": GOAL, "hardware": hardware(), "versions": versions()}
        options.json.write_text(json.dumps(result, indent=1, default=str))


if __name__ == "__main__":
    main()
