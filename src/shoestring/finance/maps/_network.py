"""The agents' network: an encoder for all of them, a small head for each.

Shapes: B states, A agents, G groups of weights (1 or A), I inputs, O outputs. Activations are kept with the
states last, (G * width, B): groups lie below one another, products need no transposes, and what runs over
states runs over whole rows.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from shoestring.core.seeds import derive_seed
from shoestring.finance.maps.config import NetworkConfig

__all__ = ["AgentNetwork", "ColumnNorm", "GroupedLinear"]

NUM_ACTIONS = 3


class GroupedLinear(nn.Module):
    """G affine maps of equal size, of one common input or of one input each.

    Parameters
    ----------
    groups : int
        G.
    inputs, outputs : int
        Widths of one map.
    common_input : bool
        All maps read the same (I, B); False: map g reads its own part of (G * I, B).
    seed : int or None
        Map g starts from a stream of its own, the distribution of ``nn.Linear``; None: from 0, to be loaded.
    name : str
        Name of the layer, part of the stream.
    """

    def __init__(
        self, groups: int, inputs: int, outputs: int, *, common_input: bool, seed: int | None, name: str
    ) -> None:
        super().__init__()
        self.groups, self.inputs, self.common_input = groups, inputs, common_input or groups == 1
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.zeros(groups, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(groups, outputs))
        for group in range(groups if seed is not None else 0):
            rng = torch.Generator().manual_seed(derive_seed(seed or 0, "init", name, group))
            self.weight.data[group].uniform_(-bound, bound, generator=rng)
            self.bias.data[group].uniform_(-bound, bound, generator=rng)

    def forward(self, x: Tensor) -> Tensor:
        """Map (I, B) or (G * I, B) to (G * O, B)."""
        if self.common_input:  # one product for all groups
            return torch.addmm(self.bias.flatten().unsqueeze(1), self.weight.flatten(0, 1), x)
        x_GIB = x.view(self.groups, self.inputs, -1)
        return torch.baddbmm(self.bias.unsqueeze(2), self.weight, x_GIB).flatten(0, 1)


class ColumnNorm(nn.BatchNorm1d):
    """BatchNorm over the states of (width, B)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each row."""
        return super().forward(x.unsqueeze(0)).squeeze(0)


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
        self.n_agents = n_agents
        groups = 1 if config.shared_encoder else n_agents
        layers: list[nn.Module] = []
        widths = (window, *config.encoder)
        for depth, (inputs, outputs) in enumerate(pairwise(widths)):
            name = f"encoder.{depth}"
            layers.append(
                GroupedLinear(groups, inputs, outputs, common_input=depth == 0, seed=seed, name=name)
            )
            if config.batch_norm:
                layers.append(ColumnNorm(groups * outputs))
            layers.append(nn.ReLU(inplace=True))
        head = config.head
        layers.append(
            GroupedLinear(
                n_agents, widths[-1], head, common_input=config.shared_encoder, seed=seed, name="hidden"
            )
        )
        layers.append(nn.ReLU(inplace=True))
        layers.append(GroupedLinear(n_agents, head, NUM_ACTIONS, common_input=False, seed=seed, name="out"))
        self.layers = nn.Sequential(*layers)

    def forward(self, state_BW: Tensor) -> Tensor:
        """Return Q-values, (A, 3, B)."""
        q: Tensor = self.layers(state_BW.t())
        return q.view(self.n_agents, NUM_ACTIONS, -1)
