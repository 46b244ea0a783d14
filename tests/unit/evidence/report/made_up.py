"""Verifications with made-up but realistic figures, for tests of whatever shows them."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shoestring.evidence.model import (
    Arm,
    Claim,
    Compare,
    Metric,
    Plot,
    Profile,
    Record,
    ScaledDown,
    Series,
    Status,
    Study,
    Verdict,
    Within,
    Workload,
)
from shoestring.evidence.store import Verification

HARDWARE: Mapping[str, Any] = {"cpu": "Example CPU 2.6 GHz", "cores": 2, "memory_bytes": 25 << 30, "gpus": []}
VERSIONS: Mapping[str, str] = {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.1.0"}

ARMS = (
    Arm(name="qimera", title="Qimera", role="system", options={"superpose": True, "dm": True, "eei": True}),
    Arm(name="no_dm", title="Qimera without disentanglement mapping", role="ablation", options={"dm": False}),
    Arm(name="no_eei", title="Qimera without extracted embeddings", role="ablation", options={"eei": False}),
    Arm(name="gdfq", title="GDFQ", role="baseline", options={"superpose": False}),
    Arm(name="zeroq", title="ZeroQ, distilled images", role="baseline"),
    Arm(name="noise", title="Calibration with noise", role="baseline"),
    Arm(name="real", title="Fine-tuning on the real data", role="bound", options={"data": "train split"}),
)
METRICS = (
    Metric(name="top1", title="Top-1 accuracy", unit="%", better="higher", digits=2),
    Metric(name="boundary", title="Boundary samples", unit="share", better="neither", digits=3),
    Metric(name="bytes", title="Model size", unit="KiB", better="lower", digits=0),
)
CENTRES = {
    "qimera": (87.4, 0.214),
    "no_dm": (86.9, 0.161),
    "no_eei": (86.1, 0.188),
    "gdfq": (85.2, 0.043),
    "zeroq": (79.4, 0.012),
    "noise": (52.3, 0.0),
    "real": (98.2, 0.051),
}
CLAIMS = (
    Claim(
        name="beats_gdfq",
        text="With four bits and no data, Qimera is more accurate than GDFQ on the same network and budget.",
        source="Table 2",
        workload="shapes_w4a4",
        check=Compare(metric="top1", arm="qimera", than="gdfq"),
        paper="91.26 against 90.25 % (CIFAR-10, ResNet-20, W4A4, 400 epochs)",
    ),
    Claim(
        name="boundary_share",
        text="Superposed embeddings make at least three times as many samples near a class boundary.",
        source="Section 5.3, Figure 4",
        workload="shapes_w4a4",
        check=Compare(metric="boundary", arm="qimera", than="gdfq", ratio=3.0),
        paper="shown as an embedding plot, no figure given",
    ),
    Claim(
        name="near_real",
        text="What is left to the bound of real data is at most ten points.",
        source="Table 5",
        workload="shapes_w4a4",
        check=Within(metric="top1", arm="qimera", at_least=90.0),
        paper="91.26 %",
    ),
    Claim(
        name="imagenet",
        text="On ImageNet with ResNet-50 the gain is above ten points.",
        source="Table 3",
        workload="shapes_w4a4",
        check=Compare(metric="top1", arm="qimera", than="gdfq", by=10.0),
        paper="66.25 against 52.12 % (ImageNet, ResNet-50, W4A4)",
        needs=("gpu", "licensed data"),
    ),
)
VERDICTS = (
    Verdict(
        claim="beats_gdfq",
        word="direction holds",
        measured="87.41 against 85.17 %, difference +2.24 [-0.31, +3.90] over 3 seeds",
        estimate=2.24,
        low=-0.31,
        high=3.9,
        num_seeds=3,
        reason="the interval of the difference includes zero; run more seeds (--seeds 5)",
    ),
    Verdict(
        claim="boundary_share",
        word="holds",
        measured="0.214 against 0.043, 4.98 times [4.61, 5.20] over 3 seeds",
        estimate=4.98,
        low=4.61,
        high=5.2,
        num_seeds=3,
        reason="",
    ),
    Verdict(
        claim="near_real",
        word="does not hold",
        measured="87.41 % [86.90, 88.02] over 3 seeds, bound 90.00 %",
        estimate=87.41,
        low=86.9,
        high=88.02,
        num_seeds=3,
        reason="900 iterations instead of 80,000: the generator is still learning when the budget ends",
    ),
    Verdict(
        claim="imagenet",
        word="not checkable here",
        measured="",
        estimate=None,
        low=None,
        high=None,
        num_seeds=0,
        reason="needs a GPU and ImageNet",
    ),
)
PLOTS = (
    Plot(title="Accuracy after quantization to four bits", workload="shapes_w4a4", kind="dots", of="top1"),
    Plot(
        title="Share of synthetic samples near a boundary",
        workload="shapes_w4a4",
        kind="dots",
        of="boundary",
        arms=("qimera", "no_dm", "gdfq", "zeroq"),
    ),
    Plot(
        title="Accuracy while fine-tuning",
        workload="shapes_w4a4",
        kind="lines",
        of="accuracy",
        x_title="iterations",
        y_title="Top-1 accuracy (%)",
    ),
    Plot(
        title="Loss of the generator",
        workload="shapes_w4a4",
        kind="lines",
        of="loss",
        arms=("qimera", "no_dm", "gdfq"),
        x_title="iterations",
        y_title="Loss of the generator",
    ),
)


def workload(arms: Sequence[Arm] = ARMS, **changes: Any) -> Workload:
    """A workload with all arms and three seeds."""
    made = Workload(
        name="shapes_w4a4",
        title="Drawn shapes, 32x32 RGB, W4A4",
        data="synthetic",
        run="example.module:run",
        arms=tuple(arms),
        seeds=(0, 1, 2),
        budget="200 warm-up and 900 joint iterations of batch 64 for every arm; one teacher a seed.",
        options={
            "w_bits": 4,
            "a_bits": 4,
            "iterations": 900,
            "batch_size": 64,
            "lr": 0.001,
            "dm": True,
            "eei": True,
        },
        scaled_down=(
            ScaledDown(what="Data", ours="procedurally drawn shapes", paper="CIFAR-10"),
            ScaledDown(what="Iterations", ours="900", paper="80,000"),
            ScaledDown(what="Width of the generator", ours="32", paper="128"),
        ),
    )
    return replace(made, **changes)


def study(made: Workload | None = None, profile: Profile = "full", **changes: Any) -> Study:
    """A study of one workload."""
    plain = Study(
        system="made_up",
        family="compression",
        profile=profile,
        workloads=(made or workload(),),
        claims=CLAIMS,
        metrics=METRICS,
        plots=PLOTS,
    )
    return replace(plain, **changes)


def record(arm: str, seed: int, status: Status = "ok", **changes: Any) -> Record:
    """One record with figures around the centre of its arm."""
    rng = random.Random(f"{arm} {seed}")  # figures for a test
    top1, boundary = CENTRES.get(arm, (60.0, 0.1))
    ok = status == "ok"
    x = tuple(float(i) for i in range(0, 901, 30))
    rise = tuple(top1 - (top1 - 10) * math.exp(-i / 180) + rng.gauss(0, 1.2) for i in x)
    fall = tuple(1.9 * math.exp(-i / 260) + 0.4 + rng.gauss(0, 0.03) + (100 - top1) / 60 for i in x)
    made = Record(
        system="made_up",
        workload="shapes_w4a4",
        arm=arm,
        seed=seed,
        profile="full",
        status=status,
        key=f"{arm}-{seed}",
        options={**workload().options, **next((a.options for a in ARMS if a.name == arm), {})},
        metrics={
            "top1": top1 + rng.gauss(0, 0.7),
            "boundary": max(0.0, boundary + rng.gauss(0, 0.006)),
            "bytes": 141.0,
        }
        if ok
        else {},
        series={"accuracy": Series(x=x, y=rise), "loss": Series(x=x, y=fall)} if ok else {},
        notes=("ranges frozen after warm-up",) if ok and arm == "qimera" else (),
        error="" if ok else f"Traceback (most recent call last):\n  File run.py, line 3\n{status}: it broke",
        wall_s=38.0 + rng.random() * 9,
        cpu_s=70.0,
        peak_bytes=int((410 + rng.random() * 30) * 2**20),
        threads=1,
        started_at="2026-11-22T10:00:00+00:00",
        versions=VERSIONS,
        hardware=HARDWARE,
    )
    return replace(made, **changes)


def verification(
    made: Study | None = None, records: Sequence[Record] | None = None, verdicts: Sequence[Verdict] = VERDICTS
) -> Verification:
    """A verification; all arms and seeds are ok unless `records` says otherwise."""
    made = made or study()
    if records is None:
        records = [record("prepare", s) for s in made.workloads[0].seeds] + [
            record(arm.name, seed) for arm in made.workloads[0].arms for seed in made.workloads[0].seeds
        ]
    return Verification(
        study=made,
        records=tuple(records),
        verdicts=tuple(verdicts),
        created_at="2026-11-22T10:21:40+00:00",
        shoestring="0.1.0",
        commit="0123abc",
        hardware=HARDWARE,
        versions=VERSIONS,
    )
