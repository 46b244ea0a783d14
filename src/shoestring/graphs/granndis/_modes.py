"""Every mode of GraNNDis side by side before training: what it copies, sends, needs, and a modelled time."""

import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from shoestring.graphs.csr import Block, cut_block
from shoestring.graphs.granndis._plan import make_plan
from shoestring.graphs.granndis._source import Source, prepare_source
from shoestring.graphs.granndis.config import GranndisConfig, HaloConfig, Mode
from shoestring.graphs.sparse_ops import spmm

__all__ = ["ModeEstimate", "plan_modes"]

_SAMPLE_EDGES = 200_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeEstimate:
    """One mode: sizes, bytes between servers, memory of a rank, modelled times."""

    mode: Mode
    k: int
    """Layers without traffic between servers."""
    fits: bool
    """In ``plan.mem_budget_bytes``."""
    replication: float
    """Rows of all servers over the vertices of the graph; in modes with batches, those of one batch."""
    rank_minimum_bytes: int
    """Least ``plan.mem_budget_bytes``: features, structure, activations, gradients of the fullest rank."""
    edges_per_epoch: int
    """Edges of all ranks and layers in the forward passes of an epoch."""
    inter_feature_bytes: int
    """Features and gradients between servers, an epoch; weights come on top in every mode."""
    modelled_compute_s: float
    """Of an epoch, from the speed of one layer on this machine and one thread a rank."""
    modelled_link_s: float | None
    """Of an epoch, over ``link.inter_bits_per_s``; None if the link has no rate."""


def plan_modes(data: Any, config: GranndisConfig) -> tuple[ModeEstimate, ...]:
    """Size every mode without training.

    Parameters
    ----------
    data : torch_geometric.data.Data
        As `shoestring.graphs.granndis.train` takes it.
    config : GranndisConfig
        ``plan.mode`` and ``plan.k`` are ignored: full, flexible with every k, eas, cooperative and minibatch
        are sized, all with this config's partitioner, fan-outs and batches.

    Returns
    -------
    tuple of ModeEstimate
        In that order.

    Raises
    ------
    DataError
        As `train`.

    Notes
    -----
    One partitioning a mode, and the frontier expansion of every server: O(E) each.
    """
    source = prepare_source(data, config)
    layers, budget = config.model.layers, config.plan.mem_budget_bytes
    seconds_per_edge = _seconds_per_edge(source, config)
    wanted: list[tuple[Mode, int | None]] = [("full", None)]
    wanted += [("flexible", k) for k in range(1, layers + 1)]
    wanted += [("eas", None), ("cooperative", None), ("minibatch", None)]
    made = []
    for mode, k in wanted:
        halo = config.plan.halo if mode == "full" else HaloConfig()
        options = replace(config.plan, mode=mode, k=k, mem_budget_bytes=None, halo=halo)
        sizes = make_plan(source, replace(config, plan=options), compare=False).sizes
        rate = config.link.inter_bits_per_s
        made.append(
            ModeEstimate(
                mode=sizes.mode,
                k=sizes.k,
                fits=budget is None or sizes.bytes_per_rank <= budget,
                replication=sizes.replication,
                rank_minimum_bytes=sizes.bytes_per_rank,
                edges_per_epoch=sizes.edges_per_epoch,
                inter_feature_bytes=sizes.inter_bytes_per_epoch,
                modelled_compute_s=seconds_per_edge * sizes.edges_per_epoch / config.topology.world,
                # Every server sends its share at once, each over its own link.
                modelled_link_s=None
                if rate is None
                else 8 * sizes.inter_bytes_per_epoch / config.servers / rate,
            )
        )
    return tuple(made)


def _seconds_per_edge(source: Source, config: GranndisConfig) -> float:
    """Time a layer of hidden width forward and backward on a sample of rows, one thread."""
    ends = source.csr.indptr
    stop = int(torch.searchsorted(ends, torch.tensor(_SAMPLE_EDGES))) or 1
    block: Block = cut_block(source.csr, 0, min(stop, source.num_nodes))[0]
    width, dtype = config.model.hidden, source.x.dtype
    weight = torch.zeros(width, width, dtype=dtype, requires_grad=True)
    x = torch.zeros(block.num_cols, width, dtype=dtype, requires_grad=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            torch.autograd.backward((spmm(block, x) @ weight).sum())
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return min(times) / max(block.num_edges, 1)
