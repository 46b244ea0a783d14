"""Integer codes of 2 to 8 bits as dense bytes."""

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import ConfigError, StorageError

__all__ = ["pack_codes", "packed_bytes", "unpack_codes"]


def packed_bytes(num_codes: int, bits: int) -> int:
    """Return how many bytes `num_codes` codes of `bits` bits take: whole bytes, rounded up."""
    _check_bits(bits)
    return (num_codes * bits + 7) // 8


def pack_codes(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Pack signed codes densely.

    Code i, in C order and two's complement, fills bits ``i * bits`` to ``(i + 1) * bits - 1`` of the stream;
    bit 0 of the stream is the least significant bit of byte 0. The last byte is filled up with zeros.

    Parameters
    ----------
    codes : ndarray of int8, any shape
        Each within ``-2**(bits - 1) .. 2**(bits - 1) - 1``.
    bits : int
        2 to 8.

    Returns
    -------
    ndarray of uint8, shape (packed_bytes(codes.size, bits),)
        With 4 bits, two codes a byte, the first in the low half: the layout of ONNX's INT4.

    Raises
    ------
    ConfigError
        If `bits` is outside 2 to 8, or a code does not fit.
    """
    _check_bits(bits)
    half = 1 << (bits - 1)
    if codes.size and (int(codes.min()) < -half or int(codes.max()) >= half):
        raise ConfigError(
            f"codes from {codes.min()} to {codes.max()} do not fit {bits} bits; "
            f"allowed are {-half} to {half - 1}"
        )
    flat = np.ascontiguousarray(codes, dtype=np.int8).reshape(-1, 1).view(np.uint8)
    return np.packbits(np.unpackbits(flat, axis=1, count=bits, bitorder="little"), bitorder="little")


def unpack_codes(packed: NDArray[np.uint8], bits: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Undo `pack_codes`.

    Parameters
    ----------
    packed : ndarray of uint8, shape (packed_bytes(prod(shape), bits),)
        The bytes.
    bits : int
        2 to 8.
    shape : tuple of int
        Shape of the codes.

    Raises
    ------
    ConfigError
        If `bits` is outside 2 to 8.
    StorageError
        If the number of bytes does not fit `shape`, or the filling of the last byte is not zero.
    """
    num_codes = int(np.prod(shape, dtype=np.int64))
    expected = packed_bytes(num_codes, bits)
    if packed.dtype != np.uint8 or packed.shape != (expected,):
        raise StorageError(
            f"{packed.dtype} codes of shape {packed.shape} do not hold {shape} codes of {bits} bits "
            f"({expected} bytes); write the file again"
        )
    stream = np.unpackbits(packed, bitorder="little")
    if stream[num_codes * bits :].any():
        raise StorageError(
            f"the bits after the last of {num_codes} codes are not zero; the file is damaged, write it again"
        )
    digits = stream[: num_codes * bits].reshape(num_codes, bits)
    values = np.packbits(digits, axis=1, bitorder="little").reshape(num_codes).astype(np.int16)
    values -= (values >= 1 << (bits - 1)).astype(np.int16) << bits
    return values.astype(np.int8).reshape(shape)


def _check_bits(bits: int) -> None:
    if not 2 <= bits <= 8:
        raise ConfigError(f"bits={bits} is not supported; give 2 to 8")
