"""Systolic arrays: hand-counted folds, several arrays, and SGCN's formula."""

import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.silicon.arch import SystolicConfig
from shoestring.silicon.systolic import Gemm, combination_cycles, gemm_cycles, sgcn_combination_cycles


@pytest.mark.parametrize(
    ("dataflow", "cycles"),
    [
        ("os", 2 * 3 * (4 + 4 + 9 - 2) - 1),  # ceil(7/4) ceil(10/4) folds
        ("ws", 3 * 3 * (2 * 4 + 4 + 7 - 2) - 1),  # ceil(9/4) ceil(10/4) folds
        ("is", 3 * 2 * (2 * 4 + 4 + 10 - 2) - 1),  # ceil(9/4) ceil(7/4) folds
    ],
)
def test_a_product_takes_its_folds_times_the_cycles_of_one(dataflow: str, cycles: int) -> None:
    assert gemm_cycles(Gemm(m=7, n=10, k=9), rows=4, cols=4, dataflow=dataflow) == cycles  # type: ignore[arg-type]  # from the table


def test_several_arrays_share_the_folds_and_the_slowest_counts() -> None:
    gemm = Gemm(m=7, n=10, k=9)  # six folds of 15 cycles
    cycles = [
        combination_cycles(gemm, SystolicConfig(rows=4, cols=4, count=count, dataflow="os"))
        for count in (1, 2, 3, 4, 6, 100)
    ]
    assert cycles == [6 * 15 - 1, 3 * 15 - 1, 2 * 15 - 1, 2 * 15 - 1, 15 - 1, 15 - 1]


def test_one_array_of_a_machine_is_the_array_alone() -> None:
    gemm = Gemm(m=100, n=70, k=33)
    for dataflow in ("os", "ws", "is"):
        config = SystolicConfig(rows=8, cols=16, dataflow=dataflow)
        assert combination_cycles(gemm, config) == gemm_cycles(gemm, rows=8, cols=16, dataflow=dataflow)


def test_the_published_formula_takes_the_arrays_for_one_large_one() -> None:
    eight = SystolicConfig(rows=32, cols=32, count=8)
    assert sgcn_combination_cycles(Gemm(m=1000, n=300, k=256), eight) == 2 * 4 * (256 + 256)
    with pytest.raises(ConfigError, match="square"):
        sgcn_combination_cycles(Gemm(m=1, n=1, k=1), SystolicConfig(rows=32, cols=16))


def test_sizes_and_dataflows_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match=r"gemm\.n=0"):
        Gemm(m=1, n=0, k=1)
    with pytest.raises(ConfigError, match="0 x 4"):
        gemm_cycles(Gemm(m=1, n=1, k=1), rows=0, cols=4, dataflow="os")
    with pytest.raises(ConfigError, match="'rs'"):
        gemm_cycles(Gemm(m=1, n=1, k=1), rows=4, cols=4, dataflow="rs")  # type: ignore[arg-type]  # on purpose
