"""The same rule in the framework: momentum less volatility, the best five."""

import pandas as pd

from shoestring.finance.strategies.interface import Context, DataView, Strategy, strategy, top_k

__all__ = ["MomLowVol"]


@strategy(name="mom_lowvol", version="1.2", schedule="BMS 06:00 America/New_York")
class MomLowVol(Strategy):
    """Momentum less volatility."""

    lookback: int = 252
    k: int = 5

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Hold the best `k`."""
        px = data.prices(lookback=self.lookback)
        score = px.iloc[-21] / px.iloc[0] - 1 - px.pct_change(fill_method=None).std() * 16
        return top_k(score, self.k).equal_weight()
