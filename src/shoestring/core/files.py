"""Write files so that a reader sees the old content or the new, never half of one."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from shoestring.core.errors import StorageError

__all__ = ["write_bytes_atomic", "write_json_atomic", "write_text_atomic"]


def write_bytes_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path` through a temporary file, fsync and rename.

    Parameters
    ----------
    path : Path
        Where; folders above it are made.
    data : bytes
        The whole content.
    durable : bool
        False leaves out the fsync: readers still see old or new, but a power cut may lose it.

    Raises
    ------
    StorageError
        If the folder is missing or read-only, or the disk is full; `path` is then unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(fd, "wb") as f:
                f.write(data)
                f.flush()
                if durable:
                    os.fsync(f.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        if durable:
            _fsync_folder(path.parent)
    except OSError as e:
        raise StorageError(
            e.errno,
            f"could not write {path}: {e.strerror}; nothing was changed there. Check space and permissions",
        ) from e


def write_text_atomic(path: Path, text: str, *, durable: bool = True) -> None:
    """Write UTF-8 `text` to `path` atomically (see `write_bytes_atomic`)."""
    write_bytes_atomic(path, text.encode(), durable=durable)


def write_json_atomic(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write `value` as indented JSON with sorted keys to `path` atomically; NaN is refused."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_text_atomic(path, text, durable=durable)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
