"""Synthetic graphs: seeded, simple, with the planted properties."""

from collections.abc import Callable

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import is_undirected

from shoestring.core.errors import ConfigError
from shoestring.data.graphs.generators import block_model, digits_graph, geometric, rmat

MAKE: dict[str, Callable[[int], Data]] = {
    "rmat": lambda seed: rmat(1000, 8000, seed=seed),
    "block_model": lambda seed: block_model(1000, 12, num_communities=8, seed=seed),
    "geometric": lambda seed: geometric(1000, 5, seed=seed),
    "digits_graph": lambda seed: digits_graph(seed=seed),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_graph_is_simple_undirected_and_split(name: str) -> None:
    data = MAKE[name](0)
    data.validate()
    assert data.x.dtype == torch.float32
    assert data.edge_index.dtype == data.y.dtype == torch.int64
    assert bool((data.edge_index[0] != data.edge_index[1]).all())
    assert torch.unique(data.edge_index, dim=1).shape == data.edge_index.shape
    assert is_undirected(data.edge_index, num_nodes=data.num_nodes)
    assert torch.equal(
        data.train_mask.int() + data.val_mask.int() + data.test_mask.int(), torch.ones_like(data.y).int()
    )
    assert "synthetic" in data.kind or "real" in data.kind


@pytest.mark.parametrize("name", ["rmat", "block_model", "geometric"])
def test_the_seed_decides_everything(name: str) -> None:
    one, same, other = MAKE[name](3), MAKE[name](3), MAKE[name](4)
    for key in ("x", "edge_index", "y", "train_mask"):
        assert torch.equal(one[key], same[key]), key
    assert not torch.equal(one.x, other.x)
    assert one.edge_index.shape != other.edge_index.shape or not torch.equal(one.edge_index, other.edge_index)


def degrees(data: Data) -> torch.Tensor:
    return torch.bincount(data.edge_index[1], minlength=data.num_nodes)


def test_rmat_has_hubs() -> None:
    degree = degrees(rmat(4096, 40_000))
    assert degree.max() > 15 * degree.double().mean()


def test_rmat_with_even_quadrants_has_none() -> None:
    degree = degrees(rmat(4096, 40_000, quadrants=(0.25, 0.25, 0.25, 0.25)))
    assert degree.max() < 3 * degree.double().mean()


def test_the_block_model_keeps_the_planted_share_of_inner_edges() -> None:
    data = block_model(20_000, 10, num_communities=16, inside=0.7, seed=1)
    source, target = data.y[data.edge_index]
    # A stranger's edge ends at home in one of 16 cases; duplicates take out a few inner edges.
    assert float((source == target).double().mean()) == pytest.approx(0.7 + 0.3 / 16, abs=0.02)
    degree = degrees(data).double()
    assert float(degree.mean()) == pytest.approx(10, rel=0.05)
    assert degree.max() > 10 * degree.mean()


def test_the_features_of_the_block_model_carry_the_label() -> None:
    data = block_model(500, 4, num_communities=5, num_features=7, noise=0.0)
    assert data.x.shape == (500, 7)
    assert torch.equal(data.x.argmax(1), data.y)


def test_the_geometric_graph_joins_near_points() -> None:
    data = geometric(2000, 4)
    length = (data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]]).norm(dim=1)
    assert length.max() < 0.15
    assert degrees(data).min() >= 4


def test_neighbours_of_the_digits_mostly_share_the_label() -> None:
    data = digits_graph()
    assert (data.num_nodes, data.x.shape[1]) == (1797, 64)
    source, target = data.y[data.edge_index]
    assert (source == target).double().mean() > 0.9


@pytest.mark.parametrize(
    "call",
    [
        lambda: rmat(0, 1),
        lambda: rmat(5, -1),
        lambda: rmat(5, 5, quadrants=(0.5, 0.5, 0.5, 0.5)),
        lambda: block_model(5, 2, num_communities=4, num_features=3),
        lambda: block_model(5, 2, inside=1.5),
        lambda: block_model(5, 2, exponent=1.0),
        lambda: geometric(5, 5),
        lambda: geometric(5, 2, num_classes=5),
        lambda: digits_graph(0),
    ],
)
def test_a_bad_option_is_a_config_error(call: Callable[[], Data]) -> None:
    with pytest.raises(ConfigError):
        call()


def test_equal_points_and_tiny_graphs_work() -> None:
    assert geometric(2, 1).edge_index.shape == (2, 2)
    assert block_model(1, 4, num_communities=1).num_edges == 0
    assert rmat(1, 10).num_edges == 0
