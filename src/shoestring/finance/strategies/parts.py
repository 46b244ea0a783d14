"""The parts that a strategy can be put together from: data, features, a model, an allocator, execution."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from shoestring.finance.market.view import DataView
from shoestring.finance.strategies.context import Context, State

if TYPE_CHECKING:
    import pandas as pd

    from shoestring.finance.backtest.engine import Backtest
    from shoestring.finance.market.panel import PricePanel

__all__ = ["Allocator", "DataSource", "Execution", "FeatureSet", "Model"]


class DataSource(Protocol):
    """Where prices come from."""

    def load(self, universe: Sequence[str] | None, start: Any, end: Any) -> "PricePanel":
        """Return the panel from `start` to `end`, both included; None means what there is."""
        ...


class FeatureSet(Protocol):
    """Columns for a model, for all dates at once."""

    def transform(self, ctx: Context, data: DataView) -> Mapping[str, "pd.DataFrame"]:
        """Return frames [T, N] by column; row t depends on nothing after t."""
        ...


class Model(Protocol):
    """Learns scores from features."""

    def fit(self, ctx: Context, X: "pd.DataFrame", y: "pd.Series[float]") -> State:
        """Learn from rows (date, asset) x columns, without NaN, and targets."""
        ...

    def predict(self, ctx: Context, X: "pd.DataFrame") -> "pd.Series[float]":
        """Return a score an asset for rows asset x columns; `ctx.state` is what `fit` returned."""
        ...


class Allocator(Protocol):
    """Turns scores into weights."""

    def allocate(self, ctx: Context, scores: "pd.Series[float]", data: DataView) -> "pd.Series[float]":
        """Return target weights by asset; `ctx.previous_weights` where they are declared."""
        ...


class Execution(Protocol):
    """Books weights against prices."""

    def simulate(self, weights: "pd.DataFrame", panel: "PricePanel") -> "Backtest":
        """Return trades, costs and the net asset value of weights (dates x assets)."""
        ...
