"""Synthetic markets with planted truth; nothing here is real."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed
from shoestring.finance.market.panel import PricePanel

__all__ = ["COMPONENTS", "WeakSignals", "WeakSignalsConfig", "gbm_panel", "weak_signals"]

F = NDArray[np.float64]

COMPONENTS = ("reversal_1", "reversal_5", "momentum_20", "volatility", "weekday", "pair_spread")
"""The predictable components of `weak_signals`, in the order of their columns."""
_BURN_IN = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class WeakSignalsConfig:
    """Size and strength of the market of `weak_signals`."""

    companies: int = 300
    """Companies; an even number, because they come in pairs."""
    days: int = 2500
    """Trading days."""
    ic: float = 0.02
    """Cross-sectional correlation of each component, given the others, with the next day's return, averaged
    over all days."""
    active: float = 0.5
    """Share of the days on which a component works; while it does, its correlation is ic / active."""
    regime_days: float = 125.0
    """Mean length of a time during which a component works, in days."""
    volatility: float = 0.02
    """Median daily standard deviation of a company's own return."""
    market_volatility: float = 0.01
    """Daily standard deviation of the return that all companies share."""
    start: str = "2000-01-03"
    """First date."""

    def __post_init__(self) -> None:
        if self.companies < 4 or self.companies % 2:
            raise ConfigError(f"companies={self.companies} must be even and at least 4: they come in pairs")
        if self.days < 2:
            raise ConfigError(f"days={self.days} gives no return; give 2 or more")
        if not 0 < self.active <= 1:
            raise ConfigError(f"active={self.active} is no share of days; give a number in (0, 1]")
        if not 0 <= self.ic / self.active <= 0.4:
            raise ConfigError(
                f"ic={self.ic} at active={self.active} is {self.ic / self.active:.3g} while it works; six "
                "components leave no noise above 0.4. Give a smaller ic or a larger active"
            )
        if self.regime_days < 1 or not self.volatility > 0 or self.market_volatility < 0:
            raise ConfigError(
                f"regime_days={self.regime_days}, volatility={self.volatility}, market_volatility="
                f"{self.market_volatility}: give at least 1 day, a positive and a non-negative number"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class WeakSignals:
    """A synthetic market and what was planted in it.

    Attributes
    ----------
    panel : PricePanel
        Closing prices, [T, N].
    signals : mapping of str to DataFrame
        A component's score of every company at every close, [T, N]; mean 0, standard deviation 1 a date.
    active : DataFrame of bool, [T, 6]
        Whether a component works for the return from a date's close to the next.
    expected : DataFrame, [T, N]
        The predictable part of the return from a date's close to the next.
    """

    panel: PricePanel
    signals: Mapping[str, pd.DataFrame]
    active: pd.DataFrame
    expected: pd.DataFrame


def weak_signals(config: WeakSignalsConfig | None = None, *, seed: int = 0) -> WeakSignals:
    """Generate a cross-section of companies whose returns hold six weak, regime-switching components.

    The log return of company i from t to t + 1 is a market return plus

        s_i (sum_j on_j(t) c z_ij(t) + sqrt(1 - c^2 sum_j on_j(t)) e_i),    c = ic / active,

    where z_j are scores of past prices, standardised over the companies of a date: minus the last return
    (``reversal_1``), minus the four before it (``reversal_5``), those before them up to 20 closes back
    (``momentum_20``; the three share no return, so that they are independent), minus the standard deviation
    of 19 returns (``volatility``), a loading of the company on the weekday (``weekday``), minus the deviation
    of a pair's spread from its mean of 60 days (``pair_spread``). on_j are independent two-state Markov
    chains.

    Parameters
    ----------
    config : WeakSignalsConfig or None
        Size and strength; None takes the defaults, the market on which MAPS is verified here.
    seed : int
        Same seed, same market.

    Returns
    -------
    WeakSignals

    Notes
    -----
    Built for the cross-sectional experiment of MAPS (arXiv 2007.05402), whose data are licensed; the
    components are ours. A window of one company's own prices shows three of them (both reversals and the
    momentum); volatility needs the window's scale, the others the date or the partner.
    """
    config = config or WeakSignalsConfig()
    rng = np.random.default_rng(derive_seed(seed, "weak signals"))
    days, num = config.days + _BURN_IN, config.companies
    dates = pd.bdate_range(config.start, periods=config.days, name="date")
    weekday = np.concatenate([np.arange(-_BURN_IN, 0) % 5, dates.day_of_week])
    own = config.volatility * np.exp(0.3 * rng.standard_normal(num))
    market = 0.0002 + config.market_volatility * rng.standard_normal(days)
    noise = rng.standard_normal((days, num))
    loadings = rng.standard_normal((5, num))
    on = _regimes(rng, days, config)
    strength = config.ic / config.active

    returns, log_price = np.zeros((days, num)), np.zeros((days, num))
    scores = np.zeros((len(COMPONENTS), days, num))
    expected = np.zeros((days, num))
    # Prices feed the scores that move the next prices, so the days follow one another.
    for t in range(days):
        if t:
            returns[t] = market[t] + expected[t - 1] + own * noise[t] * _left(on[t - 1], strength)
            log_price[t] = log_price[t - 1] + returns[t]
        scores[:, t] = _scores(returns[: t + 1], log_price[: t + 1], loadings[weekday[t]])
        expected[t] = own * strength * (on[t] @ scores[:, t])

    names = [f"C{i:03d}" for i in range(num)]

    def frame(values: F) -> pd.DataFrame:
        return pd.DataFrame(values[_BURN_IN:], index=dates, columns=names)

    start_price = 20.0 + 80.0 * rng.random(num)
    return WeakSignals(
        panel=PricePanel.from_frame(frame(start_price * np.exp(log_price - log_price[_BURN_IN]))),
        signals={name: frame(scores[j]) for j, name in enumerate(COMPONENTS)},
        active=pd.DataFrame(on[_BURN_IN:].astype(bool), index=dates, columns=list(COMPONENTS)),
        expected=frame(expected),
    )


def _left(on: F, strength: float) -> float:
    """Share of noise in a return, so that its variance does not depend on the regimes."""
    return float(np.sqrt(1.0 - strength**2 * on.sum()))


def _regimes(rng: np.random.Generator, days: int, config: WeakSignalsConfig) -> F:
    """Draw on/off states, [days, 6], of which the share `active` is on."""
    num = len(COMPONENTS)
    if config.active == 1:
        return np.ones((days, num))
    off_days = config.regime_days * (1 - config.active) / config.active
    leave = np.array([1 / max(off_days, 1.0), 1 / config.regime_days])  # from off, from on
    state = (rng.random(num) < config.active).astype(np.intp)
    draws = rng.random((days, num))
    states = np.empty((days, num))
    for t in range(days):  # a Markov chain
        states[t] = state
        state = np.where(draws[t] < leave[state], 1 - state, state)
    return states


def _scores(returns: F, log_price: F, loading: F) -> F:
    """Score companies at the last row, [6, N]."""
    last20 = returns[-19:]
    spread = log_price[-60:, 0::2] - log_price[-60:, 1::2]
    gap = spread.mean(axis=0) - spread[-1]
    pair = np.stack([gap, -gap], axis=1).ravel()
    raw = np.stack(
        [
            -returns[-1],
            -returns[-5:-1].sum(axis=0),
            last20[:-5].sum(axis=0),
            -last20.std(axis=0),
            loading,
            pair,
        ]
    )
    centred = raw - raw.mean(axis=1, keepdims=True)
    scale = centred.std(axis=1, keepdims=True)
    scores: F = centred / np.where(scale > 0, scale, 1.0)
    return scores


def gbm_panel(
    assets: int,
    days: int,
    *,
    seed: int = 0,
    drift: float = 0.06,
    volatility: float = 0.2,
    late: float = 0.0,
    delisted: float = 0.0,
    gaps: float = 0.0,
) -> PricePanel:
    """Generate independent geometric Brownian motions, with the holes that real panels have.

    Parameters
    ----------
    assets, days : int
        N and T; weekdays from 2000-01-03.
    seed : int
        Same seed, same panel.
    drift, volatility : float
        Of log returns, a year of 252 days.
    late, delisted : float
        Shares of the assets that are listed only after the first date, and that end before the last.
    gaps : float
        Probability that a price in between is missing.
    """
    if assets < 1 or days < 1:
        raise ConfigError(f"assets={assets}, days={days}: give at least one of each")
    for name, share in (("late", late), ("delisted", delisted), ("gaps", gaps)):
        if not 0 <= share < 1:
            raise ConfigError(f"{name}={share} is no share; give a number in [0, 1)")
    rng = np.random.default_rng(derive_seed(seed, "gbm"))
    steps = rng.normal(drift / 252, volatility / 252**0.5, (days, assets))
    prices = rng.uniform(10, 200, assets) * np.exp(np.cumsum(steps, axis=0))
    rows = np.arange(days)[:, None]
    first = np.where(rng.random(assets) < late, rng.integers(0, max(1, days // 2), assets), 0)
    last = np.where(rng.random(assets) < delisted, rng.integers(days // 2, days, assets), days - 1)
    missing = rng.random((days, assets)) < gaps
    missing &= (rows > first) & (rows < last)
    prices[(rows < first) | (rows > last) | missing] = np.nan
    dates = pd.bdate_range("2000-01-03", periods=days, name="date")
    width = len(str(assets - 1))
    return PricePanel.from_frame(
        pd.DataFrame(prices, index=dates, columns=[f"A{i:0{width}d}" for i in range(assets)])
    )
