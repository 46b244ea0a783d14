"""BEICSR, the bitmap-index embedded in-place CSR of SGCN: encode, decode, rewrite rows, aggregate.

A record holds the columns of one slice of one row: a bitmap of C bits, rounded up to 32-bit words, directly
followed by the non-zero values in column order. Bit j of the bitmap (bit ``j % 32`` of word ``j // 32``) is
column j of the slice. Shapes: N rows, F columns, S slices of C columns (the last may be narrower).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, DataError
from shoestring.native import sparse
from shoestring.silicon.patterns import slice_borders

__all__ = ["Beicsr", "Element", "Layout", "element_bytes", "encode", "record_bytes", "region_lines"]

Element = Literal["float32", "float16", "bfloat16", "int8"]
Layout = Literal["in_place", "packed"]

LINE_BYTES = 64
WORD_BYTES = 4
_CODES: dict[Element, tuple[type[np.unsignedinteger[Any]], int]] = {
    "float32": (np.uint32, 0x7FFFFFFF),
    "float16": (np.uint16, 0x7FFF),
    "bfloat16": (np.uint16, 0x7FFF),
    "int8": (np.uint8, 0xFF),
}
"""Unsigned type of the stored bits, and those that are clear in a zero (the sign is not among them)."""
_CHUNK_ELEMENTS = 1 << 22


def element_bytes(element: Element) -> int:
    """Return the bytes of one value.

    Raises
    ------
    ConfigError
        For another name than those of `Element`.
    """
    if element not in _CODES:
        raise ConfigError(f"element={element!r} is not one of {', '.join(get_args(Element))}")
    return int(np.dtype(_CODES[element][0]).itemsize)


def record_bytes(width: int, nonzeros: NDArray[Any] | int, itemsize: int = 4) -> Any:
    """Return the bytes of a record: bitmap words, then values (``4 ceil(C / 32) + nnz itemsize``).

    Parameters
    ----------
    width : int
        C, columns of the slice.
    nonzeros : ndarray or int
        Stored values of each record.
    itemsize : int
        Bytes of a value.
    """
    return WORD_BYTES * -(-width // 32) + np.asarray(nonzeros, dtype=np.int64) * itemsize


def region_lines(width: int, itemsize: int = 4, line_bytes: int = LINE_BYTES) -> int:
    """Return the lines that every record of a slice owns: enough for one without zeros.

    The published simulator reserves the dense size and drops what does not fit with the bitmap; here nothing
    is dropped (``ceil((ceil(C / 32) + C) / 16)`` for 4-byte values and 64-byte lines).
    """
    return -(-int(record_bytes(width, width, itemsize)) // line_bytes)


@dataclass(frozen=True, slots=True, eq=False)
class Beicsr:
    """An encoded feature matrix; `encode` makes it.

    Attributes
    ----------
    shape : tuple of int
        (N, F).
    element : str
        Type of the values.
    slice_width : int
        C, columns of every slice but perhaps the last.
    layout : str
        ``"in_place"``: record (s, i) starts at ``starts of slice s + i * region``, arithmetic alone.
        ``"packed"``: records lie back to back, 4-byte aligned, and `offsets` is needed to find one.
    data : ndarray
        uint8, the memory image, slice after slice.
    nnz : ndarray
        int32, (S, N), values of every record.
    offsets : ndarray or None
        int64, (S, N), first byte of every record when packed.
    from_torch : bool
        Whether `decode` gives a tensor.
    """

    shape: tuple[int, int]
    element: Element
    slice_width: int
    layout: Layout
    data: NDArray[np.uint8]
    nnz: NDArray[np.int32]
    offsets: NDArray[np.int64] | None
    from_torch: bool

    @property
    def num_slices(self) -> int:
        """S."""
        return int(self.nnz.shape[0])

    @property
    def used_bytes(self) -> NDArray[np.int64]:
        """Bytes of every record, int64, (S, N)."""
        widths = np.diff(slice_borders(self.shape[1], self.slice_width))
        itemsize = element_bytes(self.element)
        return np.stack([record_bytes(int(w), self.nnz[s], itemsize) for s, w in enumerate(widths)])

    @property
    def lines(self) -> NDArray[np.int64]:
        """Cache lines of 64 bytes that a reader of the record touches, int64, (S, N)."""
        used = self.used_bytes
        if self.offsets is None:
            return -(-used // LINE_BYTES)
        return (self.offsets + used - 1) // LINE_BYTES - self.offsets // LINE_BYTES + 1

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the memory image, unused tails included."""
        return int(self.data.size)

    def address(self, slice_index: int, rows: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Return the byte at which the records of `rows` start in `data`."""
        rows = np.asarray(rows, dtype=np.int64)
        if self.offsets is not None:
            return np.asarray(self.offsets[slice_index, rows])
        base, region = self._region(slice_index)
        return base + rows * region

    def bitmap(self, slice_index: int) -> NDArray[np.bool_]:
        """Return the bitmaps of a slice as (N, C) booleans; column j is bit j."""
        parts = [bits for _, _, bits, _ in self._records(slice_index)]
        width = int(np.diff(slice_borders(self.shape[1], self.slice_width))[slice_index])
        return np.concatenate(parts) if parts else np.zeros((0, width), dtype=np.bool_)

    def decode(self) -> Any:
        """Return the matrix (N, F) in its own type; stored bits come back unchanged, zeros as +0.

        Returns
        -------
        ndarray or Tensor
            What `encode` was given; bfloat16 is always a tensor.
        """
        codes = np.zeros(self.shape, dtype=_CODES[self.element][0])
        borders = slice_borders(*self.shape[1:], self.slice_width)
        for s in range(self.num_slices):
            self._decode_slice(s, codes[:, borders[s] : borders[s + 1]])
        return _from_codes(codes, self.element, self.from_torch)

    def write_(self, rows: NDArray[np.int64], x: Any) -> None:
        """Replace whole rows where they are; nothing else moves.

        Parameters
        ----------
        rows : ndarray
            int64, (R,), distinct row ids.
        x : ndarray or Tensor
            (R, F) in the element type.

        Raises
        ------
        ConfigError
            If records are packed: a longer record has no room.
        DataError
            Rows outside the matrix, or a matrix that does not fit.
        """
        if self.offsets is not None:
            raise ConfigError('records are packed, so none can grow; encode with layout="in_place"')
        rows = np.asarray(rows, dtype=np.int64)
        codes, element, _ = _to_codes(x)
        if element != self.element or codes.shape != (rows.size, self.shape[1]):
            raise DataError(
                f"x is {element} of shape {codes.shape}; "
                f"give {self.element} of ({rows.size}, {self.shape[1]})"
            )
        if rows.size and (rows.min() < 0 or rows.max() >= self.shape[0]):
            raise DataError(
                f"rows {rows.min()} .. {rows.max()}; the matrix has rows 0 .. {self.shape[0] - 1}"
            )
        borders = slice_borders(self.shape[1], self.slice_width)
        for s in range(self.num_slices):
            base, region = self._region(s)
            image = self.data[base : base + region * self.shape[0]].reshape(-1, region)
            record = np.zeros((rows.size, region), dtype=np.uint8)
            self.nnz[s, rows] = _pack(codes[:, borders[s] : borders[s + 1]], self.element, record)
            image[rows] = record

    def matvec(
        self,
        edge_weights: NDArray[np.float32] | None,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        threads: int = 1,
    ) -> NDArray[np.float32]:
        """Aggregate: row v of the result is the weighted sum of the rows of v's in-neighbours.

        Parameters
        ----------
        edge_weights : ndarray or None
            float32, (E,), finite; None means ones.
        indptr : ndarray
            int64, (V + 1,): destination v has edges ``indptr[v]:indptr[v + 1]``.
        indices : ndarray
            int32, (E,), sources in 0 .. N - 1.
        threads : int
            Threads of the product; the result does not depend on it.

        Returns
        -------
        ndarray
            float32, (V, F): ``A @ X``, summed in float32 in the order of the edges. NaN in X spreads.

        Raises
        ------
        DataError
            Ids outside the matrix, weights that are not finite, arrays that do not fit.

        Notes
        -----
        Slices are decoded one at a time: O(N C) memory beside the result, O(E F) time.
        """
        weights = _check_edges(edge_weights, indptr, indices, self.shape[0])
        num_rows = indptr.size - 1
        out = np.zeros((num_rows, self.shape[1]), dtype=np.float32)
        borders = slice_borders(self.shape[1], self.slice_width)
        for s in range(self.num_slices):
            codes = np.zeros((self.shape[0], int(borders[s + 1] - borders[s])), dtype=_CODES[self.element][0])
            self._decode_slice(s, codes)
            part = np.empty((num_rows, codes.shape[1]), dtype=np.float32)
            sparse.spmm(indptr, indices, weights, _to_float32(codes, self.element), part, threads)
            out[:, borders[s] : borders[s + 1]] = part
        return out

    def _region(self, slice_index: int) -> tuple[int, int]:
        """First byte of an in-place slice, and the bytes of a record's region."""
        borders = slice_borders(self.shape[1], self.slice_width)
        itemsize = element_bytes(self.element)
        sizes = [region_lines(int(w), itemsize) * LINE_BYTES for w in np.diff(borders)[: slice_index + 1]]
        return self.shape[0] * sum(sizes[:-1]), sizes[-1]

    def _records(self, slice_index: int) -> Iterator[tuple[int, int, NDArray[np.bool_], NDArray[Any]]]:
        """Read a few rows at a time: start, stop, bitmap (rows, C), values padded to the widest record."""
        width = int(np.diff(slice_borders(self.shape[1], self.slice_width))[slice_index])
        bitmap_bytes = WORD_BYTES * -(-width // 32)
        code = _CODES[self.element][0]
        itemsize = element_bytes(self.element)
        for start, stop in _row_chunks(self.shape[0], width):
            longest = int(self.nnz[slice_index, start:stop].max())
            size = bitmap_bytes + -(-longest * itemsize // WORD_BYTES) * WORD_BYTES
            first = self.address(slice_index, np.arange(start, stop))
            # A packed record near the end of the image is shorter than the longest: stay inside.
            at = np.minimum(first[:, None] + np.arange(size), self.data.size - 1)
            image = self.data[at]
            bits = np.unpackbits(image[:, :bitmap_bytes], axis=1, count=width, bitorder="little")
            yield start, stop, bits.view(np.bool_), image[:, bitmap_bytes:].copy().view(code)

    def _decode_slice(self, slice_index: int, out: NDArray[Any]) -> None:
        for start, stop, mask, values in self._records(slice_index):
            rows, cols = np.nonzero(mask)
            rank = np.cumsum(mask, axis=1, dtype=np.int32)[rows, cols] - 1
            out[start:stop][rows, cols] = values[rows, rank]


def encode(x: Any, slice: int | None = 96, layout: Layout = "in_place") -> Beicsr:
    """Encode a feature matrix.

    Parameters
    ----------
    x : ndarray or Tensor
        (N, F), F >= 1: float32, float16 or int8 of NumPy or torch, or torch's bfloat16.
    slice : int or None
        C, columns of a slice; None makes the whole row one record.
    layout : str
        ``"in_place"`` (a fixed region a record) or ``"packed"`` (back to back).

    Returns
    -------
    Beicsr
        NaN is stored with its bits; -0.0 counts as zero and decodes to +0.0.

    Raises
    ------
    DataError
        Another type or shape.
    ConfigError
        A slice below 1 or an unknown layout.

    Notes
    -----
    O(N F) time; in place it takes the dense size and the bitmaps.

    References
    ----------
    SGCN, HPCA 2023: bitmap-index embedded in-place CSR.
    """
    if layout not in get_args(Layout):
        raise ConfigError(f"layout={layout!r} is not one of {', '.join(get_args(Layout))}")
    codes, element, from_torch = _to_codes(x)
    num, width = codes.shape
    if slice is not None and slice < 1:
        raise ConfigError(f"slice={slice} columns; give at least 1, or None for whole rows")
    step = width if slice is None else min(slice, width)
    borders = slice_borders(width, step)
    itemsize = element_bytes(element)
    nnz = np.zeros((borders.size - 1, num), dtype=np.int32)
    images: list[NDArray[np.uint8]] = []
    for s in range(borders.size - 1):
        part = codes[:, borders[s] : borders[s + 1]]
        region = region_lines(part.shape[1], itemsize) * LINE_BYTES
        for start, stop in _row_chunks(num, part.shape[1]):
            image = np.zeros((stop - start, region), dtype=np.uint8)
            nnz[s, start:stop] = _pack(part[start:stop], element, image)
            if layout == "packed":
                sizes = _packed_sizes(part.shape[1], nnz[s, start:stop], itemsize)
                image = image[np.arange(region) < sizes[:, None]]
            images.append(image.reshape(-1))
    data = np.concatenate(images) if images else np.zeros(0, dtype=np.uint8)
    offsets = _packed_offsets(np.diff(borders), nnz, itemsize) if layout == "packed" else None
    return Beicsr((num, width), element, step, layout, data, nnz, offsets, from_torch)


def _packed_sizes(width: int, nnz: NDArray[np.int32], itemsize: int) -> NDArray[np.int64]:
    """Bytes of records whose bitmaps start on a word."""
    return -(-np.asarray(record_bytes(width, nnz, itemsize)) // WORD_BYTES) * WORD_BYTES


def _packed_offsets(widths: NDArray[np.int64], nnz: NDArray[np.int32], itemsize: int) -> NDArray[np.int64]:
    sizes = np.stack([_packed_sizes(int(w), nnz[s], itemsize) for s, w in enumerate(widths)])
    ends = np.cumsum(sizes.reshape(-1))
    return (ends - sizes.reshape(-1)).reshape(sizes.shape)


def _pack(codes: NDArray[Any], element: Element, image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Write the records of (R, C) codes to a zeroed image (R, bytes); return their numbers of values."""
    mask = (codes & _CODES[element][1]) != 0
    bits = np.packbits(mask, axis=1, bitorder="little")
    image[:, : bits.shape[1]] = bits
    values = image[:, WORD_BYTES * -(-codes.shape[1] // 32) :].view(codes.dtype)
    rows, cols = np.nonzero(mask)
    count = np.cumsum(mask, axis=1, dtype=np.int32)
    values[rows, count[rows, cols] - 1] = codes[rows, cols]
    return count[:, -1]


def _row_chunks(num: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _CHUNK_ELEMENTS // width)
    for start in range(0, num, step):
        yield start, min(start + step, num)


def _to_codes(x: Any) -> tuple[NDArray[Any], Element, bool]:
    """Bits of the values, the element type, and whether a tensor was given."""
    from_torch = hasattr(x, "detach")
    name = str(x.dtype).removeprefix("torch.") if hasattr(x, "dtype") else type(x).__name__
    if name not in _CODES or getattr(x, "ndim", 0) != 2 or x.shape[1] < 1:
        raise DataError(
            f"features are {name} of shape {tuple(getattr(x, 'shape', ()))}; "
            f"give a matrix (rows, columns) of {', '.join(_CODES)}"
        )
    if from_torch:
        x = x.detach().cpu().contiguous()
        if name == "bfloat16":
            import torch

            x = x.view(torch.int16)
        x = x.numpy()
    return np.ascontiguousarray(x).view(_CODES[name][0]), name, from_torch


def _from_codes(codes: NDArray[Any], element: Element, as_torch: bool) -> Any:
    if not as_torch:
        return codes.view(element)
    import torch

    if element == "bfloat16":
        return torch.from_numpy(codes.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(codes.view(element))


def _to_float32(codes: NDArray[Any], element: Element) -> NDArray[np.float32]:
    if element == "bfloat16":
        return (codes.astype(np.uint32) << 16).view(np.float32)
    return codes.view(element).astype(np.float32, copy=False)


def _check_edges(
    weights: NDArray[Any] | None, indptr: NDArray[Any], indices: NDArray[Any], num_sources: int
) -> NDArray[np.float32] | None:
    if indptr.dtype != np.int64 or indptr.ndim != 1 or indptr.size < 1 or indptr[0] != 0:
        raise DataError("indptr must be int64 of shape (rows + 1,) that starts at 0")
    if np.diff(indptr).min(initial=0) < 0 or indptr[-1] != indices.size or indices.dtype != np.int32:
        raise DataError(
            f"indptr ends at {indptr[-1]} for {indices.size} indices of {indices.dtype}; "
            "give a rising indptr and int32 indices"
        )
    if indices.size and (indices.min() < 0 or indices.max() >= num_sources):
        raise DataError(
            f"indices hold {indices.min()} .. {indices.max()}; the features have rows 0 .. {num_sources - 1}"
        )
    if weights is None:
        return None
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    if weights.shape != indices.shape:
        raise DataError(f"edge_weights have shape {weights.shape}; give one weight an edge, {indices.shape}")
    bad = int(weights.size - np.count_nonzero(np.isfinite(weights)))
    if bad:
        raise DataError(f"edge_weights hold {bad} values that are NaN or infinite; replace them first")
    return weights
