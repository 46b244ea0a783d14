"""A real training of the residual GCN whose zeros the accelerators exploit, in plain torch on sparse rows.

``S_1 = A_hat (X_0 W_0)``, ``S_{l+1} = A_hat X_l W_l + S_l`` with ``X_l = ReLU(S_l)`` for the hidden layers,
and ``A_hat X_{L-1} W_{L-1}`` as logits. The plain network leaves ``+ S_l`` out. Shapes: N vertices, D
features, F hidden width, L layers.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.optional import optional
from shoestring.core.seeds import derive_seed
from shoestring.silicon.patterns import Pattern
from shoestring.silicon.reorder import Order, vertex_order
from shoestring.silicon.topology import LabelledGraph, Topology

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Trained", "TrainingConfig", "train_residual_gcn"]

_PIECE = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """The network and its training."""

    layers: int = 28
    """L, products with A_hat, at least 2."""
    width: int = 256
    """F, width of the hidden layers."""
    residual: bool = True
    """Add ``S_l``; False is the plain network."""
    epochs: int = 120
    """Steps of Adam, each over the whole graph or over one batch."""
    lr: float = 0.003
    """Learning rate of Adam."""
    batch_nodes: int = 0
    """0 trains on the whole graph; else each step sees the edges inside random runs of 128 vertices,
    consecutive in `batch_order`, that make about this many."""
    batch_order: Order = "given"
    """Order of the vertices that the runs are cut from; neighbours should lie close."""
    seed: int = 0
    """Of weights and batches."""

    def __post_init__(self) -> None:
        for name, least in (("layers", 2), ("width", 1), ("epochs", 0), ("batch_nodes", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"training.{name}={getattr(self, name)} must be at least {least}")
        if not 0 < self.lr < 10:
            raise ConfigError(f"training.lr={self.lr} is outside 0 .. 10; 0.003 is usual")


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a training left.

    Attributes
    ----------
    inputs : tuple of Pattern
        Zeros of ``X_0 .. X_{L-1}``, the inputs of the layers, over the whole graph.
    num_classes : int
        Width of the logits.
    train_accuracy, test_accuracy : float
        Shares of right answers, 0 .. 1.
    losses : tuple of float
        Cross-entropy of every step.
    """

    inputs: tuple[Pattern, ...]
    num_classes: int
    train_accuracy: float
    test_accuracy: float
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Operands:
    """A graph as torch sees it: products with A_hat and X_0, and their transposes for the backward pass."""

    adjacency: "Tensor"
    adjacency_t: "Tensor"
    x: "Tensor"
    x_t: "Tensor"


def train_residual_gcn(
    graph: LabelledGraph,
    config: TrainingConfig,
    report_progress: Callable[[float, str], None] = lambda _fraction, _word: None,
) -> Trained:
    """Train, then run the whole graph once and keep where its activations are zero.

    Parameters
    ----------
    graph : LabelledGraph
        Features are scaled to rows of sum 1 (absolute values), as PyG's ``NormalizeFeatures``.
    config : TrainingConfig
        Network and training.
    report_progress : callable
        Called with a fraction and a word after every step.

    Returns
    -------
    Trained

    Raises
    ------
    DataError
        Features that are not finite, fewer than two classes, or a loss that became NaN.

    Notes
    -----
    O(steps L (E F + N F^2)) time; O(L N F) memory for the vertices of a step.
    """
    torch = optional("torch", extra="silicon")
    _check(graph)
    classes = int(graph.y.max()) + 1
    weights = _init_weights(graph.x.shape[1], classes, config)
    optimizer = torch.optim.Adam(weights, lr=config.lr)
    rng = np.random.default_rng(derive_seed(config.seed, "batches"))
    whole = _operands(graph.topology, graph.x)
    order = _batch_order(graph, config)
    losses = []
    for step in range(config.epochs):
        operands, train, y = whole, graph.train, graph.y
        if order is not None:
            operands, train, y = _batch(graph, order, config.batch_nodes, rng)
        optimizer.zero_grad()
        logits = _forward(operands, weights, config.residual, lambda _pattern: None)
        mask = torch.from_numpy(train & (y >= 0))
        loss = torch.nn.functional.cross_entropy(logits[mask], torch.from_numpy(y)[mask])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise DataError(f"the loss became {losses[-1]} at step {step}; lower training.lr={config.lr}")
        report_progress((step + 1) / max(config.epochs, 1), "training")
    hidden: list[Pattern] = []
    with torch.no_grad():
        logits = _forward(whole, weights, config.residual, lambda x: hidden.append(Pattern.from_array(x)))
    right = logits.argmax(dim=1).numpy() == graph.y
    return Trained(
        inputs=(Pattern.from_array(graph.x), *hidden),
        num_classes=classes,
        train_accuracy=float(right[graph.train].mean()),
        test_accuracy=float(right[graph.test].mean()),
        losses=tuple(losses),
    )


