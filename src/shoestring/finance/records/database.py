"""SQLite for a workspace: write-ahead log, a long busy time-out, never on a network file system."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shoestring.core.errors import StorageError

__all__ = ["connect", "file_system", "transaction"]

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "ncpfs",
    "beegfs",
}
_MOUNTS = Path("/proc/self/mountinfo")
_BUSY_S = 60.0


def connect(path: Path, schema: str, version: int, *, durable: bool = True) -> sqlite3.Connection:
    """Open a database, making its tables if it is new.

    Parameters
    ----------
    path : Path
        The file; folders above it are made.
    schema : str
        ``CREATE TABLE IF NOT EXISTS`` statements.
    version : int
        Version of the schema, kept in ``user_version``.
    durable : bool
        True: a committed transaction survives a power cut. False: it may be lost then, never half of it.

    Raises
    ------
    StorageError
        On a network file system (its locks do not hold, so a date could run twice), for a database of a
        newer version, a file that is no database, or a folder that cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise StorageError(
            e.errno, f"could not make the folder {path.parent}: {e.strerror}; give one that can be written"
        ) from e
    kind = file_system(path.parent)
    if kind in _NETWORK or kind.startswith("fuse.ssh"):
        raise StorageError(
            f"{path} lies on a network file system ({kind}), where SQLite's locks do not hold and one date "
            "could run twice; put the workspace on a local disk"
        )
    try:
        # Autocommit: transactions begin where `transaction` says, not where the driver guesses.
        db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found > version:
            db.close()
            raise StorageError(f"{path} has version {found}, this program reads up to {version}; update it")
        if found < version:
            with transaction(db):
                for statement in filter(str.strip, schema.split(";")):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={version}")
    except sqlite3.DatabaseError as e:
        raise StorageError(f"{path} cannot be used as a database: {e}; move it away or restore it") from e
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Do several statements as one; the write lock is taken first, so that two never wait for each other."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def file_system(folder: Path) -> str:
    """Return the type of the file system that holds `folder`, ``"unknown"`` where the kernel does not say."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return "unknown"
    best, kind = -1, "unknown"
    place = folder.resolve()
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = Path(left.split()[4].encode().decode("unicode_escape"))
        if place.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), right.split()[0]
    return kind
