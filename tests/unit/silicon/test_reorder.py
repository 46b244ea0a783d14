import numpy as np
import pytest

from shoestring.core.errors import ConfigError
from shoestring.silicon.reorder import Order, vertex_order
from shoestring.silicon.topology import Topology, load_graph, topology_from_edges


def spread(topology: Topology) -> float:
    sources, rows = topology.edges()
    return float(np.abs(sources - rows).mean())


@pytest.mark.parametrize("order", ["bfs", "rcm", "community"])
def test_an_order_is_a_permutation_and_brings_neighbours_closer(order: Order) -> None:
    local = load_graph("sbm:n=1200,deg=8,inside=0.97,low=30,high=60", seed=1)
    mixed = local.relabelled(np.random.default_rng(0).permutation(1200))
    found = vertex_order(mixed, order)
    assert found is not None
    assert np.sort(found).tolist() == list(range(1200))
    assert spread(mixed.relabelled(found)) < spread(mixed)


def test_communities_of_local_ids_are_found_again() -> None:
    local = load_graph("sbm:n=1200,deg=8,inside=0.97,low=30,high=60", seed=1)
    mixed = local.relabelled(np.random.default_rng(0).permutation(1200))
    found = vertex_order(mixed, "community")
    assert found is not None
    assert spread(mixed.relabelled(found)) < 2 * spread(local)


@pytest.mark.parametrize("order", ["bfs", "rcm", "community"])
def test_isolated_vertices_and_empty_graphs_are_ordered_too(order: Order) -> None:
    alone = topology_from_edges(np.array([[3], [1]]), 5)
    found = vertex_order(alone, order)
    assert found is not None
    assert np.sort(found).tolist() == [0, 1, 2, 3, 4]


def test_given_is_none_and_unknown_orders_are_refused() -> None:
    topology = load_graph("karate")
    assert vertex_order(topology, "given") is None
    with pytest.raises(ConfigError, match="alphabet"):
        vertex_order(topology, "alphabet")  # type: ignore[arg-type]  # the point of the test
