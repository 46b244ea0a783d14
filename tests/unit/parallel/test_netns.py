"""A shaped link is slow across servers only, and nothing of it is left behind."""

import os
from pathlib import Path

import pytest

from shoestring.core.errors import ConfigError, ShoestringError
from shoestring.parallel import LinkShape, RankResult, Topology, launch, namespaces, why_no_namespaces
from shoestring.parallel.netns import link_bytes, unshape_here

WHY_NOT = why_no_namespaces()
needs_namespaces = pytest.mark.skipif(WHY_NOT is not None, reason=f"no network namespaces: {WHY_NOT}")
NAMES = Path("/run/netns")

LINK_BITS_PER_S = 200e6
ACROSS_BYTES = 5_000_000
BURST_BYTES = 2 * 256 * 1024
"""What the two buckets of a link let pass at once."""
INSIDE_BYTES = 48_000_000
ONE_TRY_S = INSIDE_BYTES * 8 / LINK_BITS_PER_S
"""What the message inside a server would take if it were limited: 1.9 s."""


def left_by_this_process() -> list[str]:
    """Namespaces that `namespaces` made here and that are still there."""
    return [p.name for p in NAMES.glob(f"shoestring-{os.getpid()}-*")]


@pytest.fixture(scope="module")
def ranks(rank_programs: None) -> list[RankResult]:  # noqa: ARG001  # its effect is needed
    """Two servers with two ranks each."""
    return launch(
        "_rank_programs:over_the_wire",
        Topology(2, 2),
        options={"across_bytes": ACROSS_BYTES, "inside_bytes": INSIDE_BYTES},
        shape=LinkShape(inter_bits_per_s=LINK_BITS_PER_S, how="namespaces"),
        timeout_s=120,
    )


@needs_namespaces
def test_ranks_of_a_server_share_its_namespace(ranks: list[RankResult]) -> None:
    names = [result.values["namespace"] for result in ranks]
    assert names[0] == names[1] != names[2] == names[3]


@needs_namespaces
@pytest.mark.parametrize(("way", "sender"), [("across", 0), ("back", 2)])
def test_a_message_to_another_server_takes_at_least_its_share(
    ranks: list[RankResult], way: str, sender: int
) -> None:
    share_s = (ACROSS_BYTES - BURST_BYTES) * 8 / LINK_BITS_PER_S
    assert ranks[sender].values[way]["s"] >= 0.95 * share_s


@needs_namespaces
@pytest.mark.parametrize(("way", "sender", "receiver"), [("across", 0, 2), ("back", 2, 0)])
def test_the_kernel_counts_what_the_transport_sent(
    ranks: list[RankResult], way: str, sender: int, receiver: int
) -> None:
    out, into = ranks[sender].values[way]["out"], ranks[receiver].values[way]["in"]
    # Headers are 3 to 5 %; packets that a full queue drops are sent again.
    assert ACROSS_BYTES <= into <= 1.5 * ACROSS_BYTES
    assert ACROSS_BYTES <= out <= 1.5 * ACROSS_BYTES


@needs_namespaces
def test_a_message_inside_a_server_never_touches_the_link(ranks: list[RankResult]) -> None:
    for one in ranks[0].values["inside"]:
        assert one["out"] < INSIDE_BYTES / 100  # barriers
    # The best of three: a busy machine may hold one up, a limit would hold up all.
    assert min(one["arrived_s"] for one in ranks[1].values["inside"]) < ONE_TRY_S


@needs_namespaces
def test_both_ends_of_the_link_are_limited_until_the_limit_is_taken_off(ranks: list[RankResult]) -> None:
    for result in ranks:
        assert all("qdisc tbf" in text and "rate 200Mbit" in text for text in result.values["shaped"])
        assert not any("tbf" in text for text in result.values["unshaped"])


@needs_namespaces
def test_no_namespace_is_left_after_the_ranks(ranks: list[RankResult]) -> None:
    for result in ranks:
        assert not (NAMES / result.values["namespace"]).exists()
    assert left_by_this_process() == []


@needs_namespaces
def test_everything_is_removed_after_an_exception() -> None:
    def use_and_fail() -> None:
        with namespaces(2, 1e8) as made:
            assert len(made.names) == 2
            assert made.bits_per_s == 1e8
            assert set(left_by_this_process()) > set(made.names)  # and the switch
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        use_and_fail()
    assert left_by_this_process() == []


@needs_namespaces
def test_everything_is_removed_when_setting_up_fails_halfway() -> None:
    with (
        pytest.raises(ShoestringError, match=r"(?s)setting up the network failed: .* tc .*emulate it"),
        namespaces(2, 1e40),
    ):
        pass
    assert left_by_this_process() == []


@pytest.mark.parametrize("servers", [0, -1, 201])
def test_numbers_of_servers_out_of_range_are_refused(servers: int) -> None:
    with (
        pytest.raises(ConfigError, match=rf"servers={servers} is outside 1\.\.200"),
        namespaces(servers, None),
    ):
        pass


@pytest.mark.parametrize("rate", [0.0, 99_999.0])
def test_rates_that_the_kernel_cannot_keep_are_refused(rate: float) -> None:
    with (
        pytest.raises(ConfigError, match=f"bits_per_s={rate} must be at least 100000; None does not limit"),
        namespaces(2, rate),
    ):
        pass


def test_without_the_tools_the_reason_and_the_way_out_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why_no_namespaces() == "the program 'ip' is not installed (package iproute2)"
    with (
        pytest.raises(ConfigError, match=r"'ip' is not installed.*Emulate the link in the transport"),
        namespaces(2, None),
    ):
        pass
    # A link asked for without saying how is emulated then.
    assert LinkShape(inter_bits_per_s=1e6).resolve() == "emulated"


def test_outside_a_namespace_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOESTRING_NAMESPACE", raising=False)
    unshape_here()
    assert all(n >= 0 for n in link_bytes())
