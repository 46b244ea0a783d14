"""Which version of a strategy is where between draft and live, and what it had to show to get there."""

import contextlib
import datetime as dt
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from shoestring.core.errors import ConfigError, ShoestringError
from shoestring.finance.shai_am._checks import Check, Subject, file_digest, read_check
from shoestring.finance.shai_am._mlflow import ALIASES, MlflowStore, RegisteredVersion
from shoestring.finance.shai_am._published import write_published

__all__ = [
    "REQUIRED",
    "Limits",
    "Move",
    "PromotionError",
    "Registry",
    "Stage",
    "missing",
    "stage_of",
]

Stage = Literal["draft", "validated", "paper", "live", "retired"]
NEXT: dict[str, Stage] = {"draft": "validated", "validated": "paper", "paper": "live"}
REQUIRED = ("walk_forward", "look_ahead", "determinism")
"""Checks that a version must have passed, on the very data, for every step up."""
_ROUNDING = 1e-9


class PromotionError(ShoestringError, RuntimeError):
    """A version lacks what its next stage needs; the message names all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the walk-forward report of a version must keep to."""

    max_annual_turnover: float = 24.0
    """Traded value a year, as a multiple of the net asset value."""
    max_gross: float = 1.0
    """Sum of absolute weights at any date."""
    max_weight: float = 1.0
    """Weight of one asset at any date."""
    min_rebalances: int = 12
    """Dates that the report must cover."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ConfigError(f"limits.{name}={getattr(self, name)} must be above 0")

    def broken_by(self, report: Check) -> list[str]:
        """Say which limits the figures of a report break, or do not state."""
        figures = report.figures
        upper = {
            "annual_turnover": self.max_annual_turnover,
            "gross": self.max_gross,
            "weight": self.max_weight,
        }
        found = [f"the report does not state {n}" for n in (*upper, "rebalances") if n not in figures]
        # Written so that NaN breaks a limit.
        found += [
            f"{name} is {figures[name]:.4g}, above {limit:g}"
            for name, limit in upper.items()
            if name in figures and not figures[name] <= limit * (1 + _ROUNDING)
        ]
        if "rebalances" in figures and not figures["rebalances"] >= self.min_rebalances:
            found.append(f"rebalances are {figures['rebalances']:g}, below {self.min_rebalances}")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A change that was made."""

    strategy: str
    version: str
    number: int
    """In the registry."""
    before: Stage
    after: Stage
    replaced: int | None = None
    """Number of the version that was paper or live before; None if there was none."""


def stage_of(version: RegisteredVersion) -> Stage:
    """Return where a version is.

    Notes
    -----
    The alias decides for paper and live, so that moving it is the one write that makes a promotion: at most
    one version of a strategy is live at any time, also if the process dies between two writes.
    """
    if "live" in version.aliases:
        return "live"
    if "paper" in version.aliases:
        return "paper"
    if "retired_at" in version.tags or "live_at" in version.tags:
        return "retired"  # on purpose, or replaced by another live one
    return "validated" if "validated_at" in version.tags else "draft"


def missing(root: Path, subject: Subject, data: str, limits: Limits) -> list[str]:
    """Say what a subject lacks for a step up, reading its stored checks; empty when nothing.

    Parameters
    ----------
    root : Path
        Folder of the platform.
    subject : Subject
        The version with its code and parameters as they are now.
    data : str
        Hash of the data as they are now; a check on other data does not count.
    limits : Limits
        Of the walk-forward report.
    """
    found = []
    for name in REQUIRED:
        check = read_check(root, subject, data, name)
        if check is None:
            found.append(f"{name} was not checked for this code, these parameters and this data")
        elif not check.passed:
            found.append(f"{name} failed: {check.detail}")
        elif name == "walk_forward":
            found += _report_faults(root, check) + limits.broken_by(check)
    return found


