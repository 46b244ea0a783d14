"""Functions of a system that does not exist, run by workers."""

import ctypes
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from shoestring.evidence.model import Context, Outcome, Series


def train(context: Context) -> None:
    """Prepare: leave a number in a file."""
    _count(context, "prepare")
    if context.options.get("prepare_fails"):
        raise RuntimeError("teacher did not learn")
    (context.folder / "sub").mkdir(exist_ok=True)
    (context.folder / "sub" / "teacher.txt").write_text(str(100 + context.seed))


def run(context: Context) -> Outcome:
    """Measure: ``score`` is the option plus the seed."""
    _count(context, "run")
    context.recorder.record(0, {"loss": 1.0})
    context.report_progress(0.5, "half way")
    context.report_progress(0.6, "too soon to be written")
    metrics = {"score": float(context.options["score"]) + context.seed}
    if context.prepared is not None:
        metrics["teacher"] = float((context.prepared / "sub" / "teacher.txt").read_text())
    if context.data is not None:
        metrics["files"] = float(len(list(context.data.iterdir())))
    (context.folder / "model.txt").write_text("weights")
    return Outcome(metrics=metrics, series={"curve": Series(x=(0.0, 1.0), y=(2.0, 3.0))}, notes=("fine",))


def misbehave(context: Context) -> Outcome:  # noqa: C901, PLR0912  # one branch a kind of trouble
    """Do what the option ``do`` says."""
    do = context.options["do"]
    if do == "raise":
        raise ValueError("learning rate is negative")
    if do == "hang":
        time.sleep(600)
    if do == "child hangs":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(context.options["pid_file"]).write_text(str(child.pid))
        time.sleep(600)
    if do == "allocate":
        block = bytearray(context.options["bytes"])
        block[::4096] = b"x" * len(block[::4096])
        return Outcome(metrics={"size": float(len(block))})
    if do == "burn":
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
    if do == "leave":
        os._exit(0)
    if do == "exit 3":
        sys.exit(3)
    if do == "nan":
        return Outcome(metrics={"score": math.nan})
    if do == "uneven":
        return Outcome(metrics={}, series={"curve": Series(x=(1.0,), y=(1.0, 2.0))})
    if do == "number":
        return 3.0  # type: ignore[return-value]  # the point
    if do == "segfault":
        ctypes.string_at(0)
    if do == "killed":
        os.kill(os.getpid(), 9)
    if do == "threads":
        return Outcome(metrics={"score": float(os.environ["OMP_NUM_THREADS"])})
    if do == "wait for all":  # a function may reap every child it started
        subprocess.Popen([sys.executable, "-c", "pass"])
        os.wait()
    return Outcome(metrics={"score": 1.0})


def resume(context: Context) -> Outcome:
    """Count how many attempts left a mark in the task's folder."""
    marks = context.folder / "marks"
    with marks.open("a") as f:
        f.write("x")
    return Outcome(metrics={"score": float(len(marks.read_text()))})


def _count(context: Context, what: str) -> None:
    if "count_file" in context.options:
        with Path(context.options["count_file"]).open("a") as f:
            f.write(f"{what} {context.seed} {context.options.get('score', '-')}\n")


def slow(context: Context) -> Outcome:
    """Report progress long enough to be seen."""
    context.report_progress(0.5, "half way")
    time.sleep(0.8)
    return Outcome(metrics={"score": 1.0})
