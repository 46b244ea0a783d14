"""Stacks of PyG layers: weights in and out, the layer view, what is refused."""

from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GAT, GCN, BatchNorm, GATConv, GCNConv, GINConv, GraphSAGE, SAGEConv

from shoestring.core.errors import ConfigError, UnsupportedModelError
from shoestring.graphs.convs import prepare_topology, topology_kind
from shoestring.graphs.csr import Block, csr_from_edge_index, cut_block
from shoestring.graphs.dropout import _random_words, dropout_key, dropout_rows
from shoestring.graphs.models import DropoutStream, GnnKind, GnnStack, LayerStack, build_gnn

PYG = {"gcn": GCN, "sage": GraphSAGE, "gat": GAT}
KINDS: list[GnnKind] = ["gcn", "sage", "gat"]


def graph_and_features() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(0, 40, (2, 160), generator=generator)
    return edge_index, torch.randn(40, 6, dtype=torch.float64, generator=generator)


def run_layers(
    stack: LayerStack, edge_index: Tensor, x: Tensor, cuts: list[int], dropout: DropoutStream | None = None
) -> Tensor:
    num_nodes = x.shape[0]
    for layer in range(stack.num_layers):
        graph = prepare_topology(stack.kinds[layer], csr_from_edge_index(edge_index, num_nodes), x.dtype)
        outs = []
        for start, stop in pairwise(cuts):
            block, columns = cut_block(graph, start, stop)
            ids = torch.arange(start, stop)
            outs.append(stack.forward_layer(layer, x[columns], block, vertices=ids, dropout=dropout))
        x = torch.cat(outs)
    return x


