import numpy as np
import pytest
import torch

from shoestring.core.errors import DataError
from shoestring.finance.maps._windows import PriceWindows


def close(dates: int = 40, companies: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (dates, companies)), axis=0))


def place(company: int, date: int, dates: int = 40) -> int:
    return company * dates + date


def test_a_window_ends_at_the_close_of_its_date() -> None:
    prices = close()
    windows = PriceWindows(prices, 5)
    where = torch.tensor([place(0, 4), place(2, 39), place(1, 17)])
    for row, (company, date) in zip(windows.states(where), [(0, 4), (2, 39), (1, 17)], strict=True):
        window = prices[date - 4 : date + 1, company]
        np.testing.assert_allclose(row, (window - window.mean()) / window.std(), atol=1e-4)


def test_the_next_state_is_the_window_of_the_next_date() -> None:
    windows = PriceWindows(close(), 5)
    where = torch.tensor([place(0, 4), place(1, 20), place(2, 38)])
    state, following = windows.state_pairs(where)
    torch.testing.assert_close(state, windows.states(where))
    torch.testing.assert_close(following, windows.states(where + 1))


def test_returns_are_from_the_date_to_the_next_in_percent() -> None:
    prices = close()
    windows = PriceWindows(prices, 5)
    expected = 100 * (prices[11, 1] / prices[10, 1] - 1)
    assert float(windows.returns(torch.tensor([place(1, 10)]))) == pytest.approx(expected, rel=1e-5)
    assert windows.return_CT[:, -1].isnan().all()


def test_transitions_see_no_return_after_the_last_date() -> None:
    windows = PriceWindows(close(), 5)
    dates = windows.transitions(10, 20) % 40
    assert (int(dates.min()), int(dates.max())) == (10, 19)
    assert len(dates) == 30
    first = windows.transitions(0, 20) % 40
    assert int(first.min()) == 4


def test_windows_never_reach_into_another_company() -> None:
    windows = PriceWindows(close(), 5)
    for places in (
        windows.transitions(0, 39),
        windows.complete(0, 39),
        windows.transitions(0, 39, before=True),
    ):
        assert int((places % 40).min()) >= 4


def test_a_hole_takes_out_every_window_over_it_and_the_return_into_it() -> None:
    prices = close()
    prices[20, 1] = np.nan
    windows = PriceWindows(prices, 5)
    complete = set((windows.complete(0, 39)[windows.complete(0, 39) // 40 == 1] % 40).tolist())
    assert complete == set(range(4, 20)) | set(range(25, 40))
    known = windows.transitions(0, 39)
    dates = set((known[known // 40 == 1] % 40).tolist())
    assert dates == set(range(4, 19)) | set(range(25, 39))
    earlier = windows.transitions(0, 39, before=True)
    assert set((earlier[earlier // 40 == 1] % 40).tolist()) == set(range(5, 19)) | set(range(26, 39))


def test_states_of_complete_windows_are_finite() -> None:
    prices = close()
    prices[:12, 0] = np.nan
    prices[30:, 2] = np.nan
    windows = PriceWindows(prices, 5)
    assert windows.states(windows.complete(0, 39)).isfinite().all()
    one, two = windows.state_pairs(windows.transitions(0, 39))
    assert one.isfinite().all()
    assert two.isfinite().all()


def test_a_window_longer_than_the_history_is_refused() -> None:
    with pytest.raises(DataError, match="4 dates, and a window needs 5"):
        PriceWindows(close(4), 5)


def test_a_history_of_exactly_one_window_has_a_state_and_no_transition() -> None:
    windows = PriceWindows(close(5), 5)
    assert windows.complete(0, 4).tolist() == [4, 9, 14]
    assert len(windows.transitions(0, 4)) == 0
