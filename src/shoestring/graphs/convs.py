"""PyG's GCNConv, SAGEConv and GATConv on blocks of rows: the user's module, its parameters, the same result.

A block holds some target vertices (rows) and every vertex that they read (columns, the targets first). What
PyG decides from the whole graph (self-loops, normalisation) `prepare_topology` decides once, before a split.

Shapes: R rows, K columns of a block, D width, H heads, C channels of a head.
"""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, SAGEConv
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, SumAggregation

from shoestring.core.errors import ConfigError, UnsupportedModelError
from shoestring.graphs import sparse_ops
from shoestring.graphs.csr import Block, Csr

__all__ = [
    "TopologyKind",
    "apply_conv",
    "input_width",
    "output_width",
    "prepare_topology",
    "topology_kind",
    "working_bytes",
]

TopologyKind = Literal[
    "gcn", "gcn_improved", "gcn_no_loops", "weighted", "sum", "mean", "max", "attention", "attention_no_loops"
]
"""What a layer needs of the graph; layers of one kind share one prepared topology."""

_FLOPS_PER_EDGE_VALUE = 8.0
"""Multiplications of a dense product that take as long as one value of one edge in a sparse one; see
``benchmarks/sparse_kernels.py``, which measures it."""


def topology_kind(conv: nn.Module, name: str = "") -> TopologyKind:
    """Decide what a layer needs of the graph, and refuse what cannot be computed exactly in blocks.

    Parameters
    ----------
    conv : torch.nn.Module
        PyG's GCNConv, SAGEConv or GATConv.
    name : str
        Its name in the model, for the message.

    Returns
    -------
    TopologyKind
        See `prepare_topology`.

    Raises
    ------
    UnsupportedModelError
        Another layer, a subclass, or an option that is not honoured; the message names it.
    """
    where = f"{name}: {conv!r}" if name else repr(conv)
    if type(conv) not in (GCNConv, SAGEConv, GATConv):
        raise UnsupportedModelError(
            f"{where} is a {type(conv).__name__}; exact blocks are there for PyG's own GCNConv, SAGEConv and "
            "GATConv (no subclasses). Use one of them, or write the layer as a layer-wise module"
        )
    _check_common(conv, where)
    if isinstance(conv, GCNConv):
        return _gcn_kind(conv, where)
    if isinstance(conv, SAGEConv):
        return _sage_kind(conv, where)
    return _gat_kind(cast("GATConv", conv), where)


