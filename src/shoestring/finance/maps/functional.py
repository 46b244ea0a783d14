"""MAPS as plain functions on tensors.

Shapes: A agents, B states of a batch, T dates, C companies, W prices of a window; an axis of size 3 is the
action: 0 long, 1 neutral, 2 short. States come last, so that what runs over actions runs over whole rows.
"""

import torch
from torch import Tensor

from shoestring.core.errors import ConfigError
from shoestring.finance.maps.config import Diversity

__all__ = [
    "POSITIONS",
    "combine_agents",
    "confidence",
    "correlation_matrix",
    "diversity_loss",
    "greedy_action",
    "local_loss",
    "neutral_weights",
    "positions_of_rule",
    "rewards",
    "system_gross",
    "td_targets",
    "top_bottom",
    "total_loss",
    "window_moments",
    "zscore",
]

POSITIONS = (1.0, 0.0, -1.0)
"""Position of each action."""
_DEAD_VARIANCE = 1e-12  # of a confidence in [-1, 1]; float32 resolves a standard deviation of about 1e-7
_FLAT_PRICE = 1e-6  # relative standard deviation below which a window has no shape


def zscore(window_BW: Tensor) -> Tensor:
    """Normalise each window of prices by its own mean and standard deviation.

    Parameters
    ----------
    window_BW : Tensor
        float, (B, W); closing prices, all positive and finite, the last one the newest.

    Returns
    -------
    Tensor
        (B, W); zeros for a window of equal prices.
    """
    mean_B, std_B = window_moments(window_BW)
    return (window_BW / mean_B.unsqueeze(1) - 1) / std_B.unsqueeze(1)


