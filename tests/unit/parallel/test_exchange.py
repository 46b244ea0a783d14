"""Halos against sums written out by hand on the whole matrix; whole numbers, so equal to the last bit."""

from collections import Counter
from typing import Any, get_args

import pytest
import torch
from tests.unit.parallel._rank_programs import (
    HALO_WIDTH,
    NEEDED,
    OWN,
    STEPS,
    WORLD,
    features,
    owner_of,
    weights_of,
)
from tests.unit.parallel.conftest import Shared
from torch import Tensor

from shoestring.parallel import GroupName, Topology

GROUPS: tuple[GroupName, ...] = get_args(GroupName)
ROW_BYTES = HALO_WIDTH * 8
TOPOLOGY = Topology(2, 3)
groups = pytest.mark.parametrize("group", GROUPS)


def values_of(shared: Shared, rank: int, group: str) -> dict[str, Any]:
    values: dict[str, Any] = shared.results[rank].values["_halos"][group]
    return values


def tensor_of(shared: Shared, rank: int, name: str) -> Tensor:
    return shared.results[rank].tensors[f"_halos/{name}"]


def members_of(group: GroupName, rank: int) -> tuple[int, ...]:
    return {
        "world": tuple(range(WORLD)),
        "device": TOPOLOGY.ranks_of(TOPOLOGY.server_of(rank)),
        "rail": TOPOLOGY.rail_of(TOPOLOGY.local_of(rank)),
        "solo": (rank,),
    }[group]


def rows(step: int, ids: tuple[int, ...]) -> Tensor:
    return features(step)[list(ids)] if ids else torch.empty(0, HALO_WIDTH, dtype=torch.float64)


def gradients(
    group: GroupName, own_step: int, halo_step: int, keep: dict[int, Tensor] | None = None
) -> Tensor:
    """Gradient of the sum of all ranks' losses: a row gets what its owner and all its readers give it."""
    total = torch.zeros(17, HALO_WIDTH, dtype=torch.float64)
    for rank in range(WORLD):
        own, needed = OWN[rank], NEEDED[group][rank]
        given = weights_of(rank, own_step, len(own) + len(needed))
        for i, vertex in enumerate(own):
            total[vertex] += given[i]
        given = weights_of(rank, halo_step, len(own) + len(needed))
        for i, vertex in enumerate(needed):
            factor = 1.0 if keep is None else float(keep[rank][i])
            total[vertex] += factor * given[len(own) + i]
    return total


def pairs(group: GroupName, sender: int) -> Counter[tuple[int, str]]:
    """Rows that a rank sends, by receiver and link, itself left out."""
    out: Counter[tuple[int, str]] = Counter()
    for other in members_of(group, sender):
        if other != sender:
            near = TOPOLOGY.server_of(other) == TOPOLOGY.server_of(sender)
            count = sum(owner_of(v) == sender for v in NEEDED[group][other])
            out[other, "intra" if near else "inter"] += count
    return out


def check_bytes(
    seen: list[dict[str, Any]], rank: int, group: GroupName, *, layer: int, share: float = 1.0
) -> None:
    """Features out and in, their gradients in and out, and nothing else."""
    expected: Counter[tuple[str, str, str]] = Counter()
    for other in members_of(group, rank):
        for sender, out, back in ((rank, "sent", "received"), (other, "received", "sent")):
            for (receiver, link), count in pairs(group, sender).items():
                if {sender, receiver} == {rank, other} and rank != other:
                    expected["feature", out, link] += round(count * share) * ROW_BYTES
                    expected["gradient", back, link] += round(count * share) * ROW_BYTES
    assert {row["layer"] for row in seen} <= {layer}
    assert Counter({(r["kind"], r["direction"], r["link"]): r["bytes"] for r in seen}) == expected


@groups
def test_owners_learn_which_rows_to_send(shared: Shared, group: GroupName) -> None:
    for rank in range(WORLD):
        members = members_of(group, rank)
        asked = [[v for v in NEEDED[group][m] if owner_of(v) == rank] for m in members]
        seen = values_of(shared, rank, group)
        assert seen["ids"] == [v for ids in asked for v in ids]
        assert seen["send"] == [len(ids) for ids in asked]
        assert seen["recv"] == [sum(owner_of(v) == m for v in NEEDED[group][rank]) for m in members]
        assert seen["nbytes"] == 8 * len(seen["ids"])


@groups
def test_halo_rows_stand_behind_one_s_own(shared: Shared, group: GroupName) -> None:
    for rank in range(WORLD):
        expected = torch.cat([rows(0, OWN[rank]), rows(0, NEEDED[group][rank])])
        assert torch.equal(tensor_of(shared, rank, f"exact/{group}"), expected)


@groups
def test_gradients_of_halo_rows_go_back_to_their_owners(shared: Shared, group: GroupName) -> None:
    dense = gradients(group, 0, 0)
    for rank in range(WORLD):
        assert torch.equal(tensor_of(shared, rank, f"exact_grad/{group}"), dense[list(OWN[rank])])


@groups
def test_an_exchange_counts_its_rows_and_their_gradients(shared: Shared, group: GroupName) -> None:
    for rank in range(WORLD):
        check_bytes(values_of(shared, rank, group)["traffic"], rank, group, layer=4)


