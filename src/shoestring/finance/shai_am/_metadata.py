"""Runs of a workspace in SQLite: what ran, on what, with which figures, and the edges of its lineage."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.records.database import connect, transaction
from shoestring.finance.records.digest import canonical_json
from shoestring.finance.records.worker import Worker
from shoestring.finance.running.tasks import Task

__all__ = ["Metadata", "Mode", "RunRow"]

Mode = Literal["backtest", "live"]
Status = Literal["running", "done", "failed", "lost"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (
    id TEXT PRIMARY KEY,
    strategy TEXT NOT NULL,
    version TEXT NOT NULL,
    mode TEXT NOT NULL,
    status TEXT NOT NULL,
    worker TEXT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL,
    document TEXT NOT NULL,
    key TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS run_by_strategy ON run (strategy, started_at);
CREATE TABLE IF NOT EXISTS metric (
    run TEXT NOT NULL REFERENCES run (id), name TEXT NOT NULL, value REAL, PRIMARY KEY (run, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS artifact (
    run TEXT NOT NULL REFERENCES run (id), name TEXT NOT NULL, ref TEXT NOT NULL, PRIMARY KEY (run, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS task (
    run TEXT NOT NULL REFERENCES run (id), number INTEGER NOT NULL, stage TEXT NOT NULL, name TEXT NOT NULL,
    key TEXT NOT NULL, ref TEXT NOT NULL, hit INTEGER NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS edge (
    run TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, ref TEXT NOT NULL,
    PRIMARY KEY (run, number, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS task_by_ref ON task (ref);
CREATE TABLE IF NOT EXISTS version (
    strategy TEXT NOT NULL, version TEXT NOT NULL, code TEXT NOT NULL, PRIMARY KEY (strategy, version)
) WITHOUT ROWID
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """A run as it is recorded."""

    id: str
    strategy: str
    version: str
    mode: Mode
    status: Status
    worker: str
    started_at: float
    """Seconds since the epoch."""
    ended_at: float | None
    document: Mapping[str, Any]
    """Parameters, options, data and their digests, code."""
    key: str
    error: str


class Metadata:
    """The database of a workspace; one process writes at a time, for short moments.

    Parameters
    ----------
    folder : Path
        Holds ``runs.sqlite``.
    """

    def __init__(self, folder: Path) -> None:
        self._db = connect(folder / "runs.sqlite", _SCHEMA, _VERSION, durable=False)
        self._inside = False

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Record what happens inside as one transaction: much faster for many runs."""
        with transaction(self._db):
            self._inside = True
            try:
                yield
            finally:
                self._inside = False

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._inside:
            yield
            return
        with transaction(self._db):
            yield

    def begin(
        self, run_id: str, strategy: str, version: str, mode: Mode, document: Mapping[str, Any]
    ) -> None:
        """Record that a run starts in this process."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO run (id, strategy, version, mode, status, worker, started_at, document) "
                "VALUES (?, ?, ?, ?, 'running', ?, ?, ?)",
                (run_id, strategy, version, mode, str(Worker.this()), time.time(), canonical_json(document)),
            )

    def finish(
        self,
        run_id: str,
        *,
        key: str,
        artifacts: Mapping[str, str],
        metrics: Mapping[str, float | None],
        tasks: Sequence[Task],
    ) -> None:
        """Record what a run gave: all of it or, if this process dies in between, nothing."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO metric VALUES (?, ?, ?)", [(run_id, *m) for m in metrics.items()]
            )
            self._db.executemany(
                "INSERT INTO artifact VALUES (?, ?, ?)", [(run_id, *a) for a in artifacts.items()]
            )
            for number, task in enumerate(tasks):
                self._db.execute(
                    "INSERT INTO task VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (run_id, number, task.stage, task.name, task.key, task.ref, task.hit, task.seconds),
                )
                self._db.executemany(
                    "INSERT INTO edge VALUES (?, ?, ?, ?)",
                    [(run_id, number, name, ref) for name, ref in task.inputs.items()],
                )
            self._end(run_id, "done", key, "")

    def fail(self, run_id: str, error: str) -> None:
        """Record that a run failed."""
        with self._transaction():
            self._end(run_id, "failed", "", error)

    def sweep(self) -> list[RunRow]:
        """Mark runs whose process is dead as lost, and return them."""
        with self._transaction():
            lost = [row for row in self._rows("WHERE status='running'", ()) if _is_gone(row.worker)]
            for row in lost:
                self._end(row.id, "lost", "", "its process ended without a word")
        return lost

    def run(self, run_id: str) -> RunRow:
        """Return a run by its id or the beginning of it.

        Raises
        ------
        DataError
            If none or several begin like that.
        """
        rows = self._rows("WHERE id=?", (run_id,)) or self._rows(
            "WHERE substr(id, 1, ?)=?", (len(run_id), run_id)
        )
        if len(rows) != 1 or not run_id:
            last = ", ".join(row.id for row in self.runs(limit=3))
            raise DataError(
                f"{len(rows)} runs of this workspace begin with {run_id!r}; the latest are {last or 'none'}"
            )
        return rows[0]

    def runs(self, strategy: str | None = None, limit: int = 50) -> list[RunRow]:
        """Return runs, newest first."""
        where, values = ("WHERE strategy=?", (strategy,)) if strategy else ("", ())
        return self._rows(where, values, f"ORDER BY started_at DESC, id DESC LIMIT {int(limit)}")

    def metrics(self, run_id: str) -> dict[str, float | None]:
        """Return the figures of a run."""
        return dict(self._db.execute("SELECT name, value FROM metric WHERE run=?", (run_id,)).fetchall())

    def artifacts(self, run_id: str) -> dict[str, str]:
        """Return the refs of a run's results."""
        return dict(self._db.execute("SELECT name, ref FROM artifact WHERE run=?", (run_id,)).fetchall())

    def tasks(self, run_id: str) -> tuple[Task, ...]:
        """Return the steps of a run in order."""
        edges: dict[int, dict[str, str]] = {}
        for number, name, ref in self._db.execute(
            "SELECT number, name, ref FROM edge WHERE run=?", (run_id,)
        ):
            edges.setdefault(number, {})[name] = ref
        rows = self._db.execute(
            "SELECT number, stage, name, key, ref, hit, seconds FROM task WHERE run=? ORDER BY number",
            (run_id,),
        ).fetchall()
        return tuple(
            Task(stage=s, name=n, key=k, ref=r, hit=bool(h), seconds=t, inputs=edges.get(i, {}))
            for i, s, n, k, r, h, t in rows
        )

    def freeze(self, strategy: str, version: str, code: str) -> None:
        """Bind a name and version to code, once and for all.

        Raises
        ------
        ConfigError
            If they are bound to other code.
        """
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO version VALUES (?, ?, ?)", (strategy, version, code))
            found = self.frozen(strategy, version)
        if found != code:
            raise ConfigError(
                f"{strategy} {version} ran live with other code ({str(found)[:12]}, now {code[:12]}); "
                "give the changed strategy another version"
            )

    def frozen(self, strategy: str, version: str) -> str | None:
        """Return the code that a name and version are bound to, None if to none."""
        row = self._db.execute(
            "SELECT code FROM version WHERE strategy=? AND version=?", (strategy, version)
        ).fetchone()
        return None if row is None else str(row[0])

    def _end(self, run_id: str, status: Status, key: str, error: str) -> None:
        self._db.execute(
            "UPDATE run SET status=?, ended_at=?, key=?, error=? WHERE id=?",
            (status, time.time(), key, error, run_id),
        )

    def _rows(self, where: str, values: tuple[Any, ...], order: str = "ORDER BY started_at") -> list[RunRow]:
        names = "id, strategy, version, mode, status, worker, started_at, ended_at, document, key, error"
        rows = self._db.execute(f"SELECT {names} FROM run {where} {order}", values).fetchall()
        fields = names.split(", ")
        out = []
        for row in rows:
            values_ = dict(zip(fields, row, strict=True))
            values_["document"] = json.loads(values_["document"])
            out.append(RunRow(**values_))
        return out


def _is_gone(text: str) -> bool:
    worker = Worker.parse(text)
    return worker is None or worker.is_gone()
