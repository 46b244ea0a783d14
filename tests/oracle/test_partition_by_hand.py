"""The compiled label propagation against a slow one that counts neighbours as sparse A @ one-hot labels."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from shoestring.graphs.csr import Csr, csr_from_edge_index
from shoestring.native.partition import breadth_first_order, propagate_labels

Labels = NDArray[np.int32]


def random_graph(num: int, edges: int, seed: int) -> Csr:
    """Directed, with duplicates, self-loops, isolated vertices and a hub."""
    rng = torch.Generator().manual_seed(seed)
    ends = torch.randint(0, max(num - 3, 1), (2, edges), generator=rng)
    ends[0, : edges // 8] = 0
    return csr_from_edge_index(ends, num)


def preferences(csr: Csr, labels: Labels, parts: int, limit: int) -> tuple[list[tuple[int, int, int]], float]:
    """Candidates (vertex, first, second) and the mean score, straight from the definition."""
    num = csr.num_rows
    ones = np.ones(csr.num_edges)
    adjacency = sp.csr_matrix((ones, csr.indices.numpy(), csr.indptr.numpy()), shape=(num, num))
    hot = sp.csr_matrix((np.ones(num), (np.arange(num), labels)), shape=(num, parts))
    counts = np.asarray((adjacency @ hot).todense())
    degree = csr.degrees().numpy()
    penalty = np.bincount(labels, minlength=parts) / limit
    candidates, total = [], 0.0
    for v in range(num):
        if degree[v] == 0:
            total -= penalty[labels[v]]
            continue
        score = counts[v] * (1.0 / degree[v]) - penalty
        total += score[labels[v]]
        ranked = sorted(range(parts), key=lambda j: (-score[j], j))
        if ranked[0] != labels[v] and score[ranked[0]] > score[labels[v]]:
            candidates.append((v, ranked[0], ranked[1] if parts > 1 else -1))
    return candidates, total / num


def switch(csr: Csr, labels: Labels, parts: int, limit: int, iterations: int) -> tuple[Labels, list[float]]:
    labels, scores = labels.copy(), []
    for _ in range(iterations):
        candidates, score = preferences(csr, labels, parts, limit)
        scores.append(score)
        room = limit - np.bincount(labels, minlength=parts)
        moved = 0
        for target in range(parts):
            groups: dict[int, list[int]] = {}
            for v, first, second in candidates:
                if first == target:
                    groups.setdefault(second, []).append(v)
            for second in sorted(groups, key=lambda s: (-len(groups[s]), s)):
                for v in groups[second]:
                    if room[target] > 0:
                        labels[v] = target
                        room[target] -= 1
                        moved += 1
        if not moved:
            break
    return labels, scores


@pytest.mark.parametrize("parts", [1, 2, 5, 16])
@pytest.mark.parametrize(("num", "edges"), [(40, 150), (300, 1500), (257, 4000)])
@pytest.mark.parametrize("threads", [1, 3])
def test_switching_moves_equal_the_definition_label_for_label(
    num: int, edges: int, parts: int, threads: int
) -> None:
    csr = random_graph(num, edges, seed=parts)
    start = (np.random.default_rng(0).permutation(num) % parts).astype(np.int32)
    labels = start.copy()
    done = propagate_labels(
        csr.indptr.numpy(),
        csr.indices.numpy(),
        labels,
        parts=parts,
        moves="switching",
        max_iterations=6,
        patience=99,
        threads=threads,
    )
    limit = max(int(1.1 * num / parts), -(-num // parts))
    expected, scores = switch(csr, start, parts, limit, 6)
    assert labels.tolist() == expected.tolist()
    assert np.allclose(done.scores, scores, rtol=0, atol=1e-12)


def test_spinner_moves_only_candidates_to_their_first_preference_within_the_room() -> None:
    csr = random_graph(400, 3000, seed=1)
    start = (np.random.default_rng(1).permutation(400) % 8).astype(np.int32)
    labels = start.copy()
    done = propagate_labels(
        csr.indptr.numpy(), csr.indices.numpy(), labels, parts=8, moves="spinner", max_iterations=1, seed=5
    )
    wishes = {v: first for v, first, _ in preferences(csr, start, 8, 55)[0]}
    changed = np.flatnonzero(labels != start)
    assert len(changed) == done.moved[0] > 0
    assert all(wishes[int(v)] == labels[v] for v in changed)
    # room / candidates of every part lies well between none and all here
    assert len(changed) < len(wishes)


def test_breadth_first_order_visits_by_distance_and_every_component() -> None:
    path = torch.tensor([[0, 1, 1, 2, 2, 3, 5, 6], [1, 0, 2, 1, 3, 2, 6, 5]])
    csr = csr_from_edge_index(path, 8)
    order = breadth_first_order(csr.indptr.numpy(), csr.indices.numpy(), 2)
    assert order.tolist() == [2, 1, 3, 0, 4, 5, 6, 7]