@groups
def test_nothing_travels_back_where_no_gradient_is_wanted(shared: Shared, group: GroupName) -> None:
    assert all(values_of(shared, r, group)["without_gradient"] == 0 for r in range(WORLD))


def test_ranks_with_nothing_to_send_or_to_read_take_part(shared: Shared) -> None:
    """Rank 3 owns no row, nobody reads rank 5's, rank 1 reads none."""
    for silent in (3, 5):
        seen = values_of(shared, silent, "world")
        assert seen["ids"] == []
        assert seen["send"] == [0] * WORLD
        assert sum(seen["recv"]) > 0
    assert values_of(shared, 1, "world")["recv"] == [0] * WORLD
    assert tensor_of(shared, 3, "exact_grad/world").shape == (0, HALO_WIDTH)
    own = weights_of(5, 0, len(OWN[5]) + len(NEEDED["world"][5]))[: len(OWN[5])]
    assert torch.equal(tensor_of(shared, 5, "exact_grad/world"), own)


@groups
@pytest.mark.parametrize("step", range(STEPS))
def test_a_stale_halo_has_the_rows_of_the_step_before(shared: Shared, group: GroupName, step: int) -> None:
    for rank in range(WORLD):
        halo = rows(max(step - 1, 0), NEEDED[group][rank])
        expected = torch.cat([rows(step, OWN[rank]), halo])
        assert torch.equal(tensor_of(shared, rank, f"stale{step}/{group}"), expected)


@groups
@pytest.mark.parametrize("step", range(STEPS))
def test_stale_gradients_are_those_of_the_step_before(shared: Shared, group: GroupName, step: int) -> None:
    dense = gradients(group, step, max(step - 1, 0))
    for rank in range(WORLD):
        assert torch.equal(tensor_of(shared, rank, f"stale_grad{step}/{group}"), dense[list(OWN[rank])])


def factors(shared: Shared, rank: int, group: GroupName, name: str) -> Tensor:
    """By how much every halo row was multiplied; a row is sent whole or not at all."""
    exact = rows(0, NEEDED[group][rank])
    seen = tensor_of(shared, rank, f"{name}/{group}")[len(OWN[rank]) :]
    assert seen.shape == exact.shape
    sent = (seen != 0).any(1)
    factor = torch.where(sent, 2.0, 0.0).double()
    assert torch.equal(seen, exact * factor.unsqueeze(1))
    return factor


@groups
@pytest.mark.parametrize("name", ["half", "other"])
def test_a_sampled_halo_has_half_of_every_pair_s_rows_doubled(
    shared: Shared, group: GroupName, name: str
) -> None:
    for rank in range(WORLD):
        factor = factors(shared, rank, group, name)
        assert torch.equal(tensor_of(shared, rank, f"{name}/{group}")[: len(OWN[rank])], rows(0, OWN[rank]))
        owners = [owner_of(v) for v in NEEDED[group][rank]]
        for owner in set(owners):
            kept = sum(float(f) > 0 for f, o in zip(factor, owners, strict=True) if o == owner)
            assert kept == round(owners.count(owner) * 0.5)


@groups
@pytest.mark.parametrize("name", ["half", "other"])
def test_gradients_of_a_sampled_halo_are_those_of_the_rows_sent(
    shared: Shared, group: GroupName, name: str
) -> None:
    keep = {rank: factors(shared, rank, group, name) for rank in range(WORLD)}
    dense = gradients(group, 0, 0, keep)
    for rank in range(WORLD):
        assert torch.equal(tensor_of(shared, rank, f"{name}_grad/{group}"), dense[list(OWN[rank])])


@groups
def test_a_sampled_halo_counts_the_rows_sent_only(shared: Shared, group: GroupName) -> None:
    for rank in range(WORLD):
        check_bytes(values_of(shared, rank, group)["half"], rank, group, layer=3, share=0.5)


def test_the_seed_decides_which_rows_are_sent(shared: Shared) -> None:
    for rank in range(WORLD):
        for group in GROUPS:
            half, again = (tensor_of(shared, rank, f"{name}/{group}") for name in ("half", "again"))
            assert torch.equal(half, again)
    drawn = {
        name: torch.cat([factors(shared, r, g, name) for r in range(WORLD) for g in GROUPS])
        for name in ("half", "other")
    }
    assert not torch.equal(drawn["half"], drawn["other"])


@groups
def test_a_sampled_halo_that_keeps_everything_is_the_whole_halo(shared: Shared, group: GroupName) -> None:
    for rank in range(WORLD):
        for name, exact in (("all", "exact"), ("all_grad", "exact_grad")):
            seen = tensor_of(shared, rank, f"{name}/{group}")
            assert torch.equal(seen, tensor_of(shared, rank, f"{exact}/{group}"))


def test_a_vertex_that_its_owner_does_not_hold_is_refused_there(shared: Shared) -> None:
    said = [result.values["_halos"]["unknown"] for result in shared.results]
    assert "a vertex that this rank does not hold" in said[1]
    assert "Give every rank the same partition" in said[1]
    assert said[0] == said[2] == said[5] == ""


def test_a_share_above_one_is_refused(shared: Shared) -> None:
    for result in shared.results:
        assert result.values["_halos"]["keep"] == "keep=1.5 is outside (0, 1]; 1 sends everything"
