"""Options of a run, checked."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shoestring.core.errors import ConfigError
from shoestring.finance.backtest.costs import Costs

__all__ = ["CheckConfig", "RunConfig", "SweepConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What decides a backtest besides the strategy and the data."""

    start: str = ""
    """First date of decisions and of the net asset value; a year means its first day; empty: the panel's."""
    end: str = ""
    """Last date, included; a year means its last day; empty: the panel's."""
    costs: Costs = field(default_factory=Costs)
    """Costs of trading."""
    lag: int = 0
    """Sessions between a decision and its trade; 0 trades at the close of the decision."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        if self.lag < 0 or self.seed < 0:
            raise ConfigError(f"lag={self.lag}, seed={self.seed}; neither may be negative")
        for name, edge in (("start", "01-01"), ("end", "12-31")):
            text = str(getattr(self, name))
            day = f"{text}-{edge}" if len(text) == 4 else text
            object.__setattr__(self, name, _day(day).isoformat() if day else "")
        first, last = self.start, self.end
        if first and last and first > last:
            raise ConfigError(f"start={self.start} lies after end={self.end}; swap them")


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """Many backtests of one strategy: every combination of the values."""

    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values by parameter."""
    jobs: int = 1
    """Processes; 1 runs in this one."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ConfigError(f"jobs={self.jobs}; give at least 1")
        empty = [name for name, values in self.grid.items() if not values]
        if empty:
            raise ConfigError(f"grid.{empty[0]} has no values; give at least one")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckConfig:
    """How hard a strategy is tried."""

    dates: int = 8
    """Decision dates that are tried, spread over the run."""
    seed: int = 0
    """Seed of the perturbations."""

    def __post_init__(self) -> None:
        if self.dates < 1:
            raise ConfigError(f"dates={self.dates}; give at least 1")


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as e:
        raise ConfigError(f"{text!r} is no date; write YYYY-MM-DD or YYYY") from e
