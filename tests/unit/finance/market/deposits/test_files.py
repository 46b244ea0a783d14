"""Deposit files: effective the next day, on one basis, aggregated by coverage, refused with a reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.market.deposits.files import DepositFiles
from shoestring.finance.market.panel import PricePanel

NAN = float("nan")
DATES = pd.bdate_range("2020-01-01", periods=60)


def prices(**changes: Any) -> PricePanel:
    close = pd.DataFrame({"A": 10.0, "B": 20.0, "C": 40.0, "E1": 25.0, "E2": 25.0}, DATES)
    return PricePanel.from_frame(close.assign(**changes))


def files(*rows: tuple[object, ...], **options: object) -> DepositFiles:
    frame = pd.DataFrame(rows, columns=["date", "etf", "ticker", "shares", "cash"])
    return DepositFiles.from_frame(frame, **options)  # type: ignore[arg-type]  # options of the call


SIMPLE = (
    ("2020-01-10", "E1", "A", 100, 0.0),
    ("2020-01-10", "E1", "B", 50, 0.0),
    ("2020-01-10", "E1", "C", 25, 0.0),
)
SCORES = pd.Series({"A": 1.0, "B": 2.0, "C": 6.0})


def test_a_file_counts_from_the_next_day_on() -> None:
    made = files(*SIMPLE)
    same_day = made.aggregate(SCORES, prices(), "2020-01-10").loc["E1"]
    next_day = made.aggregate(SCORES, prices(), "2020-01-13").loc["E1"]
    assert not same_day["eligible"]
    assert same_day["reason"] == "no deposit file of the last 30 days"
    assert next_day["eligible"]
    assert next_day["file_date"] == pd.Timestamp("2020-01-10")
    assert len(made.cut("2020-01-10").files) == 0
    assert len(made.cut("2020-01-11").files) == 1


def test_a_newer_file_replaces_the_older_one_the_day_after_its_date() -> None:
    made = files(*SIMPLE, ("2020-01-20", "E1", "C", 10, 0.0))
    assert made.aggregate(SCORES, prices(), "2020-01-20").loc["E1", "score"] == pytest.approx(3.0)
    assert made.aggregate(SCORES, prices(), "2020-01-21").loc["E1", "score"] == pytest.approx(6.0)


def test_a_file_that_is_too_old_is_not_used() -> None:
    made = files(*SIMPLE, max_age_days=5)
    assert made.aggregate(SCORES, prices(), "2020-01-15").loc["E1", "eligible"]
    assert not made.aggregate(SCORES, prices(), "2020-01-16").loc["E1", "eligible"]


def test_score_coverage_and_names_by_hand() -> None:
    without_cash = [(*row[:4], NAN) for row in SIMPLE[:2]]
    made = files(*without_cash, ("2020-01-10", "E1", "C", 25, 1000.0))
    row = made.aggregate(pd.Series({"A": 1.0, "B": 2.0}), prices(), "2020-01-13", min_coverage=0.4).loc["E1"]
    assert row["coverage"] == pytest.approx(0.5)  # 1000 + 1000 of 1000 + 1000 + 1000 + 1000 cash
    assert row["score"] == pytest.approx(1.5)  # the rest is left out, not counted as 0
    assert row["n_names"] == 2
    assert row["neff"] == pytest.approx(2.0)
    assert row["dispersion"] == pytest.approx(0.5)


def test_a_nan_score_is_left_out_and_low_coverage_is_a_reason() -> None:
    scores = SCORES.where(SCORES.index != "C")
    row = files(*SIMPLE).aggregate(scores, prices(), "2020-01-13").loc["E1"]
    assert row["score"] == pytest.approx(1.5)
    assert not row["eligible"]
    assert row["reason"] == "coverage 0.67 is below 0.7"


def test_few_names_shrink_the_score() -> None:
    row = files(*SIMPLE).aggregate(SCORES, prices(), "2020-01-13", shrink_names=3.0).loc["E1"]
    assert row["score"] == pytest.approx(3.0 * np.sqrt(3 / 6))


def test_prices_of_the_date_weigh_the_shares_of_the_file() -> None:
    close = pd.Series(10.0, DATES)
    close[pd.Timestamp("2020-01-20") <= DATES] = 30.0
    made = files(*SIMPLE)
    row = made.aggregate(SCORES, prices(A=close), "2020-01-21").loc["E1"]
    assert row["score"] == pytest.approx((3000 * 1 + 1000 * 2 + 1000 * 6) / 5000)


def test_a_split_after_the_files_date_changes_no_weight() -> None:
    factor = pd.DataFrame(1.0, DATES, [*"ABC", "E1", "E2"])
    factor.loc[pd.Timestamp("2020-01-20") <= DATES, "A"] = 2.0
    close = prices().close
    panel = PricePanel.from_frame(close, unadjusted_close=close / factor, split_factor=factor)
    made = files(*SIMPLE)
    assert made.aggregate(SCORES, panel, "2020-01-21").loc["E1", "score"] == pytest.approx(3.0)
    wrong = PricePanel.from_frame(close, unadjusted_close=close / factor)
    assert made.aggregate(SCORES, wrong, "2020-01-21").loc["E1", "score"] != pytest.approx(3.0)


def test_raw_shares_go_with_unadjusted_prices() -> None:
    close = prices().close
    adjusted = close.assign(A=2.5)  # a later split, taken out of the past
    panel = PricePanel.from_frame(adjusted, unadjusted_close=close)
    assert files(*SIMPLE).aggregate(SCORES, panel, "2020-01-13").loc["E1", "score"] == pytest.approx(3.0)


def test_a_delisted_component_weighs_nothing_and_a_halted_one_keeps_its_price() -> None:
    gone = pd.Series(10.0, DATES)
    gone[pd.Timestamp("2020-01-14") < DATES] = NAN
    made = files(*SIMPLE)
    halted = made.aggregate(SCORES, prices(A=gone), "2020-01-15").loc["E1"]
    delisted = made.aggregate(SCORES, prices(A=gone), "2020-01-27").loc["E1"]
    assert halted["score"] == pytest.approx(3.0)
    assert delisted["score"] == pytest.approx(4.0)
    assert delisted["coverage"] == pytest.approx(1.0)


def test_a_component_without_any_price_lowers_the_coverage() -> None:
    made = files(*SIMPLE, ("2020-01-10", "E1", "FOREIGN", 7, 0.0))
    row = made.aggregate(SCORES, prices(), "2020-01-13").loc["E1"]
    assert row["coverage"] == pytest.approx(0.75)
    assert row["score"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("2020-01-10", "E1", None, NAN, 500.0)], "cash only"),
        ([("2020-01-10", "E1", "FOREIGN", 3, 0.0)], "no component has a price"),
        ([("2020-01-10", "E1", "A", 100, -2000.0)], "net value is not positive"),
        ([("2020-01-10", "E1", "A", 100, -400.0)], "holds more than its net value"),
        ([("2020-01-10", "E1", "E2", 10, 0.0)], "coverage 0.00 is below"),
    ],
)
def test_baskets_that_cannot_be_scored_say_why(rows: list[tuple[object, ...]], reason: str) -> None:
    row = files(*rows).aggregate(SCORES, prices(), "2020-01-13").loc["E1"]
    assert not row["eligible"]
    assert reason in row["reason"]


def test_leveraged_funds_are_left_out_unless_a_multiplier_is_given() -> None:
    out = files(*SIMPLE, multipliers={"E1": None}).aggregate(SCORES, prices(), "2020-01-13").loc["E1"]
    twice = files(*SIMPLE, multipliers={"E1": -2.0}).aggregate(SCORES, prices(), "2020-01-13").loc["E1"]
    assert not out["eligible"]
    assert "leveraged or inverse" in out["reason"]
    assert twice["eligible"]
    assert twice["score"] == pytest.approx(-6.0)


def test_the_matrix_of_a_date_times_the_scores_is_the_aggregate() -> None:
    made = files(*SIMPLE, ("2020-01-10", "E2", "C", 10, 600.0))
    panel = prices()
    day = pd.DatetimeIndex([DATES[9]])
    baskets = made.baskets(panel, day)
    dense = baskets.at(0).toarray()
    score = SCORES.reindex(list(panel.assets)).fillna(0.0).to_numpy()
    got = made.aggregate(SCORES, panel, day[0], min_coverage=0.1)
    np.testing.assert_allclose(dense @ score / dense.sum(axis=1), got["score"], rtol=1e-12)
    np.testing.assert_allclose(dense.sum(axis=1), [1.0, 0.4])


def test_many_dates_at_once_equal_one_after_the_other() -> None:
    made = files(*SIMPLE, ("2020-01-20", "E1", "C", 10, 0.0), ("2020-01-22", "E2", "B", 10, 0.0))
    frame = pd.DataFrame([SCORES * (i + 1) for i in range(30)], DATES[5:35])
    many = made.aggregate_many(frame, prices())
    for date in frame.index:
        one = made.aggregate(frame.loc[date], prices(), date)
        pd.testing.assert_frame_equal(many.loc[date], one)


def test_csv_and_parquet_files_of_a_folder_are_read(tmp_path: Path) -> None:
    frame = pd.DataFrame(SIMPLE, columns=["date", "etf", "ticker", "shares", "cash"])
    frame.iloc[:2].to_csv(tmp_path / "one.csv", index=False)
    frame.iloc[2:].to_parquet(tmp_path / "two.parquet")
    (tmp_path / "notes.txt").write_text("not a deposit file")
    made = DepositFiles.from_dir(tmp_path)
    pd.testing.assert_frame_equal(made.rows, DepositFiles.from_frame(frame).rows)


def test_a_folder_without_files_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no"):
        DepositFiles.from_dir(tmp_path)
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match="could not read"):
        DepositFiles.from_dir(tmp_path)


def test_the_platforms_frame_rebuilds_the_same_files() -> None:
    made = files(*SIMPLE, ("2020-01-12", "E2", None, NAN, 500.0))
    again = made.with_frame(made.frame())
    pd.testing.assert_frame_equal(made.rows, again.rows)
    pd.testing.assert_frame_equal(made.files, again.files)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("2020-01-10", "E1", "A", -1, 0.0)], "shares of A"),
        ([("2020-01-10", "E1", "A", NAN, 0.0)], "shares of A"),
        ([("2020-01-10", "E1", "A", float("inf"), 0.0)], "shares of A"),
        ([("2020-01-10", None, "A", 1, 0.0)], "name no ETF"),
        ([(None, "E1", "A", 1, 0.0)], "no date"),
        ([("2020-01-10", "E1", "A", 1, 0.0), ("2020-01-10", "E1", "A", 2, 0.0)], "twice"),
        ([("2020-01-10", "E1", "A", 1, 1.0), ("2020-01-10", "E1", "B", 2, 2.0)], "two amounts of cash"),
        ([("2020-01-10", "E1", "A", 1, float("inf"))], "cash is infinite"),
        ([("2020-01-10", "E1", "A", "few", 0.0)], "another kind"),
    ],
)
def test_bad_rows_are_refused_with_a_reason(rows: list[tuple[object, ...]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        files(*rows)


def test_missing_columns_and_bad_options_are_refused() -> None:
    frame = pd.DataFrame(SIMPLE, columns=["date", "etf", "ticker", "shares", "cash"])
    with pytest.raises(DataError, match="no column 'shares'"):
        DepositFiles.from_frame(frame.drop(columns="shares"))
    with pytest.raises(DataError, match="empty"):
        DepositFiles.from_frame(frame.iloc[:0])
    with pytest.raises(ConfigError, match="max_age_days"):
        DepositFiles.from_frame(frame, max_age_days=0)
    made = DepositFiles.from_frame(frame)
    with pytest.raises(ConfigError, match="min_coverage"):
        made.aggregate(SCORES, prices(), "2020-01-13", min_coverage=2.0)
    with pytest.raises(DataError, match="infinite"):
        made.aggregate(SCORES * np.inf, prices(), "2020-01-13")
    with pytest.raises(DataError, match="scored twice"):
        made.aggregate(pd.concat([SCORES, SCORES]), prices(), "2020-01-13")
    with pytest.raises(DataError, match="not all in the prices"):
        made.aggregate(SCORES, prices(), "2031-01-13")
