"""From a user's graph to a prepared one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.core.errors import ConfigError
from shoestring.graphs.convs import TopologyKind
from shoestring.graphs.csr import csr_from_edge_index
from shoestring.graphs.grinnder._models import as_layers
from shoestring.graphs.grinnder._prepare import GraphArrays, PreparedGraph, graph_arrays, write_graph
from shoestring.graphs.grinnder.config import Config

__all__ = ["prepare"]


def prepare(data: Any, config: Config, model: nn.Module) -> PreparedGraph:
    """Partition a graph and write it to ``config.storage``."""
    arrays = graph_arrays(data)
    kinds = tuple(dict.fromkeys(as_layers(model).kinds))
    g = torch.Generator().manual_seed(config.seed)
    perm = torch.randperm(arrays.num_nodes, generator=g)
    n, p = arrays.num_nodes, int(config.parts)
    ptr = [n * j // p for j in range(p + 1)]
    folder = config.storage / f"graph-{arrays.fingerprint()}-{p}"
    return write_graph(folder, arrays, perm, ptr, kinds, config=config, partition_info={"alpha": 0.0})
