"""Models by name: features of assets to scores; what they learn is arrays and JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.strategies.interface import Context, NotEnoughHistoryError, State
from shoestring.finance.strategies.suggest import suggest

__all__ = ["MODELS", "Ridge", "WeightedSum"]


@dataclass(frozen=True, kw_only=True)
class WeightedSum:
    """A fixed weighted sum of features; nothing is learned."""

    learns: ClassVar[bool] = False

    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each feature; all 1 when empty."""

    def fit(self, ctx: Context, X: pd.DataFrame, y: "pd.Series[float]") -> State:  # noqa: ARG002  # protocol
        """Learn nothing."""
        return {}

    def predict(self, ctx: Context, X: pd.DataFrame) -> "pd.Series[float]":  # noqa: ARG002  # protocol
        """Return the sum; NaN where a feature with a weight is NaN."""
        unknown = set(self.weights) - set(X.columns)
        if unknown:
            name = sorted(unknown)[0]
            raise ConfigError(f"model weight {name!r} names no feature; {suggest(name, X.columns)}")
        weights = self.weights or dict.fromkeys(X.columns, 1.0)
        return sum((X[n] * w for n, w in weights.items()), pd.Series(0.0, index=X.index))


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Linear regression with a squared penalty, refitted on the schedule of the strategy."""

    learns: ClassVar[bool] = True

    alpha: float = 1.0
    """Penalty per row: the normal matrix gets ``alpha * rows / 1000`` on its diagonal."""

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise ConfigError(f"model ridge: alpha={self.alpha} must not be negative; 0 is least squares")

    def fit(self, ctx: Context, X: pd.DataFrame, y: "pd.Series[float]") -> State:
        """Solve the normal equations of centred features and labels."""
        if len(X) <= X.shape[1]:
            raise NotEnoughHistoryError(
                f"ridge at {ctx.as_of.date()}: {len(X)} rows for {X.shape[1]} features; give longer data"
            )
        values, labels = X.to_numpy(np.float64), y.to_numpy(np.float64)
        mean, level = values.mean(axis=0), float(labels.mean())
        centred = values - mean
        normal = centred.T @ centred + np.eye(X.shape[1]) * (self.alpha * len(X) / 1000.0)
        coefficients = np.linalg.lstsq(normal, centred.T @ (labels - level), rcond=None)[0]
        return {"coefficients": coefficients, "mean": mean, "level": level, "columns": list(X.columns)}

    def predict(self, ctx: Context, X: pd.DataFrame) -> "pd.Series[float]":
        """Return the fitted value; NaN where a feature is NaN."""
        state = ctx.state
        if not state or list(X.columns) != state["columns"]:
            raise DataError(
                f"ridge at {ctx.as_of.date()} was fitted on {state and state['columns']}, not on "
                f"{list(X.columns)}; run it again with these features"
            )
        # A sum by columns, not a matrix product: whose last bit may differ with the number of rows.
        score = pd.Series(float(state["level"]), index=X.index)
        for name, mean, weight in zip(X.columns, state["mean"], state["coefficients"], strict=True):
            score = score + (X[name] - mean) * weight
        return score


MODELS: Mapping[str, type[Any]] = {"ridge": Ridge, "weighted_sum": WeightedSum}
"""Models by the name that YAML files use."""
