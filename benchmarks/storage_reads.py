"""The I/O engine beside plain O_DIRECT loops and fio, on the same file, in one run, interleaved.

Sequential: partitions of a file read (and written) through the engine, against a loop of `preadv`
(`pwritev`) into one aligned buffer. Random: 4 KiB reads with 32 and 64 in flight, against fio with the same
depth. The references run twice a round (A/A), so the spread of the device shows: a gain below twice that
spread is none. fio is optional.

    python benchmarks/storage_reads.py --folder /scratch --size-mib 1024 --rounds 7
"""

import argparse
import contextlib
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from shoestring.native.io import Engine, File

PAGE = 4096
MIB = 1 << 20
FLOOR = 0.8
Measure = Callable[[], float]  # runs for about `seconds`, returns MB/s


class Cursor:
    """Walks a file in steps and around its end: no arm reads what the arm before has just read."""

    def __init__(self, size: int) -> None:
        self.size, self.at = size, 0

    def step(self, nbytes: int) -> int:
        if self.at + nbytes > self.size:
            self.at = 0
        self.at += nbytes
        return self.at - nbytes


def rate(nbytes: int, start: float) -> float:
    return nbytes / (time.perf_counter() - start) / 1e6


def plain(path: Path, cursor: Cursor, step: int, seconds: float, write: bool) -> Measure:
    def run() -> float:
        fd = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_DIRECT)
        buffer = mmap.mmap(-1, step)
        buffer[:] = b"\x5a" * step
        moved, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            offset = cursor.step(step)
            moved += os.pwritev(fd, [buffer], offset) if write else os.preadv(fd, [buffer], offset)
        speed = rate(moved, start)
        os.close(fd)
        return speed

    return run


def sequential(engine: Engine, file: File, cursor: Cursor, step: int, seconds: float, write: bool) -> Measure:
    """Partitions one after the other, the next asked for while the last is on its way."""
    buffers = [engine.buffer(step) for _ in range(2)]
    for buffer in buffers:
        buffer.array[:] = 0x5A
    submit = engine.write if write else engine.read

    def run() -> float:
        moved, start, turn = 0, time.perf_counter(), 0
        pending = [submit(file, cursor.step(step), buffer, step) for buffer in buffers]
        while time.perf_counter() - start < seconds:
            moved += pending[turn].result()
            pending[turn] = submit(file, cursor.step(step), buffers[turn], step)
            turn = 1 - turn
        moved += sum(future.result() for future in pending)
        return rate(moved, start)

    return run


