"""Public layouts of statements: names, dates, labels that hold the future."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import DataError
from shoestring.finance.market.statements.formats import (
    FUTURE_COLUMNS,
    from_annual_10k,
    from_sector_workbook,
    from_yahoo_key_statistics,
)


def workbook() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "gvkey": [1001, 1001, 2002],
            "tic": ["A", "A", "B"],
            "datadate": ["2000-03-31", "2000-06-30", "2000-03-31"],
            "rdq": ["2000-04-20", None, "2000-05-02"],
            "tradedate": ["2000-06-01", "2000-09-01", "2000-06-01"],
            "gsector": [10, 10, 45],
            "y_return": [0.1, 0.2, 0.3],
        }
    )
    for i in range(1, 21):
        frame[f"X{i}"] = np.array([1.0, 2.0, 4.0]) * i
    return frame


def test_a_sector_workbook_gives_filing_dates_sectors_and_yields() -> None:
    statements = from_sector_workbook(workbook())
    first = statements.rows.iloc[0]
    assert (first["ticker"], str(first["filed"].date()), first["sector"]) == ("A", "2000-04-20", "10")
    assert first["earnings_yield"] == pytest.approx(1 / 5)  # X5 is the price-earnings ratio
    assert first["revenue_growth"] == 1.0
    assert statements.filing_dates_assumed == 1
    assert "pe" not in statements.items
    by_id = from_sector_workbook(workbook(), identifier="gvkey")
    assert by_id.tickers == ("1001", "2002")


def yahoo() -> pd.DataFrame:
    columns = [
        "Trailing P/E",
        "Price/Sales",
        "Price/Book",
        "Enterprise Value/EBITDA",
        "Profit Margin",
        "Operating Margin",
        "Return on Assets",
        "Return on Equity",
        "Qtrly Revenue Growth",
        "Qtrly Earnings Growth",
        "Total Debt/Equity",
        "Current Ratio",
    ]
    frame = pd.DataFrame({c: ["2.0", "N/A", "0.0"] for c in columns})
    more: dict[str, Any] = {
        "Date": ["2010-01-05 06:00:00", "2010-04-05", "2010-01-05"],
        "Ticker": ["aa", "aa", "bb"],
        "Market Cap": [100.0, 100.0, "N/A"],
        "Operating Cash Flow": [10.0, 20.0, 5.0],
        "stock_p_change": 50.0,
        "SP500_p_change": 5.0,
    }
    return frame.assign(**more)


def test_key_statistics_count_from_the_next_day_and_yields_stay_defined() -> None:
    statements = from_yahoo_key_statistics(yahoo(), {"AA": "Energy"})
    rows = statements.rows.sort_values(["ticker", "period_end"])
    first, second, other = (rows.iloc[i] for i in range(3))
    assert first["filed"] == pd.Timestamp("2010-01-06")
    assert first["sector"] == "Energy"
    assert first["earnings_yield"] == 0.5
    assert first["cash_flow_yield"] == 0.1
    assert pd.isna(second["roa"])
    assert pd.isna(other["earnings_yield"])  # a ratio of 0 is no infinite yield
    assert pd.isna(other["cash_flow_yield"])
    assert other["sector"] == ""


def annual() -> pd.DataFrame:
    names = [
        "Total Revenue",
        "Cost of Revenue",
        "Gross Profit",
        "Operating Income",
        "Net Income",
        "Net Cash Flow-Operating",
        "Total Assets",
        "Total Equity",
        "Total Current Assets",
        "Total Current Liabilities",
        "Inventory",
        "Accounts Payable",
    ]
    frame = pd.DataFrame({n: [10.0, 20.0] for n in names})
    more: dict[str, Any] = {
        "Ticker Symbol": ["A", "A"],
        "Period Ending": ["12/31/2012", "12/31/2013"],
        "Inventory": [0.0, 3.0],
        "Long-Term Debt": [1.0, 2.0],
        "Short-Term Debt / Current Portion of Long-Term Debt": [0.5, 0.5],
        "Price": 7.0,
        "Estimated Shares Outstanding": 100.0,
    }
    return frame.assign(**more)


def test_annual_statements_are_lagged_and_have_no_yields() -> None:
    statements = from_annual_10k(annual(), {"A": "Energy"}, filing_lag_days=120)
    assert statements.periods_per_year == 1
    assert statements.filing_dates_assumed == 2
    first = statements.rows.iloc[0]
    assert first["filed"] == pd.Timestamp("2012-12-31") + pd.Timedelta(days=120)
    assert pd.isna(first["inventory"])
    assert first["total_debt"] == 1.5
    assert "shares" not in statements.items  # the set's price and shares are on different bases


@pytest.mark.parametrize("make", [from_sector_workbook, from_yahoo_key_statistics, from_annual_10k])
def test_no_layout_lets_a_future_return_in(make: object) -> None:
    frame = {
        from_sector_workbook: workbook,
        from_yahoo_key_statistics: yahoo,
        from_annual_10k: annual,
    }[make]()  # type: ignore[index]  # one of the three above
    frame = frame.assign(**dict.fromkeys(FUTURE_COLUMNS, 1.0))
    items = make(frame).items  # type: ignore[operator]  # one of the three above
    assert not set(items) & set(FUTURE_COLUMNS)


def test_another_layout_is_refused_by_the_column_that_is_missing() -> None:
    with pytest.raises(DataError, match="'X20'"):
        from_sector_workbook(workbook().drop(columns="X20"))
    with pytest.raises(DataError, match="'Market Cap'"):
        from_yahoo_key_statistics(yahoo().drop(columns="Market Cap"))
    with pytest.raises(DataError, match="no dates"):
        from_annual_10k(annual().assign(**{"Period Ending": "last year"}))
    with pytest.raises(DataError, match="'Net Income'"):
        from_annual_10k(annual().drop(columns="Net Income"))
