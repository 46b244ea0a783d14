"""Allocators by name: scores of assets to target weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.interface import Context, DataView, top_k

__all__ = ["ALLOCATORS", "LongShort", "TopK"]


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Hold the `k` best assets."""

    long_only: ClassVar[bool] = True

    k: int = 5
    """How many; fewer where fewer have a score."""
    weighting: Literal["equal", "score", "inverse_volatility"] = "equal"
    """How the chosen share the money."""
    lookback: int = 63
    """Returns from which the volatility is estimated, in sessions."""
    max_weight: float = 1.0
    """Largest weight of one asset; what exceeds it stays in cash."""

    def __post_init__(self) -> None:
        if self.k < 1 or self.lookback < 2 or not 0 < self.max_weight <= 1:
            raise ConfigError(
                f"allocator top_k: k={self.k}, lookback={self.lookback}, max_weight={self.max_weight}; give "
                "k of at least 1, lookback of at least 2, max_weight in (0, 1]"
            )

    def allocate(self, ctx: Context, scores: "pd.Series[float]", data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # protocol
        """Return weights that sum to at most 1."""
        chosen = top_k(scores, self.k)
        if self.weighting == "equal":
            weights = chosen.equal_weight()
        elif self.weighting == "score":
            weights = chosen.score_weight()
        else:
            weights = chosen.inverse_weight(data.returns(self.lookback).std())
        return weights.clip(upper=self.max_weight)


@dataclass(frozen=True, kw_only=True)
class LongShort:
    """Hold the best share of assets and be short of the worst, market neutral."""

    long_only: ClassVar[bool] = False

    share: float = 0.2
    """Share of the scored assets on each side."""
    gross: float = 1.0
    """Sum of absolute weights."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5 or not 0 < self.gross <= 1:
            raise ConfigError(
                f"allocator long_short: share={self.share}, gross={self.gross}; give (0, 0.5] and (0, 1]"
            )

    def allocate(self, ctx: Context, scores: "pd.Series[float]", data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # protocol
        """Return weights that sum to 0; all cash where fewer than two assets have a score."""
        scored = scores.dropna()
        k = int(np.ceil(self.share * len(scored)))
        if len(scored) < 2 * max(k, 1):
            return scored * 0.0
        order = scored.sort_values(ascending=False, kind="stable")
        weights = order * 0.0
        weights.iloc[:k] = self.gross / (2 * k)
        weights.iloc[-k:] = -self.gross / (2 * k)
        return weights


ALLOCATORS: Mapping[str, type[Any]] = {"long_short": LongShort, "top_k": TopK}
"""Allocators by the name that YAML files use."""
