"""The folder that a verb writes its files to."""

import os
from pathlib import Path

from shoestring.core.errors import StorageError

__all__ = ["check_out_folder"]


def check_out_folder(path: Path) -> None:
    """Find out before the work, not after it, that nothing can be written; `path` need not exist.

    Raises
    ------
    StorageError
        If the folder, or the nearest one above it that exists, is a file or cannot be written.
    """
    folder = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not folder.is_dir():
        raise StorageError(f"--out {str(path)!r} cannot be a folder: {folder} is a file; give another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"--out {str(path)!r} cannot be written: check the permissions of {folder}")
