"""Statements: what was known when, restatements, and refusal of what cannot be placed in time."""

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import DataError
from shoestring.finance.market.statements.table import Statements, as_of_index


def quarters(ticker: str = "A", num: int = 6, lag: int = 40, **items: list[float]) -> pd.DataFrame:
    ends = pd.date_range("2020-03-31", periods=num, freq="QE")
    frame = pd.DataFrame({"ticker": ticker, "period_end": ends, "filed": ends + pd.Timedelta(days=lag)})
    values = items or {"revenue": [float(i) for i in range(num)]}
    return frame.assign(**values)


def test_a_statement_counts_from_its_filing_date_and_never_from_its_periods_end() -> None:
    statements = Statements.from_frame(quarters())
    snaps = statements.snapshots(1)
    dates = pd.DatetimeIndex(["2020-03-31", "2020-05-09", "2020-05-10", "2020-08-09"])
    event = as_of_index(snaps, dates, 1)[:, 0]
    assert event[0] == event[1] == -1  # the period is over, nothing is filed
    assert snaps.values[event[2], 0, 0] == 0.0  # filed that day, 40 days after the end of March
    assert snaps.values[event[3], 0, 0] == 1.0


def test_lags_are_the_periods_before_even_where_one_is_missing() -> None:
    frame = quarters().drop(index=2)
    snaps = Statements.from_frame(frame).snapshots(3)
    assert snaps.values[2, :, 0].tolist()[0] == 3.0
    assert np.isnan(snaps.values[2, 1, 0])  # the third quarter was never filed
    assert snaps.values[2, 2, 0] == 1.0


def test_a_restatement_counts_from_its_own_filing_and_leaves_the_past_as_it_was() -> None:
    frame = quarters()
    again = frame.iloc[[0]].assign(filed=pd.Timestamp("2021-01-15"), revenue=100.0)
    snaps = Statements.from_frame(pd.concat([frame, again])).snapshots(4)
    before = snaps.values[snaps.filed == np.datetime64("2020-11-09")][0, :, 0]
    after = snaps.values[snaps.filed == np.datetime64("2021-01-15")][0, :, 0]
    assert before.tolist()[:3] == [2.0, 1.0, 0.0]
    assert after.tolist()[:3] == [2.0, 1.0, 100.0]  # the old quarter changed, the latest one stays the latest


def test_an_item_that_a_later_filing_does_not_repeat_stays() -> None:
    frame = quarters(num=1, revenue=[5.0], net_income=[1.0])
    again = frame.assign(filed=pd.Timestamp("2020-12-01"), revenue=6.0, net_income=np.nan)
    statements = Statements.from_frame(pd.concat([frame, again]))
    assert statements.rows.iloc[-1][["revenue", "net_income"]].tolist() == [6.0, 1.0]


def test_long_and_wide_form_give_the_same() -> None:
    wide = quarters(num=3, revenue=[1.0, 2.0, 3.0], equity=[7.0, 8.0, 9.0]).assign(sector="energy")
    long = wide.melt(["ticker", "period_end", "filed", "sector"], var_name="item", value_name="value")
    one, two = Statements.from_frame(wide), Statements.from_frame(long)
    columns = sorted(one.rows.columns)
    pd.testing.assert_frame_equal(one.rows[columns], two.rows[columns])


def test_without_filing_dates_the_period_end_plus_the_given_days_counts() -> None:
    frame = quarters(num=2).drop(columns="filed")
    statements = Statements.from_frame(frame, filing_lag_days=60)
    assert statements.rows["filed"].tolist() == list(frame["period_end"] + pd.Timedelta(days=60))
    assert statements.filing_dates_assumed == 2


def test_fiscal_quarters_that_end_a_few_days_off_are_neighbours() -> None:
    ends = pd.to_datetime(["2016-12-31", "2017-04-01", "2017-07-01", "2017-09-30"])
    frame = pd.DataFrame({"ticker": "A", "period_end": ends, "revenue": [1.0, 2.0, 3.0, 4.0]})
    snaps = Statements.from_frame(frame).snapshots(4)
    assert snaps.values[-1, :, 0].tolist() == [4.0, 3.0, 2.0, 1.0]


def test_annual_statements_step_a_year_back() -> None:
    ends = pd.to_datetime(["2018-12-31", "2019-12-31", "2020-12-31"])
    frame = pd.DataFrame({"ticker": "A", "period_end": ends, "revenue": [1.0, 2.0, 3.0]})
    snaps = Statements.from_frame(frame, periods_per_year=1).snapshots(3)
    assert snaps.values[-1, :, 0].tolist() == [3.0, 2.0, 1.0]


def test_old_statements_are_none_when_they_are_too_old() -> None:
    snaps = Statements.from_frame(quarters(num=1)).snapshots(1)
    dates = pd.DatetimeIndex(["2020-06-01", "2021-06-01"])
    assert as_of_index(snaps, dates, 1, max_age_days=200)[:, 0].tolist() == [0, -1]


def test_cutting_leaves_nothing_of_later_filings() -> None:
    statements = Statements.from_frame(quarters()).cut("2020-09-30")
    assert statements.rows["filed"].max() <= pd.Timestamp("2020-09-30")
    assert statements.as_of("2020-06-01").rows["filed"].max() <= pd.Timestamp("2020-06-01")


def test_the_platforms_frame_rebuilds_the_same_statements() -> None:
    statements = Statements.from_frame(quarters().assign(sector="x"))
    again = statements.with_frame(statements.frame())
    pd.testing.assert_frame_equal(statements.rows, again.rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="ticker"), "no column 'ticker'"),
        (lambda f: f.drop(columns="period_end"), "no column 'period_end'"),
        (lambda f: f.iloc[:0], "not one statement"),
        (lambda f: f.drop(columns="revenue"), "no item"),
        (lambda f: f.assign(ticker=None), "have no ticker"),
        (lambda f: f.assign(period_end=pd.NaT), "no period_end"),
        (lambda f: f.assign(filed=pd.Timestamp("2019-01-01")), "before its period's end"),
        (lambda f: f.assign(filed="soon"), "no dates"),
        (lambda f: f.assign(filed=f["filed"].dt.tz_localize("UTC")), "time zone"),
        (lambda f: pd.concat([f, f]), "twice"),
        (lambda f: f.assign(revenue=np.inf), "infinite"),
        (lambda f: f.assign(revenue="much"), "not numeric"),
    ],
)
def test_bad_statements_are_refused_with_a_reason(change: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Statements.from_frame(change(quarters()))  # type: ignore[operator]  # one of the lambdas above


def test_the_same_long_item_twice_is_refused() -> None:
    long = quarters(num=1).melt(["ticker", "period_end", "filed"], var_name="item", value_name="value")
    with pytest.raises(DataError, match="twice"):
        Statements.from_frame(pd.concat([long, long]))


def test_only_quarters_and_years_are_periods() -> None:
    with pytest.raises(DataError, match="periods_per_year=2"):
        Statements.from_frame(quarters(), periods_per_year=2)
    with pytest.raises(DataError, match="filing_lag_days=-1"):
        Statements.from_frame(quarters(), filing_lag_days=-1)
