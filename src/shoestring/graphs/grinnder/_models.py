"""Models one layer at a time: PyG stacks as they are, or one's own.

Shapes: n rows of a partition, K its columns, D width.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from shoestring.core.errors import ConfigError, UnsupportedModelError
from shoestring.graphs.convs import TopologyKind
from shoestring.graphs.csr import Block
from shoestring.graphs.dropout import dropout_key, dropout_rows
from shoestring.graphs.models import DropoutStream, LayerStack

__all__ = ["Layers", "LayerwiseModule", "as_layers"]


class Layers(Protocol):
    """A model cut into layers, as the trainer runs it."""

    @property
    def num_layers(self) -> int:
        """L."""
        ...

    @property
    def kinds(self) -> Sequence[TopologyKind]:
        """What each layer needs of the graph."""
        ...

    @property
    def widths(self) -> Sequence[int]:
        """d_0 .. d_L."""
        ...

    @property
    def model(self) -> nn.Module:
        """The user's module, whose parameters are trained."""
        ...

    def forward_layer(
        self,
        layer: int,
        x_KD: Tensor,
        block: Block,
        *,
        vertices: Tensor | None = None,
        dropout: DropoutStream | None = None,
    ) -> Tensor:
        """Output of a layer for the rows of a block."""
        ...

    def working_bytes(self, layer: int, rows: int, cols: int, edges: int, itemsize: int = 4) -> int:
        """Peak device bytes of the layer's forward and backward pass, input included."""
        ...


class LayerwiseModule(nn.Module):
    """A model of your own that is computed one layer at a time.

    Set the attributes in the constructor and write `forward_layer`. A layer must treat every row by itself:
    nothing across vertices but the aggregation over the block, nothing random (dropout is applied for you).

    Attributes
    ----------
    widths : tuple of int
        d_0 .. d_L: features, then the output of every layer.
    kinds : tuple of str
        What each layer needs of the graph, see `shoestring.graphs.convs.prepare_topology`.
    dropout : float
        On the output of every layer but the last.
    """

    widths: tuple[int, ...] = ()
    kinds: tuple[TopologyKind, ...] = ()
    dropout: float = 0.0

    def forward_layer(self, layer: int, x: Tensor, block: Block) -> Tensor:
        """Compute layer `layer` (0 .. L-1) from the columns `x` (K, D) of a block; returns (n, D')."""
        raise NotImplementedError

    def working_bytes(self, layer: int, rows: int, cols: int, edges: int, itemsize: int = 4) -> int:
        """Upper estimate of the device bytes of a layer's forward and backward pass, input included.

        Override it if your layer keeps a message for every edge.
        """
        del edges
        wide = max(self.widths[layer], self.widths[layer + 1])
        return (4 * cols * wide + 8 * rows * wide) * itemsize


class _OwnLayers:
    """A `LayerwiseModule` behind the same face as a stack of PyG layers."""

    def __init__(self, model: LayerwiseModule) -> None:
        if len(model.widths) != len(model.kinds) + 1 or not model.kinds:
            raise ConfigError(
                f"{type(model).__name__} has widths={model.widths} and kinds={model.kinds}; set one "
                "kind a layer "
                "and one width more than layers, in its constructor"
            )
        self.model: nn.Module = model
        self._own = model
        self.widths: Sequence[int] = model.widths
        self.kinds: Sequence[TopologyKind] = model.kinds
        self.num_layers = len(model.kinds)

    def forward_layer(
        self,
        layer: int,
        x_KD: Tensor,
        block: Block,
        *,
        vertices: Tensor | None = None,
        dropout: DropoutStream | None = None,
    ) -> Tensor:
        out = self._own.forward_layer(layer, x_KD, block)
        if (
            layer < self.num_layers - 1
            and dropout is not None
            and self._own.dropout > 0
            and vertices is not None
        ):
            key = dropout_key(dropout.seed, dropout.epoch, layer)
            out = dropout_rows(out, self._own.dropout, key, vertices)
        return out

    def working_bytes(self, layer: int, rows: int, cols: int, edges: int, itemsize: int = 4) -> int:
        return self._own.working_bytes(layer, rows, cols, edges, itemsize)


def as_layers(model: nn.Module) -> Layers:
    """Cut a model into layers that share its parameters, so that the model given is trained.

    Parameters
    ----------
    model : torch.nn.Module
        A `LayerwiseModule`, ``build_gnn(...)``, or PyG's ``GCN``, ``GraphSAGE``, ``GAT`` model.

    Raises
    ------
    UnsupportedModelError
        For another model, or a part of it that is not exact in partitions; it is named.
    """
    if isinstance(model, LayerwiseModule):
        return _OwnLayers(model)
    try:
        return LayerStack(model)
    except UnsupportedModelError as e:
        raise UnsupportedModelError(
            f"{e}. A layer-wise module is a subclass of grinnder.LayerwiseModule"
        ) from e
