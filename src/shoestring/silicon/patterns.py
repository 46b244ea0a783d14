"""Which elements of a feature matrix are not zero: one bit an element.

Timing depends on where the zeros are, not on the values, so a workload keeps one bit an element: a layer of
16,384 vertices x 384 features takes 0.8 MB. Shapes: N rows, F columns, S slices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.seeds import derive_seed

__all__ = ["Pattern", "num_slices", "slice_borders"]

_CHUNK_ELEMENTS = 1 << 22


def num_slices(width: int, slice_width: int) -> int:
    """Return the slices of `slice_width` columns in a row of `width`; the last may be narrower."""
    if slice_width < 1:
        raise ConfigError(f"slice={slice_width} columns; give at least 1, or none for whole rows")
    return -(-width // slice_width)


def slice_borders(width: int, slice_width: int | None) -> NDArray[np.int64]:
    """Return the first column of every slice and, last, `width`: int64, (S + 1,)."""
    step = width if slice_width is None else min(slice_width, width)
    count = num_slices(width, step)
    return np.minimum(np.arange(count + 1, dtype=np.int64) * step, width)


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Positions of the non-zero elements of an (N, F) matrix.

    Attributes
    ----------
    bits : ndarray
        uint8, (N, ceil(F / 8)): bit ``j % 8`` of byte ``j // 8`` is column j; bits beyond F are 0.
    width : int
        F, at least 1.
    """

    bits: NDArray[np.uint8]
    width: int

    def __post_init__(self) -> None:
        wanted = (self.width + 7) // 8
        if self.width < 1 or self.bits.ndim != 2 or self.bits.shape[1] != wanted:
            raise DataError(
                f"bits have shape {self.bits.shape} for {self.width} columns; give uint8 of (rows, {wanted})"
            )
        if self.bits.dtype != np.uint8:
            raise DataError(f"bits are {self.bits.dtype}; give uint8")
        spare = 8 * wanted - self.width
        if spare and self.bits.size and int(self.bits[:, -1].max()) >> (8 - spare):
            raise DataError(f"bits beyond column {self.width - 1} are set; clear them")

    @classmethod
    def from_array(cls, x: Any) -> "Pattern":
        """Take the pattern of a matrix (N, F), NumPy or torch; NaN is not zero, -0.0 is zero.

        Raises
        ------
        DataError
            If it is not a matrix of numbers with at least one column.
        """
        nonzero = x != 0
        if hasattr(nonzero, "detach"):
            nonzero = nonzero.detach().cpu().numpy()
        nonzero = np.asarray(nonzero)
        if nonzero.ndim != 2 or nonzero.shape[1] < 1 or nonzero.dtype != np.bool_:
            raise DataError(f"features have shape {nonzero.shape}; give a matrix of numbers (rows, columns)")
        return cls(np.packbits(nonzero, axis=1, bitorder="little"), nonzero.shape[1])

    @classmethod
    def dense(cls, num_rows: int, width: int) -> "Pattern":
        """Make the pattern of a matrix without zeros."""
        row = np.packbits(np.ones((1, width), dtype=np.bool_), axis=1, bitorder="little")
        return cls(np.repeat(row, num_rows, axis=0), width)

    @classmethod
    def random(cls, num_rows: int, width: int, zeros: float, seed: int = 0) -> "Pattern":
        """Draw independent zeros with probability `zeros`; real ones cluster by row and column."""
        if not 0 <= zeros <= 1:
            raise ConfigError(f"zeros={zeros}; give a share in 0 .. 1")
        rng = np.random.default_rng(derive_seed(seed, "pattern"))
        bits = np.empty((num_rows, (width + 7) // 8), dtype=np.uint8)
        step = max(1, _CHUNK_ELEMENTS // width)
        for start in range(0, num_rows, step):
            stop = min(start + step, num_rows)
            drawn = rng.random((stop - start, width), dtype=np.float32) >= zeros
            bits[start:stop] = np.packbits(drawn, axis=1, bitorder="little")
        return cls(bits, width)

    @property
    def num_rows(self) -> int:
        """N."""
        return int(self.bits.shape[0])

    @property
    def zeros(self) -> float:
        """Share of the elements that are zero, 0 .. 1 (0 for no rows)."""
        total = self.num_rows * self.width
        return 1.0 - int(self.count().sum()) / total if total else 0.0

    def mask(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Unpack rows ``start:stop`` to uint8 (rows, F): 1 where the element is not zero."""
        rows = self.bits[start:stop]
        return np.unpackbits(rows, axis=1, count=self.width, bitorder="little")

    def count(self, slice_width: int | None = None) -> NDArray[np.int32]:
        """Count the non-zero elements of every slice and row.

        Parameters
        ----------
        slice_width : int or None
            Columns of a slice; None takes whole rows.

        Returns
        -------
        ndarray
            int32, (S, N). O(N F) time.
        """
        borders = slice_borders(self.width, slice_width)
        out = np.empty((borders.size - 1, self.num_rows), dtype=np.int32)
        for start, stop, mask in self._chunks(1):
            out[:, start:stop] = np.add.reduceat(mask, borders[:-1], axis=1, dtype=np.int32).T
        return out

    def count_blocks(self, block: int, slice_width: int | None = None) -> NDArray[np.int32]:
        """Count the blocks of `block` x `block` elements that hold a non-zero one.

        Returns
        -------
        ndarray
            int32, (S, ceil(N / block)): of every slice and row of blocks. Slices start a block.
        """
        borders = slice_borders(self.width, slice_width)
        starts = np.concatenate([np.arange(a, b, block) for a, b in pairwise(borders)])
        first_of_slice = np.searchsorted(starts, borders[:-1])
        out = np.empty((borders.size - 1, -(-self.num_rows // block)), dtype=np.int32)
        for start, stop, mask in self._chunks(block):
            rows = np.maximum.reduceat(mask, np.arange(0, stop - start, block), axis=0)
            used = np.maximum.reduceat(rows, starts, axis=1)
            counts = np.add.reduceat(used, first_of_slice, axis=1, dtype=np.int32)
            out[:, start // block : start // block + counts.shape[0]] = counts.T
        return out

    def repeated(self, width: int) -> "Pattern":
        """Repeat the columns until there are `width` of them: a wider stand-in with the same clusters."""
        mask = np.resize(np.arange(self.width), width)
        bits = np.empty((self.num_rows, (width + 7) // 8), dtype=np.uint8)
        for start, stop, chunk in self._chunks(1):
            bits[start:stop] = np.packbits(chunk[:, mask], axis=1, bitorder="little")
        return Pattern(bits, width)

    def permuted(self, order: NDArray[np.int64]) -> "Pattern":
        """Return the pattern whose row i is row ``order[i]`` of this one."""
        return Pattern(self.bits[order], self.width)

    def _chunks(self, multiple: int) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
        """Unpack a few rows at a time, a multiple of `multiple` of them."""
        step = max(1, _CHUNK_ELEMENTS // (self.width * multiple)) * multiple
        for start in range(0, self.num_rows, step):
            stop = min(start + step, self.num_rows)
            yield start, stop, self.mask(start, stop)