class Registry:
    """Versions of strategies and their stages, in MLflow.

    Parameters
    ----------
    root : Path
        Folder of the platform.
    limits : Limits or None
        Of the walk-forward report.
    """

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        self.root = root
        self.limits = limits or Limits()
        self.mlflow = MlflowStore(root)

    def register(self, subject: Subject, data: str) -> RegisteredVersion:
        """Return the registered version of a subject, as a new draft if it is not there yet.

        Raises
        ------
        ConfigError
            If the same name and version were registered with other code.
        """
        with self._locked():
            return self._register(subject, data)

    def promote(self, subject: Subject, data: str, stage: Stage) -> Move:
        """Move a version one stage up, if its checks allow it.

        Parameters
        ----------
        subject : Subject
            The version with its code and parameters as they are now.
        data : str
            Hash of the data as they are now.
        stage : str
            ``validated``, ``paper`` or ``live``: the one after where it is. ``retired`` takes it out of
            use from anywhere.

        Raises
        ------
        PromotionError
            If a check is missing, failed or is about other code or data; if a limit is broken; or if a
            stage would be left out.
        ConfigError
            For an unknown stage.
        """
        if stage not in get_args(Stage) or stage == "draft":
            raise ConfigError(f"stage {stage!r} is not one of validated, paper, live, retired")
        with self._locked():
            version = self._register(subject, data)
            before = stage_of(version)
            if stage == "retired":
                return self._retire(version, before)
            if NEXT.get(before) != stage:
                after = NEXT.get(before)
                hint = f"its next stage is {after}" if after else "give changed code a new version"
                raise PromotionError(
                    f"{subject.strategy} {subject.version} is {before}, so it cannot become {stage}; {hint}"
                )
            faults = missing(self.root, subject, data, self.limits)
            if faults:
                raise PromotionError(
                    f"{subject.strategy} {subject.version} stays {before}: {'; '.join(faults)}. "
                    f"Run shoestring finance backtest and check on this data, then promote again"
                )
            return self._move(version, before, stage, data)

    def rollback(self, strategy: str) -> Move:
        """Make the version that was live before live again; the one that is live retires.

        Raises
        ------
        PromotionError
            If no other version was ever live.
        """
        with self._locked():
            versions = self.mlflow.versions(strategy)
            was_live = [v for v in versions if "live" not in v.aliases and _may_return(v)]
            if not was_live:
                raise PromotionError(
                    f"{strategy} has no earlier live version to go back to; retire it instead, or promote one"
                )
            chosen = max(was_live, key=lambda v: (v.tags["live_at"], v.number))
            current = next((v for v in versions if "live" in v.aliases), None)
            if current is not None:
                self.mlflow.tag(current, "rolled_back_at", _now())
            return self._move(chosen, stage_of(chosen), "live", chosen.tags.get("live_data", ""))

    def versions(self, strategy: str) -> list[tuple[RegisteredVersion, Stage]]:
        """Return all versions of a strategy with their stages, oldest first."""
        return [(v, stage_of(v)) for v in self.mlflow.versions(strategy)]

    def stage(self, subject: Subject) -> Stage:
        """Return where a subject is; ``draft`` if it was never registered."""
        found = self._find(subject)
        return "draft" if found is None else stage_of(found)

    def _register(self, subject: Subject, data: str) -> RegisteredVersion:
        found = self._find(subject)
        if found is not None:
            return found
        for other in self.mlflow.versions(subject.strategy):
            same = other.tags.get("version") == subject.version
            if same and other.tags.get("code") != subject.code:
                raise ConfigError(
                    f"{subject.strategy} {subject.version} is registered with other code (number "
                    f"{other.number}); raise the version in @strategy"
                )
        tags = {"version": subject.version, "code": subject.code, "subject": subject.key, "data": data}
        params = dict(subject.params)
        run_id = self.mlflow.log_run(
            subject.strategy,
            f"version {subject.version}",
            params=params,
            metrics={},
            tags=tags,
            documents={"strategy.json": {**tags, "strategy": subject.strategy, "params": params}},
        )
        return self.mlflow.register(subject.strategy, run_id, tags)

    def _find(self, subject: Subject) -> RegisteredVersion | None:
        versions = self.mlflow.versions(subject.strategy)
        return next((v for v in versions if v.tags.get("subject") == subject.key), None)

    def _move(self, version: RegisteredVersion, before: Stage, after: Stage, data: str) -> Move:
        now = _now()
        if data:
            self.mlflow.tag(version, f"{after}_data", data)
        self.mlflow.tag(version, f"{after}_at", now)
        replaced = None
        if after in ALIASES:
            holders = [v for v in self.mlflow.versions(version.name) if after in v.aliases]
            replaced = holders[0].number if holders else None
            self.mlflow.point(after, version)
            if after == "live" and "paper" in version.aliases:
                self.mlflow.unpoint("paper", version.name)
        self._publish(version.name)
        return Move(
            strategy=version.name,
            version=version.tags["version"],
            number=version.number,
            before=before,
            after=after,
            replaced=replaced,
        )

    def _retire(self, version: RegisteredVersion, before: Stage) -> Move:
        # First for the schedules: what is retired must not run, whatever happens in between.
        write_published(self.root, version.name, {})
        self.mlflow.tag(version, "retired_at", _now())
        for alias in ALIASES:
            if alias in version.aliases:
                self.mlflow.unpoint(alias, version.name)
        self._publish(version.name)
        return Move(
            strategy=version.name,
            version=version.tags["version"],
            number=version.number,
            before=before,
            after="retired",
        )

    def _publish(self, strategy: str) -> None:
        """Tell the schedules, which may run where no MLflow is, what they may run."""
        held: dict[str, str] = {
            alias: version.tags["subject"]
            for version in self.mlflow.versions(strategy)
            for alias in sorted(version.aliases)
            if stage_of(version) == alias
        }
        write_published(self.root, strategy, held)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time read, decide and write."""
        self.mlflow.folder.mkdir(parents=True, exist_ok=True)
        with (self.mlflow.folder / "registry.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _report_faults(root: Path, check: Check) -> list[str]:
    path = root / check.report
    if not check.report or not path.is_file():
        return [f"the walk-forward report {check.report or '(none named)'} is not there"]
    if file_digest(path) != check.report_sha256:
        return [f"the walk-forward report {check.report} is not the one that was checked"]
    return []


def _may_return(version: RegisteredVersion) -> bool:
    """Whether a version was live and was replaced, not retired or rolled back from."""
    since = version.tags.get("live_at", "")
    ends = (version.tags.get(name, "") for name in ("retired_at", "rolled_back_at"))
    return bool(since) and all(end < since for end in ends)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
