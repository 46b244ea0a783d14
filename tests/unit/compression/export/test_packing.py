import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.compression.export import pack_codes, packed_bytes, unpack_codes
from shoestring.compression.export.reader_numpy import unpack
from shoestring.core.errors import ConfigError, StorageError

BITS = range(2, 9)


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from(BITS),
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_packed_codes_come_back(bits: int, shape: list[int], seed: int) -> None:
    half = 1 << (bits - 1)
    codes = np.random.default_rng(seed).integers(-half, half, tuple(shape)).astype(np.int8)
    packed = pack_codes(codes, bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (packed_bytes(codes.size, bits),) == (-(-codes.size * bits // 8),)
    np.testing.assert_array_equal(unpack_codes(packed, bits, tuple(shape)), codes)
    np.testing.assert_array_equal(unpack(packed, bits, shape), codes)


@pytest.mark.parametrize("bits", BITS)
def test_every_code_survives_and_the_stream_is_the_documented_one(bits: int) -> None:
    half = 1 << (bits - 1)
    codes = np.arange(-half, half, dtype=np.int16).astype(np.int8)
    packed = pack_codes(codes, bits)
    stream = sum(int(byte) << (8 * i) for i, byte in enumerate(packed))
    for i, code in enumerate(codes):
        assert stream >> (i * bits) & (2 * half - 1) == int(code) % (2 * half)
    np.testing.assert_array_equal(unpack_codes(packed, bits, codes.shape), codes)


def test_known_bytes() -> None:
    assert pack_codes(np.array([1, -1, 7], np.int8), 4).tolist() == [0xF1, 0x07]
    assert pack_codes(np.array([1, 0, -1, -2, 1], np.int8), 2).tolist() == [0b10_11_00_01, 0b01]
    assert pack_codes(np.array([-4, 3, 1], np.int8), 3).tolist() == [0b01_011_100, 0b0]
    assert pack_codes(np.array([-128, 127], np.int8), 8).tolist() == [0x80, 0x7F]


def test_views_are_packed_in_c_order() -> None:
    codes = np.arange(-8, 7, dtype=np.int8).reshape(3, 5)
    np.testing.assert_array_equal(unpack_codes(pack_codes(codes.T, 4), 4, (5, 3)), codes.T)


def test_nothing_packs_to_nothing() -> None:
    assert pack_codes(np.zeros((0, 3), np.int8), 5).shape == (0,)
    assert unpack_codes(np.zeros(0, np.uint8), 5, (0, 3)).shape == (0, 3)


@pytest.mark.parametrize("bits", [1, 9, 0])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(ConfigError, match="give 2 to 8"):
        pack_codes(np.zeros(1, np.int8), bits)
    with pytest.raises(ConfigError, match="give 2 to 8"):
        unpack_codes(np.zeros(1, np.uint8), bits, (1,))


@pytest.mark.parametrize("code", [-5, 4])
def test_a_code_outside_its_bits_is_refused(code: int) -> None:
    with pytest.raises(ConfigError, match="allowed are -4 to 3"):
        pack_codes(np.array([0, code], np.int8), 3)


def test_wrong_number_of_bytes_is_refused() -> None:
    with pytest.raises(StorageError, match="2 bytes"):
        unpack_codes(np.zeros(3, np.uint8), 4, (3,))


def test_filling_that_is_not_zero_is_refused() -> None:
    with pytest.raises(StorageError, match="not zero"):
        unpack_codes(np.array([0, 0x10], np.uint8), 4, (3,))
