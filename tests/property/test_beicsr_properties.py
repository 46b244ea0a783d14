"""What holds for every matrix, width, slice, element and layout of BEICSR."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from shoestring.silicon.beicsr import Element, Layout, element_bytes, encode
from shoestring.silicon.formats import FormatName, footprints, format_names
from shoestring.silicon.patterns import Pattern

WIDTHS = st.sampled_from([1, 2, 31, 32, 33, 64, 95, 96, 97, 130])
SLICES = st.sampled_from([None, 1, 16, 31, 32, 33, 96, 500])
LAYOUTS = st.sampled_from(get_args(Layout))
ELEMENTS = st.sampled_from(get_args(Element))
MANY = settings(max_examples=80, deadline=None)
PAIRS: list[tuple[FormatName, Layout]] = [("beicsr", "in_place"), ("bitmap", "packed")]
SPECIAL = np.array([np.nan, -0.0, np.inf, -np.inf, 1e-45, -1.0], dtype=np.float32)


@st.composite
def matrices(draw: st.DrawFn, element: Element | None = None) -> Any:
    """Rows with all, no and some zeros, NaN, -0.0 and infinities among the values."""
    element = element or draw(ELEMENTS)
    rows, width = draw(st.integers(0, 9)), draw(WIDTHS)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((rows, width)).astype(np.float32)
    x[rng.random((rows, width)) < rng.choice([0.0, 0.4, 0.8, 1.0], (rows, 1))] = 0
    if element == "int8":
        return np.clip(x * 60, -128, 127).astype(np.int8)
    special = rng.random((rows, width)) < 0.1
    x[special] = rng.choice(SPECIAL, int(special.sum()))
    if element == "float16":
        return np.nan_to_num(x, nan=np.nan, posinf=np.inf, neginf=-np.inf).astype(np.float16)
    return torch.from_numpy(x).bfloat16() if element == "bfloat16" else x


def bits(x: Any) -> NDArray[Any]:
    """Stored bits, the sign of zeros taken off: what must come back."""
    if isinstance(x, torch.Tensor):
        x = x.view(torch.int16).numpy()
        return np.where(x & 0x7FFF == 0, 0, x)
    codes = x.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[x.dtype.itemsize])
    return np.where(x == 0, 0, codes)


@MANY
@given(matrices(), SLICES, LAYOUTS)
def test_what_is_encoded_comes_back_bit_for_bit_and_zeros_lose_their_sign(
    x: Any, width: int | None, layout: Layout
) -> None:
    back = encode(x, slice=width, layout=layout).decode()
    assert type(back) is type(x)
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(bits(back), bits(x))
    plain = back.float().numpy() if isinstance(back, torch.Tensor) else back.astype(np.float32)
    assert not np.signbit(plain[plain == 0]).any()


@MANY
@given(matrices(), SLICES, LAYOUTS)
def test_bit_j_of_the_bitmap_is_column_j(x: Any, width: int | None, layout: Layout) -> None:
    made = encode(x, slice=width, layout=layout)
    dense = x.float().numpy() if isinstance(x, torch.Tensor) else x
    step = made.slice_width
    for s in range(made.num_slices):
        np.testing.assert_array_equal(made.bitmap(s), dense[:, s * step : (s + 1) * step] != 0)


@MANY
@given(matrices(), SLICES, LAYOUTS)
def test_a_record_read_byte_by_byte_is_bitmap_words_then_values(
    x: Any, width: int | None, layout: Layout
) -> None:
    """Reads one record with shifts and a loop, as a unit of the hardware would."""
    made = encode(x, slice=width, layout=layout)
    rows, columns = made.shape
    if not rows:
        return
    row, s = rows - 1, made.num_slices - 1
    first = s * made.slice_width
    itemsize = element_bytes(made.element)
    at = int(made.address(s, row))
    words = made.data[at : at + 4 * -(-(columns - first) // 32)].view(np.uint32)
    values = at + 4 * words.size
    for j in range(columns - first):
        stored = int(words[j // 32]) >> (j % 32) & 1
        here = x[row : row + 1, first + j : first + j + 1]
        code = int(bits(here)[0, 0]) & (256**itemsize - 1)
        assert bool(stored) == bool((here != 0).any())
        if stored:
            assert int.from_bytes(made.data[values : values + itemsize].tobytes(), "little") == code
            values += itemsize
    assert values - at == made.used_bytes[s, row]


@MANY
@given(matrices(), SLICES)
def test_no_record_leaves_its_region(x: Any, width: int | None) -> None:
    made = encode(x, slice=width)
    rows = np.arange(made.shape[0])
    for s in range(made.num_slices):
        start = made.address(s, rows)
        stop = np.append(
            start[1:], made.address(s + 1, 0) if s + 1 < made.num_slices else made.capacity_bytes
        )
        assert (start + made.used_bytes[s] <= stop[: rows.size]).all()
        assert (start % 64 == 0).all()


@MANY
@given(matrices(), SLICES, LAYOUTS, st.data())
def test_aggregation_equals_the_scipy_product(
    x: Any, width: int | None, layout: Layout, data: st.DataObject
) -> None:
    rows = x.shape[0]
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    edges = int(rng.integers(0, 20)) if rows else 0
    counts = rng.multinomial(edges, [1 / 5] * 5)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices = rng.integers(0, max(rows, 1), edges).astype(np.int32)
    weights = rng.standard_normal(edges).astype(np.float32)
    dense = x.float().numpy() if isinstance(x, torch.Tensor) else x.astype(np.float32)
    dense = np.nan_to_num(dense, nan=np.nan, posinf=2.0, neginf=-2.0)
    if not isinstance(x, torch.Tensor) and x.dtype == np.float32:
        x = dense
    elif not np.isfinite(x.float().numpy() if isinstance(x, torch.Tensor) else x).all():
        return  # inf - inf: NaN either way, where depends on nothing of ours
    got = encode(x, slice=width, layout=layout).matvec(weights, indptr, indices)
    adjacency = sparse.csr_matrix((weights, indices, indptr), shape=(5, rows))
    np.testing.assert_allclose(got, adjacency @ dense, rtol=1e-5, atol=1e-6)
    assert got.dtype == np.float32


@MANY
@given(matrices(), SLICES)
def test_rewriting_rows_in_place_equals_encoding_anew(x: Any, width: int | None) -> None:
    rows = np.arange(0, x.shape[0], 2)
    flipped = x.clone().flip(0) if isinstance(x, torch.Tensor) else x[::-1].copy()
    made = encode(flipped, slice=width)
    made.write_(rows, x[rows])
    wanted = flipped.clone() if isinstance(flipped, torch.Tensor) else flipped.copy()
    wanted[rows] = x[rows]
    fresh = encode(wanted, slice=width)
    np.testing.assert_array_equal(made.data, fresh.data)
    np.testing.assert_array_equal(made.nnz, fresh.nnz)


@MANY
@given(matrices(), SLICES)
def test_the_lines_of_a_format_are_those_of_the_bytes_that_are_encoded(x: Any, width: int | None) -> None:
    pattern = Pattern.from_array(x)
    for fmt, layout in PAIRS:
        made = encode(x, slice=width, layout=layout)
        itemsize = element_bytes(made.element)
        laid = footprints(pattern, fmt, width, element_bytes=itemsize)
        base = 0
        for s, part in enumerate(laid):
            np.testing.assert_array_equal(part.record_bytes, made.used_bytes[s])
            if layout == "in_place":
                np.testing.assert_array_equal(part.lines, made.lines[s])
                rows = np.arange(made.shape[0])
                np.testing.assert_array_equal(64 * part.first_line(rows) + base, made.address(s, rows))
                base += 64 * part.capacity_lines
        if layout == "in_place":
            assert base == made.capacity_bytes
        elif len(laid) == 1 and made.shape[0]:
            np.testing.assert_array_equal(laid[0].lines, made.lines[0])
            assert laid[0].capacity_lines - laid[0].pointer_lines == -(-made.capacity_bytes // 64)


@MANY
@given(st.integers(1, 40), WIDTHS, SLICES, st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.sampled_from([1, 2, 4]))
def test_every_format_writes_what_it_holds_and_reads_inside_it(
    rows: int, width: int, step: int | None, zeros: float, itemsize: int
) -> None:
    pattern = Pattern.random(rows, width, zeros, seed=rows)
    ids = np.arange(rows)
    for fmt in format_names():
        for part in footprints(pattern, fmt, step, element_bytes=itemsize):
            assert (part.first_line(ids) + part.lines <= part.capacity_lines).all()
            assert part.written_lines <= part.capacity_lines
            assert (part.pointer == "line") == (part.region_lines is None and fmt != "bell")
            assert (64 * part.lines.astype(np.int64) >= part.record_bytes).all()


@pytest.mark.parametrize("fmt", ["csr", "coo", "bsr", "bell"])
def test_bytes_of_the_peer_formats_are_those_of_scipys_arrays(fmt: Any) -> None:
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((40, 48)) * (rng.random((40, 48)) > 0.8)).astype(np.float32)
    matrix = sparse.csr_matrix(x)
    (part,) = footprints(Pattern.from_array(x), fmt, block=4)
    if fmt in ("csr", "coo"):
        per_value = {"csr": 8, "coo": 12}[fmt]
        np.testing.assert_array_equal(part.record_bytes, per_value * np.diff(matrix.indptr))
        return
    blocks = sparse.bsr_matrix(matrix, blocksize=(4, 4))
    counts = np.diff(blocks.indptr)
    ids = counts if fmt == "bsr" else np.full(counts.size, counts.max())
    np.testing.assert_array_equal(part.record_bytes, np.repeat(4 * ids + 64 * counts, 4))
