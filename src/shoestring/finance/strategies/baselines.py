"""Baselines that every strategy is compared with, as functions of past prices and as strategies.

The functions take closing prices up to now, [L, N], and return weights by asset that sum to 1, or to 0 where
no asset has the history that is needed. The strategies call them on the window that they ask for.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.finance.strategies.interface import Context, DataView, Strategy, strategy
from shoestring.finance.strategies.selection import top_k

__all__ = [
    "BuyAndHold",
    "EqualWeight",
    "MeanVariance",
    "Momentum",
    "Reversal",
    "RiskParity",
    "buy_and_hold",
    "equal_weight",
    "inverse_volatility",
    "mean_variance",
    "momentum",
    "momentum_scores",
    "reversal",
    "reversal_scores",
    "risk_parity",
]


def equal_weight(prices: pd.DataFrame) -> "pd.Series[float]":
    """Return the same weight for every asset that has a price now."""
    listed = prices.iloc[-1].notna().astype(float)
    return listed / max(float(listed.sum()), 1.0)


def buy_and_hold(prices: pd.DataFrame) -> "pd.Series[float]":
    """Return the weights now of equal amounts bought at the first row and held since.

    Assets without a price at the first row are not bought; what is delisted goes into the others.
    """
    grown = (prices.iloc[-1] / prices.iloc[0]).fillna(0.0)
    total = float(grown.sum())
    return grown / total if total > 0 else grown


def momentum_scores(prices: pd.DataFrame, *, lookback: int = 252, skip: int = 21) -> pd.DataFrame:
    """Return the return from `lookback` to `skip` rows ago on every date, [T, N]; "12-1" by default.

    References
    ----------
    Jegadeesh and Titman (1993), Returns to buying winners and selling losers, Journal of Finance 48.
    """
    if not 0 <= skip < lookback:
        raise ConfigError(f"skip={skip} must lie in 0..lookback - 1 = {lookback - 1}")
    return prices.shift(skip) / prices.shift(lookback) - 1.0


def reversal_scores(prices: pd.DataFrame, *, days: int = 5) -> pd.DataFrame:
    """Return minus the return of the last `days` rows on every date, [T, N].

    References
    ----------
    Lehmann (1990), Fads, martingales, and market efficiency, Quarterly Journal of Economics 105.
    """
    if days < 1:
        raise ConfigError(f"days={days} is no return; give 1 or more")
    return 1.0 - prices / prices.shift(days)


def momentum(
    prices: pd.DataFrame, *, lookback: int = 252, skip: int = 21, share: float = 0.2
) -> "pd.Series[float]":
    """Hold the `share` of assets with the best `momentum_scores` at the last row, equally weighted."""
    return _best(momentum_scores(prices, lookback=lookback, skip=skip).iloc[-1], prices, share)


def reversal(prices: pd.DataFrame, *, days: int = 5, share: float = 0.2) -> "pd.Series[float]":
    """Hold the `share` of assets that fell most over `days` rows, equally weighted."""
    return _best(reversal_scores(prices, days=days).iloc[-1], prices, share)


def inverse_volatility(prices: pd.DataFrame) -> "pd.Series[float]":
    """Weight assets by one over the standard deviation of their returns; needs every price of the window."""
    return _over_complete(prices, _inverse_volatility)


def risk_parity(prices: pd.DataFrame) -> "pd.Series[float]":
    """Weight assets so that each adds the same share of the variance (skfolio's `RiskBudgeting`).

    Needs every price of the window; the covariance is Ledoit and Wolf's.

    References
    ----------
    Maillard, Roncalli and Teiletche (2010), The properties of equally weighted risk contribution portfolios.
    """

    def weigh(returns: pd.DataFrame) -> "pd.Series[float]":
        optimization = optional("skfolio.optimization", "finance")
        model = optimization.RiskBudgeting(prior_estimator=_prior()).fit(returns)
        return pd.Series(model.weights_, index=returns.columns)

    return _over_complete(prices, weigh)


def mean_variance(prices: pd.DataFrame, *, risk_aversion: float = 1.0) -> "pd.Series[float]":
    """Maximise mean - risk_aversion * variance of daily returns, long only (skfolio's `MeanRisk`).

    Needs every price of the window; the covariance is Ledoit and Wolf's, the means are James and Stein's.

    Parameters
    ----------
    prices : DataFrame, [L, N]
        Closing prices.
    risk_aversion : float
        0 or more; large values give the portfolio of minimum variance.

    References
    ----------
    Markowitz (1952), Portfolio selection, Journal of Finance 7.
    """
    if risk_aversion < 0:
        raise ConfigError(f"risk_aversion={risk_aversion} would seek risk; give 0 or more")

    def weigh(returns: pd.DataFrame) -> "pd.Series[float]":
        optimization = optional("skfolio.optimization", "finance")
        model = optimization.MeanRisk(
            objective_function=optimization.ObjectiveFunction.MAXIMIZE_UTILITY,
            risk_aversion=risk_aversion,
            prior_estimator=_prior(),
        ).fit(returns)
        return pd.Series(model.weights_, index=returns.columns)

    return _over_complete(prices, weigh)


@strategy(name="equal_weight", version="1.0", schedule="BMS 06:00 America/New_York")
class EqualWeight(Strategy):
    """The same weight for every asset, once a month."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Weight what has a price."""
        return equal_weight(data.prices(lookback=1))


@strategy(name="buy_and_hold", version="1.0", schedule="BMS 06:00 America/New_York")
class BuyAndHold(Strategy):
    """Equal amounts of all assets bought at the first date of the data: the market of the panel."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Weight as prices have drifted; nothing is traded after the first date."""
        return buy_and_hold(data.prices())


@strategy(name="momentum", version="1.0", schedule="BMS 06:00 America/New_York")
class Momentum(Strategy):
    """12-1 momentum: the best assets of the last year, without its last month."""

    lookback: int = 252
    """Start of the return, in sessions ago."""
    skip: int = 21
    """End of the return, in sessions ago."""
    share: float = 0.2
    """Share of the assets that is held, in (0, 1]."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Hold the winners, equally weighted."""
        prices = data.prices(lookback=self.lookback + 1)
        return momentum(prices, lookback=self.lookback, skip=self.skip, share=self.share)


@strategy(name="reversal", version="1.0", schedule="W 06:00 America/New_York")
class Reversal(Strategy):
    """Five-day reversal: the worst assets of the last week, once a week."""

    days: int = 5
    """Length of the return, in sessions."""
    share: float = 0.2
    """Share of the assets that is held, in (0, 1]."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Hold the losers, equally weighted."""
        return reversal(data.prices(lookback=self.days + 1), days=self.days, share=self.share)


@strategy(name="risk_parity", version="1.0", schedule="BMS 06:00 America/New_York")
class RiskParity(Strategy):
    """The same share of risk from every asset."""

    lookback: int = 252
    """Returns that the risk is estimated from, in sessions."""
    method: Literal["inverse_volatility", "equal_contribution"] = "equal_contribution"
    """"inverse_volatility" leaves out correlations."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Balance the risk of the last `lookback` returns."""
        prices = data.prices(lookback=self.lookback + 1)
        return inverse_volatility(prices) if self.method == "inverse_volatility" else risk_parity(prices)


@strategy(name="mean_variance", version="1.0", schedule="BMS 06:00 America/New_York")
class MeanVariance(Strategy):
    """Markowitz' portfolio with shrunk moments, long only."""

    lookback: int = 252
    """Returns that the moments are estimated from, in sessions."""
    risk_aversion: float = 5.0
    """Variance is weighted by this against the mean, both daily."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Optimise over the last `lookback` returns."""
        return mean_variance(data.prices(lookback=self.lookback + 1), risk_aversion=self.risk_aversion)


def _best(scores: "pd.Series[float]", prices: pd.DataFrame, share: float) -> "pd.Series[float]":
    if not 0 < share <= 1:
        raise ConfigError(f"share={share} is no share of the assets; give a number in (0, 1]")
    scores = scores[prices.iloc[-1].notna()].dropna()
    chosen = top_k(scores, max(1, round(share * len(scores)))).equal_weight()
    return chosen.reindex(prices.columns, fill_value=0.0)


def _over_complete(
    prices: pd.DataFrame, weigh: "Callable[[pd.DataFrame], pd.Series[float]]"
) -> "pd.Series[float]":
    """Weigh the assets that have every price of the window and moved in it; the others get 0."""
    complete = prices.loc[:, prices.notna().all()]
    # One layout in memory, whatever it was cut from: a solver turns another order of sums into other digits.
    values = np.ascontiguousarray(complete.to_numpy())
    returns = pd.DataFrame(values[1:] / values[:-1] - 1.0, complete.index[1:], complete.columns)
    moving = returns.loc[:, returns.std() > 0]
    if moving.shape[1] == 0:
        return pd.Series(0.0, index=prices.columns)
    weights = weigh(moving) if moving.shape[1] > 1 else pd.Series(1.0, index=moving.columns)
    weights = weights.clip(lower=0.0)  # a solver's -1e-12
    return (weights / weights.sum()).reindex(prices.columns, fill_value=0.0)


def _inverse_volatility(returns: pd.DataFrame) -> "pd.Series[float]":
    return 1.0 / returns.std()


def _prior() -> object:
    """Shrunk means and covariance."""
    moments = optional("skfolio.moments", "finance")
    prior = optional("skfolio.prior", "finance")
    made: object = prior.EmpiricalPrior(
        mu_estimator=moments.ShrunkMu(), covariance_estimator=moments.LedoitWolf()
    )
    return made
