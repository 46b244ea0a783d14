"""Halo exchange: rows that other ranks read travel to them, their gradients travel back."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.seeds import derive_seed
from shoestring.parallel.groups import GroupName
from shoestring.parallel.transport import Transport

__all__ = ["HaloPattern", "StaleHalo", "exchange", "negotiate", "sampled_exchange"]


@dataclass(frozen=True, slots=True)
class HaloPattern:
    """Who needs which of my rows, and how many rows come from whom; the same for every layer."""

    group: GroupName
    send_index: Tensor
    """int64, (sum(send_counts),): my rows for member 0 of the group, for member 1, ..."""
    send_counts: tuple[int, ...]
    recv_counts: tuple[int, ...]
    """Rows from every member; they are appended behind one's own in this order."""

    @property
    def num_received(self) -> int:
        """Rows appended."""
        return sum(self.recv_counts)

    def nbytes(self) -> int:
        """Bytes of the index."""
        return self.send_index.numel() * self.send_index.element_size()


def negotiate(
    transport: Transport, needed: Tensor, counts: list[int], own: Tensor, group: GroupName
) -> HaloPattern:
    """Tell every owner which ids are needed from it; learn which rows to send.

    Parameters
    ----------
    transport : Transport
        Of this rank.
    needed : Tensor
        int64, (sum(counts),), ids needed, grouped by owner in the group's order.
    counts : list of int
        Ids for every member.
    own : Tensor
        int64, (n,), the id of each of this rank's rows; distinct, in any order.
    group : str
        All its members call.

    Raises
    ------
    DataError
        If a member asks for an id that this rank does not hold.

    Notes
    -----
    O(n log n + requests log n) time.
    """
    asked_counts = transport.exchange_counts(counts, group)
    asked = transport.all_to_all(
        needed.to(transport.groups.device), counts, asked_counts, group=group, kind="setup"
    ).to(own.device)
    sorted_own, order = own.sort()
    place = torch.searchsorted(sorted_own, asked).clamp_(max=max(own.numel() - 1, 0))
    if asked.numel() and (not own.numel() or not torch.equal(sorted_own[place], asked)):
        raise DataError(
            "another rank asks for a vertex that this rank does not hold; the owners of vertices "
            "differ between ranks. Give every rank the same partition"
        )
    index = order[place] if asked.numel() else asked
    return HaloPattern(group, index.to(transport.groups.device), tuple(asked_counts), tuple(counts))


def _nobody_sends(pattern: HaloPattern) -> bool:
    """Whether nothing need be called; a member of a greater group cannot know it of the others."""
    return len(pattern.recv_counts) == 1 and not pattern.num_received


class _Exchange(torch.autograd.Function):
    """Append the rows received from the group; backward is the transposed exchange and an index-add."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, pattern: HaloPattern, transport: Transport, layer: int) -> Tensor:
        ctx.pattern, ctx.transport, ctx.layer = pattern, transport, layer
        n = rows.shape[0]
        all_rows = rows.new_empty(n + pattern.num_received, rows.shape[1])
        all_rows[:n] = rows
        transport.all_to_all(
            rows.index_select(0, pattern.send_index),
            pattern.send_counts,
            pattern.recv_counts,
            group=pattern.group,
            kind="feature",
            layer=layer,
            out=all_rows[n:],
        )
        return all_rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pattern: HaloPattern = ctx.pattern
        n = grads[0].shape[0] - pattern.num_received
        grad = grads[0][:n].clone()
        received = ctx.transport.all_to_all(
            grads[0][n:].contiguous(),
            pattern.recv_counts,
            pattern.send_counts,
            group=pattern.group,
            kind="gradient",
            layer=ctx.layer,
        )
        grad.index_add_(0, pattern.send_index, received)
        return grad, None, None, None


def exchange(rows: Tensor, pattern: HaloPattern, transport: Transport, layer: int) -> Tensor:
    """Append to a rank's rows those that it reads from the group; differentiable.

    Parameters
    ----------
    rows : Tensor
        float, (n, d), this rank's rows.
    pattern : HaloPattern
        As `negotiate` made it.
    transport : Transport
        Of this rank; all members of the group must call in the same order.
    layer : int
        What the bytes are counted under.

    Returns
    -------
    Tensor
        (n + pattern.num_received, d), own rows first. If `rows` needs no gradient on any rank, nothing
        travels back.
    """
    if _nobody_sends(pattern):
        return rows
    out: Tensor = _Exchange.apply(rows, pattern, transport, layer)  # type: ignore[no-untyped-call]  # torch's stub
    return out


class StaleHalo:
    """The exchange of one layer with the halo of the step before (PipeGCN): it overlaps a whole step.

    The first step is synchronous. Rows and gradients of step t are used in step t + 1. `drain` must be
    called before the process group is left.

    References
    ----------
    Wan et al., *PipeGCN: Efficient Full-Graph Training of Graph Convolutional Networks with Pipelined
    Feature Communication*, ICLR 2022.
    """

    def __init__(self, pattern: HaloPattern, transport: Transport, layer: int) -> None:
        self.pattern, self.transport, self.layer = pattern, transport, layer
        self._rows: Any = None
        self._grads: Any = None

    def __call__(self, rows: Tensor) -> Tensor:
        """As `exchange`, one step behind."""
        if _nobody_sends(self.pattern):
            return rows
        out: Tensor = _StaleExchange.apply(rows, self)  # type: ignore[no-untyped-call]  # torch's stub
        return out

    def drain(self) -> None:
        """Wait for what is still under way."""
        for pending in (self._rows, self._grads):
            if pending is not None:
                pending.wait()

    def swap_rows(self, rows: Tensor) -> Tensor:
        """Send this step's rows; return the ones received for the step before."""
        pattern = self.pattern
        pending = self.transport.start(
            rows.index_select(0, pattern.send_index),
            pattern.send_counts,
            pattern.recv_counts,
            group=pattern.group,
            kind="feature",
            layer=self.layer,
        )
        before, self._rows = self._rows, pending
        return (pending if before is None else before).wait()

    def swap_grads(self, grads: Tensor) -> Tensor:
        """Send this step's gradients of received rows; return those received for the step before."""
        pattern = self.pattern
        pending = self.transport.start(
            grads.contiguous(),
            pattern.recv_counts,
            pattern.send_counts,
            group=pattern.group,
            kind="gradient",
            layer=self.layer,
        )
        before, self._grads = self._grads, pending
        return (pending if before is None else before).wait()


