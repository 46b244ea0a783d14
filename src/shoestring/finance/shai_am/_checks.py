"""Results of checks as files: what was checked, on which data, with which outcome."""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import ConfigError, StorageError
from shoestring.core.files import write_json_atomic
from shoestring.finance.shai_am._tasks import describe
from shoestring.finance.strategies.interface import Strategy

__all__ = [
    "Check",
    "Subject",
    "file_digest",
    "read_check",
    "record_walk_forward",
    "subject_of",
    "write_check",
]

_SCHEMA = 1
_HASH = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A strategy as it is now: another code or parameter is another subject."""

    strategy: str
    """Name."""
    version: str
    """As declared by ``@strategy``."""
    code: str
    """Digest of its source and of what it imports."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""

    def __post_init__(self) -> None:
        if not _HASH.fullmatch(self.code):
            raise ConfigError(f"code={self.code!r} is no digest; give 16 to 64 hexadecimal digits")

    @property
    def key(self) -> str:
        """Digest of all of it, 32 hexadecimal digits."""
        text = json.dumps(
            [self.strategy, self.version, self.code, dict(self.params)], sort_keys=True, allow_nan=False
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """The outcome of one check of a subject on one state of the data."""

    name: str
    """What was checked, e.g. ``look_ahead``."""
    passed: bool
    """The outcome."""
    detail: str
    """One sentence, for whoever reads why a promotion was refused."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured."""
    report: str = ""
    """File below the platform's folder that shows it; empty if there is none."""
    report_sha256: str = ""
    """Of that file."""
    checked_at: str = ""
    """UTC, ISO 8601; filled in when it is written."""


def subject_of(strategy: Strategy) -> Subject:
    """Return a strategy with its code and parameters as what checks are about."""
    about = describe(strategy)
    return Subject(
        strategy=about["name"], version=about["version"], code=about["code"], params=about["params"]
    )


def record_walk_forward(
    root: Path, subject: Subject, data: str, metrics: Mapping[str, float | None], report: Path
) -> Check:
    """Store that a subject was backtested on this data, with its figures and its tear sheet.

    Parameters
    ----------
    root : Path
        Folder of the platform.
    subject : Subject
        What was backtested.
    data : str
        `Platform.data_hash` of the data.
    metrics : mapping
        Figures of the run; one that is None is left out, which a limit on it counts as broken.
    report : Path
        The tear sheet, below `root`.
    """
    figures = {name: float(value) for name, value in metrics.items() if value is not None}
    check = Check(
        name="walk_forward",
        passed=True,
        detail=f"{figures.get('rebalances', 0):g} rebalances",
        figures=figures,
        report=report.resolve().relative_to(root.resolve()).as_posix(),
        report_sha256=file_digest(report),
    )
    write_check(root, subject, data, check)
    return check


def write_check(root: Path, subject: Subject, data: str, check: Check) -> Path:
    """Store a check under the platform's folder `root`; an earlier one of the same name is replaced.

    Parameters
    ----------
    root : Path
        Folder of the platform.
    subject : Subject
        What was checked.
    data : str
        Hash of the data that it was checked on.
    check : Check
        The outcome.
    """
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    body = {**to_dict(check), "checked_at": check.checked_at or now}
    about = {"strategy": subject.strategy, "version": subject.version, "code": subject.code, "data": data}
    content = {"schema": _SCHEMA, "subject": subject.key, "about": about, "check": body}
    path = _path(root, subject, data, check.name)
    write_json_atomic(path, {**content, "sha256": _checksum(content)})
    return path


def read_check(root: Path, subject: Subject, data: str, name: str) -> Check | None:
    """Return a check of this very subject on this very data, or None if there is none.

    Raises
    ------
    StorageError
        If the file is damaged or was changed by hand.
    """
    path = _path(root, subject, data, name)
    try:
        content = json.loads(path.read_text())
        checksum = content.pop("sha256")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise StorageError(f"the check {path} cannot be read ({e}); remove the file and check again") from e
    whole = checksum == _checksum(content) and content.get("schema") == _SCHEMA
    if not whole or content["subject"] != subject.key or content["about"]["data"] != data:
        raise StorageError(f"the check {path} is damaged or of something else; remove it and check again")
    return from_dict(Check, content["check"])


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _path(root: Path, subject: Subject, data: str, name: str) -> Path:
    if not _HASH.fullmatch(data):
        raise ConfigError(f"data={data!r} is no hash; give 16 to 64 hexadecimal digits")
    return root / "checks" / subject.strategy / f"{subject.key}-{data[:16]}" / f"{name}.json"


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
