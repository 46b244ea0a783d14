"""Results inside `on_rebalance` that other runs may use: one table of dates by assets a stage and fold."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from shoestring.finance.records.code_digest import code_digest
from shoestring.finance.records.store import Cached, Store, task_document

__all__ = ["StageTables"]


class StageTables:
    """The stages of one fold: read at the first question, written when the fold is done.

    Parameters
    ----------
    store : Store
        Where they are kept.
    dates : DatetimeIndex
        Dates of the fold.
    inputs : mapping
        Digests of everything that the fold can see, and of the state.
    seed : int
        Seed of the run.
    """

    def __init__(self, store: Store, dates: pd.DatetimeIndex, inputs: Mapping[str, str], seed: int) -> None:
        self._store = store
        self._dates = dates
        self._inputs = dict(inputs)
        self._seed = seed
        self._rows: dict[str, dict[pd.Timestamp, pd.Series[float]]] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        self._done: dict[str, Cached] = {}

    def get(self, stage: str, part: Any, date: pd.Timestamp) -> "pd.Series[float] | None":
        """Return what a stage gave at a date, None if it did not run there."""
        if stage not in self._rows:
            self._open(stage, part)
        return self._rows[stage].get(date)

    def put(self, stage: str, part: Any, date: pd.Timestamp, value: "pd.Series[float]") -> None:
        """Keep what a stage gave at a date."""
        if stage not in self._rows:
            self._open(stage, part)
        self._rows[stage][date] = value

    def save(self) -> None:
        """Write the tables that are new."""
        for stage, rows in self._rows.items():
            if stage not in self._done and rows:
                self._done[stage] = self._store.keep(self._documents[stage], pd.DataFrame(rows).T)

    def refs(self) -> dict[str, str]:
        """Return the refs of the tables by stage."""
        return {stage: cached.ref for stage, cached in self._done.items()}

    def tasks(self) -> list[dict[str, Any]]:
        """Return the stages as the fields of tasks."""
        span = f"{self._dates[0].date()}..{self._dates[-1].date()}"
        return [
            {
                "stage": stage,
                "name": f"{stage} {span}",
                "key": cached.key,
                "ref": cached.ref,
                "hit": cached.hit,
                "seconds": cached.seconds,
                "inputs": self._inputs,
            }
            for stage, cached in self._done.items()
        ]

    def _open(self, stage: str, part: Any) -> None:
        params = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}  # a model has no parts
        document = task_document(
            stage,
            code=code_digest(part),
            params={"part": params, "dates": [d.date().isoformat() for d in self._dates]},
            inputs=self._inputs,
            seed=self._seed,
        )
        self._documents[stage] = document
        self._rows[stage] = {}
        found = self._store.find(document)
        if found is not None:
            table = self._store.get(found.ref)
            self._rows[stage] = {pd.Timestamp(d): row for d, row in table.iterrows()}
            self._done[stage] = found
