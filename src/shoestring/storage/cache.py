"""The host cache of partitions: bounded by a budget, LRU or farthest next use, dirty bits, prefetch."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from shoestring.native.io import Buffer
from shoestring.storage.budget import Budget, BudgetExceeded, Reservation
from shoestring.storage.files import Key, PartitionFiles, Transfer, round_up

__all__ = ["DEAD", "CachePolicy", "Entry", "PartitionCache"]

CachePolicy = Literal["lru", "min"]
DEAD = 1 << 60
"""Next use of an entry that will not be used again in its version."""


class Entry:
    """One partition in host memory.

    Attributes
    ----------
    data : Tensor
        uint8, (bytes of the partition,): a view of the aligned buffer.
    dirty : bool
        Whether storage lacks this content.
    fresh : bool
        Whether it was read from storage and not used since.
    """

    __slots__ = (
        "_reservation",
        "buffer",
        "data",
        "dirty",
        "fresh",
        "key",
        "pending",
        "pins",
        "tick",
        "version",
    )

    def __init__(self, key: Key, version: int, buffer: Buffer, nbytes: int, reservation: Reservation) -> None:
        self.key = key
        self.version = version
        self.buffer = buffer
        self.data: Tensor = torch.from_numpy(buffer.array)[:nbytes]
        self.dirty = False
        self.fresh = False
        self.pins = 0
        self.tick = 0
        self.pending: Transfer | None = None
        self._reservation = reservation

    def rows(self, width: int, dtype: torch.dtype) -> Tensor:
        """Return the content as a matrix of `width` columns."""
        return self.data.view(dtype).view(-1, width)

    def wait(self) -> None:
        """Wait for the transfer under way, if any."""
        if self.pending is not None:
            self.pending.result()
            self.pending = None

    def free(self) -> None:
        """Give buffer and bytes back."""
        del self.data
        self.buffer.release()
        self._reservation.release()


class PartitionCache:
    """Keeps partitions in host memory as far as the budget goes.

    Parameters
    ----------
    files : PartitionFiles
        Where misses are read from and dirty victims are written to.
    budget : Budget
        Of the host tier; every entry is reserved in it.
    policy : {"lru", "min"}
        Victim: the least recently used entry, or the one whose next use lies farthest ahead (a dirty one,
        which costs a write besides the read, only if its use lies twice as far).
    next_use : callable
        Position of the next use of a key, `DEAD` when there is none. Dead entries are dropped
        unwritten, whatever the policy.
    now : callable
        The position that `next_use` counts from.
    whole_layers : bool
        Evict all partitions of the least recently used layer together.
    """

    def __init__(
        self,
        files: PartitionFiles,
        budget: Budget,
        *,
        policy: CachePolicy = "lru",
        next_use: Callable[[Key], int],
        now: Callable[[], int] = lambda: -1,
        whole_layers: bool = False,
    ) -> None:
        self._files = files
        self._budget = budget
        self._policy = policy
        self._next_use = next_use
        self._now = now
        self._whole_layers = whole_layers
        self._entries: dict[Key, Entry] = {}
        self._leaving: list[Entry] = []
        self._clock = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, *, version: int, what: str) -> Entry:
        """Return a partition, pinned: from memory, or read from storage (waits).

        Raises
        ------
        BudgetExceeded
            If it does not fit beside what is pinned.
        StorageError
            If storage holds another version.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._load(key, version, what)
        assert entry.version == version, f"{key} is cached as version {entry.version}, not {version}"
        self._count(entry, what)
        self._touch(entry)
        entry.pins += 1
        entry.wait()
        return entry

    def create(self, key: Key, *, version: int) -> Entry:
        """Return a new dirty entry, pinned, its content undefined; an older one of the key is dropped."""
        self.drop(key)
        entry = self._allocate(key, version)
        entry.dirty = True
        self._touch(entry)
        entry.pins += 1
        return entry

    def prefetch(self, key: Key, *, version: int, what: str, spare_bytes: int) -> bool:
        """Start reading a missing partition if it fits beside `spare_bytes` without evicting a live entry."""
        if key in self._entries:
            return True
        need = round_up(self._files.nbytes(key)) + spare_bytes
        while self._budget.free_bytes < need:
            victim = self._victim(live_after=self._next_use(key))
            if victim is None:
                return False
            self._evict(victim)
        self._load(key, version, what)
        return True

    def unpin(self, entry: Entry) -> None:
        """Allow an entry to be evicted again."""
        entry.pins -= 1

    def drop(self, key: Key) -> None:
        """Forget an entry without writing it."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.wait()
            entry.free()

    def drop_dead(self) -> None:
        """Forget every unpinned entry that has no next use."""
        for key in [k for k, e in self._entries.items() if not e.pins and self._next_use(k) >= DEAD]:
            self.drop(key)

    def flush(self, kind: str, layer: int, *, keep: bool) -> None:
        """Write the dirty entries of (kind, layer); forget them all unless `keep`."""
        for key in [k for k in self._entries if (k.kind, k.layer) == (kind, layer)]:
            entry = self._entries[key]
            if entry.dirty:
                self._write(entry)
            if not keep:
                self.drop(key)

    def flush_one(self, key: Key) -> None:
        """Write an entry if it is dirty, and forget it."""
        entry = self._entries.get(key)
        if entry is not None:
            if entry.dirty:
                self._write(entry)
            self.drop(key)

    def groups(self) -> list[tuple[str, int]]:
        """Return the (kind, layer) pairs of which something is held."""
        return sorted({(k.kind, k.layer) for k in self._entries})

    def clear(self) -> None:
        """Forget everything; nothing is written."""
        self._reap(wait=True)
        for key in list(self._entries):
            self.drop(key)

    def make_room(self, nbytes: int, what: str) -> None:
        """Evict until `nbytes` are free in the budget.

        Raises
        ------
        BudgetExceeded
            If what is pinned leaves too little.
        """
        while self._budget.free_bytes < nbytes:
            if self._leaving:
                self._reap(wait=True)
                continue
            victim = self._victim(live_after=-1)
            if victim is None:
                raise BudgetExceeded(
                    self._budget.tier,
                    what,
                    asked_bytes=nbytes,
                    used_bytes=self._budget.used_bytes,
                    limit_bytes=self._budget.limit_bytes or 0,
                    minimum_bytes=self._budget.minimum_bytes,
                )
            self._evict(victim)

    def _count(self, entry: Entry, what: str) -> None:
        """Count a demand of activations as hit or miss; the first use of a prefetched entry is a miss."""
        ledger = self._files.ledger
        if what == "act":
            ledger.hits += not entry.fresh
            ledger.misses += entry.fresh
            ledger.hit_bytes += 0 if entry.fresh else entry.data.numel()
            ledger.miss_bytes += entry.data.numel() if entry.fresh else 0
        entry.fresh = False

    def _touch(self, entry: Entry) -> None:
        self._clock += 1
        entry.tick = self._clock

    def _load(self, key: Key, version: int, what: str) -> Entry:
        if any(e.key == key for e in self._leaving):
            self._reap(wait=True)  # a read must not overtake the write of the same partition
        entry = self._allocate(key, version)
        self._touch(entry)
        entry.fresh = True
        entry.pending = self._files.read(key, entry.buffer, version=version, link="host-storage", what=what)
        return entry

    def _allocate(self, key: Key, version: int) -> Entry:
        self._reap(wait=False)
        nbytes = self._files.nbytes(key)
        padded = round_up(max(nbytes, 1))
        self.make_room(padded, str(key))
        reservation = self._budget.reserve(str(key), padded)
        entry = Entry(key, version, self._files.engine.buffer(padded), nbytes, reservation)
        self._entries[key] = entry
        return entry

    def _victim(self, live_after: int) -> Entry | None:
        """Pick what to evict, and what the step under way needs only if nothing else is left.

        With `live_after` >= 0, only entries that are used later than that, or never.
        """
        best: Entry | None = None
        best_rank: tuple[bool, float, int, int] | None = None
        layers = self._layer_ticks() if self._whole_layers else None
        for entry in self._entries.values():
            if entry.pins:
                continue
            use = self._next_use(entry.key)
            if live_after >= 0 and use <= live_after:
                continue
            if use >= DEAD:
                return entry
            tick = entry.tick if layers is None else layers[entry.key.kind, entry.key.layer]
            needed_now = use <= self._now()
            loss = self._loss(entry, use) if self._policy == "min" else 0.0
            rank = (needed_now, loss, tick, entry.tick)
            if best_rank is None or rank < best_rank:
                best, best_rank = entry, rank
        return best

    def _loss(self, entry: Entry, use: int) -> float:
        """Transfers that an eviction costs over the time it frees memory; a dirty entry costs two."""
        return (2.0 if entry.dirty else 1.0) / max(use - self._now(), 1)

    def _layer_ticks(self) -> dict[tuple[str, int], int]:
        ticks: dict[tuple[str, int], int] = {}
        for e in self._entries.values():
            group = (e.key.kind, e.key.layer)
            ticks[group] = max(ticks.get(group, 0), e.tick)
        return ticks

    def _evict(self, entry: Entry) -> None:
        """Take an entry out; a dirty one that is still needed is written behind."""
        if self._whole_layers and self._next_use(entry.key) < DEAD:
            group = [
                e
                for e in self._entries.values()
                if (e.key.kind, e.key.layer) == (entry.key.kind, entry.key.layer) and not e.pins
            ]
        else:
            group = [entry]
        for e in group:
            del self._entries[e.key]
            e.wait()
            alive = self._next_use(e.key) < DEAD
            self._files.ledger.evictions += alive
            if e.dirty and alive:
                self._write(e, wait=False)
                self._leaving.append(e)
            else:
                e.free()

    def _write(self, entry: Entry, *, wait: bool = True) -> None:
        entry.wait()
        entry.pending = self._files.write(
            entry.key, entry.buffer, version=entry.version, link="host-storage", what=entry.key.kind
        )
        entry.dirty = False
        if wait:
            entry.wait()

    def _reap(self, *, wait: bool) -> None:
        """Free entries whose write-behind is done."""
        left = []
        for entry in self._leaving:
            if wait or entry.pending is None or entry.pending.done():
                entry.wait()
                entry.free()
            else:
                left.append(entry)
        self._leaving = left
