import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from shoestring.core.cards import all_cards, find_card

CARD = """
name = "{name}"
title = "The {name} system"
family = "toys"
scarce = ["{scarce}"]
paper = "A paper on toys"
venue = "TOYS"
year = 2021
summary = "It saves {scarce}."
extras = []

[entry_points]
evidence = "toy_{name}:study"
job = "toy_{name}:job"

[quick]
seconds = 2
memory_mb = 60
"""

CODE = """
from shoestring.evidence.model import *

def run(context):
    what = context.options["does"]
    if what == "fail":
        raise RuntimeError("the toy is broken")
    if what == "interrupt":
        import os, signal
        os.kill(os.getppid(), signal.SIGINT)
        import time
        time.sleep(30)
    return Outcome(metrics={"score": 1.0 + context.seed + (what == "win")})

def workload(name, does, **more):
    arms = (
        Arm(name="ours", title="Ours", role="system", options={"does": "win"}),
        Arm(name="theirs", title="Theirs", role="baseline", options={"does": does}),
    )
    smaller = (ScaledDown(what="size", ours="1", paper="9"),)
    return Workload(name=name, title=name.title(), data="synthetic", run=__name__ + ":run", arms=arms,
                    seeds=(0,), budget="one call", scaled_down=smaller, **more)

def study(profile):
    claim = Claim(name="better", text="Ours is better.", source="Table 1", workload="play",
                  check=Compare(metric="score", arm="ours", than="theirs"), paper="9 against 8")
    workloads = (workload("play", DOES), workload("real", "ok", needs_data="toybox"))
    return Study(system=NAME, family="toys", profile=profile, workloads=workloads, claims=(claim,),
                 metrics=(Metric(name="score", title="Score"),),
                 plots=(Plot(title="Score", workload="play", kind="dots", of="score"),))
"""


@pytest.fixture(scope="session")
def made_up() -> ModuleType:
    """The module that makes verifications with made-up figures."""
    path = Path(__file__).parents[1] / "evidence" / "report" / "made_up.py"
    spec = importlib.util.spec_from_file_location("made_up", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with the systems `good`, `broken` and `absent`; commands run in an empty folder."""
    package = tmp_path / "package"
    for name, scarce, does in (
        ("good", "memory", "lose"),
        ("broken", "bits", "fail"),
        ("absent", "data", ""),
    ):
        folder = package / "toys" / name
        folder.mkdir(parents=True)
        (folder / "card.toml").write_text(CARD.format(name=name, scarce=scarce))
        (folder / "README.md").write_text(f"# The {name} system\n\nIt is **for tests**.\n")
        head = f"NAME, DOES = {name!r}, {does!r}\n"
        if name == "absent":
            head = (
                "from shoestring.core.optional import optional\noptional('not_installed_anywhere', 'toys')\n"
            )
        (package / f"toy_{name}.py").write_text(head + CODE)
    monkeypatch.syspath_prepend(package)
    for module in ("shoestring.cli.verify", "shoestring.cli.systems"):
        monkeypatch.setattr(f"{module}.all_cards", functools.partial(all_cards, package))
        monkeypatch.setattr(f"{module}.find_card", functools.partial(find_card, package=package))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield work
    for name in [n for n in sys.modules if n.startswith("toy_")]:
        del sys.modules[name]
