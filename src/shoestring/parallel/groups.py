"""Process groups: the world, one group a server, one rail a local rank; made in one order everywhere."""

import itertools
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

_meetings = itertools.count()


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

    A process that is in a process group already (its program called ``init_process_group``) stays in it: only
    the groups made here are left at the end.

    Parameters
    ----------
    topology : Topology
        The same on every rank.
    rank : int
        In ``range(topology.world)``.
    backend : str
        ``"gloo"`` or ``"nccl"`` (one GPU a rank, chosen by the local rank).
    store : dist.Store or None
        Where ranks find each other; None reads torchrun's environment variables. Not used in a process that
        is in a process group already.
    timeout_s : float
        After which a collective that misses a rank fails, in seconds.
    interface : str or None
        Network interface that gloo listens on; None leaves torch's choice.

    Raises
    ------
    ConfigError
        If the rank is outside the topology, the backend is unknown, or the process is in a process group of
        another size or with another rank.
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
    joined = dist.is_initialized()
    if joined:
        _check_joined(topology, rank)
    else:
        if store is None:
            store = _meet_by_environment(topology, rank, timeout)
        dist.init_process_group(backend, store=store, rank=rank, world_size=topology.world, timeout=timeout)
    handles: dict[GroupName, dist.ProcessGroup | None] = {}
    try:
        handles = _make_groups(topology, rank, backend, timeout)
        yield Groups(topology, rank, device, handles)
    finally:
        if not joined:
            dist.destroy_process_group()
        else:
            for handle in handles.values():
                if handle is not None and handle is not dist.group.WORLD:
                    dist.destroy_process_group(handle)


def _meet_by_environment(topology: Topology, rank: int, timeout: timedelta) -> "dist.distributed_c10d.Store":
    """Store of torchrun's variables, with names of its own for every call: what a group left stays in it."""
    meeting = dist.rendezvous(  # type: ignore[attr-defined]  # left out of torch's export list
        "env://", rank, topology.world, timeout=timeout
    )
    store, _, _ = next(meeting)
    store.set_timeout(timeout)
    return dist.PrefixStore(f"shoestring{next(_meetings)}", store)  # type: ignore[attr-defined]  # as above


def _check_joined(topology: Topology, rank: int) -> None:
    """Whether the process group that the program made is that of the topology."""
    there, size = dist.get_rank(), dist.get_world_size()
    if (there, size) != (rank, topology.world):
        raise ConfigError(
            f"this process is rank {there} of {size} in a process group already, rank {rank} of "
            f"{topology.world} ({topology.servers} x {topology.ranks_per_server}) is asked for; make them "
            "equal, or call destroy_process_group first"
        )


def _make_groups(
    topology: Topology, rank: int, backend: str, timeout: timedelta
) -> "dict[GroupName, dist.ProcessGroup | None]":
    # Every process makes every group in this order, also those it is no member of: else it deadlocks.
    handles: dict[GroupName, dist.ProcessGroup | None] = {
        "world": _make_world(topology, backend, timeout) if topology.world > 1 else None,
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
            handle = dist.new_group(list(members), timeout=timeout, backend=backend)
            if rank in members:
                handles[name] = handle
    return handles


def _make_world(topology: Topology, backend: str, timeout: timedelta) -> "dist.ProcessGroup | None":
    if dist.get_backend() == backend:
        return dist.group.WORLD
    handle: dist.ProcessGroup = dist.new_group(list(range(topology.world)), timeout=timeout, backend=backend)
    return handle
