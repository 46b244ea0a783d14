"""What a run leaves behind: weights by date, and every step on the way to them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

__all__ = ["Decisions", "Task"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One step of a run as it is recorded: the edges of the lineage."""

    stage: str
    """features, fit, predict, weights, simulate, report."""
    name: str
    """Stage and dates, for people."""
    key: str
    ref: str
    hit: bool
    """True: the result was there already."""
    seconds: float
    inputs: Mapping[str, str]
    """Refs of other tasks' results, and digests of data, by name."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decisions:
    """Weights by date, and how they came about."""

    weights: pd.DataFrame
    """[K dates, N assets] target weights; dates in warm-up have no row."""
    skipped: tuple[pd.Timestamp, ...]
    """Dates for which the history was too short."""
    tasks: tuple[Task, ...]
    """Every step in the order in which it was taken; empty without a store."""
