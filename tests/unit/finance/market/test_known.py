from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import DataError
from shoestring.finance.market.known import KnownTable
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.view import view_of
from shoestring.finance.strategies.interface import Sources

ROWS = [  # asset, period, known_at, eps
    ("A", "2019-12-31", "2020-02-10", 1.0),
    ("A", "2020-03-31", "2020-05-11", 2.0),
    ("A", "2019-12-31", "2020-06-01", 1.5),  # an old year is restated after a new quarter
    ("A", "2020-03-31", "2020-06-15", 2.5),  # the current quarter is restated
    ("B", "2020-03-31", "2020-04-20", 7.0),
]


def frame(rows: list[tuple[str, str, str, float]] = ROWS) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=["asset", "period", "known_at", "eps"])
    return made.assign(period=pd.to_datetime(made["period"]), known_at=pd.to_datetime(made["known_at"]))


def test_nothing_is_known_before_it_is_published() -> None:
    table = KnownTable.from_frame(frame())
    assert table.values == ("eps",)
    assert table.latest("2020-02-09").empty
    assert table.latest("2020-02-10")["eps"].to_dict() == {"A": 1.0}
    assert table.latest("2020-05-10")["eps"].to_dict() == {"A": 1.0, "B": 7.0}


def test_a_restatement_counts_from_its_own_date() -> None:
    table = KnownTable.from_frame(frame())
    old = pd.Timestamp("2019-12-31")
    assert table.history("2020-05-31").loc[("A", old), "eps"] == 1.0
    assert table.history("2020-06-01").loc[("A", old), "eps"] == 1.5
    assert table.latest("2020-06-14").loc["A", "eps"] == 2.0
    assert table.latest("2020-06-15").loc["A", "eps"] == 2.5


def test_later_reports_cannot_be_reached_through_a_cut() -> None:
    cut = KnownTable.from_frame(frame()).as_of("2020-05-31")
    assert len(cut.rows) == 3
    assert (cut.frame()["known_at"] <= pd.Timestamp("2020-05-31")).all()
    assert cut.latest("2030-01-01").loc["A", "eps"] == 2.0


def test_a_strategy_sees_what_was_known_on_its_date() -> None:
    panel = PricePanel.from_frame(
        pd.DataFrame({"A": [1.0, 2.0]}, pd.DatetimeIndex(["2020-05-08", "2020-06-01"]))
    )
    sources = Sources(panel=panel, known={"eps": KnownTable.from_frame(frame())})
    seen = [view_of(sources, day).known("eps").latest(day)["eps"]["A"] for day in panel.dates]
    assert seen == [1.0, 2.0]


def test_the_join_equals_asking_on_every_date() -> None:
    rng = np.random.default_rng(0)
    days = pd.bdate_range("2015-01-01", "2017-12-31")
    periods = pd.date_range("2014-03-31", "2017-09-30", freq="QE")
    rows = []
    for asset in "ABCDE":
        for period in periods:
            lags = np.cumsum(rng.integers(20, 200, rng.integers(1, 4)))  # some are restated, some come late
            rows += [(asset, str(period.date()), str((period + pd.Timedelta(days=int(d))).date()),
                      float(rng.normal())) for d in lags]  # fmt: skip
    shuffled = frame(rows).sample(frac=1, random_state=0)
    table = KnownTable.from_frame(shuffled)
    joined = table.join(days, "eps")
    assert joined.shape == (len(days), 5)
    for day in days[::37]:
        expected = table.latest(day)["eps"].reindex(joined.columns)
        np.testing.assert_array_equal(joined.loc[day], expected)
    assert joined.notna().to_numpy().sum() > 0


def test_the_join_forgets_values_that_are_too_old() -> None:
    table = KnownTable.from_frame(frame())
    days = pd.DatetimeIndex(["2020-03-30", "2020-03-31", "2020-05-11"])
    fresh = table.join(days, "eps", max_age_days=90)["A"]
    assert fresh.isna().tolist() == [False, True, False]  # 90 and 91 days after the end of the year
    assert table.join(pd.bdate_range("2000-01-03", periods=2), "eps").isna().all(axis=None)
    with pytest.raises(DataError, match="no value 'sales'; it has eps"):
        table.join(days, "sales")
    with pytest.raises(DataError, match="not sorted"):
        table.join(days[::-1], "eps")


def test_times_count_from_the_first_close_after_them() -> None:
    made = (
        frame()
        .iloc[:4]
        .assign(
            period=pd.to_datetime(["2019-06-30", "2019-06-30", "2019-09-30", "2019-09-30"]),
            known_at=pd.to_datetime(
                # before the close, after it, after the early close of a half day, on a Saturday
                ["2019-11-26 15:59", "2019-11-26 16:01", "2019-11-29 13:30", "2019-11-30 09:00"]
            ).tz_localize("America/New_York"),
            asset=["A", "B", "C", "D"],
        )
    )
    table = KnownTable.from_frame(made, exchange="XNYS").rows.set_index("asset")["known_at"]
    assert [str(table[a].date()) for a in "ABCD"] == ["2019-11-26", "2019-11-27", "2019-12-02", "2019-12-02"]
    with pytest.raises(DataError, match="exchange='XNYS'"):
        KnownTable.from_frame(made)


def test_a_delay_is_added() -> None:
    table = KnownTable.from_frame(frame(), delay_days=3)
    assert table.latest("2020-02-12").empty
    assert table.latest("2020-02-13")["eps"].to_dict() == {"A": 1.0}
    with pytest.raises(DataError, match="delay_days=-1"):
        KnownTable.from_frame(frame(), delay_days=-1)


def test_columns_may_have_other_names() -> None:
    other = frame().rename(columns={"asset": "ticker", "period": "period_end", "known_at": "filed"})
    table = KnownTable.from_frame(other, asset="ticker", period="period_end", known_at="filed")
    assert table.latest("2021-01-01")["eps"].to_dict() == {"A": 2.5, "B": 7.0}
    again = table.with_frame(table.frame())
    pd.testing.assert_frame_equal(again.rows, table.rows)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="period"), "['period'] are not among"),
        (lambda f: f.assign(asset=["A", None, "A", "A", "B"]), "a row has no asset"),
        (lambda f: f.assign(known_at=f["period"] - pd.Timedelta(days=1)), "before it ended"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "two reports of 2019-12-31 on 2020-02-10"),
        (
            lambda f: f.assign(known_at=f["known_at"] + pd.Timedelta(hours=9)),
            "times of day without a time zone",
        ),
        (lambda f: f.assign(eps="many"), "'eps' is not numeric"),
        (lambda f: f.assign(eps=np.inf), "'eps' is infinite"),
        (lambda f: f.assign(period="soon"), "no date"),
    ],
)
def test_a_faulty_table_is_refused(change: Callable[[pd.DataFrame], pd.DataFrame], says: str) -> None:
    with pytest.raises(DataError) as error:
        KnownTable.from_frame(change(frame()))
    assert says in str(error.value)
