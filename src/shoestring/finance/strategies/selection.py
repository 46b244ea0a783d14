"""From scores to weights in one line: ``top_k(scores, 5).equal_weight()``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shoestring.core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Selection", "bottom_k", "top_k"]


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Chosen assets with their scores, best first."""

    scores: "pd.Series[float]"

    def equal_weight(self, gross: float = 1.0) -> "pd.Series[float]":
        """Give every chosen asset the same weight; they sum to `gross` (nothing chosen: all cash)."""
        return (self.scores * 0.0).fillna(0.0) + gross / max(len(self.scores), 1)  # a score may be infinite

    def score_weight(self, gross: float = 1.0) -> "pd.Series[float]":
        """Give weights in proportion to the scores above the lowest chosen one; equal when all tie."""
        above = self.scores - self.scores.min()
        total = float(above.sum())
        return above * (gross / total) if total > 0 else self.equal_weight(gross)

    def inverse_weight(self, risk: "pd.Series[float]", gross: float = 1.0) -> "pd.Series[float]":
        """Give weights in proportion to one over `risk`, e.g. a volatility; without a positive risk none."""
        inverse = 1.0 / risk.reindex(self.scores.index).where(lambda r: r > 0)
        total = float(inverse.sum())
        return inverse.fillna(0.0) * (gross / total) if total > 0 else self.equal_weight(gross)


def top_k(scores: "pd.Series[float]", k: int) -> Selection:
    """Choose the `k` best scores; NaN is never chosen, ties go by the order of the index.

    Parameters
    ----------
    scores : Series
        One score an asset.
    k : int
        How many; fewer are chosen where fewer have a score.

    Raises
    ------
    ConfigError
        If `k` is below 1.
    """
    if k < 1:
        raise ConfigError(f"top_k: k={k} chooses nothing; give at least 1")
    return Selection(scores.dropna().sort_values(ascending=False, kind="stable").iloc[:k])


def bottom_k(scores: "pd.Series[float]", k: int) -> Selection:
    """Choose the `k` lowest scores, as `top_k` of the negated scores; for the short side."""
    return top_k(-scores, k)
