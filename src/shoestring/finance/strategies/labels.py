"""Training sets whose labels were known at the fit: purge, embargo, splits that move forward in time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from shoestring.core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["forward_returns", "labelled_dates", "walk_forward_splits"]


def labelled_dates(
    dates: "pd.DatetimeIndex", sessions: "pd.DatetimeIndex", horizon: int, embargo: int = 0
) -> "pd.DatetimeIndex":
    """Return the dates whose label over the next `horizon` sessions is known at the end of `sessions`.

    Parameters
    ----------
    dates : DatetimeIndex
        Candidates, a part of `sessions`.
    sessions : DatetimeIndex
        Sessions up to the fit.
    horizon : int
        Sessions that a label looks ahead (purge).
    embargo : int
        Further sessions left out before the fit.

    Raises
    ------
    ConfigError
        For a horizon below 1 or a negative embargo.
    """
    import pandas as pd

    if horizon < 1 or embargo < 0:
        raise ConfigError(
            f"horizon={horizon}, embargo={embargo} sessions; a label looks at least 1 ahead, "
            "an embargo is 0 or more"
        )
    last = len(sessions) - 1 - horizon - embargo
    return pd.DatetimeIndex(dates[dates <= sessions[last]]) if last >= 0 else pd.DatetimeIndex(dates[:0])


def forward_returns(close: "pd.DataFrame", dates: "pd.DatetimeIndex", horizon: int) -> "pd.DataFrame":
    """Return simple returns from each date to `horizon` sessions later, [len(dates), N].

    NaN where either price is missing, also where the asset was delisted in between, or the horizon ends
    after the last row.
    """
    ahead = close.shift(-horizon) / close - 1.0
    return ahead.loc[dates]


def walk_forward_splits(
    num_dates: int, *, train: int, test: int, horizon: int = 1, embargo: int = 0, expanding: bool = True
) -> Iterator[tuple[range, range]]:
    """Yield row ranges (training, test) that move forward in time.

    Parameters
    ----------
    num_dates : int
        Rows.
    train : int
        Rows of the first training set; of every one unless `expanding`.
    test : int
        Rows of each test set; the last one may be shorter.
    horizon : int
        Rows that a label looks ahead: that many, less one, are purged before the test set.
    embargo : int
        Further rows left out between training and test.
    expanding : bool
        Training sets begin at row 0; otherwise they slide.

    Raises
    ------
    ConfigError
        If nothing is left to train or to test on.
    """
    gap = horizon - 1 + embargo
    if min(train, test, horizon) < 1 or embargo < 0 or train <= gap or train >= num_dates:
        raise ConfigError(
            f"train={train}, test={test}, horizon={horizon}, embargo={embargo} on {num_dates} rows leaves "
            "nothing to train or to test on; train must be above horizon - 1 + embargo and below the rows"
        )
    for first in range(train, num_dates, test):
        start = 0 if expanding else first - train
        yield range(start, first - gap), range(first, min(first + test, num_dates))
