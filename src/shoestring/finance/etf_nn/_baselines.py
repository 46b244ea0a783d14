"""Scores of ETFs from prices alone, and the choice of a setting by the held-out dates, one way for all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from shoestring.finance.etf_nn._models import StatementModel, StatementNet, StatementRegressor
from shoestring.finance.etf_nn._walk import fitted_at, walk_forward
from shoestring.finance.etf_nn.config import TrainingConfig
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import FeatureConfig, FeaturePanel

__all__ = ["LR_GRID", "boosting_grid", "low_volatility", "momentum", "net_grid", "ridge_grid", "tuned_scores"]

LR_GRID = (1e-3, 3e-3, 1e-2)
ALPHA_GRID = (1e1, 1e3, 1e5)
BOOSTING_GRID = (0.01, 0.03, 0.1)
YEAR, MONTH = 252, 21


def tuned_scores(
    grid: Sequence[StatementModel],
    panel: FeaturePanel,
    prices: PricePanel,
    refits: pd.DatetimeIndex,
    when: pd.DatetimeIndex,
    *,
    folder: Path | None = None,
) -> tuple[pd.DataFrame, int]:
    """Choose the setting with the best held-out correlation at the first fit, then walk forward with it.

    The held-out dates are the last training dates before the first fit, so nothing that is tested chooses.

    Returns
    -------
    tuple
        Scores [D, N] and the number of the setting chosen.
    """
    best = 0
    if len(grid) > 1:
        found = [fitted_at(m, panel, prices, refits[0], folder).holdout_ic_ for m in grid]
        best = int(np.argmax(found))
    return walk_forward(grid[best], panel, prices, refits, when, folder=folder), best


def net_grid(base: StatementNet, lrs: Sequence[float] = LR_GRID) -> list[StatementModel]:
    """Return the network with each learning rate."""
    from dataclasses import replace

    from sklearn.base import clone

    return [clone(base).set_params(training=replace(base.training, lr=lr)) for lr in lrs]


def ridge_grid(features: FeatureConfig, training: TrainingConfig) -> list[StatementModel]:
    """Return ridge regressions on the same features, one a penalty."""
    from sklearn.linear_model import Ridge

    return [StatementRegressor(Ridge(alpha=a), features=features, training=training) for a in ALPHA_GRID]


def boosting_grid(features: FeatureConfig, training: TrainingConfig, seed: int) -> list[StatementModel]:
    """Return gradient boosting on the same features, one a learning rate."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return [
        StatementRegressor(
            HistGradientBoostingRegressor(
                learning_rate=lr, max_iter=100, max_leaf_nodes=8, min_samples_leaf=100, random_state=seed
            ),
            features=features,
            training=training,
        )
        for lr in BOOSTING_GRID
    ]


def momentum(prices: PricePanel, etfs: Sequence[str], when: pd.DatetimeIndex) -> pd.DataFrame:
    """Return 12-1 momentum of each ETF, [D, E]; NaN without a year of prices of its own."""
    close = prices.close[list(etfs)]
    return (close.shift(MONTH) / close.shift(YEAR) - 1).loc[when]


def low_volatility(prices: PricePanel, etfs: Sequence[str], when: pd.DatetimeIndex) -> pd.DataFrame:
    """Return minus the deviation of daily returns over a year, [D, E]; NaN without a quarter of prices."""
    change = prices.close[list(etfs)].pct_change(fill_method=None)
    return -change.rolling(YEAR, min_periods=YEAR // 4).std().loc[when]
