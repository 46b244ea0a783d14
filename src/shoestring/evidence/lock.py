"""A lock between processes that cannot outlive its holder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoestring.core.errors import StorageError

__all__ = ["folder_lock"]


@contextmanager
def folder_lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`, or refuse.

    Parameters
    ----------
    path : Path
        The lock file; it stays after use, and says nothing: the lock is the kernel's and ends with
        the process, however that ends.
    what : str
        What is going on, for the message.

    Raises
    ------
    StorageError
        If another process holds it, or the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as e:
        raise StorageError(
            e.errno, f"could not make the lock {path}: {e.strerror}; give a folder to write to"
        ) from e
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = os.pread(fd, 64, 0).decode(errors="replace").strip() or "unknown"
            raise StorageError(
                e.errno,
                f"{what} is running already (process {holder}, lock {path}); "
                "wait for it, stop it, or give another output folder",
            ) from e
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
