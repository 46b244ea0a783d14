"""Portfolios of the agents and of the system over a range of dates, without a loop over days.

Shapes: A agents, T dates of the range, C companies.
"""

import torch
from torch import Tensor

from shoestring.finance.maps._network import AgentNetwork
from shoestring.finance.maps._windows import PriceWindows
from shoestring.finance.maps.config import PortfolioConfig
from shoestring.finance.maps.functional import (
    combine_agents,
    neutral_weights,
    positions_of_rule,
    top_bottom,
)

__all__ = ["agent_values", "agent_weights", "daily_returns", "system_weights", "weights_of_values"]

_CHUNK = 65_536


def agent_values(
    network: AgentNetwork, windows: PriceWindows, first: int, last: int, rule: str = "confidence"
) -> Tensor:
    """Return what each agent thinks of each company at the closes of the dates ``first..last``.

    Parameters
    ----------
    network : AgentNetwork
        Used in evaluation mode.
    windows : PriceWindows
        Prices.
    first, last : int
        Range of dates, both inclusive.
    rule : str
        As in `positions_of_rule`.

    Returns
    -------
    Tensor
        float64, (A, T, C); NaN where the window is not complete.
    """
    network.eval()
    num_dates = last - first + 1
    out = torch.full((network.n_agents, windows.num_companies, num_dates), torch.nan, dtype=torch.float64)
    with torch.no_grad():
        for place in torch.split(windows.complete(first, last), _CHUNK):
            q_A3B = network(windows.states(place)).double()
            company, date = place // windows.num_dates, place % windows.num_dates
            out[:, company, date - first] = positions_of_rule(q_A3B, rule)
    return out.transpose(1, 2)


def weights_of_values(value_ATC: Tensor, config: PortfolioConfig) -> Tensor:
    """Return each agent's portfolio, (A, T, C): 0 for NaN, sum of absolutes 1 or 0."""
    if config.rule == "top_bottom":
        value_ATC = top_bottom(value_ATC, config.top_share)
    return neutral_weights(value_ATC, neutral=config.neutral)


def agent_weights(
    network: AgentNetwork, windows: PriceWindows, first: int, last: int, config: PortfolioConfig
) -> Tensor:
    """Return each agent's portfolio at the closes of ``first..last``, float64, (A, T, C)."""
    return weights_of_values(agent_values(network, windows, first, last, config.rule), config)


def system_weights(weight_ATC: Tensor, config: PortfolioConfig) -> Tensor:
    """Return the renormalised sum of the agents' portfolios, (T, C)."""
    return combine_agents(weight_ATC, config.flat_tolerance)


def daily_returns(weight: Tensor, windows: PriceWindows, first: int, last: int) -> Tensor:
    """Return what weights at the closes of ``first..last`` earn until the next, as fractions.

    Parameters
    ----------
    weight : Tensor
        (..., T, C).
    windows : PriceWindows
        Prices; a return that is not known (no next price) counts as 0.
    first, last : int
        Range of dates, both inclusive.

    Returns
    -------
    Tensor
        (..., T).
    """
    return (weight * windows.return_CT[:, first : last + 1].t().nan_to_num(0.0)).sum(-1) / 100
