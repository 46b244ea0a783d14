"""Storage formats of a feature matrix, as the cache lines that a reader and a writer of a row touch.

For timing a format is: how many lines the record of a (slice, row) takes, where they lie, and whether a row
pointer must be read before them. Shapes: N rows, F columns, S slices of C columns (the last may be narrower).

=========  ==============================  ===================================================================
format     address                         record of a row in a slice
=========  ==============================  ===================================================================
dense      arithmetic                      C values
beicsr     arithmetic                      bitmap of C bits in 32-bit words, then the non-zero values
bitmap     row pointer first               the same record, records back to back
csr        row pointer first               4-byte column ids and values of the non-zero elements
coo        row pointer first               4-byte row and column ids and values of the non-zero elements
bsr        pointer of the block row first  4-byte column ids of the non-empty blocks, then the blocks
bell       arithmetic                      as bsr, padded to the fullest block row (blocked ELLPACK)
=========  ==============================  ===================================================================

Where a format leaves a choice, the one that reads least is taken: ids and values of a row lie together,
records are packed at 4 bytes, the padding of blocked ELLPACK lies at the end and is not fetched. A reader of
a row in `bsr` and `bell` fetches its whole block row, as blocks are stored one after another.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError
from shoestring.silicon.beicsr import LINE_BYTES, record_bytes
from shoestring.silicon.patterns import Pattern, slice_borders

__all__ = ["FormatName", "SliceFootprint", "footprints", "format_names"]

FormatName = Literal["dense", "beicsr", "bitmap", "csr", "coo", "bsr", "bell"]

_ID_BYTES = 4
_POINTER_BYTES = 8


def format_names() -> tuple[FormatName, ...]:
    """Return the names of the formats."""
    return get_args(FormatName)


@dataclass(frozen=True, slots=True, eq=False)
class SliceFootprint:
    """Where the rows of one slice lie, in cache lines from the start of the slice.

    Attributes
    ----------
    width : int
        Columns of the slice.
    record_bytes : ndarray
        int64, (N,), bytes that a reader of the row needs.
    lines : ndarray
        uint16, (N,), lines that it touches.
    region_lines : int or None
        Lines that every row owns when addresses are arithmetic (``row * region_lines``).
    offsets : ndarray or None
        int64, (N,), first line of every row otherwise; neighbours may share a line.
    pointer_lines : int
        Lines of the row pointers; 0 when addresses are arithmetic.
    written_lines : int
        Lines that a writer of the whole slice touches, pointers included.
    capacity_lines : int
        Lines of memory that the slice occupies, pointers included.
    """

    width: int
    record_bytes: NDArray[np.int64]
    lines: NDArray[np.uint16]
    region_lines: int | None
    offsets: NDArray[np.int64] | None
    pointer_lines: int
    written_lines: int
    capacity_lines: int

    @property
    def pointer(self) -> Literal["none", "line"]:
        """Whether a row-pointer line is read first, and the record's address depends on it."""
        return "line" if self.pointer_lines else "none"

    def first_line(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the line at which the records of `rows` start, int64."""
        if self.offsets is not None:
            return np.asarray(self.offsets[rows])
        assert self.region_lines is not None
        return np.asarray(rows, dtype=np.int64) * self.region_lines


def footprints(
    pattern: Pattern,
    fmt: FormatName,
    slice_width: int | None = None,
    *,
    element_bytes: int = 4,
    line_bytes: int = LINE_BYTES,
    block: int = 4,
) -> tuple[SliceFootprint, ...]:
    """Lay out a matrix of the given pattern in a format.

    Parameters
    ----------
    pattern : Pattern
        (N, F).
    fmt : str
        One of `format_names`.
    slice_width : int or None
        C; None takes whole rows.
    element_bytes : int
        Bytes of a value: 4, 2 or 1.
    line_bytes : int
        Bytes of a cache line, a power of two.
    block : int
        Rows and columns of a block of ``bsr`` and ``bell``.

    Returns
    -------
    tuple of SliceFootprint
        One a slice. O(N F) time, 24 N bytes a slice.

    Raises
    ------
    ConfigError
        An unknown format, another element size, a line or block that is not positive.
    """
    if fmt not in format_names():
        raise ConfigError(f"format {fmt!r} is not one of {', '.join(format_names())}")
    if element_bytes not in (1, 2, 4):
        raise ConfigError(f"element_bytes={element_bytes}; a value has 4 (fp32), 2 (fp16, bf16) or 1 (int8)")
    if line_bytes < 8 or line_bytes & (line_bytes - 1) or block < 1:
        raise ConfigError(
            f"line_bytes={line_bytes}, block={block}; give a power of two from 8, and at least 1"
        )
    borders = slice_borders(pattern.width, slice_width)
    widths = [int(w) for w in np.diff(borders)]
    if fmt in ("bsr", "bell"):
        counts = pattern.count_blocks(block, slice_width)
        return tuple(
            _blocks(fmt, w, counts[s], pattern.num_rows, (element_bytes, line_bytes, block))
            for s, w in enumerate(widths)
        )
    if fmt == "dense":
        full = np.full(pattern.num_rows, 1, dtype=np.int64)
        return tuple(_in_place(w, full * w * element_bytes, w * element_bytes, line_bytes) for w in widths)
    nnz = pattern.count(slice_width)
    return tuple(_elements(fmt, w, nnz[s], element_bytes, line_bytes) for s, w in enumerate(widths))


def _elements(
    fmt: FormatName, width: int, nnz: NDArray[np.int32], itemsize: int, line_bytes: int
) -> SliceFootprint:
    if fmt == "beicsr":
        largest = int(record_bytes(width, width, itemsize))
        return _in_place(width, record_bytes(width, nnz, itemsize), largest, line_bytes)
    if fmt == "bitmap":
        return _packed(width, record_bytes(width, nnz, itemsize), line_bytes)
    ids = _ID_BYTES if fmt == "csr" else 2 * _ID_BYTES
    return _packed(width, nnz.astype(np.int64) * (ids + itemsize), line_bytes)


def _in_place(width: int, used: NDArray[np.int64], largest: int, line_bytes: int) -> SliceFootprint:
    lines = -(-used // line_bytes)
    region = -(-largest // line_bytes)
    return SliceFootprint(
        width=width,
        record_bytes=used,
        lines=_as_lines(lines),
        region_lines=region,
        offsets=None,
        pointer_lines=0,
        written_lines=int(lines.sum()),
        capacity_lines=region * used.size,
    )


def _packed(width: int, used: NDArray[np.int64], line_bytes: int) -> SliceFootprint:
    sizes = -(-used // 4) * 4
    ends = np.cumsum(sizes)
    starts = ends - sizes
    total = -(-int(ends[-1]) // line_bytes) if used.size else 0
    return _pointed(width, used, starts, total, used.size, line_bytes)


def _pointed(
    width: int,
    used: NDArray[np.int64],
    starts: NDArray[np.int64],
    total_lines: int,
    num_pointers: int,
    line_bytes: int,
) -> SliceFootprint:
    first = starts // line_bytes
    lines = np.where(used > 0, (starts + used - 1) // line_bytes - first + 1, 0)
    pointers = -(-_POINTER_BYTES * (num_pointers + 1) // line_bytes)
    return SliceFootprint(
        width=width,
        record_bytes=used,
        lines=_as_lines(lines),
        region_lines=None,
        offsets=first,
        pointer_lines=pointers,
        written_lines=total_lines + pointers,
        capacity_lines=total_lines + pointers,
    )


def _blocks(
    fmt: FormatName, width: int, counts: NDArray[np.int32], num_rows: int, sizes: tuple[int, int, int]
) -> SliceFootprint:
    """Lay out block rows; every row of one shares its record."""
    itemsize, line_bytes, block = sizes
    owner = np.arange(num_rows) // block
    ids = counts.astype(np.int64) if fmt == "bsr" else np.full(counts.size, counts.max(initial=0), np.int64)
    used = ids * _ID_BYTES + counts.astype(np.int64) * (block * block * itemsize)
    if fmt == "bsr":
        ends = np.cumsum(-(-used // 4) * 4)
        starts = ends - (-(-used // 4) * 4)
        total = -(-int(ends[-1]) // line_bytes) if used.size else 0
        return _pointed(width, used[owner], starts[owner], total, counts.size, line_bytes)
    largest = int(used.max(initial=0))
    region = -(-largest // line_bytes)
    lines = -(-used // line_bytes)
    return SliceFootprint(
        width=width,
        record_bytes=used[owner],
        lines=_as_lines(lines[owner]),
        region_lines=None,
        offsets=owner * region,
        pointer_lines=0,
        written_lines=region * counts.size,
        capacity_lines=region * counts.size,
    )


def _as_lines(lines: NDArray[Any]) -> NDArray[np.uint16]:
    if lines.size and int(lines.max()) > np.iinfo(np.uint16).max:
        raise ConfigError(f"a record of {int(lines.max())} lines is longer than 65,535; use narrower slices")
    return lines.astype(np.uint16)
