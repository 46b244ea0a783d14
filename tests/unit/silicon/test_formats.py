from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.silicon.formats import footprints, format_names
from shoestring.silicon.patterns import Pattern, slice_borders


def test_lines_by_hand() -> None:
    x = np.zeros((2, 32), dtype=np.float32)
    x[0, :20] = 1
    lines = {f: footprints(Pattern.from_array(x), f)[0].lines.tolist() for f in format_names()}
    assert lines["dense"] == [2, 2]
    assert lines["beicsr"] == [2, 1]  # 4 + 80 bytes; an empty row is its bitmap
    assert lines["bitmap"] == [2, 1]
    assert lines["csr"] == [3, 0]  # 160 bytes; an empty row is known from the pointers
    assert lines["coo"] == [4, 0]
    assert lines["bsr"] == [6, 6]  # five blocks of 64 bytes and their ids, shared by both rows
    assert lines["bell"] == [6, 6]


def test_bitmap_overhead_shows_when_there_are_few_zeros() -> None:
    pattern = Pattern.random(2000, 384, 0.05)
    dense = sum(float(p.lines.mean()) for p in footprints(pattern, "dense", 96))
    beicsr = sum(float(p.lines.mean()) for p in footprints(pattern, "beicsr", 96))
    assert 0.95 < dense / beicsr < 1


def test_csr_loses_below_half_zeros_and_beicsr_does_not() -> None:
    pattern = Pattern.random(2000, 384, 0.4)
    total = {f: sum(int(p.lines.sum()) for p in footprints(pattern, f)) for f in format_names()}
    assert total["beicsr"] < total["dense"] < total["csr"]


def test_only_packed_formats_need_a_pointer() -> None:
    pattern = Pattern.random(50, 64, 0.5)
    needs = {f: footprints(pattern, f)[0].pointer == "line" for f in format_names()}
    assert [f for f, pointer in needs.items() if pointer] == ["bitmap", "csr", "coo", "bsr"]


def test_count_and_blocks_equal_a_plain_count() -> None:
    rng = np.random.default_rng(1)
    x = rng.random((13, 45)) < 0.2
    pattern = Pattern.from_array(x.astype(np.float32))
    borders = slice_borders(45, 16)
    assert borders.tolist() == [0, 16, 32, 45]
    for s, (a, b) in enumerate(pairwise(borders)):
        np.testing.assert_array_equal(pattern.count(16)[s], x[:, a:b].sum(axis=1))
        for block_row in range(4):
            rows = x[4 * block_row : 4 * block_row + 4, a:b]
            used = sum(bool(rows[:, c : c + 4].any()) for c in range(0, b - a, 4))
            assert pattern.count_blocks(4, 16)[s, block_row] == used
    assert pattern.zeros == pytest.approx(1 - x.mean())


def test_patterns_can_be_repeated_permuted_and_drawn() -> None:
    x = np.array([[1, 0, 1], [0, 0, 0]], dtype=np.float32)
    pattern = Pattern.from_array(x)
    assert pattern.repeated(7).mask().tolist() == [[1, 0, 1, 1, 0, 1, 1], [0] * 7]
    assert pattern.permuted(np.array([1, 0])).mask().tolist() == [[0, 0, 0], [1, 0, 1]]
    assert Pattern.dense(3, 9).zeros == 0
    assert Pattern.random(500, 100, 0.7).zeros == pytest.approx(0.7, abs=0.01)
    np.testing.assert_array_equal(Pattern.random(5, 9, 0.5, 3).bits, Pattern.random(5, 9, 0.5, 3).bits)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fmt": "zip"}, "zip"),
        ({"fmt": "dense", "element_bytes": 8}, "element_bytes=8"),
        ({"fmt": "dense", "line_bytes": 48}, "line_bytes=48"),
        ({"fmt": "bsr", "block": 0}, "block=0"),
        ({"fmt": "dense", "slice_width": 0}, "slice=0"),
    ],
)
def test_bad_layouts_are_named(options: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        footprints(Pattern.dense(2, 8), **options)


def test_bad_patterns_are_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        Pattern.from_array(np.zeros(3))
    with pytest.raises(DataError, match="uint8"):
        Pattern(np.zeros((2, 1), dtype=np.int64), 8)
    with pytest.raises(DataError, match="beyond column 3"):
        Pattern(np.full((2, 1), 0x1F, dtype=np.uint8), 4)
    with pytest.raises(ConfigError, match=r"zeros=1\.5"):
        Pattern.random(2, 2, 1.5)
