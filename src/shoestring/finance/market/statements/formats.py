"""Three public layouts of statements as `Statements`. The files are the user's own; none of them ships.

Each says what its data cannot do: filing dates that are assumed, columns that hold the future.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from shoestring.core.errors import DataError
from shoestring.finance.market.statements.table import Statements

__all__ = ["FUTURE_COLUMNS", "from_annual_10k", "from_sector_workbook", "from_yahoo_key_statistics"]

FUTURE_COLUMNS = ("y_return", "stock_p_change", "SP500_p_change")
"""Columns of these layouts that hold returns after the row's date: labels, which are always dropped."""

_WORKBOOK = (
    "revenue_growth",
    "eps",
    "roa",
    "roe",
    "pe",
    "ps",
    "net_margin",
    "gross_margin",
    "operating_margin",
    "pb",
    "pcfo",
    "current_ratio",
    "enterprise_multiple",
    "ev_to_cash_flow",
    "long_term_debt_to_assets",
    "working_capital",
    "debt_to_equity",
    "quick_ratio",
    "inventory_days",
    "payable_days",
)
_INVERTED = {
    "pe": "earnings_yield",
    "ps": "sales_yield",
    "pb": "book_yield",
    "pcfo": "cash_flow_yield",
    "enterprise_multiple": "ebitda_to_enterprise_value",
    "ev_to_cash_flow": "cash_flow_to_enterprise_value",
}
_YAHOO = {
    "Trailing P/E": "pe",
    "Price/Sales": "ps",
    "Price/Book": "pb",
    "Enterprise Value/EBITDA": "enterprise_multiple",
    "Profit Margin": "net_margin",
    "Operating Margin": "operating_margin",
    "Return on Assets": "roa",
    "Return on Equity": "roe",
    "Qtrly Revenue Growth": "revenue_growth",
    "Qtrly Earnings Growth": "earnings_growth",
    "Total Debt/Equity": "debt_to_equity",
    "Current Ratio": "current_ratio",
}
_ANNUAL = {
    "Total Revenue": "revenue",
    "Cost of Revenue": "cost_of_revenue",
    "Gross Profit": "gross_profit",
    "Operating Income": "operating_income",
    "Net Income": "net_income",
    "Net Cash Flow-Operating": "operating_cash_flow",
    "Total Assets": "total_assets",
    "Total Equity": "equity",
    "Total Current Assets": "current_assets",
    "Total Current Liabilities": "current_liabilities",
    "Inventory": "inventory",
    "Accounts Payable": "payables",
}
_ZERO_IS_MISSING = ("current_assets", "current_liabilities", "inventory", "payables", "cost_of_revenue")


def from_sector_workbook(frame: pd.DataFrame, *, identifier: str = "tic") -> Statements:
    """Read the layout of the sector workbooks of "Dynamic Stock Recommendation" (AI4Finance, 2018).

    Parameters
    ----------
    frame : DataFrame
        Columns ``gvkey``, ``tic``, ``datadate``, ``rdq`` (report date), ``gsector``, ``X1`` .. ``X20``, all
        sectors below one another. ``y_return`` is a future return and dropped.
    identifier : str
        ``tic``, or ``gvkey`` where tickers were used again; prices must have the same names.

    Notes
    -----
    Price ratios become yields. Rows without ``rdq`` count as known 90 days after ``datadate``. The data come
    from Compustat and carry no licence: they must not be passed on.
    """
    _need(frame, (identifier, "datadate", "rdq", "gsector", *(f"X{i}" for i in range(1, 21))))
    ratios = frame[[f"X{i}" for i in range(1, 21)]].set_axis(list(_WORKBOOK), axis=1)
    rows = _yields(ratios).assign(
        ticker=frame[identifier].astype(str),
        period_end=_days(frame["datadate"]),
        filed=_days(frame["rdq"]),
        sector=frame["gsector"].astype(str),
    )
    return Statements.from_frame(rows.drop_duplicates(["ticker", "period_end", "filed"], keep="last"))