def _refuse(where: str, option: str, why: str, instead: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{where} has {option}: {why}. {instead}")


def _check_common(conv: nn.Module, where: str) -> None:
    if conv.flow != "source_to_target":
        raise _refuse(
            where, f"flow={conv.flow!r}", "blocks hold in-neighbours", "Flip edge_index and leave flow out"
        )
    if conv.node_dim not in (-2, 0):
        raise _refuse(where, f"node_dim={conv.node_dim}", "vertices are the rows of x", "Leave node_dim out")
    if conv.decomposed_layers != 1:
        raise _refuse(
            where,
            f"decomposed_layers={conv.decomposed_layers}",
            "blocks bound the memory already",
            "Leave decomposed_layers out; the result is the same",
        )
    if conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks or conv._backward_pre_hooks:
        raise _refuse(where, "hooks", "the layer's own forward is not called", "Remove the hooks")
    if getattr(conv, "explain", None):
        raise _refuse(where, "explain=True", "edge messages are never made", "Set explain to None")
    for part, parameter in conv.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise _refuse(
                where, f"a lazy parameter {part!r}", "its shape is unknown", "Give in_channels instead of -1"
            )


def _gcn_kind(conv: GCNConv, where: str) -> TopologyKind:
    if type(conv.aggr_module) is not SumAggregation:
        raise _refuse(where, f"aggr={conv.aggr!r}", "GCN sums its neighbours here", "Leave aggr out")
    if not conv.normalize:
        return "weighted"
    if not conv.add_self_loops:
        return "gcn_no_loops"
    return "gcn_improved" if conv.improved else "gcn"


def _sage_kind(conv: SAGEConv, where: str) -> TopologyKind:
    kinds: dict[type, TopologyKind] = {
        MeanAggregation: "mean",
        SumAggregation: "sum",
        MaxAggregation: "max",
    }
    kind = kinds.get(type(conv.aggr_module))
    if kind is None:
        raise _refuse(
            where, f"aggr={conv.aggr!r}", "only mean, sum and max are exact in blocks", "Choose one of them"
        )
    return kind


def _gat_kind(conv: GATConv, where: str) -> TopologyKind:
    if type(conv.aggr_module) is not SumAggregation:
        raise _refuse(where, f"aggr={conv.aggr!r}", "GAT sums its neighbours here", "Leave aggr out")
    if conv.edge_dim is not None:
        raise _refuse(
            where, f"edge_dim={conv.edge_dim}", "blocks carry no edge features", "Leave edge_dim out"
        )
    if conv.dropout > 0:
        raise _refuse(
            where,
            f"dropout={conv.dropout} on its attention",
            "a block is computed again in the backward pass and must draw the same edges",
            "Set dropout=0 in the layer and drop out the layer's output instead",
        )
    return "attention" if conv.add_self_loops else "attention_no_loops"


def prepare_topology(kind: TopologyKind, csr: Csr, dtype: torch.dtype = torch.float32) -> Csr:
    """Apply PyG's rules for self-loops and normalisation to the *whole* graph.

    Parameters
    ----------
    kind : TopologyKind
        ``gcn``, ``gcn_improved``: every self-loop is replaced by one (weight 1, or the given weight of the
        vertex's last self-loop; `improved` gives missing ones weight 2 if the graph has weights), then
        ``1 / sqrt(d_target d_source)``. ``gcn_no_loops``: the normalisation alone. ``weighted``: given
        weights. ``mean``: 1 / in-degree. ``sum``, ``max``, ``attention_no_loops``: plain edges.
        ``attention``: every self-loop replaced by one.
    csr : Csr
        (N, N), e.g. from `csr_from_edge_index`.
    dtype : torch.dtype
        Of the weights: the dtype of the features.

    Returns
    -------
    Csr
        (N, N). Duplicates are kept; new self-loops are the last edge of their row.

    References
    ----------
    torch_geometric.nn.conv.gcn_conv.gcn_norm; torch_geometric.utils.add_remaining_self_loops, whose
    ``fill_value`` is not used when the graph has no weights.
    """
    if csr.num_rows != csr.num_cols:
        raise ConfigError(
            f"prepare_topology was given {csr.num_rows} x {csr.num_cols}; "
            "it needs the whole graph, before the split"
        )
    if kind in ("gcn", "gcn_improved", "gcn_no_loops"):
        weights = None if csr.values is None else csr.values.to(dtype)
        csr = Csr(csr.indptr, csr.indices, weights, csr.num_cols)
        if kind != "gcn_no_loops":
            csr = _replace_self_loops(csr, 2.0 if kind == "gcn_improved" else 1.0)
        return _normalise(csr, dtype)
    if kind == "weighted":
        return Csr(
            csr.indptr, csr.indices, None if csr.values is None else csr.values.to(dtype), csr.num_cols
        )
    plain = Csr(csr.indptr, csr.indices, None, csr.num_cols)
    if kind == "mean":
        degrees = csr.degrees()
        share = degrees.clamp(min=1).to(dtype).reciprocal()
        values = torch.repeat_interleave(share, degrees, output_size=csr.num_edges)
        return Csr(csr.indptr, csr.indices, values, csr.num_cols)
    return _replace_self_loops(plain, 1.0) if kind == "attention" else plain


def _replace_self_loops(csr: Csr, fill: float) -> Csr:
    """Drop the self-loops and put one behind the other edges of every row."""
    num, rows = csr.num_rows, csr.row_ids()
    keep = csr.indices != rows
    ids = torch.arange(num)
    kept = torch.bincount(rows[keep], minlength=num)
    indptr = torch.zeros(num + 1, dtype=torch.int64)
    torch.cumsum(kept + 1, 0, out=indptr[1:])
    # Every kept edge moves back by the loops of the rows before it; loops sit at the row ends.
    places = torch.arange(int(kept.sum())).add_(rows[keep])
    ends = indptr[1:] - 1
    indices = torch.empty(int(indptr[-1]), dtype=torch.int32)
    indices[places] = csr.indices[keep]
    indices[ends] = ids.to(torch.int32)
    if csr.values is None:
        return Csr(indptr, indices, None, csr.num_cols)
    loops = torch.full((num,), fill, dtype=csr.values.dtype)
    old = torch.nonzero(~keep).squeeze(1)
    if old.numel():
        last_of_row = torch.ones_like(old, dtype=torch.bool)
        last_of_row[:-1] = rows[old][1:] != rows[old][:-1]
        loops[rows[old][last_of_row]] = csr.values[old][last_of_row]
    values = torch.empty(indices.numel(), dtype=csr.values.dtype)
    values[places] = csr.values[keep]
    values[ends] = loops
    return Csr(indptr, indices, values, csr.num_cols)


def _normalise(csr: Csr, dtype: torch.dtype) -> Csr:
    rows = csr.row_ids()
    weights = torch.ones(csr.num_edges, dtype=dtype) if csr.values is None else csr.values
    degree = torch.zeros(csr.num_rows, dtype=dtype).scatter_add_(0, rows, weights)
    scale = degree.pow_(-0.5)
    scale.masked_fill_(scale == float("inf"), 0)
    values = scale[csr.indices] * weights * scale[rows]
    return Csr(csr.indptr, csr.indices, values, csr.num_cols)


def apply_conv(conv: nn.Module, x_KD: Tensor, block: Block) -> Tensor:
    """Output of a layer for the rows of a block; differentiable in `x` and in the layer's parameters.

    Parameters
    ----------
    conv : torch.nn.Module
        A layer that `topology_kind` accepts.
    x_KD : Tensor
        float32 or float64, (K, D): features of the block's columns, the rows' own first.
    block : Block
        (R, K), cut from the topology that `prepare_topology` made for this layer's kind.

    Returns
    -------
    Tensor
        (R, `output_width`).

    Raises
    ------
    UnsupportedModelError
        As `topology_kind`.
    ConfigError
        If `x` has another number of rows than the block has columns.

    Notes
    -----
    Linear maps and linear aggregations commute, so a GCN or SAGE layer transforms before or after it
    aggregates, whichever is cheaper; PyG's order is kept where it matters (max, `project`, attention).
    """
    kind = topology_kind(conv)
    if x_KD.dim() != 2 or x_KD.shape[0] != block.num_cols:
        raise ConfigError(
            f"x has shape {tuple(x_KD.shape)}; the block has {block.num_cols} columns: one row each"
        )
    if isinstance(conv, GCNConv):
        return _apply_gcn(conv, x_KD, block)
    if isinstance(conv, SAGEConv):
        return _apply_sage(conv, x_KD, block, kind)
    return _apply_gat(cast("GATConv", conv), x_KD, block)


def _transforms_first(rows: int, cols: int, edges: int, width_in: int, width_out: int) -> bool:
    """Whether ``A (x W)`` is estimated cheaper than ``(A x) W``."""
    dense, sparse = float(width_in * width_out), _FLOPS_PER_EDGE_VALUE * edges
    return cols * dense + sparse * width_out < rows * dense + sparse * width_in


def _transforms_block_first(block: Block, x_KD: Tensor, width_out: int) -> bool:
    return _transforms_first(block.num_rows, block.num_cols, block.num_edges, x_KD.shape[1], width_out)


def _apply_gcn(conv: GCNConv, x_KD: Tensor, block: Block) -> Tensor:
    if _transforms_block_first(block, x_KD, conv.out_channels):
        out = sparse_ops.spmm(block, conv.lin(x_KD))
    else:
        out = conv.lin(sparse_ops.spmm(block, x_KD))
    return out if conv.bias is None else out + conv.bias


def _apply_sage(conv: SAGEConv, x_KD: Tensor, block: Block, kind: TopologyKind) -> Tensor:
    own_RD = x_KD[: block.num_rows]
    if conv.project:
        x_KD = conv.lin(x_KD).relu()
    if kind == "max":
        out = conv.lin_l(sparse_ops.segment_max(block, x_KD))
    elif _transforms_block_first(block, x_KD, conv.out_channels):
        out = sparse_ops.spmm(block, nn.functional.linear(x_KD, conv.lin_l.weight))
        out = out if conv.lin_l.bias is None else out + conv.lin_l.bias
    else:
        out = conv.lin_l(sparse_ops.spmm(block, x_KD))
    if conv.root_weight:
        out = out + conv.lin_r(own_RD)
    return nn.functional.normalize(out, p=2.0, dim=-1) if conv.normalize else out


def _apply_gat(conv: GATConv, x_KD: Tensor, block: Block) -> Tensor:
    heads, channels = conv.heads, conv.out_channels
    own_RD = x_KD[: block.num_rows]
    if conv.lin is not None:
        x_KHC = conv.lin(x_KD).view(-1, heads, channels)
        own_RHC = x_KHC[: block.num_rows]
    else:
        x_KHC = conv.lin_src(x_KD).view(-1, heads, channels)
        own_RHC = conv.lin_dst(own_RD).view(-1, heads, channels)
    source_KH = (x_KHC * conv.att_src).sum(-1)
    target_RH = (own_RHC * conv.att_dst).sum(-1)
    out_RHC = sparse_ops.attend(block, x_KHC, source_KH, target_RH, conv.negative_slope)
    out = out_RHC.reshape(block.num_rows, heads * channels) if conv.concat else out_RHC.mean(dim=1)
    if conv.res is not None:
        out = out + conv.res(own_RD)
    return out if conv.bias is None else out + conv.bias


def output_width(conv: nn.Module) -> int:
    """Channels of a layer's output (heads times channels for a concatenating GAT)."""
    if isinstance(conv, GATConv):
        return int(conv.out_channels * (conv.heads if conv.concat else 1))
    return int(cast("GCNConv", conv).out_channels)


def working_bytes(conv: nn.Module, rows: int, cols: int, edges: int, itemsize: int) -> int:
    """Peak bytes of forward and backward of a block beyond its topology, parameters not counted.

    Parameters
    ----------
    conv : torch.nn.Module
        A layer that `topology_kind` accepts.
    rows, cols, edges : int
        Size of the block.
    itemsize : int
        Bytes of a value.

    Returns
    -------
    int
        An upper estimate: input, output and their gradients, and what the layer keeps between the passes.
    """
    width_out, width_in = output_width(conv), input_width(conv)
    # Input, output and their gradients; one more output for the sums with bias and root.
    values = 2 * cols * width_in + 3 * rows * width_out
    if isinstance(conv, GATConv):
        hidden = conv.heads * conv.out_channels
        values += 4 * cols * hidden + 3 * rows * hidden + (2 * edges + 3 * (cols + rows)) * conv.heads
    elif topology_kind(conv) == "max":
        values += 2 * rows * width_in
    elif _transforms_first(rows, cols, edges, width_in, width_out):
        values += 2 * cols * width_out
    else:
        values += 2 * rows * width_in
    if isinstance(conv, SAGEConv):
        values += 2 * rows * width_out + (3 * cols * width_in if conv.project else 0)
    return values * itemsize


def input_width(conv: nn.Module) -> int:
    """Channels of a layer's input."""
    width = cast("SAGEConv", conv).in_channels
    return int(width if isinstance(width, int) else width[0])
