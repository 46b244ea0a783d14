"""From pairs of dates to rows."""

import pandas as pd

from shoestring.core.errors import ConfigError

__all__ = ["Day", "Span", "rows_of_span", "split_dates"]

Day = str | pd.Timestamp
Span = tuple[Day, Day]
VALID_SHARE = 0.2


def split_dates(
    dates: pd.DatetimeIndex, train: Span | None, valid: Span | None
) -> tuple[int, int, tuple[int, int] | None]:
    """Return first and last rows of training, and of validation if there is one."""
    if train is None and valid is None:
        cut = len(dates) - max(2, int(len(dates) * VALID_SHARE))
        return 0, cut - 1, (cut, len(dates) - 1)
    valid_rows = None if valid is None else rows_of_span(dates, valid, "valid")
    if train is None:
        assert valid_rows is not None
        return 0, valid_rows[0] - 1, valid_rows
    first, last = rows_of_span(dates, train, "train")
    if valid_rows is not None and valid_rows[0] <= last:
        raise ConfigError(
            f"valid={valid} begins on {dates[valid_rows[0]].date()}, not after the end of train={train} "
            f"({dates[last].date()}); a state chosen on training dates is chosen for its memory"
        )
    return first, last, valid_rows


def rows_of_span(dates: pd.DatetimeIndex, span: tuple[Day | None, Day | None], name: str) -> tuple[int, int]:
    """Return the first and last row of a span of dates, both inclusive."""
    try:
        rows = dates.slice_indexer(span[0], span[1])
    except (ValueError, TypeError) as e:
        raise ConfigError(
            f"{name}={span} is no pair of dates ({e}); write it as ('2000', '2003-06-30')"
        ) from e
    if rows.stop - rows.start < 2:
        raise ConfigError(
            f"{name}={span} holds {max(rows.stop - rows.start, 0)} of the dates {dates[0].date()} to "
            f"{dates[-1].date()}; give a first date before a last one, with at least two between"
        )
    return rows.start, rows.stop - 1
