"""A folder of scratch files of one run: locked while the run lives, removed by the next one otherwise."""

import fcntl
import os
import secrets
import shutil
from pathlib import Path

from shoestring.core.errors import StorageError

__all__ = ["Scratch"]


class Scratch:
    """A fresh folder ``base/run-<id>``; folders of runs that were killed are removed first.

    Parameters
    ----------
    base : Path
        Made if it is missing.

    Raises
    ------
    StorageError
        If the folder cannot be written.

    Notes
    -----
    A living run holds a lock on its folder, which the kernel drops when the process ends in whatever way, so
    that nothing of a killed run is ever read again.
    """

    def __init__(self, base: Path) -> None:
        self.folder = base / f"run-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            base.mkdir(parents=True, exist_ok=True)
            self.removed = [f for f in sorted(base.glob("run-*")) if _remove_if_dead(f)]
            self.folder.mkdir()
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise StorageError(
                f"could not make a scratch folder in {base}: {e}. Give a folder that can be written, "
                "on a disk with "
                "room"
            ) from e

    def remove(self) -> None:
        """Delete the folder and let the lock go."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _remove_if_dead(folder: Path) -> bool:
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False  # just being made by another run, or no run's folder
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
