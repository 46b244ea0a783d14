"""The process of one task: ``python -P -m shoestring.evidence._worker TASK.json``.

Reads what to run, runs it, leaves ``outcome.json`` or ``error.txt`` beside the file. It measures
nothing but its peak memory; clock, CPU time and limits are the business of `process`.
"""

import ctypes
import json
import math
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shoestring.core.entry import load_entry_point
from shoestring.core.errors import DataError
from shoestring.core.files import write_json_atomic, write_text_atomic
from shoestring.core.recorder import JsonLinesRecorder
from shoestring.evidence.model import Context, Outcome

__all__: list[str] = []

_PROGRESS_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1


def main(task_file: Path) -> int:
    """Run the task that `task_file` describes and return the exit code."""
    task = json.loads(task_file.read_text(encoding="utf-8"))
    die_with_parent(task["parent_pid"], task["alive_fd"])
    folder = task_file.parent
    try:
        for entry in task["sys_path"]:
            if entry not in sys.path:
                sys.path.append(entry)
        outcome = run(task, folder)
    except BaseException as e:  # reports every end, then the process ends with code 1
        (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        write_text_atomic(folder / "error.txt", describe_error(e), durable=False)
        return 1
    write_json_atomic(folder / "outcome.json", {**outcome, "peak_bytes": peak_bytes()}, durable=False)
    return 0


def run(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Call the entry point and return its outcome as JSON values."""
    function = load_entry_point(task["entry"])
    with JsonLinesRecorder(folder / "metrics.jsonl") as recorder:
        context = Context(
            options=task["options"],
            seed=task["seed"],
            folder=folder / "files",
            prepared=_path(task["prepared"]),
            data=_path(task["data"]),
            recorder=recorder,
            report_progress=progress_writer(folder / "progress.json"),
        )
        result = function(context)
    if result is None and task["may_return_none"]:
        result = Outcome(metrics={})
    if not isinstance(result, Outcome):
        raise DataError(f"{task['entry']} returned {type(result).__name__}; it must return an Outcome")
    return plain_outcome(result)


def plain_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON values.

    Raises
    ------
    DataError
        If a metric or a point of a series is not finite, or a series has x and y of two lengths.
    """
    series = {}
    for name, curve in outcome.series.items():
        if len(curve.x) != len(curve.y):
            raise DataError(f"series {name!r} has {len(curve.x)} x and {len(curve.y)} y; make them equal")
        series[name] = {
            "x": [_finite(v, f"x of series {name!r}") for v in curve.x],
            "y": [_finite(v, f"y of series {name!r}") for v in curve.y],
        }
    return {
        "metrics": {str(k): _finite(v, f"metric {k!r}") for k, v in outcome.metrics.items()},
        "series": series,
        "notes": [str(note) for note in outcome.notes],
    }


def progress_writer(path: Path) -> Callable[[float, str], None]:
    """Return a function that keeps the latest progress in `path`, writing at most twice a second."""
    last = -math.inf

    def report(fraction: float, word: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_EVERY_S:
            last = now
            inside = min(max(float(fraction), 0.0), 1.0) if math.isfinite(fraction) else 0.0
            write_json_atomic(path, {"fraction": inside, "word": str(word)}, durable=False)

    return report


def die_with_parent(parent_pid: int, alive_fd: int) -> None:
    """Arrange that this process and all that it starts end when the parent does.

    The kernel kills this process (Linux). Its own children, which the kernel does not, are in its
    process group: a forked guard reads a pipe that only the parent holds open, and kills the group
    when the pipe closes. The guard also serves systems without that kernel call.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:  # it died before the call above
        os._exit(1)
    # Two forks, so that the guard is not our child: a function may wait for all its children.
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                os.read(alive_fd, 1)  # nobody writes: returns when the last writer is gone
                os.killpg(0, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(alive_fd)


def peak_bytes() -> int:
    """Return the greatest resident memory of this process, or of a single one of its finished children.

    Not from getrusage for the process itself: there Linux also counts the memory of the parent as it
    was when it started us.
    """
    scale = 1 if sys.platform == "darwin" else 1024
    own = high_water_bytes(os.getpid()) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * scale)


def high_water_bytes(pid: int) -> int:
    """Return the peak resident memory of a live process as /proc has it; 0 where it does not."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def describe_error(error: BaseException) -> str:
    """Return kind and message of an error, then where it happened, with no folder of this machine."""
    first = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    where = [f"  at {_relative(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([first[:2000], *where])


def _relative(filename: str) -> str:
    path = Path(filename)
    inside = [entry for entry in sys.path if entry and path.is_relative_to(entry)]
    return path.relative_to(max(inside, key=len)).as_posix() if inside else path.name


def _finite(value: Any, what: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise DataError(
            f"{what} is {number}; every figure must be finite, leave out what could not be measured"
        )
    return number


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
