"""Numbers of ranks, and who shares a server with whom."""

import pytest

from shoestring.core.errors import ConfigError
from shoestring.parallel import Topology

SHAPES = [(1, 1), (1, 4), (4, 1), (2, 3), (3, 2)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")


@shapes
def test_a_rank_is_its_server_times_the_size_plus_its_place(shape: tuple[int, int]) -> None:
    topology = Topology(*shape)
    assert topology.world == shape[0] * shape[1]
    for rank in range(topology.world):
        server, local = topology.server_of(rank), topology.local_of(rank)
        assert rank == server * topology.ranks_per_server + local
        assert rank in topology.ranks_of(server)
        assert rank in topology.rail_of(local)


@shapes
def test_servers_and_rails_split_the_ranks_and_meet_in_one(shape: tuple[int, int]) -> None:
    topology = Topology(*shape)
    everyone = list(range(topology.world))
    servers = [topology.ranks_of(s) for s in range(topology.servers)]
    rails = [topology.rail_of(j) for j in range(topology.ranks_per_server)]
    assert sorted(r for ranks in servers for r in ranks) == everyone
    assert sorted(r for ranks in rails for r in ranks) == everyone
    assert all(len(set(ranks) & set(rail)) == 1 for ranks in servers for rail in rails)
    assert all(list(ranks) == sorted(ranks) for ranks in servers + rails)


def test_the_ranks_of_two_servers_by_hand() -> None:
    topology = Topology(2, 3)
    assert topology.ranks_of(1) == (3, 4, 5)
    assert topology.rail_of(0) == (0, 3)
    assert topology.rail_of(2) == (2, 5)
    assert (topology.server_of(4), topology.local_of(4)) == (1, 1)


@pytest.mark.parametrize(("servers", "ranks"), [(0, 2), (2, 0), (-1, 2), (2, -3)])
def test_no_servers_or_no_ranks_are_refused(servers: int, ranks: int) -> None:
    with pytest.raises(ConfigError, match=f"{servers} x {ranks}: both must be at least 1"):
        Topology(servers, ranks)


@pytest.mark.parametrize(("world", "local", "shape"), [(8, 4, (2, 4)), (4, 4, (1, 4)), (3, 1, (3, 1))])
def test_the_variables_of_torchrun_give_the_topology(world: int, local: int, shape: tuple[int, int]) -> None:
    env = {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(local)}
    assert Topology.from_env(env) == Topology(*shape)


def test_the_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Topology.from_env() == Topology(3, 2)


@pytest.mark.parametrize("env", [{}, {"WORLD_SIZE": "4"}, {"WORLD_SIZE": "four", "LOCAL_WORLD_SIZE": "2"}])
def test_without_the_variables_torchrun_is_named(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"and LOCAL_WORLD_SIZE are not set.*start with torchrun"):
        Topology.from_env(env)


@pytest.mark.parametrize(("world", "local"), [(5, 2), (4, 0), (2, 4)])
def test_servers_of_different_sizes_are_refused(world: int, local: int) -> None:
    with pytest.raises(ConfigError, match=f"WORLD_SIZE={world} is no multiple of LOCAL_WORLD_SIZE={local}"):
        Topology.from_env({"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(local)})


@pytest.mark.parametrize(("world", "local"), [(0, 1), (-2, 1)])
def test_no_ranks_in_the_environment_are_refused(world: int, local: int) -> None:
    with pytest.raises(ConfigError, match="both must be at least 1"):
        Topology.from_env({"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(local)})
