"""A finished run as its user sees it: figures, weights, and where a number comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from shoestring.core.errors import ConfigError
from shoestring.finance.records.store import Store
from shoestring.finance.running.tasks import Task
from shoestring.finance.strategies.suggest import suggest

__all__ = ["Origin", "Run"]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a result comes from: a task with its inputs, or data."""

    name: str
    """What it is."""
    ref: str
    """Digest of the content."""
    stage: str = "data"
    """Stage of the task; ``data`` for what came from outside."""
    key: str = ""
    """Digest of everything that decided it."""
    document: Mapping[str, Any] | None = None
    """Code, parameters, environment and seed of the task."""
    inputs: tuple["Origin", ...] = ()

    def lines(self, depth: int = 0) -> Iterator[str]:
        """Yield the tree as indented lines."""
        note = f" code {self.document['code'][:12]}" if self.document else ""
        seed = f" seed {self.document['seed']}" if self.document else ""
        yield f"{'  ' * depth}{self.name}  {self.ref[:12]}{note}{seed}"
        for origin in self.inputs:
            yield from origin.lines(depth + 1)

    def as_dict(self) -> dict[str, Any]:
        """Return the tree as plain values."""
        return {
            "name": self.name,
            "stage": self.stage,
            "ref": self.ref,
            "key": self.key,
            "document": dict(self.document) if self.document else None,
            "inputs": [origin.as_dict() for origin in self.inputs],
        }


@dataclass(frozen=True, kw_only=True)
class Run:
    """A backtest that was run; results are read from the store when they are asked for."""

    id: str
    strategy: str
    version: str
    document: Mapping[str, Any]
    """Parameters, options, data, code."""
    metrics: Mapping[str, float | None]
    artifacts: Mapping[str, str]
    """Refs by name."""
    tasks: tuple[Task, ...]
    store: Store

    @property
    def weights(self) -> pd.DataFrame:
        """Target weights, [K dates, N assets]."""
        frame: pd.DataFrame = self.store.get(self.artifacts["weights"])
        return frame

    @property
    def nav(self) -> "pd.Series[float]":
        """Net asset value at every close, [T]."""
        series: pd.Series[float] = self.store.get(self.artifacts["nav"])
        return series

    @property
    def hits(self) -> int:
        """How many tasks did not have to run."""
        return sum(task.hit for task in self.tasks)

    def lineage(self, name: str) -> Origin:
        """Return where a result or a figure comes from, back to the digests of data and code.

        Parameters
        ----------
        name : str
            An artifact such as ``"nav"`` or ``"weights"``, or a metric such as ``"sharpe"``.

        Raises
        ------
        ConfigError
            If the run has no such thing.
        """
        if name not in self.artifacts and name not in self.metrics:
            raise ConfigError(f"the run has no {name!r}; {suggest(name, [*self.artifacts, *self.metrics])}")
        tasks = {task.ref: task for task in self.tasks}
        if name == "weights":
            made = [t for t in self.tasks if t.stage == "weights"]
            parts = tuple(self._origin(t, tasks) for t in made)
            return Origin(name=name, ref=self.artifacts[name], stage="weights", inputs=parts)
        booked = next(t for t in self.tasks if t.stage == "simulate")
        ref = self.artifacts.get(name, booked.ref)
        value = "" if name in self.artifacts else f" = {self.metrics[name]}"
        return Origin(name=name + value, ref=ref, stage="report", inputs=(self._origin(booked, tasks),))

    def _origin(self, task: Task, tasks: Mapping[str, Task]) -> Origin:
        inputs = []
        for name, ref in task.inputs.items():
            before = tasks.get(ref)
            if name == "features":  # a digest of the rows up to a date, not of the whole result
                before = next((t for t in self.tasks if t.stage == "features"), None)
            if before is None or before is task:
                if name != "weights":  # the union of the folds, which are inputs themselves
                    inputs.append(self._data(name, ref))
            else:
                inputs.append(self._origin(before, tasks))
        return Origin(
            name=task.name,
            ref=task.ref,
            stage=task.stage,
            key=task.key,
            document=self.store.document(task.key),
            inputs=tuple(inputs),
        )

    def _data(self, name: str, digest: str) -> Origin:
        described = self.document.get("data", {}).get("name", "")
        return Origin(name=f"{name} {described}".rstrip() if name == "panel" else name, ref=digest)
