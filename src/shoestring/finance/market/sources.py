"""Markets to try strategies on: what ships with other packages, synthetic ones, and your own files.

Every market says whether it is real, whether its assets were chosen with hindsight, and what its licence is.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError, DataError, MissingExtraError, StorageError
from shoestring.core.optional import optional
from shoestring.finance.market.generators import gbm_panel, weak_signals
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.price_files import read_prices

__all__ = ["About", "Market", "load_market", "load_us_market", "market_names", "us_market_names"]

OLPS = ("djia", "msci", "nyse_n", "nyse_o", "sp500", "tse")
"""The classic sets of online portfolio selection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """Where a market comes from and what must be said beside every result on it."""

    kind: Literal["real", "synthetic", "unknown"]
    """Whether anybody could have traded it; "unknown" for your own files."""
    origin: str
    """Who made it."""
    survivorship: str
    """How its assets were chosen, as far as that is known."""
    licence: str
    """What it may be used for."""
    caveats: tuple[str, ...] = ()
    """What else distorts results."""
    dates: Literal["real", "synthetic"] = "real"
    """"synthetic": the set has none; weekdays from 1990-01-01 stand in, so calendar effects mean nothing."""

    def lines(self) -> list[str]:
        """Return everything as sentences, for a report."""
        dates = [] if self.dates == "real" else ["The dates are made up; only their order is real."]
        head = {"real": "Real prices", "synthetic": "Synthetic prices", "unknown": "Prices of the user"}
        return [f"{head[self.kind]}: {self.origin}.", self.survivorship, self.licence, *self.caveats, *dates]


@dataclass(frozen=True, kw_only=True, eq=False)
class Market:
    """A panel and what is known about it; a `DataSource` for the strategy platform."""

    name: str
    panel: PricePanel
    about: About

    def load(
        self,
        universe: Sequence[str] | None = None,
        start: str | pd.Timestamp | None = None,
        end: str | pd.Timestamp | None = None,
    ) -> PricePanel:
        """Return the panel from `start` to `end`, both included, of some assets; None means all."""
        panel = self.panel if universe is None else self.panel.select(list(universe))
        return panel.between(start, end)


def market_names() -> tuple[str, ...]:
    """Return the names that `load_market` knows besides paths; ``olps/`` ones need universal-portfolios."""
    return tuple(_SHIPPED)


def load_market(name: str | Path, *, seed: int = 0) -> Market:
    """Load a market that needs no download, or your own files.

    Parameters
    ----------
    name : str or Path
        One of `market_names`, or the path of a file or folder as `price_files` describes.
    seed : int
        For synthetic markets.

    Raises
    ------
    ConfigError
        For a name that is neither known nor a path.
    MissingExtraError
        If the package that brings the set is not installed.
    DataError, StorageError
        For files that cannot be read.
    """
    if name in _SHIPPED:
        return replace(_SHIPPED[str(name)](seed), name=str(name))
    if not Path(name).exists():
        raise ConfigError(
            f"the market {str(name)!r} is not known and no such path exists; give a path or one of "
            f"{', '.join(_SHIPPED)}"
        )
    about = About(
        kind="unknown",
        origin=Path(name).name,
        survivorship="Whether its assets were chosen with hindsight is not known.",
        licence="Its licence is the user's affair.",
    )
    return Market(name=Path(name).name, panel=read_prices(name), about=about)


def us_market_names() -> tuple[str, ...]:
    """Return the sets that `load_us_market` finds in a folder."""
    return (*_US_FILES, *(f"olps/{n}" for n in OLPS))


def load_us_market(folder: Path | str, name: str) -> Market:
    """Load one set of a folder of US market data in the layout below; nothing of it ships with the package.

    Parameters
    ----------
    folder : Path or str
        Holds ``us_stocks_adjclose.parquet`` (wide), ``us_stocks150_ohlcv.parquet`` (``AAPL|close`` columns),
        ``spy_1993_2025.parquet`` (one asset), ``etf_index_adjclose.parquet`` (wide) and
        ``olps_cumulative_prices.npz`` (an array [T, N] and ``<name>_names`` a set), or some of them.
    name : str
        One of `us_market_names`: ``us_stocks``, ``us_stocks150``, ``spy``, ``etfs`` (the 35 funds; indices,
        yields, currencies and futures left out), ``etfs_all``, ``olps/djia``, ...

    Raises
    ------
    ConfigError
        For an unknown name.
    StorageError
        If the file is not there.
    """
    folder = Path(folder)
    if name not in us_market_names():
        raise ConfigError(f"the set {name!r} is not known; give one of {', '.join(us_market_names())}")
    if name.startswith("olps/"):
        return replace(_olps_of_archive(folder / "olps_cumulative_prices.npz", name[5:]), name=name)
    file, about = _US_FILES[name]
    if not (folder / file).exists():
        raise StorageError(2, f"{folder} has no file {file}, which holds {name!r}; give the folder that does")
    panel = read_prices(folder / file, zero_is_missing=name.startswith("etfs"))
    if name == "spy":
        panel = PricePanel.from_frame(**{n: f.set_axis(["SPY"], axis=1) for n, f in panel.fields.items()})
    if name == "etfs":
        panel = panel.select([a for a in panel.assets if a not in _NO_FUNDS])
    return Market(name=name, panel=panel, about=about)


