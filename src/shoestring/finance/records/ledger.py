"""The ledger that makes a date happen once: who claimed it, and which order file came of it."""

import datetime as dt
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from shoestring.core.errors import ConfigError, StorageError
from shoestring.core.files import write_bytes_atomic
from shoestring.finance.records.database import connect, transaction
from shoestring.finance.records.digest import digest_bytes
from shoestring.finance.records.worker import Worker

__all__ = ["Claim", "Entry", "Ledger", "Swept"]

Status = Literal["claimed", "written"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS date_run (
    strategy TEXT NOT NULL,
    version TEXT NOT NULL,
    date TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('claimed', 'written')),
    worker TEXT NOT NULL,
    claimed_at REAL NOT NULL,
    orders TEXT NOT NULL DEFAULT '',
    sha256 TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (strategy, version, date)
) WITHOUT ROWID
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The right to run one date of one strategy version, held by this process."""

    strategy: str
    version: str
    date: str
    """``YYYY-MM-DD``."""
    worker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A row of the ledger."""

    strategy: str
    version: str
    date: str
    status: Status
    worker: str
    claimed_at: float
    """Seconds since the epoch; for people, nothing is decided by it."""
    orders: str
    """Order file, relative to the ledger's folder; empty while it is only claimed."""
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What a sweep found of dead processes."""

    finished: tuple[Entry, ...]
    """Their order file was there: recorded as written."""
    released: tuple[Entry, ...]
    """There was none: the date may run again."""
    left: tuple[Entry, ...]
    """Claims of other hosts, of which nothing can be proved; `release` them by hand."""


class Ledger:
    """Once per (strategy, version, date): claim, write the order file, record it.

    Parameters
    ----------
    folder : Path
        Holds ``ledger.sqlite`` and the order files ``orders/<strategy>/<version>/<date>.csv``.

    Notes
    -----
    The claim is one ``INSERT OR IGNORE`` on the primary key, so of any number of processes one wins.
    The order file appears complete under its final name, and only once: a hard link to a finished
    temporary file, which fails where a file is. A process that dies before it leaves a claim, one
    that dies after it leaves claim and file; `sweep` tells the two apart. It must run before a
    scheduler starts, and takes only claims whose process is proved dead.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._db = connect(self.folder / "ledger.sqlite", _SCHEMA, _VERSION)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def claim(self, strategy: str, version: str, date: Any) -> Claim | None:
        """Claim a date, or return None if it is claimed or written already."""
        day = _day(date)
        worker = str(Worker.this())
        done = self._db.execute(
            "INSERT OR IGNORE INTO date_run (strategy, version, date, status, worker, claimed_at) "
            "VALUES (?, ?, ?, 'claimed', ?, ?)",
            (strategy, version, day, worker, time.time()),
        )
        if done.rowcount != 1:
            return None
        return Claim(strategy=strategy, version=version, date=day, worker=worker)

    def write_orders(self, claim: Claim, content: bytes) -> Path:
        """Write the order file of a claim and record it.

        Raises
        ------
        StorageError
            If the claim is no longer this process's, or another order file is there.
        """
        with transaction(self._db):
            entry = self.entry(claim.strategy, claim.version, claim.date)
            if entry is None or entry.status != "claimed" or entry.worker != claim.worker:
                raise StorageError(
                    f"the claim of {claim.strategy} {claim.version} on {claim.date} was lost "
                    f"({'released' if entry is None else entry.status}); nothing was written. Claim it again"
                )
            path = self.orders_path(claim.strategy, claim.version, claim.date)
            _write_once(path, content)
            self._record(claim, path, digest_bytes(content))
        return path

    def release(self, strategy: str, version: str, date: Any) -> bool:
        """Give up a claim, one's own or (an operator's decision) another's; written dates stay."""
        done = self._db.execute(
            "DELETE FROM date_run WHERE strategy=? AND version=? AND date=? AND status='claimed'",
            (strategy, version, _day(date)),
        )
        return done.rowcount == 1

    def entry(self, strategy: str, version: str, date: Any) -> Entry | None:
        """Return the row of a date, None if there is none."""
        rows = self._rows("WHERE strategy=? AND version=? AND date=?", (strategy, version, _day(date)))
        return rows[0] if rows else None

    def entries(self, strategy: str | None = None, version: str | None = None) -> list[Entry]:
        """Return all rows, by strategy, version and date."""
        given = [(n, v) for n, v in (("strategy", strategy), ("version", version)) if v is not None]
        where = " AND ".join(f"{name}=?" for name, _ in given)
        return self._rows(f"WHERE {where}" if where else "", tuple(v for _, v in given))

    def missing(
        self, strategy: str, version: str, dates: Iterable[Any], catch_up: Literal["none", "latest", "all"]
    ) -> list[str]:
        """Return which of the due dates should run now, oldest first.

        Parameters
        ----------
        strategy, version : str
            Whose dates.
        dates : iterable
            Dates that are due by now, the last one being the current one.
        catch_up : str
            ``"none"`` only the current date, ``"latest"`` the newest that did not run, ``"all"`` every one.
        """
        due = sorted({_day(d) for d in dates})
        done = {e.date for e in self.entries(strategy, version)}
        open_ = [d for d in due if d not in done]
        if catch_up == "all":
            return open_
        if catch_up == "latest":
            return open_[-1:]
        return [d for d in open_ if d == due[-1]]

    def orders(self, entry: Entry) -> bytes:
        """Return the content of a written order file.

        Raises
        ------
        StorageError
            If it is gone, or is not what was written.
        """
        path = self.folder / entry.orders
        try:
            content = path.read_bytes()
        except OSError as e:
            raise StorageError(
                e.errno,
                f"the order file {path} was written and cannot be read: {e.strerror}; restore it from a copy",
            ) from e
        if digest_bytes(content) != entry.sha256:
            raise StorageError(
                f"the order file {path} is not what was written: it was changed or damaged. "
                "Restore it from a copy; the date is not run again"
            )
        return content

    def sweep(self) -> Swept:
        """Settle the claims of processes that are dead; see the class for what becomes of them."""
        finished: list[Entry] = []
        released: list[Entry] = []
        left: list[Entry] = []
        with transaction(self._db):
            for entry in self._rows("WHERE status='claimed'", ()):
                worker = Worker.parse(entry.worker)
                if worker is not None and not worker.is_gone():
                    if worker.host != Worker.this().host:
                        left.append(entry)
                    continue
                path = self.orders_path(entry.strategy, entry.version, entry.date)
                if path.is_file():
                    self._record(entry, path, digest_bytes(path.read_bytes()))
                    finished.append(entry)
                else:
                    self._db.execute(
                        "DELETE FROM date_run WHERE strategy=? AND version=? AND date=?",
                        (entry.strategy, entry.version, entry.date),
                    )
                    released.append(entry)
        return Swept(finished=tuple(finished), released=tuple(released), left=tuple(left))

    def orders_path(self, strategy: str, version: str, date: Any) -> Path:
        """Return where the order file of a date is, or will be."""
        return self.folder / "orders" / strategy / version / f"{_day(date)}.csv"

    def _record(self, row: Claim | Entry, path: Path, sha256: str) -> None:
        self._db.execute(
            "UPDATE date_run SET status='written', orders=?, sha256=? "
            "WHERE strategy=? AND version=? AND date=?",
            (str(path.relative_to(self.folder)), sha256, row.strategy, row.version, row.date),
        )

    def _rows(self, where: str, values: tuple[str, ...]) -> list[Entry]:
        names = "strategy, version, date, status, worker, claimed_at, orders, sha256"
        rows = self._db.execute(
            f"SELECT {names} FROM date_run {where} ORDER BY strategy, version, date", values
        ).fetchall()
        return [Entry(**dict(zip(names.split(", "), row, strict=True))) for row in rows]


def _day(date: Any) -> str:
    """Return a date as ``YYYY-MM-DD``; whatever else it is written like, it is the same primary key."""
    if isinstance(date, dt.date):
        return date.strftime("%Y-%m-%d")
    try:
        return dt.datetime.fromisoformat(str(date)).date().isoformat()
    except ValueError as e:
        raise ConfigError(f"date {date!r} is no date; write it as YYYY-MM-DD") from e


def _write_once(path: Path, content: bytes) -> None:
    """Make `path` appear complete, or fail because it is there."""
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    write_bytes_atomic(part, content)
    try:
        os.link(part, path)
    except FileExistsError as e:
        raise StorageError(
            e.errno, f"the order file {path} is there already; it stays. Look at it, then sweep the ledger"
        ) from e
    except OSError as e:
        raise StorageError(e.errno, f"could not make {path}: {e.strerror}; check the disk") from e
    finally:
        part.unlink(missing_ok=True)
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
