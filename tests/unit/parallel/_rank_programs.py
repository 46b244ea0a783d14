"""What the ranks of these tests run. One launch serves test_transport, test_exchange and test_launch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shoestring.core.errors import ConfigError, DataError
from shoestring.parallel import (
    GroupName,
    HaloPattern,
    Rank,
    RankResult,
    StaleHalo,
    Topology,
    Transport,
    connect,
    exchange,
    negotiate,
    netns,
    sampled_exchange,
)

GROUPS: tuple[GroupName, ...] = ("world", "device", "rail", "solo")
SHAPES = ((2, 3), (3, 2), (6, 1), (1, 6))
WORLD = 6
WIDTH = 5
SIZES = (0, 1, 5, 17, 64)
"""Lengths of the vectors summed: none, fewer than ranks, no multiple of anything, a multiple."""
STEPS = 3
FAR_S = 60.0
"""No test that passes comes near; what an unlimited message must stay under."""

Out = tuple[dict[str, Any], dict[str, Tensor]]


def everything(rank: Rank) -> RankResult:
    values: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    # The link that `launch` emulates comes first: it is taken off then.
    for part in (_bucket, _launched, _messages, _halos):
        v, t = part(rank)
        values[part.__name__] = v
        tensors |= {f"{part.__name__}/{name}": tensor for name, tensor in t.items()}
    return RankResult(values, tensors)


def rows_between(sender: int, receiver: int) -> int:
    """Uneven, with zeros, not symmetric; a rank keeps some rows to itself."""
    return (sender * 7 + receiver * 3) % 4


def summand(rank: int, n: int, *, whole: bool) -> Tensor:
    """What a rank brings to a sum; whole numbers add up without rounding in any order."""
    rng = torch.Generator().manual_seed(100 * n + rank)
    if whole:
        return torch.randint(-(10**6), 10**6, (n,), generator=rng).double()
    return torch.randn(n, generator=rng, dtype=torch.float64)


@contextmanager
def shaped_as(rank: Rank, shape: tuple[int, int]) -> Iterator[Transport]:
    """Another division of the same ranks into servers, in the process group that there is."""
    with connect(Topology(*shape), rank.rank) as groups:
        yield Transport(groups)


def _launched(rank: Rank) -> Out:
    """What the library handed to the rank."""
    rank.report_progress(0.5, "halfway")
    shared = rank.tensors["shared"]
    before = shared.sum().item()
    rank.transport.barrier()
    shared += rank.rank + 1  # in this rank only
    rank.transport.barrier()
    values = {
        "rank": rank.rank,
        "topology": [rank.topology.servers, rank.topology.ranks_per_server],
        "pid": os.getpid(),
        "parent": os.getppid(),
        "option": rank.options["option"],
        "before": before,
        "after": shared.sum().item(),
        "threads": torch.get_num_threads(),
    }
    return values, {"row": torch.full((2, 3), float(rank.rank)), "ids": torch.arange(rank.rank)}


def _bucket(rank: Rank) -> Out:
    """Seconds that messages take over an emulated link."""
    num_bytes = rank.options["bucket_bytes"]
    values: dict[str, Any] = {}

    def timed(transport: Transport, sender: int, receiver: int, times: int) -> float:
        send = [num_bytes * (rank.rank == sender and r == receiver) for r in range(WORLD)]
        got = [num_bytes * (rank.rank == receiver and r == sender) for r in range(WORLD)]
        payload = torch.zeros(sum(send), dtype=torch.uint8)
        transport.barrier()
        start = time.monotonic()
        pending = [transport.start(payload, send, got, group="world", kind="feature") for _ in range(times)]
        for one in pending:
            one.wait()
        return time.monotonic() - start

    values["across"] = timed(rank.transport, 0, 3, 1)
    values["across_thrice"] = timed(rank.transport, 3, 0, 3)
    rank.transport.unshape()
    crawling = Transport(rank.transport.groups, inter_bits_per_s=8.0 * num_bytes / 1e4)
    values["inside"] = timed(crawling, 0, 1, 1)
    begin = time.monotonic()
    everyone = [num_bytes] * WORLD
    payload = torch.zeros(num_bytes * WORLD, dtype=torch.uint8)
    pending = crawling.start(payload, everyone, everyone, group="world", kind="feature")
    values["begun"] = time.monotonic() - begin  # hours until `wait` would be done
    crawling.unshape()
    values["unshaped"] = timed(crawling, 0, 3, 1)
    values["arrived"] = pending.received.numel()
    return values, {}


def _messages(rank: Rank) -> Out:
    values: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for shape in SHAPES:
        with shaped_as(rank, shape) as transport:
            name = f"{shape[0]}x{shape[1]}"
            values[name] = {
                "members": {g: list(transport.groups.members(g)) for g in GROUPS},
                "is_head": transport.groups.is_head,
            }
            for group in GROUPS:
                _uneven(transport, group, f"{name}/{group}", values, tensors)
            for n in SIZES:
                _sums(transport, n, f"{name}/{n}", values, tensors)
    return values, tensors


def _uneven(
    transport: Transport, group: GroupName, name: str, values: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    """Send rows that say where they come from and go to; the counters before and after."""
    me, members = transport.groups.rank, transport.groups.members(group)
    send_counts = [rows_between(me, r) for r in members]
    recv_counts = [rows_between(r, me) for r in members]
    rows = [torch.full((n, WIDTH), 100.0 * me + r) for n, r in zip(send_counts, members, strict=True)]
    told = transport.exchange_counts(send_counts, group)
    before = transport.traffic.copy()
    tensors[name] = transport.all_to_all(
        torch.cat(rows), send_counts, recv_counts, group=group, kind="feature", layer=2
    )
    counted = transport.traffic - before
    no_rows = torch.empty(0, WIDTH)
    zeros = [0] * len(members)
    empty = transport.all_to_all(no_rows, zeros, zeros, group=group, kind="gradient")
    copied = torch.full((3, 2), float(me), dtype=torch.float64)
    at = transport.traffic.copy()
    transport.broadcast(copied, group=group)
    values[name] = {
        "told": told,
        "counted": counted.rows(),
        "messages": counted.messages,
        "empty": list(empty.shape),
        "zero_bytes": transport.traffic.total(kind="gradient", direction=None),
        "setup": before.rows() if group == "world" else [],
        "copied": copied.tolist(),
        "copy_bytes": (transport.traffic - at).total(kind="setup"),
    }


def _sums(
    transport: Transport, n: int, name: str, values: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    before = transport.traffic.copy()
    whole = summand(transport.groups.rank, n, whole=True)
    same = transport.all_reduce(whole)
    values[f"sum/{name}"] = (transport.traffic - before).rows()
    values[f"in_place/{name}"] = same is whole
    tensors[f"whole/{name}"] = whole
    tensors[f"real/{name}"] = transport.all_reduce(summand(transport.groups.rank, n, whole=False))


# Halos. Six ranks own 4, 3, 5, 0, 2 and 3 of 17 vertices, whose ids are in no order. Rank 3 has nothing, in
# the world nobody reads rank 5's rows and rank 1 reads nothing. Whole numbers in float64: no rounding.
OWN = ((16, 2, 9, 4), (7, 0, 11), (3, 14, 5, 12, 1), (), (10, 6), (8, 15, 13))
NEEDED: dict[GroupName, tuple[tuple[int, ...], ...]] = {
    # Grouped by owner, in the order of the group's members.
    "world": ((7, 3, 12, 10), (), (16, 4, 9, 0, 6, 10), (2, 14), (16, 11, 7, 1), (9, 6)),
    "device": ((7, 3), (), (16, 4, 0), (10,), (), (6,)),
    "rail": ((), (10, 6), (), (2, 16), (0,), (14, 5, 1)),
    "solo": ((9, 16), (0,), (), (), (6, 10), (15, 8)),
}
HALO_WIDTH = 3


def features(step: int) -> Tensor:
    rng = torch.Generator().manual_seed(step)
    return torch.randint(-50, 50, (17, HALO_WIDTH), generator=rng).double()


def weights_of(rank: int, step: int, num_rows: int) -> Tensor:
    """What a rank multiplies its rows and its halo with, which is thus the gradient of its loss."""
    rng = torch.Generator().manual_seed(1000 * (rank + 1) + step)
    return torch.randint(-9, 9, (num_rows, HALO_WIDTH), generator=rng).double()


def owner_of(vertex: int) -> int:
    return next(r for r, own in enumerate(OWN) if vertex in own)


def _pattern(transport: Transport, group: GroupName) -> HaloPattern:
    me, members = transport.groups.rank, transport.groups.members(group)
    needed = NEEDED[group][me]
    counts = [sum(owner_of(v) == r for v in needed) for r in members]
    ids = torch.tensor(needed, dtype=torch.int64)
    return negotiate(transport, ids, counts, torch.tensor(OWN[me], dtype=torch.int64), group)


def _own_rows(rank: int, step: int) -> Tensor:
    return features(step)[torch.tensor(OWN[rank], dtype=torch.int64)].requires_grad_()


def _halos(rank: Rank) -> Out:
    values: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    me, transport = rank.rank, Transport(rank.transport.groups)
    for group in GROUPS:
        pattern = _pattern(transport, group)
        values[group] = {
            "send": list(pattern.send_counts),
            "recv": list(pattern.recv_counts),
            "ids": [OWN[me][i] for i in pattern.send_index.tolist()],
            "nbytes": pattern.nbytes(),
        }
        before = transport.traffic.copy()
        rows = _own_rows(me, 0)
        seen = exchange(rows, pattern, transport, 4)
        _backward(seen, me, 0)
        values[group]["traffic"] = (transport.traffic - before).rows()
        tensors[f"exact/{group}"] = seen.detach()
        tensors[f"exact_grad/{group}"] = _grad(rows)
        before = transport.traffic.copy()
        with torch.no_grad():
            exchange(_own_rows(me, 0), pattern, transport, 4)
        values[group]["without_gradient"] = (transport.traffic - before).total(kind="gradient")
        _stale(transport, pattern, tensors)
        _sampled(transport, pattern, values[group], tensors)
    values |= _refused(transport)
    return values, tensors


def _stale(transport: Transport, pattern: HaloPattern, tensors: dict[str, Tensor]) -> None:
    halo = StaleHalo(pattern, transport, 1)
    halo.drain()  # nothing is under way yet
    me = transport.groups.rank
    for step in range(STEPS):
        rows = _own_rows(me, step)
        seen = halo(rows)
        _backward(seen, me, step)
        tensors[f"stale{step}/{pattern.group}"] = seen.detach()
        tensors[f"stale_grad{step}/{pattern.group}"] = _grad(rows)
    halo.drain()


def _sampled(
    transport: Transport, pattern: HaloPattern, values: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    me = transport.groups.rank
    for name, keep, seed in (("half", 0.5, 1), ("again", 0.5, 1), ("other", 0.5, 2), ("all", 1.0, 1)):
        before = transport.traffic.copy()
        rows = _own_rows(me, 0)
        seen = sampled_exchange(rows, pattern, transport, 3, keep=keep, seed=seed)
        _backward(seen, me, 0)
        tensors[f"{name}/{pattern.group}"] = seen.detach()
        tensors[f"{name}_grad/{pattern.group}"] = _grad(rows)
        values[name] = (transport.traffic - before).rows()


def _refused(transport: Transport) -> dict[str, str]:
    """Mistakes that a rank sees by itself."""
    me, out = transport.groups.rank, {"unknown": "", "keep": ""}
    own = torch.tensor(OWN[me], dtype=torch.int64)
    wrong = torch.tensor([99 if me == 0 else OWN[0][0]])
    try:  # rank 0 asks rank 1 for a vertex of nobody, all others ask rank 0 for one of its own
        negotiate(transport, wrong, [int(r == (me == 0)) for r in range(WORLD)], own, "world")
    except DataError as e:
        out["unknown"] = str(e)
    pattern = HaloPattern("world", own[:0], (0,) * WORLD, (0,) * WORLD)
    try:
        sampled_exchange(torch.zeros(1, 1), pattern, transport, 0, keep=1.5, seed=0)
    except ConfigError as e:
        out["keep"] = str(e)
    return out


def _backward(seen: Tensor, rank: int, step: int) -> None:
    # Of a sum: a gradient given from outside makes torch import 500 modules, in every rank.
    torch.autograd.backward((seen * weights_of(rank, step, seen.shape[0])).sum())


def _grad(rows: Tensor) -> Tensor:
    return torch.zeros_like(rows) if rows.grad is None else rows.grad


# Ranks that do not end well. Every one leaves the numbers of its processes, so that a test can look for them.


def _leave_word(rank: Rank) -> None:
    folder = Path(rank.options["folder"])
    text = f"{os.getpid()} {os.getppid()} {sys.argv[1]}"
    (folder / f"{rank.rank}.part").write_text(text, encoding="utf-8")
    (folder / f"{rank.rank}.part").rename(folder / f"{rank.rank}.pids")
    rank.transport.barrier()


def raise_in_one(rank: Rank) -> RankResult:
    _leave_word(rank)
    if rank.rank == 1:
        raise ValueError("the reason is number 4711")
    rank.transport.barrier()
    return RankResult()


def kill_one(rank: Rank) -> RankResult:
    _leave_word(rank)
    if rank.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)  # notices nothing by itself
    return RankResult()


def hang(rank: Rank) -> RankResult:
    _leave_word(rank)
    while True:
        rank.report_progress(0.0, "hanging")
        time.sleep(0.3)


# Ranks in network namespaces.


def over_the_wire(rank: Rank) -> RankResult:
    """Send some MB to another server and within one; read the kernel's counters; take the limit off."""
    values: dict[str, Any] = {"namespace": os.environ["SHOESTRING_NAMESPACE"]}
    across, inside = rank.options["across_bytes"], rank.options["inside_bytes"]

    def send(sender: int, receiver: int, num_bytes: int) -> dict[str, float]:
        sent = [num_bytes * (rank.rank == sender and r == receiver) for r in range(rank.topology.world)]
        got = [num_bytes * (rank.rank == receiver and r == sender) for r in range(rank.topology.world)]
        payload = torch.zeros(sum(sent), dtype=torch.uint8)
        rank.transport.barrier()
        before, start = netns.link_bytes(), time.monotonic()
        rank.transport.all_to_all(payload, sent, got, group="world", kind="feature")
        arrived = time.monotonic()
        rank.transport.barrier()  # the sender's clock stops when the receiver has everything
        out, into = (b - a for a, b in zip(before, netns.link_bytes(), strict=True))
        return {"s": time.monotonic() - start, "arrived_s": arrived - start, "out": out, "in": into}

    values["across"] = send(0, 2, across)
    values["back"] = send(2, 0, across)
    values["inside"] = [send(0, 1, inside) for _ in range(3)]
    values["shaped"] = _shaping()
    rank.transport.unshape()
    values["unshaped"] = _shaping()
    return RankResult(values)


def _shaping() -> list[str]:
    """How the kernel queues at both ends of this server's link."""
    name = os.environ["SHOESTRING_NAMESPACE"]
    tag, _, server = name.rpartition("-")
    ends = ((name, netns.INTERFACE), (f"{tag}-switch", f"port{server}"))
    return [
        subprocess.run(
            ["ip", "netns", "exec", where, "tc", "qdisc", "show", "dev", device],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for where, device in ends
    ]
