"""Stacks of PyG layers, and their view as one function a layer that systems run on blocks.

Shapes: R rows, K columns of a block, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch_geometric.nn import GAT, GCN, GATConv, GCNConv, GraphSAGE, LayerNorm, SAGEConv

from shoestring.core.errors import ConfigError, UnsupportedModelError
from shoestring.graphs.convs import (
    TopologyKind,
    apply_conv,
    input_width,
    output_width,
    topology_kind,
    working_bytes,
)
from shoestring.graphs.csr import Block
from shoestring.graphs.dropout import dropout_key, dropout_rows

__all__ = ["DropoutStream", "GnnKind", "GnnStack", "LayerStack", "build_gnn"]

GnnKind = Literal["gcn", "sage", "gat"]

_ELEMENTWISE = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardswish, nn.Identity, nn.LeakyReLU, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU,
    nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Tanh,
)  # fmt: skip


class GnnStack(nn.Module):
    """PyG layers one after the other: conv, norm, ReLU, dropout; the last layer is a conv alone.

    The keys of its state dict are those of PyG's ``torch_geometric.nn.models``: ``convs.i.*``, ``norms.i.*``.

    Parameters
    ----------
    convs : sequence of torch.nn.Module
        GCNConv, SAGEConv or GATConv, with fitting widths.
    norms : sequence of torch.nn.Module
        One after every conv but the last; `torch.nn.Identity` for none.
    dropout : float
        Probability after every activation.
    residual : bool
        Add the input of a layer to its output (after activation and dropout) where the widths agree, never in
        the last layer.
    """

    def __init__(
        self,
        convs: Sequence[nn.Module],
        norms: Sequence[nn.Module],
        *,
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if not convs or len(norms) != len(convs) - 1:
            raise ConfigError(
                f"{len(convs)} convs with {len(norms)} norms; give at least one conv "
                "and one norm fewer than convs"
            )
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList([*norms, nn.Identity()])
        self.act = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.residual = residual

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Run PyG's own layers on a whole graph.

        Parameters
        ----------
        x : Tensor
            float, (N, D).
        edge_index : Tensor
            int64, (2, E).
        edge_weight : Tensor or None
            float, (E,); for GCN layers only.
        """
        last = len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            out = conv(x, edge_index) if edge_weight is None else conv(x, edge_index, edge_weight)
            if i < last:
                out = self.dropout(self.act(norm(out)))
                if self.residual and out.shape == x.shape:
                    out = out + x
            x = out
        return x


