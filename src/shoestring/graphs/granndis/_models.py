"""GraphSAGE, GCN and ResSAGE+ that run on a rank's part, and with PyG's own layers on a whole graph."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, SAGEConv

from shoestring.core.seeds import derive_seed
from shoestring.graphs.csr import Block
from shoestring.graphs.dropout import dropout_key, dropout_rows
from shoestring.graphs.granndis._part import Part, Phase
from shoestring.graphs.granndis.config import ModelConfig
from shoestring.graphs.sparse_ops import spmm
from shoestring.parallel.transport import Transport

__all__ = ["GraphModel", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """What decides the chance of one step."""

    transport: Transport
    seed: int
    epoch: int
    training: bool = True


class GraphModel(nn.Module):
    """A stack of PyG convolutions; the leaves of its state dict have PyG's names (``convs.i``, ``norms.i``).

    Parameters
    ----------
    config : ModelConfig
        The network. Without ``final_linear`` the state dict loads into PyG's ``GraphSAGE`` or ``GCN`` model
        (with ``norm="layer_norm", norm_kwargs={"mode": "node"}``).
    in_channels, out_channels : int
        Widths of features and logits.
    seed : int
        Of the weights; global random state is left alone.
    """

    def __init__(self, config: ModelConfig, in_channels: int, out_channels: int, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.residual = config.kind == "ressage"
        hidden, layers = config.hidden, config.layers
        linear = config.final_linear or self.residual
        widths = [hidden if self.residual else in_channels] + [hidden] * layers
        if not linear:
            widths[-1] = out_channels
        conv = GCNConv if config.kind == "gcn" else SAGEConv
        num_norms = layers + 1 if self.residual else layers if linear else layers - 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            self.encoder = nn.Linear(in_channels, hidden) if self.residual else None
            self.convs = nn.ModuleList(conv(widths[i], widths[i + 1]) for i in range(layers))
            self.norms = nn.ModuleList(
                nn.LayerNorm(hidden) if config.norm == "layer" else nn.Identity() for _ in range(num_norms)
            )
            self.lin = nn.Linear(hidden, out_channels) if linear else None
        if self.residual:
            # PyG's encoder and head come first in its own DeepGCN example; the first norm sees the encoder.
            assert len(self.norms) == layers + 1

    def forward(
        self, x: Tensor, edge_index: Tensor, drop: "Callable[[Tensor, int], Tensor] | None" = None
    ) -> Tensor:
        """Run PyG's own layers on a whole graph in one process.

        Parameters
        ----------
        x : Tensor
            float, (N, D).
        edge_index : Tensor
            int64, (2, E).
        drop : callable or None
            Gets the input of a layer and its number, gives what the layer reads.

        Returns
        -------
        Tensor
            (N, classes).
        """
        h = x if self.encoder is None else self.encoder(x)
        for layer, conv in enumerate(self.convs):
            u = self._before(layer, h)
            u = u if drop is None else drop(u, layer)
            h = self._after(layer, h, conv(u, edge_index))
        return self._head(h)

    def forward_part(self, part: Part, step: Step) -> Tensor:
        """Logits of a rank's targets, (part.num_inner, classes); collective over ranks sharing halos."""
        h = part.x if self.encoder is None else self.encoder(part.x)
        for phase in part.phases:
            h = h[: phase.num_rows]
            for i, block in enumerate(phase.blocks):
                layer = phase.first_layer + i
                u = self._before(layer, h)
                h = self._after(
                    layer, h[: block.num_rows], self._convolve(layer, u, block, (phase, part, step))
                )
        return self._head(h[: part.num_inner])

    def _before(self, layer: int, h: Tensor) -> Tensor:
        return cast("Tensor", self.norms[layer](h)).relu() if self.residual else h

    def _after(self, layer: int, h: Tensor, z: Tensor) -> Tensor:
        if self.residual:
            return h + z
        return cast("Tensor", self.norms[layer](z)).relu() if layer < len(self.norms) else z

    def _head(self, h: Tensor) -> Tensor:
        if self.residual:
            h = cast("Tensor", self.norms[-1](h)).relu()
        return h if self.lin is None else self.lin(h)

    def _convolve(self, layer: int, u: Tensor, block: Block, where: tuple[Phase, Part, Step]) -> Tensor:
        """Dropout, exchange, convolution; transforms before the exchange if that is narrower."""
        phase, part, step = where
        p = self.config.dropout if step.training else 0.0
        before = self.config.dropout_place == "before"
        if before and p:
            u = dropout_rows(u, p, dropout_key(step.seed, step.epoch, layer), part.rows[: u.shape[0]])
        conv = self.convs[layer]
        weight, bias = _linear(conv)
        sampled = derive_seed(step.seed, "halo", step.epoch)
        # Features of the first layer need no gradient back, so their exchange counts half.
        width_in = u.shape[1] if layer or self.residual else u.shape[1] / 2
        if (before or not p) and weight.shape[0] < width_in:
            columns = phase.gather(nn.functional.linear(u, weight), layer, step.transport, sampled)
            out, own = spmm(block, columns), u[: block.num_rows]
        else:
            columns = phase.gather(u, layer, step.transport, sampled)
            if p and not before:
                columns = _drop(
                    columns,
                    p,
                    derive_seed(step.seed, "dropout", step.epoch, layer, step.transport.groups.rank),
                )
            out, own = nn.functional.linear(spmm(block, columns), weight), columns[: block.num_rows]
        out = out if bias is None else out + bias
        return out + conv.lin_r(own) if isinstance(conv, SAGEConv) else out


def _linear(conv: nn.Module) -> tuple[Tensor, Tensor | None]:
    if isinstance(conv, SAGEConv):
        return conv.lin_l.weight, conv.lin_l.bias
    gcn = cast("GCNConv", conv)
    return gcn.lin.weight, gcn.bias


def _drop(x: Tensor, p: float, seed: int) -> Tensor:
    rng = torch.Generator(x.device).manual_seed(seed)
    return x * (torch.rand(x.shape, generator=rng, device=x.device) >= p) / (1 - p)
