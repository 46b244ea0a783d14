"""A task: one preparation, or one arm with one seed; its key decides whether a finished one is used again."""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from shoestring.core.entry import check_entry_point
from shoestring.core.errors import ConfigError, DataError
from shoestring.evidence.model import Profile, Study, Workload

__all__ = ["PREPARE", "Task", "data_identity", "fingerprint", "plan"]

PREPARE = "prepare"
"""Name that stands for the arm in the task and record of a preparation."""
_SCHEMA = 1
_PACKAGE = Path(__file__).resolve().parents[1]
_COMPILED = "shoestring.native._core"
_FOUNDATION = ("core", "native", "storage", "parallel", "data", "nn")


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One unit of work, run in a process of its own."""

    system: str
    workload: str
    arm: str
    """Arm name; ``"prepare"`` for a preparation."""
    seed: int
    profile: Profile
    entry: str
    """``module:function``."""
    options: Mapping[str, Any]
    """Workload options with those of the arm or preparation over them."""
    timeout_s: float
    """Wall-clock limit, in seconds, before any scaling."""
    sources: tuple[str, ...]
    """Folders of the package whose text decides the result."""
    fingerprint: str
    """Hash of that text."""
    key: str
    """Hash of everything that decides the result."""
    needs: str | None = None
    """Key of the preparation that must be finished first."""
    data: str | None = None
    """Name of the data set that the task reads."""

    @property
    def folder_name(self) -> str:
        """Name of the task's folder below that of its workload."""
        return f"{self.arm}-{self.seed}-{self.key[:12]}"


def plan(
    study: Study,
    *,
    threads: int,
    data: Mapping[str, Path],
    package: Path = _PACKAGE,
) -> list[Task]:
    """List the tasks of a study in the order to run them: seed by seed, a preparation before its arms.

    Parameters
    ----------
    study : Study
        A study that passed `check_study`.
    threads : int
        Threads a task gets. They decide the key of an arm (its time, and the order of its sums), not
        that of a preparation, which may be used at any number of threads.
    data : mapping of str to Path
        Folders of data sets by name; a workload whose data set is missing gets tasks all the same.
    package : Path
        Folder of the package's sources.

    Raises
    ------
    ConfigError
        If options are no JSON values, or an entry point is malformed.
    DataError
        If a data folder does not exist.
    """
    return [
        task
        for workload in study.workloads
        for task in _plan_workload(study, workload, threads, data, package)
    ]


def _plan_workload(
    study: Study, workload: Workload, threads: int, data: Mapping[str, Path], package: Path
) -> list[Task]:
    needs_data = workload.needs_data
    identity = data_identity(data[needs_data]) if needs_data is not None and needs_data in data else None
    of_system = (*_FOUNDATION, study.family, f"{study.family}/{study.system}")

    def task(arm: str, seed: int, entry: str, options: Mapping[str, Any], **rest: Any) -> Task:
        sources = rest.pop("sources", of_system)
        text = fingerprint(sources, entry, package)
        body = {
            "schema": _SCHEMA,
            "entry": entry,
            "options": options,
            "seed": seed,
            "profile": study.profile,
            "sources": text,
            "prepared": rest.get("needs"),
            "data": identity,
            "threads": None if arm == PREPARE else threads,
        }
        return Task(
            system=study.system,
            workload=workload.name,
            arm=arm,
            seed=seed,
            profile=study.profile,
            entry=entry,
            options=options,
            sources=sources,
            fingerprint=text,
            key=_hash_json(body, f"options of {workload.name}/{arm}"),
            data=needs_data,
            **rest,
        )

    tasks: list[Task] = []
    prepared: Task | None = None
    first = workload.prepare
    for seed in workload.seeds:
        if first is not None and (first.per_seed or prepared is None):
            options = {**workload.options, **first.options}
            own = seed if first.per_seed else 0
            prepared = task(
                PREPARE, own, first.run, options, timeout_s=first.timeout_s, sources=first.sources
            )
            tasks.append(prepared)
        needs = prepared.key if prepared is not None else None
        tasks += [
            task(
                arm.name,
                seed,
                workload.run,
                {**workload.options, **arm.options},
                timeout_s=workload.timeout_s,
                needs=needs,
            )
            for arm in workload.arms
        ]
    return tasks


def fingerprint(folders: Sequence[str], entry: str, package: Path = _PACKAGE) -> str:
    """Hash the Python text, and the compiled module, that decide what an entry point does.

    Parameters
    ----------
    folders : sequence of str
        Folders below `package`. Each counts with its subfolders, but without systems (folders that hold
        a ``card.toml``) other than itself, and without a system's ``evidence.py``, so that the wording of
        a claim can change without running anything again. Folders that do not exist are left out.
        ``"native"`` stands for the compiled module too, wherever the installation put it.
    entry : str
        ``module:function``; the file of that module counts wherever it is.
    package : Path
        Folder of the package's sources.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    files = {path for folder in folders for path in _python_files(package / folder)}
    entry_file = _module_file(check_entry_point(entry)[0], package)
    if entry_file is not None:
        files.add(entry_file)
    if "native" in folders and package == _PACKAGE:
        files.update(_compiled_files())
    lines = sorted(f"{_place(path, package)} {_hash_file(path, *_stamp(path))}" for path in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def data_identity(folder: Path) -> str:
    """Hash the relative names and sizes of the files below `folder`.

    Raises
    ------
    DataError
        If `folder` is not a folder.
    """
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist; give an existing one as --data NAME=FOLDER")
    lines = sorted(
        f"{path.relative_to(folder).as_posix()} {path.stat().st_size}"
        for path in folder.rglob("*")
        if path.is_file()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _python_files(folder: Path) -> list[Path]:
    """Python files below a folder, not entering other systems, and without the folder's own evidence.py."""
    files = []
    is_system = (folder / "card.toml").is_file()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not (path / "card.toml").is_file() and path.name != "__pycache__":
            files += _python_files(path)
        elif path.suffix == ".py" and not (is_system and path.name == "evidence.py"):
            files.append(path)
    return files


def _compiled_files() -> list[Path]:
    """Find the compiled module without loading it."""
    spec = importlib.util.find_spec(_COMPILED)
    return [Path(spec.origin)] if spec is not None and spec.origin is not None else []


def _module_file(module: str, package: Path) -> Path | None:
    """Find the file of a module without importing it or its parents."""
    first, *rest = module.split(".")
    bases = [package] if first == package.name else [Path(entry or ".") / first for entry in sys.path]
    for base in bases:
        stem = base.joinpath(*rest)
        for path in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
            if path.is_file():
                return path.resolve()
    return None


def _place(path: Path, package: Path) -> str:
    return path.relative_to(package).as_posix() if path.is_relative_to(package) else path.name


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@cache
def _hash_file(path: Path, mtime_ns: int, size: int) -> str:  # noqa: ARG001  # the stamp tells versions apart
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hash_json(value: Any, what: str) -> str:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as e:
        raise ConfigError(f"{what} are no JSON values ({e}); use numbers, texts, lists and dicts") from e
    return hashlib.sha256(text.encode()).hexdigest()
