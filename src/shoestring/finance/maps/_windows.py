"""States and returns of a price table, without copying the windows.

Shapes: T dates, C companies, W prices of a window, B batch. A state is named by its *place*, ``company * T +
date`` of its last price: prices lie company by company, so a window is W numbers in a row.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shoestring.core.errors import DataError
from shoestring.finance.maps.functional import window_moments

__all__ = ["PriceWindows"]

MOMENTS_AT_ONCE = 1 << 16


class PriceWindows:
    """Windows over closing prices.

    Parameters
    ----------
    close : numpy.ndarray
        float64, (T, C), positive; NaN where a company has no price.
    window : int
        W.

    Raises
    ------
    DataError
        If there are fewer than W dates.

    Notes
    -----
    Memory is 16 T C bytes, for float32 prices, returns, and the mean and deviation of every window: the
    windows are a view.
    """

    def __init__(self, close: npt.NDArray[np.float64], window: int) -> None:
        self.num_dates, self.num_companies = close.shape
        if self.num_dates < window:
            raise DataError(
                f"there are {self.num_dates} dates, and a window needs {window}; give a longer history or a "
                "shorter window"
            )
        self.window = window
        price = torch.from_numpy(np.ascontiguousarray(close.T, dtype=np.float32)).flatten()
        self._view = price.unfold(0, window, 1)
        self._pairs = price.unfold(0, window + 1, 1) if len(price) > window else price.view(1, -1)
        self._mean, self._std = _moments_by_place(self._view, window)
        self.state_CT = torch.from_numpy(_all_of_last(np.isfinite(close), window).T.copy())
        """bool; the window that ends at this date is complete."""
        ratio = np.full_like(close, np.nan)
        np.divide(close[1:], close[:-1], out=ratio[:-1])
        self.return_CT = torch.from_numpy(np.ascontiguousarray(((ratio - 1) * 100).T, dtype=np.float32))
        """float32; percent from this date to the next, NaN where unknown."""

    def transitions(self, first: int, last: int, *, before: bool = False) -> Tensor:
        """Return the places of the states whose next state is known too.

        Parameters
        ----------
        first, last : int
            Dates first <= t and t + 1 <= last: no return after `last` is seen.
        before : bool
            Also ask for a complete window at t - 1.

        Returns
        -------
        Tensor
            int64, (number,).
        """
        known = torch.zeros_like(self.state_CT)
        known[:, :-1] = self.state_CT[:, :-1] & self.state_CT[:, 1:]
        if before:
            known[:, 1:] &= self.state_CT[:, :-1]
            known[:, 0] = False
        known[:, : max(first, 0)] = False
        known[:, last:] = False
        return known.flatten().nonzero().squeeze(1)

    def complete(self, first: int, last: int) -> Tensor:
        """Return the places of the complete windows that end in ``first..last``, int64, (number,)."""
        inside = torch.zeros_like(self.state_CT)
        inside[:, first : last + 1] = self.state_CT[:, first : last + 1]
        return inside.flatten().nonzero().squeeze(1)

    def states(self, place_B: Tensor) -> Tensor:
        """Return the normalised states at complete places, (B, W)."""
        return self._normalise(self._view.index_select(0, place_B - (self.window - 1)), place_B)

    def state_pairs(self, place_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states at places and at the dates after them, from one read of the prices."""
        both = self._pairs.index_select(0, place_B - (self.window - 1))
        return self._normalise(both[:, :-1], place_B), self._normalise(both[:, 1:], place_B + 1)

    def _normalise(self, window_BW: Tensor, place_B: Tensor) -> Tensor:
        """Return what `zscore` does, from the moments that are known."""
        mean_B1 = self._mean.index_select(0, place_B).unsqueeze(1)
        return (window_BW / mean_B1).sub_(1).div_(self._std.index_select(0, place_B).unsqueeze(1))

    def returns(self, place_B: Tensor) -> Tensor:
        """Return the percentage from each place's date to the next, (B,)."""
        return self.return_CT.flatten().index_select(0, place_B)


def _moments_by_place(view: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the relative deviation of the window that ends at each place, each (T * C,)."""
    mean, std = (torch.full((len(view) + window - 1,), torch.nan) for _ in range(2))
    for start in range(0, len(view), MOMENTS_AT_ONCE):
        part = slice(start + window - 1, min(start + MOMENTS_AT_ONCE, len(view)) + window - 1)
        mean[part], std[part] = window_moments(view[start : start + MOMENTS_AT_ONCE])
    return mean, std


def _all_of_last(finite_TC: npt.NDArray[np.bool_], window: int) -> npt.NDArray[np.bool_]:
    count = np.zeros((len(finite_TC) + 1, finite_TC.shape[1]), dtype=np.int64)
    np.cumsum(finite_TC, axis=0, out=count[1:])
    out = np.zeros_like(finite_TC)
    out[window - 1 :] = count[window:] - count[:-window] == window
    return out
