"""The agents' network: an encoder for all of them, a small head for each.

Shapes: B states, A agents, G groups of weights (1 or A), I inputs, O outputs. The encoder keeps a state in a
row, (B, G * width), as one product for all groups wants it; the heads keep states last, (A, width, B), so
that what runs over actions runs over whole rows. No activation is copied between the two.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from shoestring.core.seeds import derive_seed
from shoestring.finance.maps.config import NetworkConfig

__all__ = ["AgentNetwork", "GroupedLinear", "HeadLinear"]

NUM_ACTIONS = 3


class _Maps(nn.Module):
    """G affine maps of equal size.

    Parameters
    ----------
    groups : int
        G.
    inputs, outputs : int
        Widths of one map.
    seed : int or None
        Map g starts from a stream of its own, the distribution of ``nn.Linear``; None: from 0, to be loaded.
    name : str
        Name of the layer, part of the stream.
    """

    def __init__(self, groups: int, inputs: int, outputs: int, *, seed: int | None, name: str) -> None:
        super().__init__()
        self.groups, self.inputs = groups, inputs
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.zeros(groups, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(groups, outputs))
        for group in range(groups if seed is not None else 0):
            rng = torch.Generator().manual_seed(derive_seed(seed or 0, "init", name, group))
            self.weight.data[group].uniform_(-bound, bound, generator=rng)
            self.bias.data[group].uniform_(-bound, bound, generator=rng)


class GroupedLinear(_Maps):
    """Affine maps of states in rows: of one input for all groups, (B, I), or of one each, (B, G * I)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, G * O)."""
        if x.shape[1] == self.inputs:  # one product for all groups
            return torch.addmm(self.bias.flatten(), x, self.weight.flatten(0, 1).t())
        x_GBI = x.view(len(x), self.groups, self.inputs).transpose(0, 1)
        return torch.baddbmm(self.bias.unsqueeze(1), x_GBI, self.weight.mT).transpose(0, 1).flatten(1)


class HeadLinear(_Maps):
    """Affine maps with states last: (G, I, B) to (G, O, B)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map each group's part."""
        return torch.baddbmm(self.bias.unsqueeze(2), self.weight, x)


class AgentNetwork(nn.Module):
    """Q-values of all agents.

    Parameters
    ----------
    n_agents : int
        A.
    window : int
        Prices in a state.
    config : NetworkConfig
        Sizes.
    seed : int or None
        Of the initial weights; heads of different agents start differently. None: all 0, to be loaded.
    """

    def __init__(self, n_agents: int, window: int, config: NetworkConfig, *, seed: int | None) -> None:
        super().__init__()
        self.n_agents, self.groups = n_agents, 1 if config.shared_encoder else n_agents
        layers: list[nn.Module] = []
        widths = (window, *config.encoder)
        for depth, (inputs, outputs) in enumerate(pairwise(widths)):
            layers.append(GroupedLinear(self.groups, inputs, outputs, seed=seed, name=f"encoder.{depth}"))
            if config.batch_norm:
                layers.append(nn.BatchNorm1d(self.groups * outputs))
            layers.append(nn.ReLU(inplace=True))
        self.encoder = nn.Sequential(*layers)
        self.head = nn.Sequential(
            HeadLinear(n_agents, widths[-1], config.head, seed=seed, name="hidden"),
            nn.ReLU(inplace=True),
            HeadLinear(n_agents, config.head, NUM_ACTIONS, seed=seed, name="out"),
        )

    def forward(self, state_BW: Tensor) -> Tensor:
        """Return Q-values, (A, 3, B)."""
        code_GIB = self.encoder(state_BW).unflatten(1, (self.groups, -1)).permute(1, 2, 0)
        q: Tensor = self.head(code_GIB.expand(self.n_agents, -1, -1))
        return q
