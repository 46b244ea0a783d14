"""DRAM traces in DRAMsim3's text form, ``0xADDR READ|WRITE cycle``, one request a line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import hexdigits

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import DataError
from shoestring.core.files import write_bytes_atomic

__all__ = ["DramTrace", "read_trace", "write_trace"]

_BLOCK_BYTES = 1 << 22
_MAX_LINE_BYTES = 128
# The value of a letter as a hexadecimal digit, 255 for others.
_HEX = np.array([int(chr(c), 16) if chr(c) in hexdigits else 255 for c in range(256)], np.uint8)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DramTrace:
    """Requests to a memory."""

    addresses: NDArray[np.uint64]
    """(n,) byte addresses."""
    writes: NDArray[np.bool_]
    """(n,): write or read."""
    clocks: NDArray[np.int64]
    """(n,), never falling: when a request reaches the memory."""

    def __post_init__(self) -> None:
        shapes = {self.addresses.shape, self.writes.shape, self.clocks.shape}
        if len(shapes) != 1 or self.addresses.ndim != 1:
            raise DataError(f"addresses, writes and clocks have shapes {shapes}; give three of one length")
        if len(self.clocks) and (self.clocks[0] < 0 or bool((np.diff(self.clocks) < 0).any())):
            raise DataError("clocks must begin at 0 or later and never fall; sort the requests")


def write_trace(path: Path, trace: DramTrace) -> None:
    """Write a trace atomically; `read_trace` gives it back equal."""
    kinds = np.where(trace.writes, "WRITE", "READ").tolist()
    rows = zip(trace.addresses.tolist(), kinds, trace.clocks.tolist(), strict=True)
    write_bytes_atomic(path, "".join(map("0x%X %s %d\n".__mod__, rows)).encode())


def read_trace(path: Path) -> DramTrace:
    """Read a trace and check every line.

    Parameters
    ----------
    path : Path
        Text; empty lines are skipped, nothing else is.

    Raises
    ------
    DataError
        With file and line: an address that is not ``0x`` and at most 16 hexadecimal digits, an operation that
        is neither READ nor WRITE, a cycle that is no whole number or smaller than the one before, a line that
        does not have three fields.
    """
    parts = []
    try:
        with path.open("rb") as f:
            first_line = 1
            while block := f.readlines(_BLOCK_BYTES):
                parts.append(_parse(path, block, first_line))
                first_line += len(block)
    except OSError as e:
        raise DataError(f"could not read the trace {path}: {e.strerror}; give a text file") from e
    if not parts:
        return DramTrace(
            addresses=np.empty(0, np.uint64), writes=np.empty(0, np.bool_), clocks=np.empty(0, np.int64)
        )
    addresses, writes, clocks, lines = (np.concatenate(column) for column in zip(*parts, strict=True))
    falls = np.flatnonzero(np.diff(clocks) < 0)
    if len(falls):
        i = int(falls[0]) + 1
        raise DataError(
            f"{path}, line {lines[i]}: cycle {clocks[i]} comes after {clocks[i - 1]}; sort the trace by cycle"
        )
    return DramTrace(addresses=addresses, writes=writes, clocks=clocks)


_Columns = tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]


def _parse(path: Path, block: list[bytes], first_line: int) -> _Columns:
    """Return addresses, writes, clocks and line numbers of some lines."""
    fields = [line.split() for line in block]
    counts = np.fromiter(map(len, fields), np.int64, len(fields))
    if bool(((counts != 3) & (counts != 0)).any()) or max(map(len, block)) > _MAX_LINE_BYTES:
        _refuse(path, first_line, fields)
    lines = first_line + np.flatnonzero(counts)
    if not len(lines):
        return np.empty(0, np.uint64), np.empty(0, np.bool_), np.empty(0, np.int64), lines
    table = np.array([row for row in fields if row])
    writes = table[:, 1] == b"WRITE"
    addresses = _hexadecimal(table[:, 0])
    digits = np.char.isdigit(table[:, 2]) & (np.char.str_len(table[:, 2]) <= 18)
    if addresses is None or not bool(((writes | (table[:, 1] == b"READ")) & digits).all()):
        _refuse(path, first_line, fields)
    assert addresses is not None  # _refuse always raises
    return addresses, writes, table[:, 2].astype(np.int64), lines


def _hexadecimal(words: NDArray[np.bytes_]) -> NDArray[np.uint64] | None:
    """Return the values of ``0x...`` words, or None if one is malformed."""
    length = np.char.str_len(words)
    letters = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1)
    if int(length.min()) < 3 or int(length.max()) > 18:
        return None
    if not bool(((letters[:, 0] == ord("0")) & np.isin(letters[:, 1], (ord("x"), ord("X")))).all()):
        return None
    values = np.zeros(len(words), np.uint64)
    for i in range(2, int(length.max())):
        here = length > i
        digit = _HEX[letters[here, i]]
        if bool((digit > 15).any()):
            return None
        values[here] = values[here] << np.uint64(4) | digit.astype(np.uint64)
    return values


def _refuse(path: Path, first_line: int, fields: list[list[bytes]]) -> None:
    """Raise for the first line that is malformed."""
    for number, row in _filled(first_line, fields):
        text = b" ".join(row)[:60].decode("utf-8", "replace")
        if len(row) != 3 or len(b" ".join(row)) > _MAX_LINE_BYTES:
            raise DataError(
                f"{path}, line {number}: {text!r} has {len(row)} fields; give 0xADDR READ|WRITE cycle"
            )
        if _hexadecimal(np.array([row[0]])) is None:
            raise DataError(f"{path}, line {number}: {text!r}: the address must be 0x and 1 to 16 hex digits")
        if row[1] not in (b"READ", b"WRITE"):
            raise DataError(f"{path}, line {number}: {text!r}: the operation must be READ or WRITE")
        if not row[2].isdigit() or len(row[2]) > 18:
            raise DataError(f"{path}, line {number}: {text!r}: the cycle must be a whole number from 0 on")
    raise DataError(
        f"{path}: a line after line {first_line - 1} has over {_MAX_LINE_BYTES} bytes; cut the spaces"
    )


def _filled(first_line: int, fields: list[list[bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    return ((number, row) for number, row in enumerate(fields, first_line) if row)
