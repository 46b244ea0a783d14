"""Every layer on blocks equals PyG's own forward and gradients in float64."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, SAGEConv

from shoestring.graphs.convs import apply_conv, output_width, prepare_topology, topology_kind
from shoestring.graphs.csr import Block, csr_from_edge_index, cut_block

WIDTH = 5
LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "gcn": lambda out: GCNConv(WIDTH, out),
    "gcn improved": lambda out: GCNConv(WIDTH, out, improved=True),
    "gcn without self-loops": lambda out: GCNConv(WIDTH, out, add_self_loops=False),
    "gcn unnormalised": lambda out: GCNConv(WIDTH, out, normalize=False),
    "gcn without bias, cached": lambda out: GCNConv(WIDTH, out, bias=False, cached=True),
    "sage mean": lambda out: SAGEConv(WIDTH, out),
    "sage sum": lambda out: SAGEConv(WIDTH, out, aggr="sum"),
    "sage max": lambda out: SAGEConv(WIDTH, out, aggr="max"),
    "sage without root, normalised": lambda out: SAGEConv(WIDTH, out, root_weight=False, normalize=True),
    "sage projected": lambda out: SAGEConv(WIDTH, out, project=True),
    "sage without bias, pair": lambda out: SAGEConv((WIDTH, WIDTH), out, bias=False),
    "gat": lambda out: GATConv(WIDTH, out),
    "gat heads": lambda out: GATConv(WIDTH, out, heads=3),
    "gat averaged heads": lambda out: GATConv(WIDTH, out, heads=3, concat=False, negative_slope=0.01),
    "gat without self-loops": lambda out: GATConv(WIDTH, out, heads=2, add_self_loops=False),
    "gat residual, no bias": lambda out: GATConv(WIDTH, out, heads=2, residual=True, bias=False),
    "gat pair": lambda out: GATConv((WIDTH, WIDTH), out, heads=2, residual=True),
}


def awkward_graph(seed: int = 0, num_nodes: int = 60) -> Tensor:
    """Random edges with a hub, isolated vertices, duplicate edges, self-loops (some double)."""
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(0, num_nodes - 3, (2, 3 * num_nodes), generator=generator)
    hub_in = torch.stack([torch.arange(num_nodes - 10), torch.full((num_nodes - 10,), 7)])
    loops = torch.tensor([[3, 3, 8], [3, 3, 8]])
    edges = torch.cat([edges, hub_in, hub_in.flip(0), edges[:, :20], loops], dim=1)
    return edges[:, torch.randperm(edges.shape[1], generator=generator)]


def run_pyg(conv: nn.Module, x: Tensor, *graph: Tensor, push: Tensor) -> tuple[Tensor, list[Tensor]]:
    x = x.clone().requires_grad_()
    out = conv(x, *graph)
    return out, list(torch.autograd.grad(out, [x, *conv.parameters()], push, materialize_grads=True))


def run_blocks(
    conv: nn.Module, x: Tensor, blocks: list[tuple[Block, Tensor]], push: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """The same through separate passes over blocks, gradients summed by hand."""
    outs, grads, first = [], [torch.zeros_like(p) for p in [x, *conv.parameters()]], 0
    for block, columns in blocks:
        cols = x[columns].requires_grad_()
        out = apply_conv(conv, cols, block)
        pushed = push[first : first + block.num_rows]
        grad = torch.autograd.grad(out, [cols, *conv.parameters()], pushed, materialize_grads=True)
        grads[0].index_add_(0, columns, grad[0])
        grads[1:] = [total + part for total, part in zip(grads[1:], grad[1:], strict=True)]
        outs.append(out)
        first += block.num_rows
    return torch.cat(outs), grads


@pytest.mark.parametrize("out_width", [2, 9], ids=["narrower", "wider"])
@pytest.mark.parametrize("cuts", [[0, 60], [0, 1, 1, 23, 60]], ids=["one block", "union of blocks"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_on_blocks_equals_pyg(name: str, cuts: list[int], out_width: int) -> None:
    torch.manual_seed(1)
    edge_index, conv = awkward_graph(), LAYERS[name](out_width).double()
    x = torch.randn(60, WIDTH, dtype=torch.float64)
    push = torch.randn(60, output_width(conv), dtype=torch.float64)
    graph = prepare_topology(topology_kind(conv), csr_from_edge_index(edge_index, 60), torch.float64)
    blocks = [cut_block(graph, a, b) for a, b in pairwise(cuts)]

    want, want_grads = run_pyg(conv, x, edge_index, push=push)
    got, got_grads = run_blocks(conv, x, blocks, push)

    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", ["gcn", "gcn improved", "gcn without self-loops", "gcn unnormalised"])
def test_edge_weights_follow_pyg(name: str) -> None:
    torch.manual_seed(2)
    edge_index, conv = awkward_graph(3), LAYERS[name](4).double()
    weights = torch.rand(edge_index.shape[1], dtype=torch.float64)
    x, push = torch.randn(60, WIDTH, dtype=torch.float64), torch.randn(60, 4, dtype=torch.float64)
    csr = csr_from_edge_index(edge_index, 60, weights)
    graph = prepare_topology(topology_kind(conv), csr, torch.float64)

    want, want_grads = run_pyg(conv, x, edge_index, weights, push=push)
    got, got_grads = run_blocks(conv, x, [cut_block(graph, 0, 31), cut_block(graph, 31, 60)], push)

    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-11)
