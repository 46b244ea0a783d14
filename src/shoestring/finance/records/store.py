"""A folder of results under the digest of their content, and of what made them under the digest of that.

``obj/<hash>.<kind>`` holds a value, ``key/<key>.json`` says which value a task gave. The value is
written first, both through a temporary file and a rename: whatever kills a run, a key never names a
value that is not there completely.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoestring.core.errors import DataError, StorageError
from shoestring.core.files import write_bytes_atomic
from shoestring.finance.records.digest import canonical_json, digest_bytes, digest_json, environment_digest
from shoestring.finance.records.objects import decode, encode

__all__ = ["Cached", "Collected", "Store", "task_document"]

SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cached:
    """What one task gave, and whether it had to run."""

    key: str
    """Digest of everything that decides the result."""
    ref: str
    """The result: digest of its content and its kind; hand it to `Store.get`."""
    hit: bool
    """True: it was there already."""
    seconds: float
    """How long the task ran; of a hit, how long it ran when it ran."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """What a collection of garbage removed."""

    files: int
    bytes: int


def task_document(
    stage: str, *, code: str, params: Any, inputs: Mapping[str, str], seed: int = 0
) -> dict[str, Any]:
    """Return the document whose digest is the key of a task.

    Parameters
    ----------
    stage : str
        Name of the task.
    code : str
        `code_digest` of its component.
    params : Any
        Parameters, anything that `canonical_json` can write.
    inputs : mapping
        Digests or refs of the inputs by name.
    seed : int
        Seed of the run.
    """
    return {
        "schema": SCHEMA,
        "stage": stage,
        "code": code,
        "params": params,
        "inputs": dict(inputs),
        "environment": environment_digest(),
        "seed": seed,
    }


class Store:
    """Results by content: DataFrames and Series as Parquet, arrays as safetensors, the rest as JSON.

    Parameters
    ----------
    folder : Path
        Made when it is not there. Several processes may use it at once.
    durable : bool
        True: fsync every write (milliseconds each). Without it an object is still whole or absent after a
        kill; a power cut may lose or damage the latest ones, which reading finds and a rerun makes again.

    Notes
    -----
    Nothing is pickled: reading a store that somebody else wrote runs no code of theirs.
    """

    def __init__(self, folder: str | Path, *, durable: bool = False) -> None:
        self.folder = Path(folder)
        self._durable = durable

    def put(self, value: Any) -> str:
        """Store a value and return its ref; the same value is stored once.

        Raises
        ------
        DataError
            For a kind of value that has no safe format, or NaN in JSON.
        StorageError
            If it cannot be written.
        """
        data, kind = encode(value)
        ref = f"{digest_bytes(data)}.{kind}"
        path = self.path(ref)
        if not (path.is_file() and path.stat().st_size == len(data)):
            write_bytes_atomic(path, data, durable=self._durable)
        return ref

    def get(self, ref: str) -> Any:
        """Read a value and check it against its digest.

        Raises
        ------
        StorageError
            If it is not there or damaged; a damaged file is removed, so that a rerun makes it again.
        """
        path = self.path(ref)
        try:
            data = path.read_bytes()
        except OSError as e:
            raise StorageError(
                e.errno, f"object {ref} cannot be read from {self.folder}: {e.strerror}; run again to make it"
            ) from e
        digest, _, kind = ref.partition(".")
        if digest_bytes(data) != digest:
            path.unlink(missing_ok=True)
            raise StorageError(
                f"object {ref} in {self.folder} was damaged ({len(data)} bytes); it was removed. "
                "Run again to make it"
            )
        return decode(data, kind)

    def has(self, ref: str) -> bool:
        """Whether a value is there (it is checked when it is read)."""
        return self.path(ref).is_file()

    def path(self, ref: str) -> Path:
        """Return the file of a ref.

        Raises
        ------
        DataError
            If `ref` is none.
        """
        digest, dot, kind = ref.partition(".")
        if len(digest) != 64 or not dot or not kind.isalpha() or set(digest) - set("0123456789abcdef"):
            raise DataError(f"{ref!r} is no ref; give what Store.put returned")
        return self.folder / "obj" / digest[:2] / ref

    def find(self, document: Mapping[str, Any]) -> Cached | None:
        """Return what the task of `document` gave earlier, None if it did not run or its result is gone."""
        return self.by_key(digest_json(document))

    def by_key(self, key: str) -> Cached | None:
        """Return the result under a key, None if there is none."""
        record = self._record(key)
        if record is None or not self.has(record["ref"]):
            return None
        return Cached(key=key, ref=record["ref"], hit=True, seconds=record["seconds"])

    def cached(self, document: Mapping[str, Any], compute: Callable[[], Any]) -> Cached:
        """Return the result of a task, running it only if it did not run before.

        Parameters
        ----------
        document : mapping
            Everything that decides the result, see `task_document`.
        compute : callable
            Makes the value.
        """
        found = self.find(document)
        if found is not None:
            return found
        started = time.perf_counter()
        value = compute()
        seconds = time.perf_counter() - started
        return self.keep(document, value, seconds)

    def keep(self, document: Mapping[str, Any], value: Any, seconds: float = 0.0) -> Cached:
        """Store the result of a task that has run: first the value, then the key."""
        ref = self.put(value)
        text = canonical_json({"document": document, "ref": ref, "seconds": round(seconds, 6)})
        key = digest_json(document)
        write_bytes_atomic(self._key_path(key), text.encode(), durable=self._durable)
        return Cached(key=key, ref=ref, hit=False, seconds=seconds)

    def document(self, key: str) -> dict[str, Any]:
        """Return the document of a key: stage, code, parameters, inputs, environment, seed.

        Raises
        ------
        StorageError
            If the store has no such key.
        """
        record = self._record(key)
        if record is None:
            raise StorageError(
                f"the store {self.folder} has no key {key!r}; run again, or give another folder"
            )
        return dict(record["document"])

    def collect(self, older_than_s: float = 3600.0) -> Collected:
        """Remove temporary files that killed processes left at least `older_than_s` seconds ago."""
        files, size = 0, 0
        limit = time.time() - older_than_s
        for path in self.folder.glob("*/*/.*.tmp"):
            try:
                status = path.stat()
                if status.st_mtime <= limit:
                    path.unlink()
                    files, size = files + 1, size + status.st_size
            except FileNotFoundError:  # another process was faster
                continue
        return Collected(files=files, bytes=size)

    def _key_path(self, key: str) -> Path:
        return self.folder / "key" / key[:2] / f"{key}.json"

    def _record(self, key: str) -> dict[str, Any] | None:
        """Read a key's record; one that is damaged counts as absent, for its task can run again."""
        path = self._key_path(key)
        try:
            record = json.loads(path.read_bytes())
            sound = digest_json(record["document"]) == key
            self.path(record["ref"])
            float(record["seconds"])
        except FileNotFoundError:
            return None
        except OSError as e:
            raise StorageError(e.errno, f"{path} cannot be read: {e.strerror}; check the disk") from e
        except (ValueError, KeyError, TypeError, DataError):
            sound = False
        if not sound:
            path.unlink(missing_ok=True)
            return None
        return dict(record)
