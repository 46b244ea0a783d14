"""Line accesses a second and core of the accelerator simulator, in every regime, and its memory.

Each regime (slices or whole rows, one tile or many, hits or misses, small or large graph) runs in turn with
the others, and a first one twice (A/A), so that the noise stands beside the figures. Time is that of the
processor, as the core runs in one thread. Then a graph of ten million edges, alone in a process of its own:
10^8 accesses, their wall time and the peak of resident memory.

    python benchmarks/simulator_accesses.py --json out.json
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring.evidence.environment import hardware, versions
from shoestring.native.sim import Aggregation, BankTiming, CacheShape, Machine, Records, Schedule
from shoestring.silicon.aggregation import even_bounds

GOAL_MILLION_PER_S = 12.0


@dataclass(frozen=True)
class Regime:
    name: str
    vertices: int
    lines: int
    """Of a record: 1 is a slice of 16 columns, 16 a row of 256."""
    tiles: int
    cache_kb: int
    engines: int = 8


REGIMES = (
    Regime("one slice of 16, one tile, misses", 16_384, 1, 1, 256),
    Regime("one slice of 16, 4 tiles, hits", 16_384, 1, 4, 256),
    Regime("one slice of 16, 64 tiles, hits", 16_384, 1, 64, 256),
    Regime("whole rows, one tile, misses", 16_384, 16, 1, 256),
    Regime("whole rows, 16 tiles", 16_384, 16, 16, 256),
    Regime("one engine, 4 tiles", 16_384, 1, 4, 512, 1),
    Regime("64 engines, 4 tiles", 16_384, 1, 4, 512, 64),
    Regime("262,144 vertices, one tile, misses", 262_144, 1, 1, 256),
    Regime("262,144 vertices, 64 tiles, hits", 262_144, 1, 64, 256),
    Regime("262,144 vertices, whole rows, 16 tiles", 262_144, 16, 16, 512),
)


def power_law(num: int, degree: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """R-MAT with shuffled ids, as in-edges sorted by destination and source."""
    rng = np.random.default_rng(seed)
    size = num * degree
    ends = np.zeros((2, size), np.int64)
    for level in range((num - 1).bit_length()):
        draw = rng.random(size, dtype=np.float32)
        lower = draw >= 0.76
        ends[0] |= lower.astype(np.int64) << level
        ends[1] |= (((draw >= 0.57) & ~lower) | (draw >= 0.95)).astype(np.int64) << level
    keys = np.sort(rng.permutation(num)[ends[1] % num] * num + rng.permutation(num)[ends[0] % num])
    indptr = np.zeros(num + 1, np.int64)
    np.cumsum(np.bincount(keys // num, minlength=num), out=indptr[1:])
    return indptr, (keys % num).astype(np.int32)


def run(core: Aggregation, regime: Regime) -> int:
    """Return the line accesses of one round."""
    machine = Machine(
        engines=regime.engines,
        cache=CacheShape(bytes=regime.cache_kb << 10),
        dram=BankTiming(mapping="ro-ra-bg-ba-ch-co", refresh_share=260 / 3900),
    )
    records = Records(lines=regime.lines, region_lines=regime.lines)
    schedule = Schedule(bounds=even_bounds(core.num_sources, regime.tiles))
    done = core.run(records, schedule, machine, output_lines=regime.lines, partial_lines=regime.lines)
    return done.accesses


def speed(cores: dict[int, Aggregation], regime: Regime) -> float:
    """Million accesses a second of processor time, of as many rounds as take a tenth of a second."""
    accesses, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < 0.1:
        accesses += run(cores[regime.vertices], regime)
    return accesses / spent / 1e6


def large(folder: str, regime: Regime, rounds: int, out: "multiprocessing.Queue[dict[str, float]]") -> None:
    core = Aggregation(
        np.load(f"{folder}/indptr.npy"), np.load(f"{folder}/indices.npy"), num_sources=regime.vertices
    )
    wall, cpu = time.perf_counter(), time.process_time()
    accesses = sum(run(core, regime) for _ in range(rounds))
    out.put(
        {
            "edges": core.num_edges,
            "accesses": accesses,
            "wall_s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - cpu,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )


def ten_million_edges() -> dict[str, float]:
    """10^8 accesses over a graph of 10^7 edges, in a process that does nothing else."""
    regime = Regime("large", 655_360, 1, 16, 512)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        indptr, indices = power_law(regime.vertices, 16)
        np.save(f"{folder}/indptr.npy", indptr)
        np.save(f"{folder}/indices.npy", indices)
        del indptr, indices
        out: multiprocessing.Queue[dict[str, float]] = context.Queue()
        process = context.Process(target=large, args=(folder, regime, 10, out))
        process.start()
        found = out.get()
        process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cores = {num: Aggregation(*power_law(num, 15), num_sources=num) for num in {r.vertices for r in REGIMES}}
    arms = (REGIMES[0], *REGIMES)  # the first one twice: A/A
    found: list[list[float]] = [[] for _ in arms]
    for turn in range(given.repeats + 1):
        for values, regime in zip(found, arms, strict=True):
            value = speed(cores, regime)
            if turn:  # the first turn warms up
                values.append(value)
    one, two = (statistics.median(values) for values in found[:2])
    print(f"A/A: {one:.1f} and {two:.1f} million accesses a second, {100 * abs(one / two - 1):.1f} % apart")
    print(f"{'regime':45} {'median':>7} {'least':>7} {'most':>7}   goal {GOAL_MILLION_PER_S:g}")
    for values, regime in zip(found[1:], arms[1:], strict=True):
        median = statistics.median(values)
        verdict = "reached" if median >= GOAL_MILLION_PER_S else "MISSED"
        print(f"{regime.name:45} {median:7.1f} {min(values):7.1f} {max(values):7.1f}   {verdict}")
    big = ten_million_edges()
    print(
        f"{big['edges']:,.0f} edges: {big['accesses'] / 1e6:.0f} million accesses in {big['wall_s']:.1f} s "
        f"({big['cpu_s']:.1f} s of processor, goal 10 s for 10^8), peak {big['peak_mb']:.0f} MB (goal 2048)"
    )
    if given.json:
        rows = [{**asdict(r), "million_per_s": v} for r, v in zip(arms, found, strict=True)]
        stored = {"rows": rows, "large": big, "versions": versions(), "hardware": hardware()}
        given.json.write_text(json.dumps(stored, indent=1))


if __name__ == "__main__":
    main()
