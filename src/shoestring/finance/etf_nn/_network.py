"""An ensemble of small networks as one batched network: weights [K, in, out], one bmm a layer.

Shapes: K members, R rows, Q quarters, F features, H width
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from shoestring.core.seeds import derive_seed
from shoestring.finance.etf_nn.config import NetworkConfig

__all__ = ["BatchedNetwork"]


class BatchedNetwork(nn.Module):
    """K independent networks with the same shape.

    Parameters
    ----------
    config : NetworkConfig
        Shape of one network.
    num_features, num_quarters : int
        F and Q.
    seed : int
        Of the run.
    members : sequence of int
        Numbers of the members; a member's weights and dropout depend on its number and the seed alone, so
        that an ensemble equals its members trained one by one.
    """

    def __init__(
        self, config: NetworkConfig, num_features: int, num_quarters: int, seed: int, members: Sequence[int]
    ) -> None:
        super().__init__()
        self.config = config
        self._draws = [
            torch.Generator().manual_seed(derive_seed(seed, "member", member)) for member in members
        ]
        width = num_features * num_quarters
        if config.encoder == "gru":
            width = config.gru_width
            self.gru_in = self._matrix(num_features, 3 * width)
            self.gru_state = self._matrix(width, 3 * width)
            self.gru_bias = self._zeros(2, 3 * width)
        widths = (width, *config.hidden, 1)
        self.weights = nn.ParameterList(self._matrix(one, two) for one, two in pairwise(widths))
        with torch.no_grad():
            self.weights[-1].mul_(config.output_scale)
        self.biases = nn.ParameterList(self._zeros(1, two) for two in widths[1:])
        normed = config.hidden if config.norm == "layer" else ()
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(len(members), 1, h)) for h in normed)
        self.shifts = nn.ParameterList(self._zeros(1, h) for h in normed)

    def forward(self, x_RQF: Tensor) -> Tensor:
        """Return scores [K, R]."""
        num_members = len(self._draws)
        if self.config.encoder == "gru":
            hidden = self._encode(x_RQF)
        else:
            hidden = x_RQF.flatten(1).expand(num_members, -1, -1)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if i == last:
                break
            if self.config.norm == "layer":
                hidden = functional.layer_norm(hidden, hidden.shape[-1:]) * self.gains[i] + self.shifts[i]
            hidden = self._dropped(functional.gelu(hidden))
        return hidden.squeeze(2)

    def decayed(self) -> list[nn.Parameter]:
        """Return the matrices, which weight decay acts on."""
        return [p for n, p in self.named_parameters() if n.startswith(("weights", "gru_in", "gru_state"))]

    def kept(self) -> list[nn.Parameter]:
        """Return biases, gains and shifts, which it does not."""
        decayed = {id(p) for p in self.decayed()}
        return [p for p in self.parameters() if id(p) not in decayed]

    def _encode(self, x_RQF: Tensor) -> Tensor:
        """Run the GRU from the oldest quarter to the latest; [K, R, H]."""
        num_members, width = len(self._draws), self.config.gru_width
        state = x_RQF.new_zeros(num_members, len(x_RQF), width)
        for quarter in range(x_RQF.shape[1] - 1, -1, -1):
            given = torch.baddbmm(
                self.gru_bias[:, :1], x_RQF[:, quarter].expand(num_members, -1, -1), self.gru_in
            )
            kept = torch.baddbmm(self.gru_bias[:, 1:], state, self.gru_state)
            reset = torch.sigmoid(given[..., :width] + kept[..., :width])
            update = torch.sigmoid(given[..., width : 2 * width] + kept[..., width : 2 * width])
            fresh = torch.tanh(given[..., 2 * width :] + reset * kept[..., 2 * width :])
            state = fresh + update * (state - fresh)
        return state

    def _dropped(self, hidden: Tensor) -> Tensor:
        share = self.config.dropout
        if not self.training or share == 0:
            return hidden
        drawn = torch.stack([torch.rand(hidden.shape[1:], generator=g) for g in self._draws])
        return hidden * (drawn >= share).to(hidden.dtype).div_(1 - share)

    def _matrix(self, rows: int, columns: int) -> nn.Parameter:
        """Draw uniform weights with the bound 1 / sqrt(rows), as `nn.Linear` does."""
        drawn = [torch.rand(rows, columns, generator=g) for g in self._draws]
        return nn.Parameter((torch.stack(drawn) * 2 - 1) / rows**0.5)

    def _zeros(self, rows: int, columns: int) -> nn.Parameter:
        return nn.Parameter(torch.zeros(len(self._draws), rows, columns))
