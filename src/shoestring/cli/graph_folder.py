"""The output folder of ``shoestring graph train``: one job, its files, and what it takes to go on with it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shoestring.cli.out_folder import check_out_folder
from shoestring.core.errors import ConfigError, StorageError
from shoestring.core.files import write_bytes_atomic, write_json_atomic
from shoestring.evidence.lock import folder_lock

__all__ = [
    "CHECKPOINTS",
    "METRICS",
    "PREDICTIONS",
    "STORAGE",
    "WEIGHTS",
    "JobFolder",
    "MetricsFile",
    "is_complete",
    "job_folder",
]

JOB = "job.json"
RESULT = "result.json"
METRICS = "metrics.jsonl"
WEIGHTS = "model.safetensors"
PREDICTIONS = "predictions.npy"
CHECKPOINTS = "checkpoints"
STORAGE = "storage"
_LOCK = ".lock"
_OURS = (JOB, RESULT, METRICS, WEIGHTS, PREDICTIONS)
_OUR_FOLDERS = (CHECKPOINTS, STORAGE)


class JobFolder:
    """A folder that belongs to one job; made by `job_folder`, which holds its lock.

    Attributes
    ----------
    path : Path
        The folder.
    result : dict or None
        What an earlier run of the same job reported, if it came to its end.
    """

    def __init__(self, path: Path, result: dict[str, Any] | None) -> None:
        self.path = path
        self.result = result

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints; removed at the end."""
        return self.path / CHECKPOINTS

    @property
    def storage(self) -> Path:
        """Folder for what a system keeps on storage, unless the job names another; removed at the end."""
        return self.path / STORAGE

    def finish(
        self, weights: Mapping[str, Any], about: Mapping[str, str], logits: Any, result: dict[str, Any]
    ) -> None:
        """Write weights, predictions and the result, then drop what was needed to go on.

        Parameters
        ----------
        weights : mapping
            State dict of tensors.
        about : mapping
            Text beside the weights: what rebuilds the model.
        logits : Tensor
            float, (N, C), in the order of the user's vertices.
        result : dict
            JSON values; its presence says that the job is done, so it is written last.

        Raises
        ------
        StorageError
            If a file could not be written.
        """
        from io import BytesIO

        import numpy as np
        from safetensors.torch import save

        tensors = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
        write_bytes_atomic(self.path / WEIGHTS, save(tensors, metadata=dict(about)))
        table = BytesIO()
        np.save(table, logits.detach().cpu().numpy(), allow_pickle=False)
        write_bytes_atomic(self.path / PREDICTIONS, table.getvalue())
        write_json_atomic(self.path / RESULT, result)
        for name in _OUR_FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)


@contextmanager
def job_folder(path: Path, job: Mapping[str, Any], *, replace: bool) -> Iterator[JobFolder]:
    """Take a folder for one job: make it, go on in it, or refuse it.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    job : mapping
        JSON values; everything that decides the result. The folder belongs to the job that equals them.
    replace : bool
        Remove the files of another job, or of an earlier run of this one, instead of refusing or going on.

    Raises
    ------
    ConfigError
        The folder belongs to another job, or holds files of something else.
    StorageError
        It cannot be written, or another process works in it.
    """
    check_out_folder(path)
    stray = [p for p in path.iterdir() if p.name != _LOCK] if path.is_dir() else []
    if stray and not (path / JOB).is_file():
        raise ConfigError(
            f"--out {str(path)!r} holds {stray[0].name!r} and no {JOB}, so it is not the folder of a "
            "training; give an empty folder or a new name"
        )
    with folder_lock(path / _LOCK, f"a training in {path}"):
        if replace:
            _clear(path)
        wanted = json.loads(json.dumps(job))
        found = _read(path / JOB)
        if found is None:
            write_json_atomic(path / JOB, wanted)
        elif found != wanted:
            differs = _first_difference(found, wanted)
            raise ConfigError(
                f"--out {str(path)!r} belongs to another job (it differs in {differs}); "
                "give another folder, or --replace to lose what is there"
            )
        yield JobFolder(path, _read(path / RESULT))


def is_complete(path: Path, job: Mapping[str, Any]) -> bool:
    """Whether a folder holds the result of that job."""
    return (path / RESULT).is_file() and _read(path / JOB) == json.loads(json.dumps(job))


class MetricsFile:
    """Appends one JSON object a step; a step that is recorded again replaces itself and all later ones.

    A run that goes on from a checkpoint repeats the steps after it, so the file equals that of a run that was
    never stopped.

    Parameters
    ----------
    path : Path
        ``metrics.jsonl``; a last line that was cut off is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps: list[tuple[int, bytes]] = []
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            try:
                self._steps.append((int(json.loads(line)["step"]), line))
            except (ValueError, KeyError, TypeError):
                break
        self._rewrite()

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one line."""
        line = json.dumps({"step": step, **{k: float(v) for k, v in metrics.items()}}).encode() + b"\n"
        if self._steps and step <= self._steps[-1][0]:
            self._steps = [(s, kept) for s, kept in self._steps if s < step]
            self._rewrite()
        self._steps.append((step, line))
        try:
            with self._path.open("ab") as file:
                file.write(line)
        except OSError as e:
            raise _not_written(self._path, e) from e

    def _rewrite(self) -> None:
        write_bytes_atomic(self._path, b"".join(line for _, line in self._steps))


def _clear(path: Path) -> None:
    for name in _OURS:
        (path / name).unlink(missing_ok=True)
    for name in _OUR_FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        raise StorageError(f"{path} is damaged ({e}); use --replace to begin again") from e
    if not isinstance(found, dict):
        raise StorageError(f"{path} is damaged (no object); use --replace to begin again")
    return found


def _first_difference(one: Any, two: Any, where: str = "") -> str:
    """Name the first key in which two nested mappings differ, with both values."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted(one.keys() | two.keys()):
            if one.get(key) != two.get(key):
                return _first_difference(one.get(key), two.get(key), f"{where}.{key}" if where else key)
    return f"{where}: {json.dumps(one)} there, {json.dumps(two)} asked for"


def _not_written(path: Path, error: OSError) -> StorageError:
    return StorageError(
        error.errno, f"could not write {path}: {error.strerror}; check space and permissions, then run again"
    )
