"""The words of evidence as types: study, workload, arm, preparation, claim, outcome, record.

A system's ``evidence.py`` builds one `Study` per profile from these; the runner, the verdicts and
the report know nothing else about a system.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from shoestring.core.recorder import Recorder

__all__ = [
    "Arm",
    "Claim",
    "Compare",
    "Context",
    "Metric",
    "Outcome",
    "Plot",
    "Preparation",
    "Profile",
    "Record",
    "Role",
    "ScaledDown",
    "Series",
    "Status",
    "Study",
    "Verdict",
    "VerdictWord",
    "Within",
    "Workload",
]

Profile = Literal["quick", "full"]
Role = Literal["system", "ablation", "baseline", "bound"]
Status = Literal["ok", "failed", "timeout", "skipped"]
VerdictWord = Literal["holds", "direction holds", "does not hold", "not checkable here"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One named configuration on a workload; arms of one comparison differ in one field."""

    name: str
    """Short id, e.g. ``"gdfq"``; unique in its workload."""
    title: str
    """What the tables print."""
    role: Role
    """``system`` ours, ``ablation`` ours with a part off, ``baseline``, ``bound`` an upper or lower limit."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """JSON values handed to the workload's function, over the workload's own options."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """Work that arms share (training a teacher); runs once, or once a seed, before the arms."""

    run: str
    """Entry point ``module:function`` taking a `Context`; leaves its files in ``context.folder``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """JSON values handed to `run`, over the workload's own options."""
    per_seed: bool = True
    """False: one run, with seed 0, serves every seed."""
    timeout_s: float = 3600.0
    sources: tuple[str, ...] = ("core", "data", "nn")
    """Folders of the package whose text decides whether a finished preparation may be used again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaledDown:
    """One setting that is smaller here than in the paper."""

    what: str
    ours: str
    paper: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Data, model and budget on which arms are compared."""

    name: str
    title: str
    data: Literal["real", "synthetic"]
    run: str
    """Entry point ``module:function``: `Context` in, `Outcome` out."""
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    budget: str
    """The budget that every arm gets, in a sentence."""
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: Preparation | None = None
    timeout_s: float = 3600.0
    """Wall-clock limit of one arm and seed, in seconds."""
    scaled_down: tuple[ScaledDown, ...] = ()
    needs_data: str | None = None
    """Name of a data set that the user must give (``--data NAME=FOLDER``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compare:
    """Arm against arm, paired by seed: ``metric(arm)`` is higher (or lower) than ``metric(than)``."""

    metric: str
    arm: str
    than: str
    direction: Literal["higher", "lower"] = "higher"
    by: float = 0.0
    """Least median difference in the wanted direction, in the metric's unit."""
    ratio: float | None = None
    """Least median factor ``arm / than`` (``than / arm`` for ``lower``); replaces `by`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Within:
    """One arm against fixed bounds, both inclusive."""

    metric: str
    arm: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A sentence of the paper as a check over measurements."""

    name: str
    text: str
    source: str
    """Where the paper says it."""
    workload: str
    check: Compare | Within
    paper: str
    """The paper's own figure and setting, as text; never printed as ours."""
    needs: tuple[Literal["cpu", "gpu", "cluster", "licensed data"], ...] = ("cpu",)
    if_not: str = ""
    """Our best explanation, shown only when the verdict falls short."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """How a measurement is printed."""

    name: str
    title: str
    unit: str = ""
    better: Literal["higher", "lower", "neither"] = "higher"
    digits: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A figure of the report."""

    title: str
    workload: str
    kind: Literal["dots", "lines"]
    """``dots``: one metric, a row an arm, a dot a seed, the median. ``lines``: one series, a line an arm."""
    of: str
    """Name of the metric or series."""
    arms: tuple[str, ...] = ()
    """Arms to draw; all when empty."""
    x_title: str = ""
    y_title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Everything that one profile of a system's verification consists of."""

    system: str
    family: str
    profile: Profile
    workloads: tuple[Workload, ...]
    claims: tuple[Claim, ...]
    metrics: tuple[Metric, ...]
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A curve of a run: ``x`` and ``y`` of equal length."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What an arm's function returns; every metric finite."""

    metrics: Mapping[str, float]
    series: Mapping[str, Series] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What the runner hands to a workload's or preparation's function."""

    options: Mapping[str, Any]
    """Workload options with the arm's over them."""
    seed: int
    folder: Path
    """The task's own folder; survives a kill, so a function may keep checkpoints there and resume."""
    prepared: Path | None
    """Folder of the finished preparation, read only."""
    data: Path | None
    """Folder of the data set that the workload needs."""
    recorder: Recorder
    report_progress: Callable[[float, str], None]
    """Call with a fraction in 0..1 and a word on what is going on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One finished task (arm x seed, or preparation), as stored."""

    system: str
    workload: str
    arm: str
    """Arm name; ``"prepare"`` for a preparation."""
    seed: int
    profile: Profile
    status: Status
    key: str
    """Hash of everything that decides the result: entry point, options, seed, sources."""
    options: Mapping[str, Any]
    metrics: Mapping[str, float]
    series: Mapping[str, Series]
    notes: tuple[str, ...]
    error: str
    """Why it failed, timed out or was skipped; empty when ok."""
    wall_s: float
    cpu_s: float
    peak_bytes: int
    threads: int
    started_at: str
    """UTC, ISO 8601."""
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the measurements of all seeds say about a claim; computed, never typed in."""

    claim: str
    word: VerdictWord
    measured: str
    """Our figures in words, e.g. ``"91.2 against 89.8, difference +1.4 [+0.9, +1.8] over 3 seeds"``."""
    estimate: float | None
    low: float | None
    high: float | None
    num_seeds: int
    reason: str
    """Why not ``holds``: too few seeds, an arm that failed, a missing resource, the claim's explanation."""
