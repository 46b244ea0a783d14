"""Closures, sampling of what leaves a server, batches and placement, against loops over sets."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shoestring.graphs.csr import Csr, csr_from_edge_index
from shoestring.graphs.granndis.functional import (
    closure,
    expand_external,
    keep_row_sums,
    place_replicas,
    preload_time_s,
    previous_time_s,
    sage_neighbourhood,
    saint_neighbourhood,
    take_per_row,
)

N = 24
Edges = list[tuple[int, int]]
edge_lists = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), max_size=90)
vertex_sets = st.sets(st.integers(0, N - 1), max_size=N)


def csr_of(edges: Edges) -> Csr:
    """Rows are targets, columns sources; duplicates, self-loops and isolated vertices are allowed."""
    return csr_from_edge_index(torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T, N)


def mask_of(vertices: set[int]) -> Tensor:
    mask = torch.zeros(N, dtype=torch.bool)
    mask[sorted(vertices)] = True
    return mask


def sources_of(edges: Edges) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {v: [] for v in range(N)}
    for source, target in edges:
        found[target].append(source)
    return found


def hops_by_hand(edges: Edges, inside: set[int], hops: int) -> list[int]:
    sources, dist = sources_of(edges), dict.fromkeys(inside, 0)
    for hop in range(1, hops + 1):
        for v in [v for v, d in dist.items() if d == hop - 1]:
            for u in sources[v]:
                dist.setdefault(u, hop)
    return [dist.get(v, -1) for v in range(N)]


@settings(max_examples=60, deadline=None)
@given(edges=edge_lists, inside=vertex_sets, hops=st.integers(0, 4))
def test_the_closure_is_a_breadth_first_search(edges: Edges, inside: set[int], hops: int) -> None:
    expected = hops_by_hand(edges, inside, hops)
    assert closure(csr_of(edges), mask_of(inside), hops).tolist() == expected
    everything = expand_external(csr_of(edges), mask_of(inside), hops, -1, "degree")
    assert everything.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    edges=edge_lists,
    inside=vertex_sets,
    hops=st.integers(0, 3),
    fanout=st.integers(0, 4),
    seed=st.integers(0, 9),
)
def test_sampling_keeps_the_limits(edges: Edges, inside: set[int], hops: int, fanout: int, seed: int) -> None:
    csr, mask = csr_of(edges), mask_of(inside)
    everything = hops_by_hand(edges, inside, hops)
    sources = sources_of(edges)
    drawn = {
        "degree": expand_external(csr, mask, hops, fanout, "degree").tolist(),
        "uniform": expand_external(
            csr, mask, hops, fanout, "uniform", torch.Generator().manual_seed(seed)
        ).tolist(),
        "sage": sage_neighbourhood(csr, mask, hops, fanout, torch.Generator().manual_seed(seed)).tolist(),
    }
    for dist in drawn.values():
        assert {v for v in range(N) if dist[v] == 0} == inside
        assert all(dist[v] < 0 or 0 <= everything[v] <= dist[v] for v in range(N))
        for hop in range(1, hops + 1):
            reached = [v for v in range(N) if dist[v] == hop]
            readers = [v for v in range(N) if dist[v] == hop - 1]
            assert len(reached) <= fanout * len(readers)
            assert all(any(u in sources[v] for v in readers) for u in reached)


def test_the_neighbours_with_most_edges_into_the_server_are_taken_ties_by_id() -> None:
    # 0 and 1 are inside. 5 has three edges into them, 4 and 6 one each; 0 may take two, 1 may take two.
    edges = [(5, 0), (5, 1), (5, 1), (6, 0), (4, 0), (7, 1)]
    dist = expand_external(csr_of(edges), mask_of({0, 1}), 1, 2, "degree")
    assert {v for v in range(N) if dist[v] == 1} == {5, 4, 7}
    one = expand_external(csr_of(edges), mask_of({0, 1}), 1, 1, "degree")
    assert {v for v in range(N) if one[v] == 1} == {5}


def test_edges_inside_are_never_sampled_away() -> None:
    edges = [(u, v) for u in range(8) for v in range(8)] + [(20, 0)]
    dist = expand_external(
        csr_of(edges), mask_of(set(range(8))), 1, 1, "uniform", torch.Generator().manual_seed(0)
    )
    assert dist[:8].tolist() == [0] * 8
    assert dist[20] == 1


def test_saint_draws_without_replacement_and_by_degree() -> None:
    edges = [(u, 2) for u in range(9, 21)] + [(1, 3)]
    csr = csr_of(edges)
    counts: Counter[int] = Counter()
    for seed in range(200):
        dist = saint_neighbourhood(csr, mask_of({0}), 1, torch.Generator().manual_seed(seed))
        counts.update(v for v in range(N) if dist[v] == 1)
    assert set(counts) == {2, 3}  # only they have in-neighbours
    assert counts[2] > 160  # 12 of 13
    everybody = saint_neighbourhood(csr, mask_of({2}), 50, torch.Generator().manual_seed(0))
    assert [v for v in range(N) if everybody[v] >= 0] == [2, 3]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.integers(0, 6), max_size=40), fanout=st.integers(0, 5), seed=st.integers(0, 99))
def test_take_per_row_takes_the_smallest_keys(rows: list[int], fanout: int, seed: int) -> None:
    keys = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    taken = take_per_row(torch.tensor(rows, dtype=torch.int64), keys, fanout).tolist()
    expected = []
    for row in sorted(set(rows)):
        entries = sorted((int(keys[i]), i) for i in range(len(rows)) if rows[i] == row)
        expected += [i for _, i in entries[:fanout]]
    assert taken == expected


@settings(max_examples=40, deadline=None)
@given(edges=edge_lists, inside=vertex_sets, ranks=st.integers(1, 4), seed=st.integers(0, 9))
def test_replicas_find_a_rank_and_inner_vertices_stay(
    edges: Edges, inside: set[int], ranks: int, seed: int
) -> None:
    csr = csr_of(edges)
    dist = closure(csr, mask_of(inside), 2)
    owner = torch.randint(0, ranks, (N,), generator=torch.Generator().manual_seed(seed))
    placed = place_replicas(csr, dist, owner, ranks)
    assert torch.equal(placed[dist == 0], owner[dist == 0])
    assert bool((placed[dist < 0] == -1).all())
    assert bool(((placed[dist > 0] >= 0) & (placed[dist > 0] < ranks)).all())


def test_a_replica_goes_to_the_rank_that_reads_it_most() -> None:
    edges = [(10, 0), (10, 1), (10, 2), (11, 3), (11, 2)]
    inside = mask_of({0, 1, 2, 3})
    owner = torch.tensor([0, 0, 1, 1] + [0] * (N - 4))
    placed = place_replicas(csr_of(edges), closure(csr_of(edges), inside, 1), owner, 2)
    assert (int(placed[10]), int(placed[11])) == (0, 1)


def test_dropped_edges_leave_the_sums_of_rows() -> None:
    csr = csr_of([(1, 0), (2, 0), (3, 0), (4, 5)])
    edges = Csr(csr.indptr, csr.indices, torch.tensor([0.5, 0.25, 0.25, 1.0]), N)
    kept = torch.tensor([True, False, True, False])
    left = keep_row_sums(edges, kept)
    assert left.values is not None
    torch.testing.assert_close(left.values, torch.tensor([2 / 3, 1 / 3]))
    assert left.indptr[6] - left.indptr[5] == 0
    assert keep_row_sums(edges, torch.ones(4, dtype=torch.bool)) is edges


def test_the_cost_model_prefers_preloading_where_the_link_is_slow() -> None:
    graph: dict[str, Any] = {
        "vertices": 1e6,
        "edges": 1.5e7,
        "servers": 4,
        "ranks": 4,
        "compute": 1e7,
        "intra": 1e8,
    }
    slow = previous_time_s(**graph, inter=1e6)
    fast = previous_time_s(**graph, inter=1e8)
    preload = preload_time_s(**graph, growth=2.0)
    assert fast < preload < slow
    # By hand: V / (16 C) + E / 16 * (3 / 16 / B_intra + 3 / 4 / B_inter).
    assert slow == pytest.approx(1e6 / 1.6e8 + 1.5e7 / 16 * (3 / 16 / 1e8 + 0.75 / 1e6))
    assert preload == pytest.approx(2e6 / 1.6e8 + 3e7 / 16 * 0.75 / 1e8)
