"""Problems on real US data of the user's own: what their fields allow, and what had to stand in.

Real: statements and prices. Synthetic: the ETFs, which are equally weighted baskets of the stocks of one
sub-industry or sector, and their deposit files, made from those baskets. No file of a real fund is used.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.etf_nn._measure import Problem
from shoestring.finance.market.deposits.files import DepositFiles
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import FeatureConfig
from shoestring.finance.market.statements.formats import from_annual_10k, from_yahoo_key_statistics
from shoestring.finance.market.statements.table import Statements

__all__ = ["SETS", "basket_etfs", "load_problem"]

SETS = ("key_statistics", "annual")
MIN_NAMES = 5  # of a basket
LABEL = (
    "Statements and prices are real; the ETFs are equally weighted baskets of the stocks of a sub-industry "
    "or sector, and their deposit files are synthetic. Only stocks that have statements in the set and were "
    "alive in 2024 are in the baskets."
)


def load_problem(name: str, folder: Path) -> Problem:
    """Load one of `SETS` from a folder with prices, sectors and statements.

    Parameters
    ----------
    name : str
        ``key_statistics`` (snapshots 2003 to 2013) or ``annual`` (10-K 2012 to 2016).
    folder : Path
        Holds ``us_stocks_adjclose.parquet``, ``sp500_2016_sectors.csv`` and the statements' file.

    Raises
    ------
    ConfigError
        For another name.
    DataError
        If a file is missing.
    """
    if name not in SETS:
        raise ConfigError(f"the set {name!r} is not known; allowed: {', '.join(SETS)}")
    about = pd.read_csv(_file(folder, "sp500_2016_sectors.csv"))
    close = pd.read_parquet(_file(folder, "us_stocks_adjclose.parquet")).set_index("date")
    close.index = pd.DatetimeIndex(close.index)
    sectors = dict(zip(about["ticker"], about["gics_sector"], strict=True))
    statements: Statements
    if name == "key_statistics":
        rows = pd.read_csv(_file(folder, "sp500_keystats_2003_2013.csv.gz"))
        statements = from_yahoo_key_statistics(rows, sectors)
        first, start, end, age = "2003-06-01", "2009-01-02", "2013-12-31", 400
    else:
        rows = pd.read_csv(_file(folder, "nyse_annual_fundamentals_2012_2016.csv.gz"))
        statements = from_annual_10k(rows, sectors)
        first, start, end, age = "2012-01-03", "2015-01-02", "2017-12-29", 500
    firms = set(statements.tickers)
    close = close.loc[first:end, [c for c in close.columns if c in firms]].dropna(axis=1, how="all")
    groups = _groups(about, tuple(close.columns))
    etfs, files = basket_etfs(close, groups)
    return Problem(
        prices=PricePanel.from_frame(pd.concat([close, etfs], axis=1)),
        statements=statements,
        files=DepositFiles.from_frame(files, max_age_days=40),
        young=tuple(g for g in groups if not g.startswith("sector:") and g != "market"),
        market="market",
        start=pd.Timestamp(start),
        end=pd.Timestamp(end),
        horizon="3M",
        features=FeatureConfig(max_age_days=age),
        notes=(LABEL,),
    )


def basket_etfs(close: pd.DataFrame, groups: dict[str, list[str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make funds of baskets: equal weights at each quarter's first session, then shares stay.

    Parameters
    ----------
    close : DataFrame [T, N]
        Adjusted closes.
    groups : dict
        Members of each basket.

    Returns
    -------
    tuple of DataFrame
        Closes of the funds [T, E], and rows of monthly deposit files. The first file of a quarter is dated at
        its first session, so it counts from the second on.
    """
    dates = pd.DatetimeIndex(close.index)
    quarter = dates.year * 4 + dates.quarter
    starts = np.flatnonzero(np.diff(quarter, prepend=quarter[0] - 1))
    month = dates.year * 12 + dates.month
    months = np.flatnonzero(np.diff(month, prepend=month[0] - 1))
    filled = close.ffill()
    funds: dict[str, np.typing.NDArray[np.float64]] = {}
    parts: list[pd.DataFrame] = []
    for name, members in groups.items():
        level, value = 25.0, np.full(len(dates), np.nan)
        for begin, stop in zip(starts, [*starts[1:], len(dates) - 1], strict=True):
            here = filled[members].iloc[begin]
            held = here.index[here.notna()]
            if len(held) == 0:
                continue
            shares = 1.0 / len(held) / here[held]
            path = filled[held].iloc[begin : stop + 1].to_numpy() @ shares.to_numpy()
            value[begin : stop + 1] = level * path
            level = value[stop]
            days = months[(months >= begin) & (months < max(stop, begin + 1))]
            parts.extend(
                pd.DataFrame(
                    {
                        "date": dates[d],
                        "etf": name,
                        "ticker": held,
                        "shares": 1e6 * shares.to_numpy(),
                        "cash": 0.0,
                    }
                )
                for d in days
            )
        funds[name] = value
    return pd.DataFrame(funds, index=dates), pd.concat(parts, ignore_index=True)


def _groups(about: pd.DataFrame, listed: tuple[str, ...]) -> dict[str, list[str]]:
    here = about[about["ticker"].isin(listed)]
    out = {"market": sorted(here["ticker"])}
    for sector, rows in here.groupby("gics_sector"):
        if len(rows) >= MIN_NAMES:
            out[f"sector:{sector}"] = sorted(rows["ticker"])
    for name, rows in here.groupby("gics_sub_industry"):
        if len(rows) >= MIN_NAMES:
            out[str(name)] = sorted(rows["ticker"])
    return out


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        raise DataError(f"{folder} has no file {name}; give a folder with prices, sectors and statements")
    return path