def build_gnn(  # noqa: PLR0913  # PyG's own names of the same options
    kind: GnnKind,
    in_channels: int,
    hidden_channels: int,
    out_channels: int,
    num_layers: int,
    *,
    heads: int = 1,
    norm: Literal["layer"] | None = None,
    dropout: float = 0.0,
    residual: bool = False,
) -> GnnStack:
    """Build a stack of PyG layers; the weights load into PyG's own GCN, GraphSAGE or GAT model and back.

    Parameters
    ----------
    kind : {"gcn", "sage", "gat"}
        The layer.
    in_channels, hidden_channels, out_channels : int
        Widths; for "gat" the hidden width is that of all heads together.
    num_layers : int
        Number of convs, at least 1.
    heads : int
        Attention heads ("gat"); the last layer averages them, as PyG's model does.
    norm : "layer" or None
        LayerNorm of every vertex (PyG: ``norm="layer_norm", norm_kwargs={"mode": "node"}``).
    dropout : float
        On the output of every layer but the last; never on attention.
    residual : bool
        See `GnnStack`; PyG's models have none.

    Raises
    ------
    ConfigError
        Unknown kind, widths below 1, or a hidden width that the heads do not divide.
    """
    if kind not in ("gcn", "sage", "gat"):
        raise ConfigError(f"kind={kind!r}; give 'gcn', 'sage' or 'gat'")
    if norm not in ("layer", None):
        raise ConfigError(
            f"norm={norm!r}; give 'layer' or None (a batch norm needs statistics of all vertices)"
        )
    if min(in_channels, hidden_channels, out_channels, num_layers, heads) < 1:
        raise ConfigError(
            f"in={in_channels}, hidden={hidden_channels}, out={out_channels}, layers={num_layers}, "
            f"heads={heads}; each is at least 1"
        )
    if kind == "gat" and hidden_channels % heads:
        raise ConfigError(f"hidden_channels={hidden_channels} is no multiple of heads={heads}; PyG splits it")
    widths = [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
    convs = [
        _build_conv(kind, widths[i], widths[i + 1], heads, i == num_layers - 1) for i in range(num_layers)
    ]
    norms = [nn.LayerNorm(hidden_channels) if norm else nn.Identity() for _ in range(num_layers - 1)]
    return GnnStack(convs, norms, dropout=dropout, residual=residual)


def _build_conv(kind: GnnKind, width_in: int, width_out: int, heads: int, is_last: bool) -> nn.Module:
    conv: nn.Module
    if kind == "gcn":
        conv = GCNConv(width_in, width_out)
    elif kind == "sage":
        conv = SAGEConv(width_in, width_out)
    else:
        channels = width_out if is_last else width_out // heads
        conv = GATConv(width_in, channels, heads=heads, concat=not is_last)
    return conv


@dataclass(frozen=True, kw_only=True, slots=True)
class DropoutStream:
    """What decides every mask of one forward and its recomputation."""

    seed: int
    """Seed of the run."""
    epoch: int
    """Changes the masks from one epoch to the next."""


class LayerStack:
    """A stack of PyG layers as separate functions of blocks, one a layer.

    Parameters
    ----------
    model : torch.nn.Module
        A `GnnStack`, or PyG's own ``torch_geometric.nn.models`` GCN, GraphSAGE or GAT. Its modules and
        parameters are used as they are; training them trains the model.

    Raises
    ------
    UnsupportedModelError
        A part that cannot be computed exactly block by block, by name: batch and graph norms, jumping
        knowledge, attention dropout, other layers.
    """

    def __init__(self, model: nn.Module) -> None:
        if type(model) not in (GnnStack, GCN, GraphSAGE, GAT):
            raise UnsupportedModelError(
                f"{type(model).__name__} cannot be split into layers; give build_gnn(...) of shoestring, "
                "PyG's GCN, GraphSAGE or GAT model, or write it as a layer-wise module"
            )
        self.model = model
        stack = cast("GnnStack", model)
        self.convs: list[nn.Module] = list(stack.convs)
        self.norms: list[nn.Module] = list(stack.norms)
        if getattr(model, "jk_mode", None) is not None:
            raise UnsupportedModelError(
                f"{type(model).__name__} has jk={model.jk_mode!r}: jumping knowledge reads all layers at "
                "once. Build it with jk=None"
            )
        self.kinds: list[TopologyKind] = [topology_kind(c, f"convs.{i}") for i, c in enumerate(self.convs)]
        for i, norm in enumerate(self.norms):
            _check_norm(norm, f"norms.{i}")
        self.activation: Callable[[Tensor], Tensor] = _check_activation(stack.act)
        self.activation_first: bool = bool(getattr(model, "act_first", False))
        self.dropout: float = float(stack.dropout.p)
        self.residual: bool = bool(getattr(model, "residual", False))
        self.widths: list[int] = [input_width(self.convs[0]), *(output_width(c) for c in self.convs)]
        """Width of the features, then of every layer's output."""

    @property
    def num_layers(self) -> int:
        """Number of convs."""
        return len(self.convs)

    def parameters(self, layer: int) -> list[nn.Parameter]:
        """Return the trainable parameters of a layer, conv then norm."""
        parts = (self.convs[layer], self.norms[layer])
        return [p for part in parts for p in part.parameters() if p.requires_grad]

    def forward_layer(
        self,
        layer: int,
        x_KD: Tensor,
        block: Block,
        *,
        vertices: Tensor | None = None,
        dropout: DropoutStream | None = None,
    ) -> Tensor:
        """Output of a layer for the rows of a block: conv, norm, activation, dropout, residual.

        Parameters
        ----------
        layer : int
            0 .. num_layers - 1.
        x_KD : Tensor
            float, (K, widths[layer]): the block's columns, the rows' own first.
        block : Block
            Of the topology of kind ``kinds[layer]``.
        vertices : Tensor or None
            int64, (R,): global ids of the rows; needed when dropout is on.
        dropout : DropoutStream or None
            None switches dropout off (evaluation).

        Returns
        -------
        Tensor
            (R, widths[layer + 1]).
        """
        out = apply_conv(self.convs[layer], x_KD, block)
        if layer == self.num_layers - 1:
            return out
        if self.activation_first:
            out = self.norms[layer](self.activation(out))
        else:
            out = self.activation(self.norms[layer](out))
        if dropout is not None and self.dropout > 0:
            if vertices is None:
                raise ConfigError(
                    "forward_layer with dropout needs vertices, the global ids of the block's rows"
                )
            out = dropout_rows(out, self.dropout, dropout_key(dropout.seed, dropout.epoch, layer), vertices)
        if self.residual and out.shape[1] == x_KD.shape[1]:
            out = out + x_KD[: block.num_rows]
        return out

    def working_bytes(self, layer: int, rows: int, cols: int, edges: int, itemsize: int = 4) -> int:
        """Peak bytes of forward and backward of a layer on a block, without topology and parameters."""
        values = 4 * rows * self.widths[layer + 1]
        return working_bytes(self.convs[layer], rows, cols, edges, itemsize) + values * itemsize


def _check_norm(norm: nn.Module, name: str) -> None:
    if type(norm) in (nn.LayerNorm, nn.RMSNorm, nn.Identity):
        return
    if type(norm) is LayerNorm and norm.mode == "node":
        return
    detail = "(mode='graph')" if type(norm) is LayerNorm else ""
    raise UnsupportedModelError(
        f"{name} is a {type(norm).__name__}{detail}, which needs statistics of all vertices at once; use "
        "a layer norm of every vertex (torch.nn.LayerNorm; in PyG norm='layer_norm', "
        "norm_kwargs={'mode': 'node'})"
    )


def _check_activation(act: object) -> Callable[[Tensor], Tensor]:
    if act is None:
        return nn.Identity()
    if act in (
        torch.relu,
        torch.tanh,
        torch.sigmoid,
        nn.functional.relu,
        nn.functional.gelu,
        nn.functional.silu,
    ):
        return cast("Callable[[Tensor], Tensor]", act)
    if type(act) in _ELEMENTWISE:
        return cast("nn.Module", act)
    raise UnsupportedModelError(
        f"act is {act!r}; give an activation without parameters or chance that works value by value: "
        f"{', '.join(sorted(c.__name__ for c in _ELEMENTWISE))}"
    )