class _StaleExchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, halo: StaleHalo) -> Tensor:
        ctx.halo = halo
        return torch.cat([rows, halo.swap_rows(rows)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        halo: StaleHalo = ctx.halo
        n = grads[0].shape[0] - halo.pattern.num_received
        grad = grads[0][:n].clone()
        grad.index_add_(0, halo.pattern.send_index, halo.swap_grads(grads[0][n:]))
        return grad, None


def sampled_exchange(
    rows: Tensor,
    pattern: HaloPattern,
    transport: Transport,
    layer: int,
    *,
    keep: float,
    seed: int,
) -> Tensor:
    """Exchange a random share of the halo rows, scaled by ``1 / keep``; the others are zero (BNS-GCN).

    Parameters
    ----------
    rows, pattern, transport, layer
        As `exchange`.
    keep : float
        Share of the rows of every pair of ranks, in (0, 1]; rounded to whole rows.
    seed : int
        The same on all ranks; sender and receiver draw the same rows from it, so nothing is told.

    Raises
    ------
    ConfigError
        If `keep` is outside (0, 1].

    References
    ----------
    Wan et al., *BNS-GCN: Efficient Full-Graph Training of Graph Convolutional Networks with
    Partition-Parallelism and Random Boundary Node Sampling*, MLSys 2022.
    """
    if not 0 < keep <= 1:
        raise ConfigError(f"keep={keep} is outside (0, 1]; 1 sends everything")
    members = transport.groups.members(pattern.group)
    me = transport.groups.rank
    sent = [_draw(n, keep, derive_seed(seed, me, other)) for n, other in _pairs(pattern.send_counts, members)]
    got = [_draw(n, keep, derive_seed(seed, other, me)) for n, other in _pairs(pattern.recv_counts, members)]
    part = HaloPattern(
        pattern.group,
        pattern.send_index[_offset(sent, pattern.send_counts).to(pattern.send_index.device)],
        tuple(len(s) for s in sent),
        tuple(len(g) for g in got),
    )
    n = rows.shape[0]
    both = exchange(rows, part, transport, layer)
    halo = rows.new_zeros(pattern.num_received, rows.shape[1])
    halo = halo.index_copy(0, _offset(got, pattern.recv_counts).to(rows.device), both[n:] / keep)
    return torch.cat([both[:n], halo])


def _pairs(counts: tuple[int, ...], members: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(counts, members, strict=True))


def _draw(n: int, keep: float, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randperm(n, generator=rng)[: round(n * keep)].sort().values


def _offset(parts: list[Tensor], counts: tuple[int, ...]) -> Tensor:
    """Positions in the concatenation of all members' rows."""
    start, out = 0, []
    for part, n in zip(parts, counts, strict=True):
        out.append(part + start)
        start += n
    return torch.cat(out)
