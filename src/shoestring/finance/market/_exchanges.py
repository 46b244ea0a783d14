"""What exchange-calendars knows of an exchange, loaded once."""

import functools
import warnings
from typing import TYPE_CHECKING

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EARLIEST", "load_exchange"]

EARLIEST = "1960-01-01"
"""First date that is asked for; some calendars begin later."""


@functools.lru_cache(maxsize=8)
def load_exchange(exchange: str) -> "tuple[pd.DatetimeIndex, pd.DatetimeIndex]":
    """Return all known sessions of an exchange (dates without a zone) and their closes (UTC).

    Parameters
    ----------
    exchange : str
        Code of exchange-calendars, e.g. ``"XNYS"``.

    Raises
    ------
    ConfigError
        For an unknown exchange.
    MissingExtraError
        If exchange-calendars is not installed (extra ``finance``).
    """
    library = optional("exchange_calendars", "finance")
    import pandas as pd

    names = library.get_calendar_names(include_aliases=True)
    if exchange not in names:
        near = [n for n in names if n[:2].lower() == exchange[:2].lower()][:5]
        raise ConfigError(
            f"the exchange {exchange!r} is not known; give a code of exchange-calendars such as "
            f"{', '.join(near or ['XNYS', 'XLON', 'XTKS'])}"
        )
    start = pd.Timestamp(EARLIEST)
    with warnings.catch_warnings():
        # The package reads times in a way that newer versions of pandas announce to change.
        warnings.filterwarnings("ignore", r"Series\.values returning", DeprecationWarning)
        bound = library.get_calendar(exchange).bound_min()
        calendar = library.get_calendar(exchange, start=start if bound is None else max(bound, start))
    days = pd.DatetimeIndex(calendar.sessions.to_numpy().astype("datetime64[ns]"), name="date")
    return days, pd.DatetimeIndex(calendar.closes.dt.tz_localize(None).to_numpy(), tz="UTC")
