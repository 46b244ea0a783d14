"""Cycles of dense products on systolic arrays, as SCALE-Sim counts them, and SGCN's combination formula.

References
----------
SCALE-Sim 3.0.0, whose totals are met exactly (``tests/golden/scalesim_gemms.json``); the combination formula
is that of SGCN's public simulator.
"""

from dataclasses import dataclass
from typing import Literal

from shoestring.core.errors import ConfigError, DataError
from shoestring.silicon.arch import SystolicConfig

__all__ = ["Dataflow", "Gemm", "combination_cycles", "gemm_cycles", "sgcn_combination_cycles"]

Dataflow = Literal["os", "ws", "is"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gemm:
    """A product of an (m, k) input with (k, n) weights."""

    m: int
    """Rows of the input: vertices, pixels, tokens."""
    n: int
    """Columns of the weights: output features."""
    k: int
    """Inner dimension: input features."""

    def __post_init__(self) -> None:
        for name in ("m", "n", "k"):
            if getattr(self, name) < 1:
                raise DataError(f"gemm.{name}={getattr(self, name)} is not allowed; give at least 1")

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return self.m * self.n * self.k


def gemm_cycles(gemm: Gemm, *, rows: int, cols: int, dataflow: Dataflow) -> int:
    """Return the cycles of a product on one array.

    Parameters
    ----------
    gemm : Gemm
    rows, cols : int
        Shape of the array.
    dataflow : {"os", "ws", "is"}
        What stays in the array: outputs, weights or inputs.

    Notes
    -----
    A product is cut into folds that fit the array. With R rows and C columns a fold takes

    - outputs stationary: ``R + C + K - 2`` cycles, ``ceil(M/R) ceil(N/C)`` folds;
    - weights stationary: ``2R + C + M - 2``, ``ceil(K/R) ceil(N/C)`` folds;
    - inputs stationary: ``2R + C + N - 2``, ``ceil(K/R) ceil(M/C)`` folds;

    and SCALE-Sim's total is one less than their sum.
    """
    folds, each = _folds(gemm, rows, cols, dataflow)
    return folds * each - 1


def combination_cycles(gemm: Gemm, systolic: SystolicConfig) -> int:
    """Return the cycles of a product on all arrays of a machine, which share its folds."""
    folds, each = _folds(gemm, systolic.rows, systolic.cols, systolic.dataflow)
    return _ceil(folds, systolic.count) * each - 1


def sgcn_combination_cycles(gemm: Gemm, systolic: SystolicConfig) -> int:
    """Return the cycles by the formula of SGCN's public simulator.

    Notes
    -----
    ``ceil(N / R E) ceil(M / R E) (K + R E)`` for E square arrays of R rows: it takes the arrays for one of E
    times the rows *and* E times the columns, which has E times as many multipliers as there are.
    `combination_cycles` does not.
    """
    if systolic.rows != systolic.cols:
        raise ConfigError(
            f"systolic.rows={systolic.rows} and cols={systolic.cols}: the published formula is for square "
            "arrays; make them equal or use combination_cycles"
        )
    side = systolic.rows * systolic.count
    return _ceil(gemm.n, side) * _ceil(gemm.m, side) * (gemm.k + side)


def _folds(gemm: Gemm, rows: int, cols: int, dataflow: Dataflow) -> tuple[int, int]:
    """Return how many folds there are and the cycles of each."""
    if rows < 1 or cols < 1:
        raise ConfigError(f"an array of {rows} x {cols} is not allowed; give at least 1 x 1")
    if dataflow == "os":
        return _ceil(gemm.m, rows) * _ceil(gemm.n, cols), rows + cols + gemm.k - 2
    if dataflow == "ws":
        return _ceil(gemm.k, rows) * _ceil(gemm.n, cols), 2 * rows + cols + gemm.m - 2
    if dataflow == "is":
        return _ceil(gemm.k, rows) * _ceil(gemm.m, cols), 2 * rows + cols + gemm.n - 2
    raise ConfigError(f"dataflow={dataflow!r} is not allowed; give os, ws or is")


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
