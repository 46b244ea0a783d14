"""Records and verifications as JSON files that carry a schema number and a checksum."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import ConfigError, StorageError
from shoestring.core.files import write_text_atomic
from shoestring.evidence.model import Profile, Record, Study, Verdict, Workload

__all__ = [
    "Verification",
    "load_verification",
    "load_verifications",
    "read_record",
    "save_verification",
    "write_record",
]

T = TypeVar("T")
_SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """The evidence of one workload of a system in one profile: what was declared, measured and concluded."""

    study: Study
    """The study as it was run, cut down to this one workload, its claims and its plots."""
    records: tuple[Record, ...]
    """Every task: preparations, then arms in their order, seed by seed."""
    verdicts: tuple[Verdict, ...]
    """One a claim, in the order of ``study.claims``."""
    created_at: str
    """UTC, ISO 8601."""
    shoestring: str
    """Version of this library."""
    commit: str | None
    """Git commit when run from a checkout, with ``+`` when it had changes; None otherwise."""
    hardware: Mapping[str, Any]
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        if len(self.study.workloads) != 1:
            raise ConfigError(
                f"a verification has one workload, not {len(self.study.workloads)}; make one of each"
            )

    @property
    def system(self) -> str:
        """Name of the system."""
        return self.study.system

    @property
    def family(self) -> str:
        """Family of the system."""
        return self.study.family

    @property
    def profile(self) -> Profile:
        """``"quick"`` or ``"full"``."""
        return self.study.profile

    @property
    def workload(self) -> Workload:
        """The one workload."""
        return self.study.workloads[0]


def save_verification(folder: Path, verification: Verification) -> Path:
    """Write ``<folder>/<system>/<workload>-<profile>.json`` atomically and return its path.

    Raises
    ------
    StorageError
        If the file could not be written; an older one is then unchanged.
    """
    path = folder / verification.system / f"{verification.workload.name}-{verification.profile}.json"
    _write(path, "verification", verification)
    return path


def load_verification(path: Path) -> Verification:
    """Read one verification.

    Raises
    ------
    StorageError
        If the file is missing, damaged, of another schema, or no verification; the message names it.
    """
    return _read(path, "verification", Verification)


def load_verifications(folder: Path) -> list[Verification]:
    """Read every verification below `folder`, sorted by system, profile and workload.

    Parameters
    ----------
    folder : Path
        The folder given to `save_verification`; a folder that does not exist holds none.

    Raises
    ------
    StorageError
        If a file is damaged, of another schema, or no verification; the message names it.
    """
    found = [
        load_verification(path) for path in sorted(folder.glob("*/*.json")) if not path.name.startswith(".")
    ]
    return sorted(found, key=lambda v: (v.system, v.profile, v.workload.name))


def write_record(path: Path, record: Record) -> None:
    """Write a record atomically."""
    _write(path, "record", record)


def read_record(path: Path) -> Record:
    """Read a record.

    Raises
    ------
    StorageError
        If the file is missing, damaged, of another schema, or no record; the message names it.
    """
    return _read(path, "record", Record)


def _write(path: Path, kind: str, value: Any) -> None:
    body = to_dict(value)
    del body["schema"]
    try:
        whole = {"schema": _SCHEMA, "kind": kind, "sha256": _checksum(body), "body": body}
        text = json.dumps(whole, indent=1, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise StorageError(
            f"could not write {path}: a value does not fit into JSON ({e}); nothing was changed"
        ) from e
    write_text_atomic(path, _numbers_on_one_line(text) + "\n")


def _read(path: Path, kind: str, build: type[T]) -> T:
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise StorageError(e.errno, f"could not read {path}: {e.strerror}") from e
    except ValueError as e:
        raise StorageError(f"{path} is damaged ({e}); delete it and verify again") from e
    if not isinstance(whole, dict) or not {"schema", "kind", "sha256", "body"} <= whole.keys():
        raise StorageError(f"{path} was not written by Shoestring; move it elsewhere")
    if whole["schema"] != _SCHEMA:
        raise StorageError(
            f"{path} has schema {whole['schema']!r}; this version reads {_SCHEMA}. Update, or verify again"
        )
    if whole["kind"] != kind:
        raise StorageError(f"{path} holds a {whole['kind']!r}, not a {kind!r}; move it elsewhere")
    if whole["sha256"] != _checksum(whole["body"]):
        raise StorageError(
            f"{path} is damaged (its checksum differs from its content); delete it and verify again"
        )
    try:
        return from_dict(build, whole["body"])
    except (ConfigError, TypeError) as e:
        raise StorageError(f"{path} does not fit this version ({e}); verify again") from e


def _checksum(body: Any) -> str:
    """Hash of the body as JSON without spaces and with sorted keys; layout of the file does not matter."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _numbers_on_one_line(text: str) -> str:
    """Join lists that hold only numbers; a JSON string never holds a line break, so none is touched."""
    return re.sub(r"\[\n[-+.\deE,\s]+\]", lambda m: " ".join(m[0].split()), text)
