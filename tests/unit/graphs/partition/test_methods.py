"""Partitioners: what every method keeps, how they rank, what they refuse."""

import statistics
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shoestring.core.errors import ConfigError, DataError
from shoestring.graphs.csr import csr_from_edge_index
from shoestring.graphs.partition import Partition, partition

METHODS = ("switching", "spinner", "random", "metis")


def blocks(num: int, count: int, degree: int, inside: float, seed: int = 0) -> Tensor:
    """Undirected block model with block ids scattered over the vertices."""
    rng = torch.Generator().manual_seed(seed)
    size = num // count
    shuffle = torch.randperm(num, generator=rng)
    source = torch.randint(0, num, (num * degree,), generator=rng)
    near = source // size * size + torch.randint(0, size, source.shape, generator=rng)
    far = torch.randint(0, num, source.shape, generator=rng)
    target = torch.where(torch.rand(source.shape, generator=rng) < inside, near.clamp(max=num - 1), far)
    ends = shuffle[torch.stack([source, target])]
    return torch.cat([ends, ends.flip(0)], 1)


def alpha_by_sets(made: Partition) -> tuple[float, float]:
    """Expansion ratio and dependants with Python sets."""
    sources, targets = made.csr.edge_index().tolist()
    part = made.part.tolist()
    reads: list[set[int]] = [set() for _ in range(made.num_parts)]
    for v, j in enumerate(part):
        reads[j].add(v)
    for u, v in zip(sources, targets, strict=True):
        reads[part[v]].add(u)
    others = [{part[u] for u in seen} - {j} for j, seen in enumerate(reads)]
    return sum(map(len, reads)) / len(part), sum(map(len, others)) / made.num_parts


@settings(max_examples=40, deadline=None)
@given(
    num=st.integers(1, 60),
    edges=st.integers(0, 200),
    parts=st.integers(1, 70),
    method=st.sampled_from(METHODS),
    seed=st.integers(0, 9),
)
def test_every_partition_is_complete_and_its_figures_are_true(
    num: int, edges: int, parts: int, method: Any, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    made = partition(
        torch.randint(0, num, (2, edges), generator=rng), parts, method, seed=seed, num_nodes=num
    )
    assert made.part.dtype == torch.int32
    assert 0 <= int(made.part.min()) <= int(made.part.max()) < parts
    assert sorted(made.perm.tolist()) == list(range(num))
    for j in range(parts):
        members = made.perm[int(made.ptr[j]) : int(made.ptr[j + 1])]
        assert members.tolist() == torch.nonzero(made.part == j).flatten().tolist()
    assert (made.alpha, made.dependants) == pytest.approx(alpha_by_sets(made))
    if method in ("switching", "spinner"):
        assert int(made.sizes.max()) <= max(int(1.1 * num / parts), -(-num // parts))


def test_the_methods_rank_as_published_on_block_models() -> None:
    alpha: dict[str, list[float]] = {m: [] for m in METHODS}
    for seed in range(5):
        graph = blocks(8000, 64, 8, 0.95, seed)
        for method in METHODS:
            start: Any = {"init": "random"} if method in ("switching", "spinner") else {}
            made = partition(graph, 16, cast("Any", method), seed=seed, num_nodes=8000, **start)
            alpha[method].append(made.alpha)
    middle = {m: statistics.median(values) for m, values in alpha.items()}
    assert middle["random"] > middle["spinner"] > middle["switching"] > middle["metis"]


def test_groups_of_one_second_preference_are_what_makes_the_switching_moves_converge() -> None:
    graph = blocks(8000, 48, 8, 0.9)
    whole, single = (
        partition(graph, 16, num_nodes=8000, init="random", group_by_second=on).alpha for on in (True, False)
    )
    assert whole < 0.7 * single


def test_a_breadth_first_start_leaves_fewer_parts_to_depend_on() -> None:
    side = 64  # a grid: neighbours are near
    ids = torch.arange(side * side).view(side, side)
    right = torch.stack([ids[:, :-1].flatten(), ids[:, 1:].flatten()])
    down = torch.stack([ids[:-1].flatten(), ids[1:].flatten()])
    one_way = torch.cat([right, down], 1)
    graph = torch.cat([one_way, one_way.flip(0)], 1)
    near, stray = (partition(graph, 32, init=init).dependants for init in ("bfs", "random"))
    assert near < stray / 2


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_parts_for_every_number_of_threads(method: Any) -> None:
    graph = blocks(1000, 10, 5, 0.8)
    one = partition(graph, 7, method, seed=3, threads=1)
    two = partition(graph, 7, method, seed=3, threads=4)
    assert torch.equal(one.part, two.part)


def test_another_seed_gives_other_parts() -> None:
    graph = blocks(1000, 10, 5, 0.8)
    assert not torch.equal(partition(graph, 7, seed=1).part, partition(graph, 7, seed=2).part)


def test_metis_can_minimise_the_volume_and_balance_weights() -> None:
    graph = blocks(2000, 16, 6, 0.9)
    weights = torch.ones(2000, dtype=torch.int64)
    weights[:200] = 20
    even = partition(graph, 4, "metis", num_nodes=2000, vertex_weights=weights)
    loads = torch.zeros(4, dtype=torch.int64).index_add_(0, even.part.long(), weights)
    assert float(loads.max()) / float(loads.double().mean()) < 1.2
    cut, volume = (partition(graph, 4, "metis", num_nodes=2000, objective=o) for o in ("cut", "vol"))
    assert not torch.equal(cut.part, volume.part)


def test_isolated_vertices_count_and_an_empty_graph_has_parts() -> None:
    made = partition(torch.tensor([[0, 1], [1, 0]]), 2, num_nodes=6)
    assert made.part.shape == (6,)
    empty = partition(torch.zeros(2, 0, dtype=torch.int64), 3, num_nodes=0)
    assert empty.ptr.tolist() == [0, 0, 0, 0]
    assert empty.alpha == 0.0


def test_a_graph_with_its_csr_or_its_edge_index_gives_the_same() -> None:
    graph = blocks(500, 5, 4, 0.8)
    assert torch.equal(partition(graph, 4).part, partition(csr_from_edge_index(graph, 500), 4).part)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"parts": 0}, "parts=0"),
        ({"parts": 70_000}, "65535"),
        ({"parts": 2, "method": "louvain"}, "switching, spinner, random, metis"),
        ({"parts": 2, "init": "degree"}, "'bfs' or 'random'"),
        ({"parts": 2, "method": "metis", "init": "bfs"}, "have no start"),
        ({"parts": 2, "capacity": 0.9}, "capacity=0.9"),
        ({"parts": 2, "max_iterations": 0}, "max_iterations=0"),
        ({"parts": 2, "method": "metis", "objective": "edges"}, "cut, vol"),
        ({"parts": 2, "vertex_weights": torch.ones(4, dtype=torch.int64)}, "only metis"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        partition(blocks(20, 2, 2, 0.5), **options)


def test_ids_out_of_range_are_refused() -> None:
    with pytest.raises(DataError, match="num_nodes"):
        partition(torch.tensor([[0, 9], [1, 0]]), 2, num_nodes=5)