def from_yahoo_key_statistics(frame: pd.DataFrame, sectors: Mapping[str, str] | None = None) -> Statements:
    """Read snapshots of Yahoo's key statistics, as in the public set of 2003 to 2013.

    Parameters
    ----------
    frame : DataFrame
        Columns ``Date``, ``Ticker``, ``Market Cap``, ``Operating Cash Flow`` and the ratios of the page;
        "N/A" is missing. ``stock_p_change`` and ``SP500_p_change`` are future returns and dropped.
    sectors : mapping of str to str or None
        Sector of each ticker.

    Notes
    -----
    A snapshot counts from the day after its date. Its figures are a mixture of quarters, as the page showed
    them; prices inside the ratios are those of the snapshot.
    """
    _need(frame, ("Date", "Ticker", "Market Cap", "Operating Cash Flow", *_YAHOO))
    ratios = frame[list(_YAHOO)].rename(columns=_YAHOO).apply(pd.to_numeric, errors="coerce")
    cap = pd.to_numeric(frame["Market Cap"], errors="coerce")
    cash = pd.to_numeric(frame["Operating Cash Flow"], errors="coerce")
    day = _days(frame["Date"])
    ticker = frame["Ticker"].astype(str).str.upper()
    rows = _yields(ratios).assign(
        cash_flow_yield=cash / cap.where(cap > 0),
        ticker=ticker,
        period_end=day,
        filed=day + pd.Timedelta(days=1),
        sector=ticker.map(dict(sectors or {})),
    )
    return Statements.from_frame(rows.drop_duplicates(["ticker", "filed"], keep="last"))


def from_annual_10k(
    frame: pd.DataFrame, sectors: Mapping[str, str] | None = None, *, filing_lag_days: int = 90
) -> Statements:
    """Read annual statements in the layout of the public set "New York Stock Exchange" (2012 to 2016).

    Parameters
    ----------
    frame : DataFrame
        Columns ``Ticker Symbol``, ``Period Ending`` and the items.
    sectors : mapping of str to str or None
        Sector of each ticker.
    filing_lag_days : int
        The set has no filing date: a statement counts as known so many days after its period's end.

    Notes
    -----
    No yields: the set's ``Price`` is adjusted for splits that came later, its shares are not, so their
    product would tell which firms were going to split. Zero current items and costs count as missing, as
    banks have none.
    """
    _need(frame, ("Ticker Symbol", "Period Ending", *_ANNUAL))
    items = frame[list(_ANNUAL)].rename(columns=_ANNUAL).apply(pd.to_numeric, errors="coerce")
    empty = items[list(_ZERO_IS_MISSING)]
    items[list(_ZERO_IS_MISSING)] = empty.where(empty != 0)
    debt = [c for c in frame.columns if c.startswith(("Long-Term Debt", "Short-Term Debt"))]
    ticker = frame["Ticker Symbol"].astype(str)
    rows = items.assign(
        total_debt=frame[debt].sum(axis=1),
        ticker=ticker,
        period_end=_days(frame["Period Ending"], "mixed"),
        sector=ticker.map(dict(sectors or {})),
    )
    rows = rows.drop_duplicates(["ticker", "period_end"], keep="last")
    return Statements.from_frame(rows, filing_lag_days=filing_lag_days, periods_per_year=1)


def _need(frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise DataError(
            f"this layout has the column {missing[0]!r}, which the frame does not; rename it, or use "
            "Statements.from_frame for a layout of your own"
        )


def _days(column: "pd.Series[str]", layout: str = "ISO8601") -> "pd.Series[pd.Timestamp]":
    try:
        return pd.to_datetime(column, format=layout).dt.normalize().astype("datetime64[ns]")
    except (ValueError, TypeError) as e:
        raise DataError(
            f"{column.name} holds values that are no dates ({e}); write them as YYYY-MM-DD"
        ) from e


def _yields(ratios: pd.DataFrame) -> pd.DataFrame:
    """Turn price ratios into yields, which keep their order through zero."""
    out = ratios.astype(float).replace([np.inf, -np.inf], np.nan)
    for ratio, name in _INVERTED.items():
        if ratio in out.columns:
            out[name] = 1.0 / out[ratio].where(out[ratio] != 0)
    return out.drop(columns=[r for r in _INVERTED if r in out.columns])
