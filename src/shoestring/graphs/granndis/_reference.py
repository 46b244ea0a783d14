"""The reference: full-batch training by PyG's own layers in one process."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.graphs.dropout import dropout_key, dropout_rows
from shoestring.graphs.granndis._models import GraphModel
from shoestring.graphs.granndis._source import prepare_source
from shoestring.graphs.granndis.config import GranndisConfig

__all__ = ["ReferenceRun", "train_single"]


@dataclass(slots=True)
class ReferenceRun:
    """The result of `train_single`."""

    state_dict: dict[str, Tensor]
    loss: list[float]
    """By epoch."""
    seconds: list[float]
    """By epoch."""
    accuracy: dict[str, float]
    """By split."""
    activation_bytes: int
    """Kept for the backward pass."""
    edges: int
    """Computed in an epoch's forward pass."""


def train_single(data: Any, config: GranndisConfig) -> ReferenceRun:
    """Train the same network with the same seeds on the whole graph in this process, with PyG's layers.

    Parameters
    ----------
    data, config
        As for `train`; topology, plan and link are not used. Dropout draws the masks of
        ``dropout_place="before"``.
    """
    source, training = prepare_source(data, config), config.training
    model = GraphModel(config.model, source.x.shape[1], source.num_classes, training.seed)
    model = model.to(getattr(torch, training.dtype))
    optimizer = torch.optim.Adam(model.parameters(), lr=training.lr)
    vertices = torch.arange(source.num_nodes)
    chosen = source.masks[0]
    losses, seconds = [], []
    held: dict[int, int] = {}
    for epoch in range(training.epochs):
        start = time.perf_counter()

        def drop(h: Tensor, layer: int, epoch: int = epoch) -> Tensor:
            return dropout_rows(h, config.model.dropout, dropout_key(training.seed, epoch, layer), vertices)

        def keep(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        optimizer.zero_grad(set_to_none=True)
        if epoch == 0:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
                logits = model(source.x, source.edge_index, drop)
        else:
            logits = model(source.x, source.edge_index, drop)
        loss = nn.functional.cross_entropy(logits[chosen], source.y[chosen])
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
        optimizer.step()
        losses.append(float(loss.detach()))
        seconds.append(time.perf_counter() - start)
    with torch.inference_mode():
        right = model(source.x, source.edge_index).argmax(1) == source.y
    scores = {
        n: float(right[m].double().mean())
        for n, m in zip(("train", "val", "test"), source.masks, strict=True)
        if bool(m.any())
    }
    edges = source.csr.num_edges * config.model.layers
    state = {k: v.detach() for k, v in model.state_dict().items()}
    return ReferenceRun(state, losses, seconds, scores, sum(held.values()), edges)
