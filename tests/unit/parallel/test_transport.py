"""What is counted is what was sent; sums over servers are sums; an emulated link takes its time."""

from collections import Counter
from typing import Any, Literal

import pytest
import torch
from tests.unit.parallel._rank_programs import (
    FAR_S,
    GROUPS,
    SHAPES,
    SIZES,
    WIDTH,
    WORLD,
    rows_between,
    summand,
)
from tests.unit.parallel.conftest import Shared
from torch import Tensor

from shoestring.core.errors import ConfigError
from shoestring.parallel import Groups, Topology, Traffic, Transport

shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")
ROW_BYTES = WIDTH * 4


def values_of(shared: Shared, rank: int) -> dict[str, Any]:
    values: dict[str, Any] = shared.results[rank].values["_messages"]
    return values


def tensor_of(shared: Shared, rank: int, name: str) -> Tensor:
    return shared.results[rank].tensors[f"_messages/{name}"]


def name_of(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def members_of(shape: tuple[int, int], group: str, rank: int) -> tuple[int, ...]:
    """By hand, as the topology's definition says."""
    _, size = shape
    return {
        "world": tuple(range(WORLD)),
        "device": tuple(r for r in range(WORLD) if r // size == rank // size),
        "rail": tuple(r for r in range(WORLD) if r % size == rank % size),
        "solo": (rank,),
    }[group]


def counted(rows: list[dict[str, str | int]], kind: str, direction: str) -> Counter[str]:
    """Bytes by link; nothing else may be there."""
    assert {row["kind"] for row in rows} <= {kind}
    return Counter({str(row["link"]): int(row["bytes"]) for row in rows if row["direction"] == direction})


def link(shape: tuple[int, int], one: int, two: int) -> Literal["intra", "inter"]:
    return "intra" if one // shape[1] == two // shape[1] else "inter"


@shapes
def test_groups_have_the_members_of_the_topology(shared: Shared, shape: tuple[int, int]) -> None:
    for rank in range(WORLD):
        seen = values_of(shared, rank)[name_of(shape)]
        assert seen["members"] == {g: list(members_of(shape, g, rank)) for g in GROUPS}
        assert seen["is_head"] == (rank % shape[1] == 0)


@shapes
@pytest.mark.parametrize("group", GROUPS)
def test_uneven_rows_arrive_in_the_order_of_the_group(
    shared: Shared, shape: tuple[int, int], group: str
) -> None:
    for rank in range(WORLD):
        rows = [
            100.0 * r + rank for r in members_of(shape, group, rank) for _ in range(rows_between(r, rank))
        ]
        expected = torch.tensor(rows).view(-1, 1).expand(-1, WIDTH)
        assert torch.equal(tensor_of(shared, rank, f"{name_of(shape)}/{group}"), expected)


@shapes
@pytest.mark.parametrize("group", GROUPS)
def test_counters_by_direction_and_link_equal_what_was_sent(
    shared: Shared, shape: tuple[int, int], group: str
) -> None:
    for rank in range(WORLD):
        sent: Counter[str] = Counter()
        received: Counter[str] = Counter()
        for other in members_of(shape, group, rank):
            if other != rank:  # what a rank keeps is not sent
                sent[link(shape, rank, other)] += rows_between(rank, other) * ROW_BYTES
                received[link(shape, rank, other)] += rows_between(other, rank) * ROW_BYTES
        seen = values_of(shared, rank)[f"{name_of(shape)}/{group}"]
        assert counted(seen["counted"], "feature", "sent") == sent
        assert counted(seen["counted"], "feature", "received") == received
        assert {row["layer"] for row in seen["counted"]} <= {2}
        assert seen["messages"] == (len(members_of(shape, group, rank)) > 1)


@shapes
def test_all_that_is_sent_is_received(shared: Shared, shape: tuple[int, int]) -> None:
    names = [f"{name_of(shape)}/{g}" for g in GROUPS]
    rows = [row for r in range(WORLD) for name in names for row in values_of(shared, r)[name]["counted"]]
    both = Traffic.from_rows(rows)
    for where in ("intra", "inter"):
        assert both.total(direction="sent", link=where) == both.total(direction="received", link=where)


@shapes
@pytest.mark.parametrize("group", GROUPS)
def test_messages_without_rows_are_sent_and_count_nothing(
    shared: Shared, shape: tuple[int, int], group: str
) -> None:
    for rank in range(WORLD):
        seen = values_of(shared, rank)[f"{name_of(shape)}/{group}"]
        assert seen["empty"] == [0, WIDTH]
        assert seen["zero_bytes"] == 0


@shapes
@pytest.mark.parametrize("group", GROUPS)
def test_every_member_learns_what_the_others_tell_it(
    shared: Shared, shape: tuple[int, int], group: str
) -> None:
    for rank in range(WORLD):
        expected = [rows_between(r, rank) for r in members_of(shape, group, rank)]
        assert values_of(shared, rank)[f"{name_of(shape)}/{group}"]["told"] == expected


@shapes
def test_telling_a_number_counts_eight_bytes_a_peer(shared: Shared, shape: tuple[int, int]) -> None:
    for rank in range(WORLD):
        rows = values_of(shared, rank)[f"{name_of(shape)}/world"]["setup"]
        expected = Counter({"intra": 8 * (shape[1] - 1), "inter": 8 * (WORLD - shape[1])})
        assert counted(rows, "setup", "sent") == expected
        assert counted(rows, "setup", "received") == expected


@shapes
@pytest.mark.parametrize("group", GROUPS)
def test_the_first_member_s_tensor_reaches_all_and_is_counted_once_a_peer(
    shared: Shared, shape: tuple[int, int], group: str
) -> None:
    for rank in range(WORLD):
        members = members_of(shape, group, rank)
        seen = values_of(shared, rank)[f"{name_of(shape)}/{group}"]
        assert seen["copied"] == [[float(members[0])] * 2] * 3
        assert seen["copy_bytes"] == (6 * 8 * (len(members) - 1) if rank == members[0] else 0)


@shapes
@pytest.mark.parametrize("n", SIZES)
def test_the_sum_over_servers_is_the_plain_sum_exactly(
    shared: Shared, shape: tuple[int, int], n: int
) -> None:
    plain = torch.stack([summand(r, n, whole=True) for r in range(WORLD)]).sum(0)
    for rank in range(WORLD):
        assert torch.equal(tensor_of(shared, rank, f"whole/{name_of(shape)}/{n}"), plain)
        assert values_of(shared, rank)[f"in_place/{name_of(shape)}/{n}"]


@shapes
@pytest.mark.parametrize("n", SIZES)
def test_a_sum_that_rounds_has_the_same_bits_on_every_rank(
    shared: Shared, shape: tuple[int, int], n: int
) -> None:
    plain = torch.stack([summand(r, n, whole=False) for r in range(WORLD)]).sum(0)
    first = tensor_of(shared, 0, f"real/{name_of(shape)}/{n}")
    # Six numbers of order 1 in another order: a few units in the last place.
    assert torch.allclose(first, plain, rtol=0, atol=1e-14)
    for rank in range(1, WORLD):
        assert torch.equal(tensor_of(shared, rank, f"real/{name_of(shape)}/{n}"), first)


@shapes
@pytest.mark.parametrize("n", SIZES)
def test_the_bytes_of_a_sum_have_a_closed_form(shared: Shared, shape: tuple[int, int], n: int) -> None:
    """Inside: all but one's part out, then one's part to all. Across: the same of the part."""
    servers, size = shape
    for rank in range(WORLD):
        server, local = divmod(rank, size)
        part = (local + 1) * n // size - local * n // size
        piece = (server + 1) * part // servers - server * part // servers
        rows = values_of(shared, rank)[f"sum/{name_of(shape)}/{n}"]
        inside_sent = (n - part) + part * (size - 1)
        across_sent = (part - piece) + piece * (servers - 1)
        # What a rank gets: its part from each of the others, then all the other parts.
        inside_received = part * (size - 1) + (n - part)
        across_received = piece * (servers - 1) + (part - piece)
        assert counted(rows, "weights", "sent") == Counter(intra=8 * inside_sent, inter=8 * across_sent)
        assert counted(rows, "weights", "received") == Counter(
            intra=8 * inside_received, inter=8 * across_received
        )


@shapes
@pytest.mark.parametrize("n", SIZES)
def test_a_server_sends_every_element_at_most_twice_over_the_slow_link(
    shared: Shared, shape: tuple[int, int], n: int
) -> None:
    servers, size = shape
    for server in range(servers):
        ranks = range(server * size, (server + 1) * size)
        rows = [row for r in ranks for row in values_of(shared, r)[f"sum/{name_of(shape)}/{n}"]]
        sent = Traffic.from_rows(rows).total(link="inter")
        if servers == 1:
            assert sent == 0
        elif servers == 2:
            # One half out, the other half out once it is summed: (n - piece) + piece.
            assert sent == 8 * n
        # Pieces differ by one element where n is no multiple of the ranks: one a rank and peer, at most.
        assert sent <= 8 * (2 * n + WORLD * servers)


def test_an_emulated_link_takes_at_least_its_share_of_time(shared: Shared) -> None:
    for sender, receiver, name, times in ((0, 3, "across", 1), (3, 0, "across_thrice", 3)):
        for rank in (sender, receiver):
            seconds = shared.results[rank].values["_bucket"][name]
            # A lower bound only: how much longer a busy machine takes is not the bucket's doing.
            assert seconds >= 0.85 * times * shared.share_s


def test_an_emulated_link_does_not_limit_a_server_s_inside(shared: Shared) -> None:
    for result in shared.results:
        assert result.values["_bucket"]["inside"] < FAR_S  # hours if it were limited


def test_a_message_over_an_emulated_link_does_not_hold_its_sender(shared: Shared) -> None:
    for result in shared.results:
        assert result.values["_bucket"]["begun"] < FAR_S  # hours if it were `wait`ed for


def test_no_limit_is_left_when_the_emulated_one_is_taken_off(shared: Shared) -> None:
    for result in shared.results:
        assert result.values["_bucket"]["unshaped"] < FAR_S


@pytest.fixture
def alone() -> Groups:
    return Groups(
        Topology(1, 1), 0, torch.device("cpu"), {"world": None, "device": None, "rail": None, "solo": None}
    )


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_a_link_without_a_rate_is_refused(alone: Groups, rate: float) -> None:
    with pytest.raises(ConfigError, match=f"inter_bits_per_s={rate} must be above 0; None switches it off"):
        Transport(alone, inter_bits_per_s=rate)


def test_one_rank_alone_needs_no_process_group_and_counts_nothing(alone: Groups) -> None:
    transport = Transport(alone, inter_bits_per_s=1.0)
    rows = torch.arange(6.0).view(3, 2)
    assert torch.equal(transport.all_to_all(rows, [3], [3], group="world", kind="feature"), rows)
    assert transport.all_reduce(rows[:, 0].clone()).tolist() == [0.0, 2.0, 4.0]
    assert transport.exchange_counts([7], "rail") == [7]
    assert torch.equal(transport.broadcast(rows.clone(), group="device"), rows)
    transport.barrier()
    transport.unshape()
    assert transport.traffic.rows() == []
    assert transport.traffic.messages == 0


def some_traffic() -> Traffic:
    return Traffic(
        Counter(
            {
                ("feature", 0, "sent", "intra"): 10,
                ("feature", 0, "received", "inter"): 200,
                ("feature", 1, "sent", "inter"): 3000,
                ("weights", -1, "sent", "inter"): 40000,
            }
        ),
        messages=5,
    )


def test_totals_are_of_all_that_matches_and_of_what_was_sent() -> None:
    traffic = some_traffic()
    assert traffic.total() == 43010
    assert traffic.total(direction=None) == 43210
    assert traffic.total(direction="received") == 200
    assert traffic.total(kind="feature") == 3010
    assert traffic.total(layer=-1) == 40000
    assert traffic.total(kind="feature", link="inter", direction=None) == 3200
    assert traffic.total(kind="gradient") == 0


def test_traffic_adds_subtracts_and_copies() -> None:
    traffic = some_traffic()
    before = traffic.copy()
    traffic.counts["feature", 0, "sent", "intra"] += 7
    traffic.messages += 1
    assert before == some_traffic()
    assert (traffic - before).rows() == [
        {"kind": "feature", "layer": 0, "direction": "sent", "link": "intra", "bytes": 7}
    ]
    assert (traffic - before).messages == 1
    assert (traffic - before) + before == traffic
    assert Traffic.from_rows(traffic.rows()).counts == traffic.counts
