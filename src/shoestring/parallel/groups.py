"""Process groups: the world, one group a server, one rail a local rank; made in one order everywhere."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

from shoestring.core.errors import ConfigError
from shoestring.parallel.topology import Topology

__all__ = ["GroupName", "Groups", "choose_backend", "connect"]

GroupName = Literal["world", "device", "rail", "solo"]
"""``device``: the ranks of one server. ``rail``: the same local rank of every server. ``solo``: alone."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one rank."""

    topology: Topology
    rank: int
    device: torch.device
    """Where tensors to be sent must be."""
    handles: "dict[GroupName, dist.ProcessGroup | None]"
    """None stands for a group of one."""

    def members(self, name: GroupName) -> tuple[int, ...]:
        """Global ranks of this rank's group `name`, in the group's order."""
        topology = self.topology
        if name == "world":
            return tuple(range(topology.world))
        if name == "device":
            return topology.ranks_of(topology.server_of(self.rank))
        if name == "rail":
            return topology.rail_of(topology.local_of(self.rank))
        return (self.rank,)

    @property
    def is_head(self) -> bool:
        """Whether this is local rank 0 of its server, which samples, partitions and distributes."""
        return self.topology.local_of(self.rank) == 0


def choose_backend(topology: Topology) -> str:
    """Return ``"nccl"`` where every rank of a server can have a GPU of its own, else ``"gloo"``."""
    enough = torch.cuda.is_available() and torch.cuda.device_count() >= topology.ranks_per_server
    return "nccl" if enough and dist.is_nccl_available() else "gloo"


@contextmanager
def connect(
    topology: Topology,
    rank: int,
    *,
    backend: str = "gloo",
    store: "dist.distributed_c10d.Store | None" = None,
    timeout_s: float = 300.0,
    interface: str | None = None,
) -> Iterator[Groups]:
    """Join the ranks and make all groups; leave them at the end.

    Parameters
    ----------
    topology : Topology
        The same on every rank.
    rank : int
        In ``range(topology.world)``.
    backend : str
        ``"gloo"`` or ``"nccl"`` (one GPU a rank, chosen by the local rank).
    store : dist.Store or None
        Where ranks find each other; None reads torchrun's environment variables.
    timeout_s : float
        After which a collective that misses a rank fails, in seconds.
    interface : str or None
        Network interface that gloo listens on; None leaves torch's choice.

    Raises
    ------
    ConfigError
        If the rank is outside the topology, or the backend is unknown.
    """
    if not 0 <= rank < topology.world:
        raise ConfigError(f"rank={rank} is outside 0..{topology.world - 1}; give servers x ranks_per_server")
    if backend not in ("gloo", "nccl"):
        raise ConfigError(f"backend={backend!r} is not one of 'gloo', 'nccl'")
    if interface is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = interface
    device = torch.device("cpu")
    if backend == "nccl":
        device = torch.device("cuda", topology.local_of(rank))
        torch.cuda.set_device(device)
    timeout = timedelta(seconds=timeout_s)
    if store is None:
        dist.init_process_group(backend, rank=rank, world_size=topology.world, timeout=timeout)
    else:
        dist.init_process_group(backend, store=store, rank=rank, world_size=topology.world, timeout=timeout)
    try:
        yield Groups(topology, rank, device, _make_groups(topology, rank, timeout))
    finally:
        dist.destroy_process_group()


def _make_groups(
    topology: Topology, rank: int, timeout: timedelta
) -> "dict[GroupName, dist.ProcessGroup | None]":
    # Every process makes every group in this order, also those it is no member of: else it deadlocks.
    handles: dict[GroupName, dist.ProcessGroup | None] = {
        "world": dist.group.WORLD if topology.world > 1 else None,
        "device": None,
        "rail": None,
        "solo": None,
    }
    names: tuple[GroupName, GroupName] = ("device", "rail")
    lists = (
        [topology.ranks_of(s) for s in range(topology.servers)],
        [topology.rail_of(j) for j in range(topology.ranks_per_server)],
    )
    for name, members_of in zip(names, lists, strict=True):
        for members in members_of:
            if len(members) == 1:
                continue
            handle = dist.new_group(list(members), timeout=timeout)
            if rank in members:
                handles[name] = handle
    return handles
