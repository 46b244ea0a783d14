"""Partition files: one preallocated file per (kind, layer), a page-aligned slot per partition, versioned."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import StorageError
from shoestring.native.io import Buffer, Engine, File
from shoestring.storage.ledger import Ledger, Link

__all__ = ["FIXED", "PAGE", "Key", "PartitionFiles", "Transfer", "round_up"]

PAGE = 4096
FIXED = -1
"""Version of data that never change (features, topology)."""
_NEVER = -2


class Key(NamedTuple):
    """Names one partition of one layer of one kind of data."""

    kind: str
    layer: int
    part: int

    def __str__(self) -> str:
        return f"{self.kind} of layer {self.layer}, partition {self.part}"


class Transfer(Protocol):
    """A request under way."""

    def result(self) -> int:
        """Wait; return the number of bytes."""
        ...

    def done(self) -> bool:
        """Say whether `result` would return at once."""
        ...


class _Nothing:
    """The transfer of an empty partition."""

    def result(self) -> int:
        return 0

    def done(self) -> bool:
        return True


@dataclass(slots=True)
class _Slots:
    file: File
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    versions: NDArray[np.int64]


def round_up(nbytes: int, unit: int = PAGE) -> int:
    """Return `nbytes` rounded up to a multiple of `unit`."""
    return -(-nbytes // unit) * unit


class PartitionFiles:
    """Reads and writes whole partitions through the native engine, and counts every byte.

    Parameters
    ----------
    engine : Engine
        An open engine; the caller closes it.
    folder : Path
        Existing folder for the files that `create` makes.
    ledger : Ledger
        Where bytes are counted, as whole pages.

    Notes
    -----
    A slot remembers the version (epoch) of what was last written to it. A read names the version that it
    expects, so data of an earlier epoch are never taken for those of this one.
    """

    def __init__(self, engine: Engine, folder: Path, ledger: Ledger) -> None:
        self.engine = engine
        self.folder = folder
        self.ledger = ledger
        self._slots: dict[tuple[str, int], _Slots] = {}

    def create(self, kind: str, layer: int, sizes: Sequence[int]) -> None:
        """Preallocate the file of (kind, layer) with one slot of ``sizes[part]`` bytes a partition.

        Raises
        ------
        StorageError
            If the folder is read-only or the device is full; names the bytes needed.
        """
        offsets, total = _layout(sizes)
        file = self.engine.open(
            self.folder / f"{kind}-{layer}.bin", mode="create", size_bytes=max(total, PAGE)
        )
        self._slots[kind, layer] = _Slots(
            file, offsets, np.asarray(sizes, np.int64), np.full(len(sizes), _NEVER, np.int64)
        )

    def attach(self, kind: str, layer: int, path: Path, sizes: Sequence[int]) -> None:
        """Open an existing file of fixed data, laid out as `create` lays it out, for reading."""
        offsets, total = _layout(sizes)
        if path.stat().st_size < total:
            raise StorageError(
                f"{path} holds {path.stat().st_size} bytes, {total} were expected; it is cut short. "
                "Delete its folder and prepare the graph again"
            )
        file = self.engine.open(path, mode="read")
        self._slots[kind, layer] = _Slots(
            file, offsets, np.asarray(sizes, np.int64), np.full(len(sizes), FIXED, np.int64)
        )

    def has(self, kind: str, layer: int) -> bool:
        """Say whether there is a file of (kind, layer)."""
        return (kind, layer) in self._slots

    def nbytes(self, key: Key) -> int:
        """Return the bytes of a partition, without padding."""
        return int(self._slots[key.kind, key.layer].sizes[key.part])

    def version(self, key: Key) -> int:
        """Return the version on storage; -2 when nothing was ever written."""
        return int(self._slots[key.kind, key.layer].versions[key.part])

    def read(self, key: Key, buffer: Buffer, *, version: int, link: Link, what: str) -> Transfer:
        """Start reading a partition into `buffer`.

        Raises
        ------
        StorageError
            If the slot holds another version.
        """
        slots = self._slots[key.kind, key.layer]
        self._check(slots, key, version)
        nbytes = int(slots.sizes[key.part])
        if nbytes == 0:
            return _Nothing()
        self.ledger.add(link, "load", layer=key.layer, what=what, num_bytes=round_up(nbytes))
        return self.engine.read(slots.file, int(slots.offsets[key.part]), buffer, nbytes)

    def read_pages(
        self, key: Key, pages: NDArray[np.int64], buffer: Buffer, *, version: int, link: Link, what: str
    ) -> Transfer:
        """Start reading single pages of a partition, packed into `buffer` in the order of `pages`."""
        slots = self._slots[key.kind, key.layer]
        self._check(slots, key, version)
        self.ledger.add(
            link, "load", layer=key.layer, what=what, num_bytes=PAGE * len(pages), requests=len(pages)
        )
        return self.engine.read_pages(slots.file, slots.offsets[key.part] + pages * PAGE, PAGE, buffer)

    def write(self, key: Key, buffer: Buffer, *, version: int, link: Link, what: str) -> Transfer:
        """Start writing a partition from `buffer`; it must not change until the transfer is done."""
        slots = self._slots[key.kind, key.layer]
        slots.versions[key.part] = version
        nbytes = int(slots.sizes[key.part])
        if nbytes == 0:
            return _Nothing()
        self.ledger.add(link, "store", layer=key.layer, what=what, num_bytes=round_up(nbytes))
        return self.engine.write(slots.file, int(slots.offsets[key.part]), buffer, nbytes)

    def write_piece(
        self, key: Key, start: int, buffer: Buffer, nbytes: int, *, version: int, link: Link, what: str
    ) -> Transfer:
        """Start writing `nbytes` of a partition from its byte `start` (page-aligned) on."""
        slots = self._slots[key.kind, key.layer]
        slots.versions[key.part] = version
        self.ledger.add(link, "store", layer=key.layer, what=what, num_bytes=round_up(nbytes))
        return self.engine.write(slots.file, int(slots.offsets[key.part]) + start, buffer, nbytes)

    def read_piece(
        self, key: Key, start: int, buffer: Buffer, nbytes: int, *, version: int, link: Link, what: str
    ) -> Transfer:
        """Start reading `nbytes` of a partition from its byte `start` (page-aligned) on."""
        slots = self._slots[key.kind, key.layer]
        self._check(slots, key, version)
        self.ledger.add(link, "load", layer=key.layer, what=what, num_bytes=round_up(nbytes))
        return self.engine.read(slots.file, int(slots.offsets[key.part]) + start, buffer, nbytes)

    def close(self) -> None:
        """Close all files; they stay on storage."""
        for slots in self._slots.values():
            slots.file.close()
        self._slots.clear()

    def _check(self, slots: _Slots, key: Key, version: int) -> None:
        found = int(slots.versions[key.part])
        if found != version:
            raise StorageError(
                f"{key} on storage has version {found}, version {version} was wanted; "
                "stale data are never used. Start the run again"
            )


def _layout(sizes: Sequence[int]) -> tuple[NDArray[np.int64], int]:
    """Offsets of the slots and the size of the file."""
    padded = np.asarray([round_up(int(s)) for s in sizes], np.int64)
    ends = np.cumsum(padded)
    return ends - padded, int(ends[-1]) if len(ends) else 0