def _forward(
    operands: _Operands, weights: "list[Tensor]", residual: bool, see: "Callable[[Tensor], None]"
) -> "Tensor":
    """Logits (N, classes); `see` gets every hidden activation."""
    product = _product()
    projected = product(operands.x, operands.x_t, weights[0])
    state = product(operands.adjacency, operands.adjacency_t, projected)
    for layer, weight in enumerate(weights[1:], start=2):
        activation = state.relu()
        see(activation)
        out = product(operands.adjacency, operands.adjacency_t, activation) @ weight
        state = out + state if residual and layer < len(weights) else out
    return state


def _product() -> "Callable[[Tensor, Tensor, Tensor], Tensor]":
    """Sparse times dense, whose gradient uses the transpose that is given."""
    import torch

    class SparseProduct(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, matrix: Any, transposed: Any, x: Any) -> Any:
            ctx.transposed = transposed
            return matrix @ x

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return None, None, ctx.transposed @ grads[0].contiguous()

    return SparseProduct.apply


def _init_weights(num_features: int, classes: int, config: TrainingConfig) -> "list[Tensor]":
    import torch

    widths = [num_features, *[config.width] * (config.layers - 1), classes]
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "weights"))
    weights = []
    for rows, cols in pairwise(widths):
        weight = torch.empty(rows, cols)
        torch.nn.init.xavier_uniform_(weight, generator=generator)
        weights.append(weight.requires_grad_())
    return weights


def _operands(topology: Topology, x: NDArray[np.float32]) -> _Operands:
    import scipy.sparse as sp

    adjacency = topology.normalized().to_scipy()
    sums = np.abs(x).sum(axis=1, keepdims=True)
    features = sp.csr_matrix(x / np.where(sums > 0, sums, 1))
    return _Operands(*(_to_torch(m) for m in (adjacency, adjacency.T, features, features.T)))


def _to_torch(matrix: Any) -> "Tensor":
    import torch

    rows = matrix.tocsr()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Ss]parse.*(beta|invariant).*")
        return torch.sparse_csr_tensor(
            torch.from_numpy(rows.indptr.astype(np.int64)),
            torch.from_numpy(rows.indices.astype(np.int64)),
            torch.from_numpy(rows.data.astype(np.float32)),
            size=rows.shape,
            check_invariants=False,
        )


def _batch_order(graph: LabelledGraph, config: TrainingConfig) -> NDArray[np.int64] | None:
    """Return the order to cut batches from; None trains on the whole graph."""
    if not 0 < config.batch_nodes < graph.topology.num_nodes:
        return None
    order = vertex_order(graph.topology, config.batch_order)
    return np.arange(graph.topology.num_nodes) if order is None else order


def _batch(
    graph: LabelledGraph, order: NDArray[np.int64], num: int, rng: np.random.Generator
) -> tuple[_Operands, NDArray[np.bool_], NDArray[np.int64]]:
    """Cut the edges inside random runs of the order."""
    total = graph.topology.num_nodes
    pieces = -(-total // _PIECE)
    taken = np.zeros(pieces * _PIECE, dtype=np.bool_).reshape(pieces, _PIECE)
    taken[rng.permutation(pieces)[: max(1, num // _PIECE)]] = True
    ids = np.sort(order[taken.reshape(-1)[:total]])
    inside = graph.topology.to_scipy()[ids][:, ids].tocsr()
    topology = Topology(
        inside.indptr.astype(np.int64), inside.indices.astype(np.int32), inside.data.astype(np.float32)
    )
    return _operands(topology, graph.x[ids]), graph.train[ids], graph.y[ids]


def _check(graph: LabelledGraph) -> None:
    bad = int(graph.x.size - np.count_nonzero(np.isfinite(graph.x)))
    if bad:
        raise DataError(f"{bad} of {graph.x.size} features are NaN or infinite; replace them first")
    if int(graph.y.max(initial=-1)) < 1 or not (graph.train & (graph.y >= 0)).any():
        labelled = int((graph.train & (graph.y >= 0)).sum())
        raise DataError(
            f"the graph has {int(graph.y.max(initial=-1)) + 1} classes and {labelled} labelled training "
            "vertices; a training needs two classes and one vertex. A generator makes more classes of more "
            "vertices (n=...)"
        )
