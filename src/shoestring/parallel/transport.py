"""Every message between ranks goes through here and is counted here: kind, layer, direction, link."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from shoestring.core.errors import ConfigError
from shoestring.parallel import netns
from shoestring.parallel.groups import GroupName, Groups

__all__ = ["Kind", "Pending", "Traffic", "Transport"]

Kind = Literal["feature", "gradient", "weights", "setup"]
Link = Literal["intra", "inter"]
Direction = Literal["sent", "received"]
NO_LAYER = -1

_Key = tuple[Kind, int, Direction, Link]


@dataclass(slots=True)
class Traffic:
    """Payload bytes by (kind, layer, direction, link); layer is -1 where none applies."""

    counts: Counter[_Key] = field(default_factory=Counter)
    messages: int = 0
    """All-to-all calls with at least one peer."""

    def total(
        self,
        *,
        kind: Kind | None = None,
        layer: int | None = None,
        direction: Direction | None = "sent",
        link: Link | None = None,
    ) -> int:
        """Bytes of everything that matches; None matches all. Sent only unless told otherwise."""
        wanted = (kind, layer, direction, link)
        return sum(
            n
            for key, n in self.counts.items()
            if all(w is None or w == k for w, k in zip(wanted, key, strict=True))
        )

    def __sub__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            Counter({k: n - other.counts[k] for k, n in self.counts.items() if n != other.counts[k]}),
            self.messages - other.messages,
        )

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.counts + other.counts, self.messages + other.messages)

    def copy(self) -> "Traffic":
        """Return a copy that further messages do not change."""
        return Traffic(Counter(self.counts), self.messages)

    def rows(self) -> list[dict[str, str | int]]:
        """One JSON object a key, sorted."""
        names = ("kind", "layer", "direction", "link")
        return [
            {**dict(zip(names, key, strict=True)), "bytes": n} for key, n in sorted(self.counts.items()) if n
        ]

    @classmethod
    def from_rows(cls, rows: Sequence[dict[str, str | int]]) -> "Traffic":
        """Inverse of `rows`."""
        counts: Counter[_Key] = Counter()
        for row in rows:
            key = (row["kind"], row["layer"], row["direction"], row["link"])
            counts[key] += int(row["bytes"])  # type: ignore[index]  # keys come from rows()
        return cls(counts)


@dataclass(slots=True)
class Pending:
    """A running all-to-all; `wait` gives the received rows."""

    received: Tensor
    _work: "dist.Work | None"
    _keep: Tensor
    _due: float = 0.0
    """When an emulated link has passed the bytes, on the monotonic clock."""

    def wait(self) -> Tensor:
        """Block until the rows are here."""
        if self._work is not None:
            self._work.wait()
            self._work = None
        time.sleep(max(0.0, self._due - time.monotonic()))
        return self.received


class Transport:
    """Uneven all-to-all and sums between the ranks of a group, counted where they leave and arrive.

    Parameters
    ----------
    groups : Groups
        Of this rank.
    inter_bits_per_s : float or None
        Emulates a slow link: bytes to and from other servers take at least their share of a server's link
        of this rate in each direction, which its ranks share equally. A token bucket in this class, without
        burst, so label what is measured with it *emulated*. None switches it off.
    shaped_by_kernel : bool
        Whether the ranks are in namespaces with shaped links; `unshape` then frees those.

    Notes
    -----
    What is counted is the payload handed to and taken from the collective. Headers of lower layers are not
    in it; `shoestring.parallel.netns` reads the kernel's counters to compare.
    """

    def __init__(
        self, groups: Groups, *, inter_bits_per_s: float | None = None, shaped_by_kernel: bool = False
    ) -> None:
        if inter_bits_per_s is not None and inter_bits_per_s <= 0:
            raise ConfigError(f"inter_bits_per_s={inter_bits_per_s} must be above 0; None switches it off")
        self.groups = groups
        self.traffic = Traffic()
        topology = groups.topology
        self._bytes_per_s = (
            None if inter_bits_per_s is None else inter_bits_per_s / 8 / topology.ranks_per_server
        )
        self._free_at = 0.0
        self._shaped_by_kernel = shaped_by_kernel
        server = topology.server_of(groups.rank)
        self._links: dict[GroupName, list[Link | None]] = {
            name: [
                None if r == groups.rank else "intra" if topology.server_of(r) == server else "inter"
                for r in groups.members(name)
            ]
            for name in groups.handles
        }

    def size(self, group: GroupName) -> int:
        """Ranks in this rank's group."""
        return len(self._links[group])

    def position(self, group: GroupName) -> int:
        """Place of this rank in its group."""
        return self._links[group].index(None)

    def start(
        self,
        send: Tensor,
        send_counts: Sequence[int],
        recv_counts: Sequence[int],
        *,
        group: GroupName,
        kind: Kind,
        layer: int = NO_LAYER,
        out: Tensor | None = None,
    ) -> Pending:
        """Start an all-to-all of rows.

        Parameters
        ----------
        send : Tensor
            (sum(send_counts), ...), contiguous: the rows for member 0 of the group, for member 1, and so on.
        send_counts, recv_counts : sequence of int
            Rows to and from every member, in the group's order. Both sides must agree.
        group : str
            Which group; all its members must call, in the same order.
        kind, layer
            What the bytes are counted as.
        out : Tensor or None
            (sum(recv_counts), ...), contiguous; made if None.

        Returns
        -------
        Pending
            `Pending.wait` gives `out`.
        """
        if out is None:
            out = send.new_empty(sum(recv_counts), *send.shape[1:])
        handle = self.groups.handles[group]
        if handle is None:
            out.copy_(send)
            return Pending(out, None, send)
        sent = self._count(send, send_counts, "sent", group, kind, layer)
        received = self._count(out, recv_counts, "received", group, kind, layer)
        self.traffic.messages += 1
        if self._bytes_per_s is not None:
            dist.barrier(handle)  # the clock of the bucket starts when all are there, as bytes would
        work = dist.all_to_all_single(out, send, list(recv_counts), list(send_counts), handle, async_op=True)
        return Pending(out, work, send, self._pass(max(sent, received)))

    def all_to_all(
        self,
        send: Tensor,
        send_counts: Sequence[int],
        recv_counts: Sequence[int],
        *,
        group: GroupName,
        kind: Kind,
        layer: int = NO_LAYER,
        out: Tensor | None = None,
    ) -> Tensor:
        """`start` and wait."""
        return self.start(send, send_counts, recv_counts, group=group, kind=kind, layer=layer, out=out).wait()

    def exchange_counts(self, counts: Sequence[int], group: GroupName) -> list[int]:
        """Tell every member a number; return what the members told this rank."""
        size = self.size(group)
        send = torch.tensor(counts, dtype=torch.int64, device=self.groups.device)
        ones = [1] * size
        return [int(n) for n in self.all_to_all(send, ones, ones, group=group, kind="setup").tolist()]

    def all_reduce(self, flat: Tensor, *, kind: Kind = "weights") -> Tensor:
        """Sum a vector over the world, in place; every rank gets the same bits.

        Reduce-scatter inside the server, sum over the rail, gather inside the server, so each server sends
        every element at most twice over the slow link, whatever its number of ranks.

        Parameters
        ----------
        flat : Tensor
            float, (n,), contiguous, of the same n on every rank.
        """
        topology = self.groups.topology
        if topology.world == 1:
            return flat
        local = topology.local_of(self.groups.rank)
        inside = _bounds(flat.numel(), topology.ranks_per_server)
        mine = flat[inside[local] : inside[local + 1]]
        mine.copy_(self._reduce_scatter(flat, inside, "device", kind))
        if topology.servers > 1:
            across = _bounds(mine.numel(), topology.servers)
            place = topology.server_of(self.groups.rank)
            piece = self._reduce_scatter(mine, across, "rail", kind)
            mine[across[place] : across[place + 1]] = piece
            self._gather(mine, across, "rail", kind)
        self._gather(flat, inside, "device", kind)
        return flat

    def broadcast(self, tensor: Tensor, *, group: GroupName, kind: Kind = "setup") -> Tensor:
        """Copy the tensor of a group's first member to all members, in place."""
        size, place = self.size(group), self.position(group)
        n = tensor.shape[0]
        send = torch.cat([tensor] * size) if place == 0 else tensor[:0]
        self.all_to_all(
            send.contiguous(),
            [n] * size if place == 0 else [0] * size,
            [n] + [0] * (size - 1),
            group=group,
            kind=kind,
            out=tensor,
        )
        return tensor

    def unshape(self) -> None:
        """Take an emulated or shaped link's limit off for the rest of the run; all ranks call."""
        self.barrier()
        if self.groups.is_head and self._shaped_by_kernel:
            netns.unshape_here()
        self._bytes_per_s = None
        self.barrier()

    def barrier(self) -> None:
        """Wait for all ranks."""
        handle = self.groups.handles["world"]
        if handle is not None:
            dist.barrier(handle)

    def _reduce_scatter(self, flat: Tensor, bounds: list[int], group: GroupName, kind: Kind) -> Tensor:
        place, size = self.position(group), self.size(group)
        sizes = [b - a for a, b in pairwise(bounds)]
        parts = self.all_to_all(flat, sizes, [sizes[place]] * size, group=group, kind=kind)
        return parts.view(size, sizes[place]).sum(0)

    def _gather(self, flat: Tensor, bounds: list[int], group: GroupName, kind: Kind) -> None:
        place, size = self.position(group), self.size(group)
        sizes = [b - a for a, b in pairwise(bounds)]
        mine = flat[bounds[place] : bounds[place + 1]].repeat(size)
        self.all_to_all(mine, [sizes[place]] * size, sizes, group=group, kind=kind, out=flat)

    def _count(
        self,
        rows: Tensor,
        counts: Sequence[int],
        direction: Direction,
        group: GroupName,
        kind: Kind,
        layer: int,
    ) -> int:
        row_bytes = rows.element_size() * (rows[0].numel() if rows.shape[0] else 0)
        inter = 0
        for link, n in zip(self._links[group], counts, strict=True):
            if link is not None and n:
                self.traffic.counts[kind, layer, direction, link] += n * row_bytes
                inter += n * row_bytes if link == "inter" else 0
        return inter

    def _pass(self, num_bytes: int) -> float:
        """When a link of the emulated rate would be done with these bytes, behind those before them."""
        if self._bytes_per_s is None or not num_bytes:
            return 0.0
        self._free_at = max(self._free_at, time.monotonic()) + num_bytes / self._bytes_per_s
        return self._free_at


def _bounds(n: int, parts: int) -> list[int]:
    return [i * n // parts for i in range(parts + 1)]
