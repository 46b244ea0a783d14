"""Studies of a system that does not exist, and records without a run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from shoestring.evidence.model import (
    Arm,
    Claim,
    Compare,
    Metric,
    Plot,
    Preparation,
    Record,
    Status,
    Study,
    Workload,
)

MakeStudy = Callable[..., Study]
MakeRecord = Callable[..., Record]
MakeWorkload = Callable[..., Workload]


@pytest.fixture(autouse=True)
def _fake_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers import ``_fake``: they take over the search path of this process."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.fixture
def make_workload() -> MakeWorkload:
    def make(
        arms: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        seeds: tuple[int, ...] = (0, 1),
        run: str = "_fake:run",
        prepare: Preparation | None = None,
        **rest: Any,
    ) -> Workload:
        arms = {"ours": {"score": 20}, "theirs": {"score": 10}} if arms is None else arms
        made = (
            Arm(
                name=name,
                title=name.title(),
                role="system" if name == "ours" else "baseline",
                options=options,
            )
            for name, options in arms.items()
        )
        return Workload(
            **{
                "name": "toy",
                "title": "Toy",
                "data": "synthetic",
                "run": run,
                "arms": tuple(made),
                "seeds": seeds,
                "budget": "one call",
                "prepare": prepare,
                "timeout_s": 60.0,
                **rest,
            }
        )

    return make


@pytest.fixture
def make_study(make_workload: MakeWorkload) -> MakeStudy:
    def make(*workloads: Workload, **rest: Any) -> Study:
        workloads = workloads or (make_workload(),)
        return Study(
            **{
                "system": "fake",
                "family": "nowhere",
                "profile": "quick",
                "workloads": workloads,
                "claims": (),
                "metrics": (Metric(name="score", title="Score", unit="%", digits=1),),
                **rest,
            }
        )

    return make


@pytest.fixture
def claim() -> Claim:
    return Claim(
        name="ours-wins",
        text="Ours scores higher",
        source="Table 1",
        workload="toy",
        check=Compare(metric="score", arm="ours", than="theirs"),
        paper="95.0 against 90.0",
        if_not="The toy is too small.",
    )


@pytest.fixture
def plot() -> Plot:
    return Plot(title="Scores", workload="toy", kind="dots", of="score", arms=("ours",))


@pytest.fixture
def make_record() -> MakeRecord:
    def make(
        arm: str,
        seed: int,
        score: float | None = None,
        *,
        status: Status = "ok",
        error: str = "",
        **rest: Any,
    ) -> Record:
        return Record(
            **{
                "system": "fake",
                "workload": "toy",
                "arm": arm,
                "seed": seed,
                "profile": "quick",
                "status": status,
                "key": "0" * 64,
                "options": {"lr": 0.1, "layers": [1, 2]},
                "metrics": {} if score is None else {"score": score},
                "series": {},
                "notes": (),
                "error": error,
                "wall_s": 1.5,
                "cpu_s": 1.25,
                "peak_bytes": 1 << 20,
                "threads": 1,
                "started_at": "2026-01-01T00:00:00+00:00",
                "versions": {"python": "3.11"},
                "hardware": {"cpu": "abacus", "cores": 2},
                **rest,
            }
        )

    return make
