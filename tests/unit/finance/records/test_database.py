"""SQLite where its locks hold, and nowhere else."""

import sqlite3
from pathlib import Path

import pytest

from shoestring.core.errors import StorageError
from shoestring.finance.records import database
from shoestring.finance.records.database import connect, file_system, transaction
from shoestring.finance.records.ledger import Ledger

SCHEMA = "CREATE TABLE IF NOT EXISTS t (x INTEGER PRIMARY KEY); CREATE TABLE IF NOT EXISTS u (y TEXT)"


def test_it_writes_ahead(tmp_path: Path) -> None:
    db = connect(tmp_path / "deep" / "a.sqlite", SCHEMA, 1)
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        f"2 1 0:50 / {str(tmp_path).replace(' ', chr(92) + '040')} rw - {kind} server:/x rw\n"
    )
    monkeypatch.setattr(database, "_MOUNTS", mounts)
    assert file_system(tmp_path / "ws") == kind
    with pytest.raises(StorageError, match="network file system"):
        Ledger(tmp_path / "ws")


def test_the_innermost_mount_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / {tmp_path} rw - nfs s:/x rw\n"
        f"3 2 8:3 / {tmp_path}/local rw - xfs /dev/b rw\n"
    )
    monkeypatch.setattr(database, "_MOUNTS", mounts)
    assert file_system(tmp_path / "local") == "xfs"
    assert file_system(tmp_path.parent) == "ext4"


def test_a_newer_database_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    connect(tmp_path / "a.sqlite", SCHEMA, 7).close()
    with pytest.raises(StorageError, match="version 7"):
        connect(tmp_path / "a.sqlite", SCHEMA, 6)
    (tmp_path / "b.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match="database"):
        connect(tmp_path / "b.sqlite", SCHEMA, 1)


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    db = connect(tmp_path / "a.sqlite", SCHEMA, 1)

    def twice() -> None:
        with transaction(db):
            db.execute("INSERT INTO t VALUES (1)")
            db.execute("INSERT INTO t VALUES (1)")

    with pytest.raises(sqlite3.IntegrityError):
        twice()
    assert db.execute("SELECT count(*) FROM t").fetchone()[0] == 0
    db.close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="could not make the folder"):
        connect(tmp_path / "file" / "a.sqlite", SCHEMA, 1)
