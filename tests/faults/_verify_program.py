"""A small verification to be killed: ``_verify_program.py OUT``; also the functions of its tasks.

Every task writes a line to ``OUT/executed``. Those of the arm ``slow`` start a child, write both
process numbers to ``OUT/pids``, and last as long as the file ``OUT/block`` exists.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from shoestring.evidence.model import Arm, Context, Outcome, Preparation, Study, Workload
from shoestring.evidence.runner import verify


def study(out: Path) -> Study:
    """One preparation, two quick arms and a slow one, two seeds."""
    arms = ("first", "second", "slow")
    workload = Workload(
        name="toy",
        title="Toy",
        data="synthetic",
        run="_verify_program:run",
        arms=tuple(Arm(name=name, title=name, role="system", options={"arm": name}) for name in arms),
        seeds=(0, 1),
        budget="none",
        options={"out": str(out)},
        prepare=Preparation(run="_verify_program:train", options={"arm": "prepare"}, per_seed=False),
        timeout_s=60.0,
    )
    return Study(
        system="fragile", family="nowhere", profile="quick", workloads=(workload,), claims=(), metrics=()
    )


def train(context: Context) -> None:
    """Leave a file for the arms."""
    _note(context)
    (context.folder / "teacher.txt").write_text("teacher")


def run(context: Context) -> Outcome:
    """Finish at once, or hang while told to."""
    _note(context)
    out = Path(context.options["out"])
    if context.options["arm"] == "slow" and (out / "block").exists():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with (out / "pids").open("a") as f:
            f.write(f"{os.getpid()}\n{child.pid}\n")
        while (out / "block").exists():
            time.sleep(0.02)
        child.kill()
        child.wait()
    assert context.prepared is not None
    return Outcome(metrics={"score": float(len((context.prepared / "teacher.txt").read_text()))})


def _note(context: Context) -> None:
    with (Path(context.options["out"]) / "executed").open("a") as f:
        f.write(f"{context.options['arm']} {context.seed}\n")


if __name__ == "__main__":
    verify(study(Path(sys.argv[1])), out=Path(sys.argv[1]), jobs=3)