@pytest.mark.parametrize("norm", [None, "layer"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_load_into_pygs_own_model_and_back(kind: GnnKind, norm: Literal["layer"] | None) -> None:
    edge_index, x = graph_and_features()
    ours = build_gnn(kind, 6, 8, 3, 3, heads=2, norm=norm).double()
    options: dict[str, Any] = {"heads": 2} if kind == "gat" else {}
    if norm:
        options |= {"norm": "layer_norm", "norm_kwargs": {"mode": "node"}}
    theirs = PYG[kind](6, 8, 3, 3, **options).double()

    theirs.load_state_dict(ours.state_dict(), strict=True)
    torch.testing.assert_close(theirs(x, edge_index), ours(x, edge_index), rtol=0, atol=0)
    build_gnn(kind, 6, 8, 3, 3, heads=2, norm=norm).load_state_dict(theirs.state_dict(), strict=True)


@pytest.mark.parametrize("act_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_pygs_own_model_runs_layer_by_layer(kind: GnnKind, act_first: bool) -> None:
    edge_index, x = graph_and_features()
    model = PYG[kind](
        6, 8, 3, 3, act="elu", act_first=act_first, norm="layer_norm", norm_kwargs={"mode": "node"}
    ).double()
    got = run_layers(LayerStack(model), edge_index, x, [0, 13, 13, 40])
    torch.testing.assert_close(got, model(x, edge_index), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_layers", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_residual_stack_equals_its_own_forward(kind: GnnKind, num_layers: int) -> None:
    edge_index, x = graph_and_features()
    model = (
        build_gnn(kind, 6, 6, 3, num_layers, heads=3, norm="layer", residual=True, dropout=0.5)
        .double()
        .eval()
    )
    got = run_layers(LayerStack(model), edge_index, x, [0, 7, 30, 40])
    torch.testing.assert_close(got, model(x, edge_index), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_does_not_depend_on_the_split(kind: GnnKind) -> None:
    edge_index, x = graph_and_features()
    stack = LayerStack(build_gnn(kind, 6, 8, 3, 3, dropout=0.4).double())
    one, two = DropoutStream(seed=3, epoch=0), DropoutStream(seed=3, epoch=1)
    whole = run_layers(stack, edge_index, x, [0, 40], one)
    split = run_layers(stack, edge_index, x, [0, 3, 11, 12, 40], one)
    torch.testing.assert_close(split, whole, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(run_layers(stack, edge_index, x, [0, 40], two), whole)
    assert not torch.allclose(run_layers(stack, edge_index, x, [0, 40]), whole)


def test_dropout_without_ids_is_refused() -> None:
    edge_index, x = graph_and_features()
    stack = LayerStack(build_gnn("sage", 6, 8, 3, 2, dropout=0.4).double())
    block = Block(prepare_topology(stack.kinds[0], csr_from_edge_index(edge_index, 40), x.dtype))
    with pytest.raises(ConfigError, match="vertices"):
        stack.forward_layer(0, x, block, dropout=DropoutStream(seed=0, epoch=0))


def test_dropout_keeps_the_right_share_and_the_mean() -> None:
    x = torch.ones(20_000, 16)
    for p in (0.1, 0.5, 0.9):
        out = dropout_rows(x, p, dropout_key(0, 1, 2), torch.arange(20_000))
        kept = (out > 0).double()
        # 320,000 draws: five standard deviations are below 0.0045.
        assert abs(kept.mean() - (1 - p)) < 0.0045
        assert abs(out.double().mean() - 1) < 0.0045 / (1 - p)
        # A column or a row has no preference: 20,000 draws a column.
        assert (kept.mean(0) - (1 - p)).abs().max() < 0.02
        assert abs(float((kept[:, :-1] * kept[:, 1:]).mean()) - (1 - p) ** 2) < 0.005
        assert abs(float((kept[:-1] * kept[1:]).mean()) - (1 - p) ** 2) < 0.005


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_compiled_masks_are_those_of_the_definition(dtype: torch.dtype) -> None:
    vertices = torch.tensor([0, 1, 5, 2**31, 2**40, 7])
    x = torch.ones(6, 37, dtype=dtype, requires_grad=True)
    for key in (0, 1, 2**63 - 1):
        keep = _random_words(37, key, vertices) >= round(0.3 * 2**32)
        out = dropout_rows(x, 0.3, key, vertices)
        torch.testing.assert_close(out, keep.to(dtype) / 0.7)
        (grad,) = torch.autograd.grad(out.sum(), x)
        torch.testing.assert_close(grad, keep.to(dtype) / 0.7)


def test_dropout_of_zero_is_the_input_and_of_one_is_refused() -> None:
    x = torch.ones(2, 2)
    assert dropout_rows(x, 0.0, 1, torch.arange(2)) is x
    with pytest.raises(ConfigError, match="outside 0"):
        dropout_rows(x, 1.0, 1, torch.arange(2))


class _OwnGcn(GCNConv):  # type: ignore[misc]  # PyG has no types
    pass


REFUSED_LAYERS = {
    "GINConv": GINConv(nn.Linear(4, 4)),
    "_OwnGcn": _OwnGcn(4, 4),
    "aggr=": SAGEConv(4, 4, aggr="median"),
    r"aggr=\['mean', 'max'\]": SAGEConv(4, 4, aggr=["mean", "max"]),
    "aggr='max'": GCNConv(4, 4, aggr="max"),
    "aggr='mean'": GATConv(4, 4, aggr="mean"),
    "flow='target_to_source'": SAGEConv(4, 4, flow="target_to_source"),
    "decomposed_layers=2": SAGEConv(4, 4, decomposed_layers=2),
    "dropout=0.6 on its attention": GATConv(4, 4, dropout=0.6),
    "edge_dim=3": GATConv(4, 4, edge_dim=3),
    "a lazy parameter": SAGEConv(-1, 4),
    "node_dim=-1": GCNConv(4, 4, node_dim=-1),
}


@pytest.mark.parametrize("reason", REFUSED_LAYERS)
def test_an_option_that_cannot_be_honoured_is_refused_by_name(reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"first: .*{reason}"):
        topology_kind(REFUSED_LAYERS[reason], "first")


def test_a_hooked_layer_is_refused() -> None:
    conv = GCNConv(4, 4)
    conv.register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedModelError, match="hooks"):
        topology_kind(conv)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Linear(2, 2), "Linear cannot be split"),
        (GCN(4, 4, 2, 2, norm="batch_norm"), "norms.0 is a BatchNorm"),
        (GCN(4, 4, 2, 2, norm="layer_norm"), r"LayerNorm\(mode='graph'\)"),
        (GCN(4, 4, 2, 2, jk="cat"), "jk='cat'"),
        (GAT(4, 4, 2, 2, dropout=0.5), "dropout=0.5 on its attention"),
        (GCN(4, 4, 2, 2, act="PReLU"), "PReLU"),
        (GnnStack([GCNConv(4, 4), GCNConv(4, 4)], [BatchNorm(4)]), "BatchNorm"),
    ],
)
def test_a_model_that_cannot_be_split_is_refused_by_name(model: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        LayerStack(model)


def test_widths_parameters_and_bytes() -> None:
    stack = LayerStack(build_gnn("gat", 6, 8, 3, 3, heads=2, norm="layer"))
    assert stack.widths == [6, 8, 8, 3]
    assert {id(p) for i in range(3) for p in stack.parameters(i)} == {id(p) for p in stack.model.parameters()}
    sizes = [stack.working_bytes(0, 10, 20, edges) for edges in (0, 100, 200)]
    assert 0 < sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "gin"},
        {"norm": "batch"},
        {"num_layers": 0},
        {"kind": "gat", "heads": 3},
    ],
)
def test_a_bad_option_of_build_gnn_is_a_config_error(options: dict[str, object]) -> None:
    good = {"kind": "gcn", "in_channels": 4, "hidden_channels": 4, "out_channels": 4, "num_layers": 2}
    with pytest.raises(ConfigError):
        build_gnn(**(good | options))  # type: ignore[arg-type]  # wrong on purpose


def test_a_stack_needs_one_norm_fewer_than_convs() -> None:
    with pytest.raises(ConfigError, match="2 convs with 0 norms"):
        GnnStack([GCNConv(2, 2), GCNConv(2, 2)], [])
