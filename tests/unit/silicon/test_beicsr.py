from typing import Any

import numpy as np
import pytest
import torch

from shoestring.core.errors import ConfigError, DataError
from shoestring.silicon.beicsr import encode, region_lines


def test_a_small_record_by_hand() -> None:
    x = np.zeros((1, 33), dtype=np.float32)
    x[0, 0], x[0, 32] = 1.5, -2.0
    made = encode(x, slice=33)
    words = made.data[:8].view(np.uint32)
    assert (words[0], words[1]) == (1, 1)
    assert made.data[8:16].view(np.float32).tolist() == [1.5, -2.0]
    assert made.used_bytes[0, 0] == 16
    assert made.lines[0, 0] == 1


def test_sixty_percent_zeros_of_96_columns_take_three_lines_of_seven() -> None:
    x = np.ones((1, 96), dtype=np.float32)
    x[0, ::5] = 0
    x[0, 1::5] = 0
    x[0, 2::5] = 0
    made = encode(x)
    assert made.lines[0, 0] == 3
    assert region_lines(96) == 7  # 6 dense lines and the bitmap: a dense row must not overflow


def test_a_dense_row_does_not_overflow_and_an_empty_one_is_a_bitmap() -> None:
    x = np.vstack([np.ones((1, 96)), np.zeros((1, 96)), np.ones((1, 96))]).astype(np.float32)
    made = encode(x)
    assert made.lines[0].tolist() == [7, 1, 7]
    np.testing.assert_array_equal(made.decode(), x)


def test_the_last_slice_is_narrower_and_owns_a_smaller_region() -> None:
    made = encode(np.ones((5, 100), dtype=np.float32), slice=96)
    assert made.num_slices == 2
    assert made.address(1, 0) == 5 * 7 * 64
    assert made.capacity_bytes == 5 * (7 + 1) * 64


def test_slices_lie_one_after_another() -> None:
    made = encode(np.ones((3, 64), dtype=np.float32), slice=32)
    assert made.address(0, np.array([0, 1, 2])).tolist() == [0, 192, 384]
    assert made.address(1, 0) == 3 * 192


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int8])
def test_torch_gives_torch_back(dtype: torch.dtype) -> None:
    x = torch.tensor([[0, 1, 0, 2], [3, 0, 0, 0]]).to(dtype)
    assert torch.equal(encode(x).decode(), x)


def test_an_input_is_not_changed_and_views_are_taken() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    part = x[::2, ::2]
    np.testing.assert_array_equal(encode(part).decode(), part)
    assert x[0, 1] == 1


def test_a_row_without_neighbours_aggregates_to_zero_and_duplicates_count_twice() -> None:
    x = np.array([[1, 0, 2], [0, 3, 0]], dtype=np.float32)
    indptr = np.array([0, 0, 2], dtype=np.int64)
    got = encode(x).matvec(None, indptr, np.array([0, 0], dtype=np.int32))
    assert got.tolist() == [[0, 0, 0], [2, 0, 4]]


def test_nan_spreads_to_the_rows_that_read_it_and_no_further() -> None:
    x = np.array([[np.nan, 1], [2, 0]], dtype=np.float32)
    indptr = np.array([0, 1, 3], dtype=np.int64)
    got = encode(x).matvec(np.ones(3, np.float32), indptr, np.array([1, 0, 1], dtype=np.int32))
    assert got[0].tolist() == [2, 0]
    assert np.isnan(got[1, 0])
    assert got[1, 1] == 1


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.zeros((2, 2)), "float64"),
        (np.zeros(3, dtype=np.float32), "shape"),
        (np.zeros((3, 0), dtype=np.float32), "shape"),
        ([[1.0]], "list"),
    ],
)
def test_what_is_no_feature_matrix_is_refused(x: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        encode(x)


def test_bad_options_are_named() -> None:
    x = np.zeros((2, 2), dtype=np.float32)
    with pytest.raises(ConfigError, match="slice=0"):
        encode(x, slice=0)
    with pytest.raises(ConfigError, match="layout"):
        encode(x, layout="sideways")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(ConfigError, match="packed"):
        encode(x, layout="packed").write_(np.array([0]), x[:1])


@pytest.mark.parametrize(
    ("weights", "indptr", "indices", "text"),
    [
        ([np.nan], [0, 1], [0], "NaN"),
        ([1.0, 1.0], [0, 1], [0], "one weight an edge"),
        (None, [0, 1], [7], "rows 0 .. 1"),
        (None, [0, 1], [-1], "rows 0 .. 1"),
        (None, [0, 2], [0], "indptr ends at 2"),
        (None, [1, 1], [0], "starts at 0"),
    ],
)
def test_bad_edges_are_named(weights: Any, indptr: Any, indices: Any, text: str) -> None:
    made = encode(np.eye(2, dtype=np.float32))
    given = None if weights is None else np.array(weights, dtype=np.float32)
    with pytest.raises(DataError, match=text):
        made.matvec(given, np.array(indptr, dtype=np.int64), np.array(indices, dtype=np.int32))


def test_rows_outside_and_another_type_are_not_written() -> None:
    made = encode(np.eye(2, dtype=np.float32))
    with pytest.raises(DataError, match=r"rows 0 \.\. 1"):
        made.write_(np.array([2]), np.zeros((1, 2), np.float32))
    with pytest.raises(DataError, match="float16"):
        made.write_(np.array([0]), np.zeros((1, 2), np.float16))
