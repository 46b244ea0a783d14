"""From scores of ETFs to weights: the best few, weighted in one of four ways, long only."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.optional import optional
from shoestring.finance.market.deposits.baskets import Baskets
from shoestring.finance.market.panel import PricePanel

__all__ = ["ETFPortfolio", "basket_returns"]

Weighting = Literal["equal", "softmax", "mean_variance", "risk_parity"]
MIN_RETURNS = 20  # days, for a covariance


@dataclass(frozen=True, kw_only=True, slots=True)
class ETFPortfolio:
    """How scores become weights."""

    top: int | float = 5
    """Whole number: so many ETFs; below 1: that share of the eligible ones, rounded up."""
    weighting: Weighting = "equal"
    """``equal``; ``softmax`` of the standardised scores; ``mean_variance`` with expected returns that lean on
    the scores; ``risk_parity`` with risk budgets from the softmax. The last two need returns and skfolio."""
    temperature: float = 1.0
    """Of the softmax, in standard deviations of the score; large is equal."""
    min_coverage: float = 0.7
    """ETFs with a smaller scored share of net value are not held."""
    shrink_names: float = 0.0
    """n0: scores times sqrt(neff / (neff + n0)); 0 is off."""
    risk_aversion: float = 5.0
    """Of ``mean_variance``."""
    tilt: float = 0.1
    """Of ``mean_variance``: information coefficient that turns a score into an expected return."""
    lookback: int = 252
    """Days of returns for ``mean_variance`` and ``risk_parity``."""

    def __post_init__(self) -> None:
        whole = isinstance(self.top, int) and self.top >= 1
        if not whole and not 0 < self.top < 1:
            raise ConfigError(f"top={self.top} is neither a whole number from 1 nor a share in (0, 1)")
        if self.weighting not in ("equal", "softmax", "mean_variance", "risk_parity"):
            raise ConfigError(
                f"weighting={self.weighting!r} is not known; allowed: equal, softmax, mean_variance, "
                "risk_parity"
            )
        if not (self.temperature > 0 and self.risk_aversion > 0 and self.lookback >= MIN_RETURNS):
            raise ConfigError(
                f"temperature={self.temperature} and risk_aversion={self.risk_aversion} must be above 0, "
                f"lookback={self.lookback} at least {MIN_RETURNS}"
            )
        if not 0 <= self.min_coverage <= 1 or self.shrink_names < 0 or self.tilt < 0:
            raise ConfigError(
                f"min_coverage={self.min_coverage} must lie in 0..1; shrink_names={self.shrink_names} and "
                f"tilt={self.tilt} must not be negative"
            )

    def choose(self, etf: pd.DataFrame) -> "pd.Series[float]":
        """Return the scores of the ETFs that are held, best first; equal scores in the order of names.

        Parameters
        ----------
        etf : DataFrame
            From `DepositFiles.aggregate`, indexed by ETF.
        """
        fit = etf["eligible"].astype(bool) & etf["score"].notna() & (etf["coverage"] >= self.min_coverage)
        score = etf.loc[fit, "score"].astype(float).sort_index()
        if np.isinf(score.to_numpy()).any():
            raise DataError("an ETF has an infinite score; give finite scores, NaN where there is none")
        count = self.top if self.top >= 1 else int(np.ceil(self.top * len(score)))
        return score.sort_values(ascending=False, kind="stable").iloc[: int(count)]

    def allocate(self, etf: pd.DataFrame, returns: pd.DataFrame | None = None) -> "pd.Series[float]":
        """Return weights by ETF, non-negative, summing to 1; empty (all cash) if no ETF is eligible.

        Where fewer ETFs than `top` are eligible, those there are share the whole.

        Parameters
        ----------
        etf : DataFrame
            From `DepositFiles.aggregate`, indexed by ETF.
        returns : DataFrame [T, ETFs] or None
            Daily returns, for ``mean_variance`` and ``risk_parity``; `basket_returns` gives them for ETFs
            without a history of their own.

        Raises
        ------
        DataError
            If returns are needed and missing, too short or not finite; for infinite scores.
        """
        score = self.choose(etf)
        if len(score) < 2 or self.weighting == "equal":
            return pd.Series(1.0 / max(len(score), 1), index=score.index, name="weight", dtype=float)
        share = self._softmax(score)
        if self.weighting == "softmax":
            return share
        daily = self._checked(returns, score.index)
        weigh = self._mean_variance if self.weighting == "mean_variance" else self._risk_parity
        weights = np.clip(np.asarray(weigh(daily, score, share), dtype=np.float64), 0.0, None)
        return pd.Series(weights / weights.sum(), index=score.index, name="weight")

    def _softmax(self, score: "pd.Series[float]") -> "pd.Series[float]":
        standard = _standard(score) / self.temperature
        weight = np.exp(standard - standard.max())
        return pd.Series(weight / weight.sum(), index=score.index, name="weight")

    def _checked(self, returns: pd.DataFrame | None, names: pd.Index) -> pd.DataFrame:
        if returns is None:
            raise DataError(
                f"weighting={self.weighting!r} needs daily returns; give allocate(etf, returns=...), e.g. "
                "from basket_returns"
            )
        missing = [n for n in names if n not in returns.columns]
        if missing:
            raise DataError(f"the returns have no column {missing[0]!r}; give one for each ETF")
        daily = returns[list(names)].iloc[-self.lookback :]
        if len(daily) < MIN_RETURNS or not np.isfinite(daily.to_numpy()).all():
            raise DataError(
                f"{len(daily)} days of returns, not all of them finite or fewer than {MIN_RETURNS}; use "
                "basket_returns, which has no gaps"
            )
        return daily

    def _mean_variance(self, daily: pd.DataFrame, score: "pd.Series[float]", share: Any) -> Any:
        """Maximise utility under expected returns ``tilt * deviation * standardised score``."""
        del share
        optimization = optional("skfolio.optimization", "finance")
        deviation = daily.std().to_numpy()
        expected = self.tilt * deviation * _standard(score) / np.sqrt(63)  # a quarter ahead, a day
        model = optimization.MeanRisk(
            objective_function=optimization.ObjectiveFunction.MAXIMIZE_UTILITY,
            risk_aversion=self.risk_aversion,
            prior_estimator=_prior(expected),
        )
        return model.fit(daily).weights_

    def _risk_parity(self, daily: pd.DataFrame, score: "pd.Series[float]", share: "pd.Series[float]") -> Any:
        """Let each ETF add a share of the risk that leans on its score."""
        del score
        optimization = optional("skfolio.optimization", "finance")
        model = optimization.RiskBudgeting(risk_budget=share.to_dict(), prior_estimator=_prior(None))
        return model.fit(daily).weights_


def basket_returns(baskets: Baskets, day: int, prices: PricePanel, lookback: int) -> pd.DataFrame:
    """Return what each ETF's basket of date number `day` would have returned on the days before, [T, E].

    An ETF that was listed today has a history in this sense: today's weights times its components' returns.
    Days without a price of a component count as 0 for it.

    Parameters
    ----------
    baskets : Baskets
        From `DepositFiles.baskets`.
    day : int
        Position in ``baskets.dates``.
    prices : PricePanel
        Adjusted closes; rows after the date are not looked at.
    lookback : int
        T.
    """
    window = prices.window(baskets.dates[day], lookback + 1)
    change = window.ffill().pct_change(fill_method=None).iloc[1:].fillna(0.0)
    weights = baskets.at(day)
    return pd.DataFrame((weights @ change.to_numpy().T).T, index=change.index, columns=list(baskets.etfs))


def _standard(score: "pd.Series[float]") -> Any:
    values = score.to_numpy(dtype=np.float64)
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _prior(expected: Any) -> Any:
    """Ledoit and Wolf's covariance, with given expected returns where there are some."""
    moments = optional("skfolio.moments", "finance")
    prior = optional("skfolio.prior", "finance")
    covariance = moments.LedoitWolf()
    if expected is None:
        return prior.EmpiricalPrior(covariance_estimator=covariance)

    class Given(moments.BaseMu):  # type: ignore[name-defined,misc]  # skfolio ships no types
        """Expected returns that do not come from past ones."""

        def __init__(self, mu: Any) -> None:
            self.mu = mu

        def fit(self, X: Any, y: Any = None, **_params: Any) -> "Given":
            del X, y
            self.mu_ = np.asarray(self.mu)
            return self

    return prior.EmpiricalPrior(mu_estimator=Given(expected), covariance_estimator=covariance)
