"""Figures of merit of return series and of forecasts."""

import numpy as np
import pandas as pd

__all__ = ["DAYS", "annual_return", "annual_volatility", "max_drawdown", "sharpe", "summary"]

DAYS = 252
"""Trading days of a year."""


def annual_return(returns: "pd.Series[float]", *, periods: int = DAYS) -> float:
    """Return the geometric mean return a year."""
    total = float(np.prod(1.0 + returns.to_numpy()))
    return total ** (periods / len(returns)) - 1.0 if total > 0 else -1.0


def annual_volatility(returns: "pd.Series[float]", *, periods: int = DAYS) -> float:
    """Return the standard deviation of returns (ddof 1) a year."""
    return float(np.std(returns.to_numpy(), ddof=1) * np.sqrt(periods))


def sharpe(returns: "pd.Series[float]", *, periods: int = DAYS) -> float:
    """Return mean over standard deviation of returns, annualised; NaN for constant returns."""
    deviation = float(np.std(returns.to_numpy(), ddof=1))
    return (
        float(np.mean(returns.to_numpy()) / deviation * np.sqrt(periods)) if deviation > 0 else float("nan")
    )


def max_drawdown(returns: "pd.Series[float]") -> float:
    """Return the largest loss from an earlier high, as a share of that high (positive)."""
    nav = np.concatenate([[1.0], np.cumprod(1.0 + returns.to_numpy())])
    return float(np.max(1.0 - nav / np.maximum.accumulate(nav)))


def summary(
    returns: "pd.Series[float]", *, turnover: "pd.Series[float]", costs_paid: "pd.Series[float]"
) -> dict[str, float]:
    """Return the usual figures by name."""
    years = len(returns) / DAYS
    return {
        "annual_return": annual_return(returns),
        "annual_volatility": annual_volatility(returns),
        "sharpe": sharpe(returns),
        "max_drawdown": max_drawdown(returns),
        "annual_turnover": float(turnover.sum()) / years,
        "annual_costs": float(costs_paid.sum()) / years,
    }