def _skfolio(loader: str, survivorship: str, *caveats: str) -> Callable[[int], Market]:
    def load(_: int) -> Market:
        frame = getattr(optional("skfolio.datasets", "finance"), loader)()
        about = About(
            kind="real",
            origin="adjusted daily closes that come with skfolio",
            survivorship=survivorship,
            licence="skfolio is BSD-3-Clause; it says that the data are for tests and examples only.",
            caveats=caveats,
        )
        return Market(name=loader, panel=PricePanel.from_frame(frame.astype(float)), about=about)

    return load


def _olps(name: str) -> Callable[[int], Market]:
    def load(_: int) -> Market:
        found = importlib.util.find_spec("universal")
        if found is None or found.origin is None:
            raise MissingExtraError(
                f"olps/{name} comes with universal-portfolios, which is not installed: "
                "pip install universal-portfolios"
            )
        path = Path(found.origin).parent / "data" / f"{name}.csv"
        try:
            values = pd.read_csv(path).to_numpy(dtype=float)
        except (OSError, ValueError) as e:
            raise DataError(
                f"universal-portfolios has no readable {path.name} ({e}); install a version that ships it"
            ) from e
        return _olps_market(values, "universal-portfolios")

    return load


def _olps_of_archive(path: Path, name: str) -> Market:
    try:
        with np.load(path, allow_pickle=False) as archive:
            values = archive[name].astype(float)
    except (OSError, KeyError, ValueError) as e:
        raise StorageError(
            2, f"{path} does not hold the set {name!r} ({e}); give the folder that does"
        ) from e
    return _olps_market(values, path.name)


def _olps_market(values: np.ndarray, origin: str) -> Market:
    """Make a market of cumulative prices without dates and with meaningless names."""
    values = values[:, ~np.isnan(values).all(axis=0)]
    dates = pd.bdate_range("1990-01-01", periods=len(values), name="date")
    names = [f"S{i:02d}" for i in range(values.shape[1])]
    about = About(
        kind="real",
        origin=f"a classic set of online portfolio selection, from {origin}",
        survivorship="Its stocks were chosen because they have a full history: results are biased upwards.",
        licence="The package is under a variant of the MIT licence; nothing is said of the data's source.",
        caveats=("Prices are cumulative relatives that start near 1.",),
        dates="synthetic",
    )
    panel = PricePanel.from_frame(pd.DataFrame(values, index=dates, columns=names))
    return Market(name="olps", panel=panel, about=about)


def _synthetic(panel: Callable[[int], PricePanel], origin: str) -> Callable[[int], Market]:
    def load(seed: int) -> Market:
        about = About(
            kind="synthetic",
            origin=f"{origin}, seed {seed}",
            survivorship="Nothing was chosen with hindsight.",
            licence="Generated here; no licence applies.",
        )
        return Market(name="synthetic", panel=panel(seed), about=about)

    return load


_SURVIVORS = "Its stocks are chosen from those that still exist at the end: results are biased upwards."
_SHIPPED: dict[str, Callable[[int], Market]] = {
    "skfolio/sp500": _skfolio(
        "load_sp500_dataset",
        _SURVIVORS,
        "RRC is constant for its first 69 days and in 13 % of all days: its early prices are thin.",
    ),
    "skfolio/sp500_index": _skfolio("load_sp500_index", "An index, without the dividends."),
    "skfolio/factors": _skfolio("load_factors_dataset", "Five factor ETFs that exist since 2014 or earlier."),
    **{f"olps/{n}": _olps(n) for n in OLPS},
    "synthetic/weak_signals": _synthetic(
        lambda seed: weak_signals(seed=seed).panel, "300 companies with six weak, regime-switching components"
    ),
    "synthetic/gbm": _synthetic(
        lambda seed: gbm_panel(50, 2520, seed=seed, late=0.1, delisted=0.1, gaps=0.002),
        "50 geometric Brownian motions without any predictable part, with late listings, delistings and gaps",
    ),
}
_YAHOO = "Yahoo's terms allow personal and research use; do not redistribute."
_NO_FUNDS = (
    *("IXIC", "N225", "HSI", "GDAXI", "FCHI", "VIX", "TNX10Y"),
    *("EURUSDX", "GBPUSDX", "JPYX"),
    *("CLF", "TYF", "ZBF", "US=F"),
)
_ETFS = About(
    kind="real",
    origin="adjusted daily closes of Yahoo Finance to 2020-05-22",
    survivorship="Its funds are chosen from those that exist in 2020: results are biased upwards.",
    licence=_YAHOO,
    caveats=("Calendars of several countries are mixed; prices of 0 or less count as missing.",),
)
_US_FILES = {
    "us_stocks": (
        "us_stocks_adjclose.parquet",
        About(
            kind="real",
            origin="adjusted daily closes of Yahoo Finance, 2000-01-03 to 2024-03-08",
            survivorship="Its stocks were in the S&P 500 in 2017 and are still listed in 2024: results are "
            "biased upwards.",
            licence=_YAHOO,
        ),
    ),
    "us_stocks150": (
        "us_stocks150_ohlcv.parquet",
        About(
            kind="real",
            origin="daily prices and volumes of Yahoo Finance, 2000-01-03 to 2024-03-08",
            survivorship="Its stocks are the most traded of those that were there all the time until 2024: "
            "results are biased upwards.",
            licence=_YAHOO,
        ),
    ),
    "spy": (
        "spy_1993_2025.parquet",
        About(
            kind="real",
            origin="adjusted daily prices of the fund SPY, 1993 to 2025",
            survivorship="One fund that survived.",
            licence="No licence is stated: for tests and demonstrations only.",
        ),
    ),
    "etfs": ("etf_index_adjclose.parquet", _ETFS),
    "etfs_all": ("etf_index_adjclose.parquet", _ETFS),
}