def window_moments(window_BW: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each window of prices, and its standard deviation over that mean.

    Parameters
    ----------
    window_BW : Tensor
        float, (B, W).

    Returns
    -------
    tuple of Tensor
        (B,) and (B,); the deviation is infinite where the prices are equal, so that dividing by it gives 0.
    """
    mean_B = window_BW.mean(1)
    std_B = (window_BW / mean_B.unsqueeze(1) - 1).square().mean(1).sqrt()
    return mean_B, torch.where(std_B > _FLAT_PRICE, std_B, torch.inf)


def rewards(
    action: Tensor, return_percent: Tensor, before: Tensor | None = None, switch_cost: float = 0.0
) -> Tensor:
    """Return what actions earn: position times return, less the cost of a change of position.

    Parameters
    ----------
    action : Tensor
        int64, (A, B); 0 long, 1 neutral, 2 short.
    return_percent : Tensor
        float, (B,); return from the day of the decision to the next, in percent.
    before : Tensor, optional
        int64, (A, B); actions of the day before.
    switch_cost : float
        P, in percent for each unit of change.

    Returns
    -------
    Tensor
        float, (A, B), in percent.
    """
    earned = (1 - action).to(return_percent.dtype) * return_percent
    if before is None or not switch_cost:
        return earned
    return earned - switch_cost * (action - before).abs().to(return_percent.dtype)


def greedy_action(q: Tensor) -> Tensor:
    """Return the best action of (A, 3, B) Q-values: int64, (A, B); ties go to the first."""
    long, neutral, short = q.unbind(1)
    rest = torch.where(neutral >= short, 1, 2)
    return torch.where((long >= neutral) & (long >= short), 0, rest)


def td_targets(reward: Tensor, next_q: Tensor, gamma: float) -> Tensor:
    """Return ``r + gamma max_a' Q'(s', a')``; there is no last state.

    Parameters
    ----------
    reward : Tensor
        (A, B), or (A, 3, B) with the rewards of all actions.
    next_q : Tensor
        (A, 3, B), of the target network.
    gamma : float
        Discount.

    Returns
    -------
    Tensor
        Shape of `reward`.
    """
    best = next_q.amax(1, keepdim=reward.ndim == 3)
    return reward + gamma * best


def local_loss(q: Tensor, action: Tensor | None, target: Tensor) -> Tensor:
    """Return each agent's mean squared error of temporal differences.

    Parameters
    ----------
    q : Tensor
        (A, 3, B).
    action : Tensor or None
        int64, (A, B); None if `target` has a value for every action.
    target : Tensor
        (A, B), or (A, 3, B); taken as a constant.

    Returns
    -------
    Tensor
        (A,).
    """
    if action is None:
        return (target.detach() - q).square().mean((1, 2))
    chosen_AB = q.gather(1, action.unsqueeze(1)).squeeze(1)
    return (target.detach() - chosen_AB).square().mean(1)


def confidence(q: Tensor) -> Tensor:
    """Return the confidence vectors: probability of long less that of short, by softmax over the actions.

    Parameters
    ----------
    q : Tensor
        (A, 3, B).

    Returns
    -------
    Tensor
        (A, B), in [-1, 1].
    """
    probability = q.softmax(1)
    return probability[:, 0] - probability[:, 2]


def correlation_matrix(one_AB: Tensor, two_AB: Tensor | None = None) -> Tensor:
    """Return Pearson correlations of all pairs of agents.

    Parameters
    ----------
    one_AB : Tensor
        float, (A, B).
    two_AB : Tensor, optional
        float, (A, B); `one_AB` when omitted.

    Returns
    -------
    Tensor
        (A, A): row i of `one_AB` with row j of `two_AB`. An agent whose values are all equal has correlation
        0 with everybody, and no gradient.

    Notes
    -----
    One matrix product for all pairs: O(A^2 B).
    """
    one = _unit(one_AB)
    two = one if two_AB is None else _unit(two_AB)
    return torch.mm(one, two.t())


def _unit(value_AB: Tensor) -> Tensor:
    centred = value_AB - value_AB.mean(1, keepdim=True)
    variance = centred.square().mean(1, keepdim=True)
    scale = variance.clamp(min=_DEAD_VARIANCE).rsqrt() * (variance > _DEAD_VARIANCE)
    unit: Tensor = centred * scale / value_AB.shape[1] ** 0.5
    return unit


def diversity_loss(confidence_AB: Tensor, form: Diversity = "corr2", *, detach: bool = True) -> Tensor:
    """Return each agent's global loss: its mean (punished) correlation with the others.

    Parameters
    ----------
    confidence_AB : Tensor
        float, (A, B), A at least 2.
    form : {"corr2", "corr", "relu"}
        The square, the correlation itself, or its positive part.
    detach : bool
        Take the others as constants in each agent's loss; without, the gradient of the sum is twice as large.

    Returns
    -------
    Tensor
        (A,).

    Raises
    ------
    ConfigError
        For an unknown form.
    """
    num_agents = confidence_AB.shape[0]
    unit = _unit(confidence_AB)
    corr_AA = torch.mm(unit, (unit.detach() if detach else unit).t())
    if form == "corr2":
        punished = corr_AA.square()
    elif form == "corr":
        punished = corr_AA
    elif form == "relu":
        punished = corr_AA.relu()
    else:
        raise ConfigError(f"diversity={form!r} is not one of 'corr', 'corr2', 'relu'")
    others = 1 - torch.eye(num_agents, dtype=punished.dtype, device=punished.device)
    return (punished * others).sum(1) / (num_agents - 1)


def total_loss(local_A: Tensor, global_A: Tensor | None, lam: float) -> Tensor:
    """Return the loss of all agents: ``sum_i (1 - lam) local_i + lam global_i``.

    Parameters
    ----------
    local_A : Tensor
        (A,).
    global_A : Tensor or None
        (A,); None where there is none (one agent, or ``lam=0``): then the sum of the local losses.
    lam : float
        Weight of the global loss.
    """
    if global_A is None:
        return local_A.sum()
    return ((1 - lam) * local_A + lam * global_A).sum()


def positions_of_rule(q: Tensor, rule: str) -> Tensor:
    """Return the value that an agent's position is made from.

    Parameters
    ----------
    q : Tensor
        (A, 3, B).
    rule : {"confidence", "action", "top_bottom"}
        ``"action"`` takes the greedy action's position, the others the confidence.

    Returns
    -------
    Tensor
        (A, B).
    """
    return (1 - greedy_action(q)).to(q.dtype) if rule == "action" else confidence(q)


def neutral_weights(value: Tensor, *, neutral: bool = True) -> Tensor:
    """Return market-neutral weights along the last axis.

    Parameters
    ----------
    value : Tensor
        float, (..., C); NaN for a company that cannot be held.
    neutral : bool
        Subtract the mean over the companies that can be held.

    Returns
    -------
    Tensor
        (..., C): sum 0 (if `neutral`), sum of absolutes 1; 0 for NaN, and all 0 where all values are equal.
    """
    held = ~value.isnan()
    filled = value.nan_to_num(0.0)
    if neutral:
        count = held.sum(-1, keepdim=True).clamp(min=1)
        filled = (filled - filled.sum(-1, keepdim=True) / count) * held
    return _per_gross(filled, value.nan_to_num(0.0).abs().amax(-1, keepdim=True))


def _per_gross(weight: Tensor, scale: Tensor) -> Tensor:
    """Divide by the sum of absolutes; differences that are rounding of `scale` count as none."""
    gross = weight.abs().sum(-1, keepdim=True)
    floor = 8 * torch.finfo(weight.dtype).eps * scale * weight.shape[-1]
    alive = gross > floor
    return torch.where(alive, weight / torch.where(alive, gross, torch.ones_like(gross)), 0.0)


def top_bottom(value: Tensor, share: float) -> Tensor:
    """Return +1 for the companies with the highest values, -1 for those with the lowest, 0 between.

    Parameters
    ----------
    value : Tensor
        float, (..., C); NaN for a company that cannot be held.
    share : float
        K, share of the companies that can be held on each side, in (0, 0.5]; rounded down, at least one
        where there are two. A value that ties with the other side's is left out, so that equal values give 0.

    Returns
    -------
    Tensor
        (..., C); NaN stays NaN.
    """
    held = ~value.isnan()
    count = held.sum(-1, keepdim=True)
    each = torch.minimum((count * share).long().clamp(min=1), count // 2)
    ascending = value.nan_to_num(float("inf")).sort(dim=-1, stable=True).indices.argsort(-1)
    picked = torch.where(ascending < each, -1.0, 0.0) + torch.where(
        (ascending >= count - each) & (ascending < count), 1.0, 0.0
    )
    low = value.masked_fill(~held, float("inf")).amin(-1, keepdim=True)
    high = value.masked_fill(~held, -float("inf")).amax(-1, keepdim=True)
    return torch.where(held, picked.to(value.dtype) * (high > low), torch.nan)


def system_gross(agent_weight: Tensor) -> Tensor:
    """Return the share of the agents' gross positions that is left after summing them.

    Parameters
    ----------
    agent_weight : Tensor
        float, (A, ..., C).

    Returns
    -------
    Tensor
        (...); 1 if all agents agree, 0 if they cancel out.
    """
    return agent_weight.mean(0).abs().sum(-1)


def combine_agents(agent_weight: Tensor, tolerance: float) -> Tensor:
    """Return the system's weights: the sum of the agents' portfolios, renormalised.

    Parameters
    ----------
    agent_weight : Tensor
        float, (A, ..., C).
    tolerance : float
        Stay flat where `system_gross` is not above it.

    Returns
    -------
    Tensor
        (..., C); sum of absolutes 1, or all 0.
    """
    gross = system_gross(agent_weight).unsqueeze(-1)
    alive = gross > max(tolerance, 1e-12)
    return torch.where(alive, agent_weight.mean(0) / torch.where(alive, gross, torch.ones_like(gross)), 0.0)