def random_pages(engine: Engine, file: File, seconds: float, seed: int) -> Measure:
    rng = np.random.default_rng(seed)
    buffers = [engine.buffer(2048 * PAGE) for _ in range(2)]

    def submit(turn: int) -> tuple[int, object]:
        offsets = rng.integers(0, file.size_bytes // PAGE, 2048) * PAGE
        return turn, engine.read_pages(file, offsets, PAGE, buffers[turn])

    def run() -> float:
        moved, start = 0, time.perf_counter()
        pending = [submit(0), submit(1)]
        while pending:
            turn, future = pending.pop(0)
            moved += future.result()  # type: ignore[attr-defined]  # a Future, kept beside its turn
            if time.perf_counter() - start < seconds:
                pending.append(submit(turn))
        return rate(moved, start)

    return run


def fio(path: Path, kind: str, block: int, depth: int, seconds: float) -> Measure:
    command = ["fio", "--name=r", f"--filename={path}", f"--rw={kind}", f"--bs={block}", f"--iodepth={depth}"]
    command += [
        "--direct=1",
        "--ioengine=io_uring",
        "--time_based",
        f"--runtime={seconds}",
        "--output-format=json",
    ]
    command += ["--randrepeat=0", "--norandommap", "--readonly", "--size=100%"]

    def run() -> float:
        job = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["jobs"][
            0
        ]
        return float(job["read"]["bw_bytes"]) / 1e6

    return run


def interleave(arms: dict[str, Measure], rounds: int) -> dict[str, list[float]]:
    """Every arm once a round; the order turns by one each time."""
    names = list(arms)
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            found[name].append(arms[name]())
    return found


def summary(found: dict[str, list[float]], reference: str) -> dict[str, dict[str, float]]:
    """Medians and ranges of MB/s, and of the ratio to the reference of the same round."""
    table = {}
    for name, speeds in found.items():
        ratios = [a / b for a, b in zip(speeds, found[reference], strict=True)]
        table[name] = {
            "mb_per_s": statistics.median(speeds),
            "low": min(speeds),
            "high": max(speeds),
            "ratio_of_medians": statistics.median(speeds) / statistics.median(found[reference]),
            "median_of_ratios": statistics.median(ratios),
        }
    return table


def show(title: str, table: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}\n{'':34}{'MB/s':>8}{'range':>16}{'ratio':>8}{'paired':>8}")
    for name, row in table.items():
        span = f"{row['low']:.0f}-{row['high']:.0f}"
        low = row["ratio_of_medians"] < FLOOR and name.startswith("engine")
        print(
            f"{name:34}{row['mb_per_s']:8.0f}{span:>16}{row['ratio_of_medians']:8.2f}"
            f"{row['median_of_ratios']:8.2f}{'  below 0.80' if low else ''}"
        )


@contextlib.contextmanager
def engines(path: Path, depth: int, threads: int, seen: set[str]) -> Iterator[dict[str, tuple[Engine, File]]]:
    """The engine on every backend that works here, each with its own handle of the file."""
    with contextlib.ExitStack() as stack:
        found = {}
        for backend in ("io_uring", "threads"):
            engine = stack.enter_context(Engine(backend, queue_depth=depth, threads=threads))
            if engine.stats()["backend"] == backend:
                found[backend] = engine, stack.enter_context(engine.open(path, "update"))
                seen.add(f"{backend}, direct={found[backend][1].direct}")
        yield found


def write_whole(path: Path, size: int) -> None:
    """Real data: blocks that were only reserved would be answered without the device."""
    block = np.random.default_rng(0).integers(0, 256, 8 * MIB, dtype=np.uint8)
    with path.open("wb", buffering=0) as f:
        for _ in range(size // block.nbytes):
            f.write(block.data)
        os.fsync(f.fileno())


def compare_sequential(
    path: Path, step: int, write: bool, options: argparse.Namespace, seen: set[str]
) -> dict[str, dict[str, float]]:
    size, seconds = path.stat().st_size, options.seconds
    cursor = Cursor(size)
    arms = {
        name: plain(path, cursor, step, seconds, write) for name in ("plain loop", "plain loop again (A/A)")
    }
    with engines(path, 64, 4, seen) as found:
        for name, (engine, file) in found.items():
            arms[f"engine, {name}"] = sequential(engine, file, cursor, step, seconds, write)
        if shutil.which("fio") and not write:
            arms["fio, sequential, depth 2"] = fio(path, "read", step, 2, seconds)
        return summary(interleave(arms, options.rounds), "plain loop")


def compare_random(
    path: Path, depth: int, options: argparse.Namespace, seen: set[str]
) -> dict[str, dict[str, float]]:
    arms: dict[str, Measure] = {}
    if shutil.which("fio"):
        for name in ("fio", "fio again (A/A)"):
            arms[name] = fio(path, "randread", PAGE, depth, options.seconds)
    with engines(path, depth, depth, seen) as found:
        for name, (engine, file) in found.items():
            arms[f"engine, {name}"] = random_pages(engine, file, options.seconds, depth)
        return summary(interleave(arms, options.rounds), next(iter(arms)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the test file goes"
    )
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of every measurement")
    parser.add_argument("--json", type=Path, help="write the tables here as well")
    options = parser.parse_args()
    if shutil.which("fio") is None:
        print("fio is not installed: random reads have no reference here (apt install fio)", file=sys.stderr)
    tables, seen = {}, set[str]()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "storage_reads.bin"
        write_whole(path, options.size_mib * MIB)
        for depth in (32, 64):
            tables[f"random 4 KiB reads, depth {depth}"] = compare_random(path, depth, options, seen)
        for mib in (1, 8):
            tables[f"sequential reads, {mib} MiB"] = compare_sequential(path, mib * MIB, False, options, seen)
        tables["sequential writes, 8 MiB"] = compare_sequential(path, 8 * MIB, True, options, seen)
    print(
        f"{options.size_mib} MiB in {options.folder}, {options.rounds} rounds "
        f"of {options.seconds} s; {sorted(seen)}"
    )
    for title, table in tables.items():
        show(title, table)
    if options.json:
        options.json.write_text(json.dumps(tables, indent=2))


if __name__ == "__main__":
    main()
