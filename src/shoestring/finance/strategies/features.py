"""Features by name: each a small dataclass, computed for all dates at once and looking back only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.interface import Context, DataView

__all__ = ["FEATURES", "Feature", "FeatureTable"]


class Feature(Protocol):
    """One column: dates x assets, row t from data up to t."""

    def compute(self, data: DataView) -> pd.DataFrame:
        """Return the values of every date of the view, [T, N] over its universe; NaN where undefined."""
        ...


def _positive(name: str, **values: int) -> None:
    for key, value in values.items():
        if value < 1:
            raise ConfigError(f"feature {name}: {key}={value} sessions; give at least 1")


@dataclass(frozen=True, kw_only=True)
class Momentum:
    """Return from `lookback` to `skip` sessions ago."""

    lookback: int = 252
    skip: int = 21

    def __post_init__(self) -> None:
        if not 0 <= self.skip < self.lookback:
            raise ConfigError(f"feature momentum: skip={self.skip} must lie in 0..{self.lookback - 1}")

    def compute(self, data: DataView) -> pd.DataFrame:
        """As `Feature.compute`."""
        close = data.prices(listed=False)
        return close.shift(self.skip) / close.shift(self.lookback) - 1.0


@dataclass(frozen=True, kw_only=True)
class Reversal:
    """Minus the return of the last `days` sessions."""

    days: int = 5

    def __post_init__(self) -> None:
        _positive("reversal", days=self.days)

    def compute(self, data: DataView) -> pd.DataFrame:
        """As `Feature.compute`."""
        close = data.prices(listed=False)
        return 1.0 - close / close.shift(self.days)


@dataclass(frozen=True, kw_only=True)
class Volatility:
    """Annualised standard deviation of daily returns over `lookback` sessions."""

    lookback: int = 63

    def __post_init__(self) -> None:
        if self.lookback < 2:
            raise ConfigError(f"feature volatility: lookback={self.lookback} sessions; give at least 2")

    def compute(self, data: DataView) -> pd.DataFrame:
        """As `Feature.compute`."""
        returns = data.prices(listed=False).pct_change(fill_method=None)
        return returns.rolling(self.lookback).std().mul(np.sqrt(252.0))


@dataclass(frozen=True, kw_only=True)
class BelowHigh:
    """Price over its highest close of the last `lookback` sessions, less 1: 0 at the high."""

    lookback: int = 252

    def __post_init__(self) -> None:
        _positive("below_high", lookback=self.lookback)

    def compute(self, data: DataView) -> pd.DataFrame:
        """As `Feature.compute`."""
        close = data.prices(listed=False)
        return close / close.rolling(self.lookback).max() - 1.0


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Price over its average of the last `lookback` sessions, less 1."""

    lookback: int = 200

    def __post_init__(self) -> None:
        _positive("trend", lookback=self.lookback)

    def compute(self, data: DataView) -> pd.DataFrame:
        """As `Feature.compute`."""
        close = data.prices(listed=False)
        return close / close.rolling(self.lookback).mean() - 1.0


@dataclass(frozen=True, kw_only=True)
class Known:
    """A value of a point-in-time table, as it was known on each date."""

    table: str
    value: str
    max_age_days: int = 400

    def compute(self, data: DataView) -> pd.DataFrame:
        """As `Feature.compute`."""
        joined = data.known(self.table).join(data.dates, self.value, max_age_days=self.max_age_days)
        made: pd.DataFrame = joined.reindex(columns=list(data.universe))
        return made


FEATURES: Mapping[str, type[Any]] = {
    "below_high": BelowHigh,
    "known": Known,
    "momentum": Momentum,
    "reversal": Reversal,
    "trend": Trend,
    "volatility": Volatility,
}
"""Features by the name that YAML files use."""


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """Several features, made comparable across assets date by date; a `FeatureSet`."""

    columns: Mapping[str, Any] = field(default_factory=dict)
    """Features by the name of their column."""
    normalise: Literal["rank", "zscore", "none"] = "rank"
    """Over the assets of one date: ranks in [-0.5, 0.5], or mean 0 and deviation 1."""

    def __post_init__(self) -> None:
        if not self.columns:
            raise ConfigError(f"features are empty; name at least one of {', '.join(FEATURES)}")

    def transform(self, ctx: Context, data: DataView) -> Mapping[str, pd.DataFrame]:  # noqa: ARG002  # protocol
        """Return the columns for all dates."""
        return {name: _normalised(f.compute(data), self.normalise) for name, f in self.columns.items()}


def _normalised(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    if how == "rank":
        count = frame.notna().sum(axis=1)
        ranks = frame.rank(axis=1, method="average")
        return ranks.sub((count + 1) / 2, axis=0).div((count - 1).where(count > 1, 1), axis=0)
    if how == "zscore":
        deviation = frame.std(axis=1)
        return frame.sub(frame.mean(axis=1), axis=0).div(deviation.where(deviation > 0, 1.0), axis=0)
    return frame
