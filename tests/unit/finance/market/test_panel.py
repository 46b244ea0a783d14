from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import DataError
from shoestring.finance.market.panel import PricePanel, as_panel

DATES = pd.to_datetime(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"])


def close() -> pd.DataFrame:
    return pd.DataFrame({"A": [1.0, 2.0, 3.0, 4.0], "B": [np.nan, 5.0, 6.0, 7.0]}, index=DATES)


def test_a_panel_keeps_values_dates_and_assets() -> None:
    panel = PricePanel.from_frame(close(), volume=close() * 0)
    assert panel.assets == ("A", "B")
    assert len(panel) == 4
    assert list(panel) == ["close", "volume"]
    np.testing.assert_array_equal(panel.close, close())
    assert list(panel.dates) == list(DATES)
    assert "2020-01-02..2020-01-07, 2 assets" in repr(panel)


def test_a_panel_is_a_copy_that_nobody_can_write_to() -> None:
    frame = close()
    panel = PricePanel.from_frame(frame)
    frame.iloc[0, 0] = 99.0
    assert panel.close.iloc[0, 0] == 1.0
    changed = panel.close
    changed.iloc[0, 0] = 98.0  # a copy on write
    assert panel.close.iloc[0, 0] == 1.0
    for kept in (panel, panel.cut("2020-01-06")):
        with pytest.raises(ValueError, match="read-only"):
            kept.close.to_numpy()[0, 0] = 5.0
        field = kept.fields["close"]
        field.iloc[0, 0] = 5.0
        assert kept.close.iloc[0, 0] == 1.0
    window = panel.window("2020-01-06", 2)
    window.iloc[0, 0] = 97.0  # the caller's own
    assert panel.close.iloc[1, 0] == 2.0


def test_integers_and_nullable_numbers_are_taken() -> None:
    frame = pd.DataFrame({"A": pd.array([1, None, 3, 4], dtype="Int64"), 7: [1, 2, 3, 4]}, index=DATES)
    panel = PricePanel.from_frame(frame)
    assert panel.assets == ("A", "7")
    assert panel.close["A"].isna().tolist() == [False, True, False, False]
    assert panel.close.to_numpy().dtype == np.float64


FAULTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "text index": lambda f: f.set_axis(["a", "b", "c", "d"]),
    "duplicate": lambda f: f.set_axis(DATES[[0, 1, 1, 2]]),
    "disorder": lambda f: f.set_axis(DATES[[0, 2, 1, 3]]),
    "zone": lambda f: f.tz_localize("UTC"),
    "time": lambda f: f.set_axis(DATES + pd.Timedelta(hours=16)),
    "NaT": lambda f: f.set_axis(pd.DatetimeIndex([*DATES[:3], pd.NaT])),
    "two columns": lambda f: f.set_axis(["A", "A"], axis=1),
    "levels": lambda f: f.set_axis(pd.MultiIndex.from_tuples([("A", "x"), ("B", "x")]), axis=1),
    "zero": lambda f: f.replace(3.0, 0.0),
    "infinite": lambda f: f.replace(3.0, np.inf),
    "text": lambda f: f.astype(object).replace(3.0, "three"),
    "no rows": lambda f: f.iloc[:0],
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("text index", "give dates: frame.index = pd.to_datetime"),
        ("duplicate", "2020-01-03 00:00:00 is there twice"),
        ("disorder", "2020-01-03 comes late; use frame.sort_index"),
        ("zone", "carry the time zone UTC"),
        ("time", "times of day, e.g. 2020-01-02 16:00:00"),
        ("NaT", "NaT"),
        ("two columns", "'A' is there twice"),
        ("levels", "one frame a field: from_frame(close, volume="),
        ("zero", "'A' on 2020-01-06 is 0; prices must be positive"),
        ("infinite", "'A' on 2020-01-06 is infinite"),
        ("text", "no number"),
        ("no rows", "at least one date and one asset"),
    ],
)
def test_a_fault_is_named_with_its_place(change: str, says: str) -> None:
    with pytest.raises(DataError) as error:
        PricePanel.from_frame(FAULTS[change](close()))
    assert says in str(error.value)


def test_a_series_is_refused() -> None:
    with pytest.raises(DataError, match="Series; give a DataFrame"):
        PricePanel.from_frame(close()["A"])  # type: ignore[arg-type]  # on purpose


def test_fields_must_match_close() -> None:
    with pytest.raises(DataError, match="'volume' has other dates"):
        PricePanel.from_frame(close(), volume=close().iloc[1:])
    with pytest.raises(DataError, match="'volume' has other assets"):
        PricePanel.from_frame(close(), volume=close()[["A"]])
    with pytest.raises(DataError, match="open of 'A'"):
        PricePanel.from_frame(close(), open=-close())
    swapped = PricePanel.from_frame(close(), volume=close()[["B", "A"]])
    assert list(swapped.field("volume").columns) == ["A", "B"]
    with pytest.raises(DataError, match="no field 'high'; it has close, volume"):
        swapped.field("high")


def sizes_below(array: Any) -> list[int]:
    """Sizes of an array and of every array whose memory it shows."""
    sizes = []
    while array is not None:
        sizes.append(int(array.size))
        array = array.base
    return sizes


def test_later_rows_cannot_be_reached_through_a_cut() -> None:
    panel = PricePanel.from_frame(close(), volume=close() + 1)
    cut = panel.cut("2020-01-03")
    assert list(cut.dates) == list(DATES[:2])
    for frame in cut.fields.values():
        assert all(size <= 4 for size in sizes_below(frame.to_numpy()))
        assert all(size <= 2 for size in sizes_below(frame.index.to_numpy()))
    assert list(panel.cut("2020-01-05").dates) == list(DATES[:2])  # a Sunday
    with pytest.raises(DataError, match="no date is left"):
        panel.cut("2019-12-31")


def test_a_window_is_the_last_rows_up_to_a_date() -> None:
    panel = PricePanel.from_frame(close(), volume=close() + 1)
    window = panel.window("2020-01-06", 2)
    assert window["A"].tolist() == [2.0, 3.0]
    assert panel.window("2020-01-06", 99)["A"].tolist() == [1.0, 2.0, 3.0]
    assert panel.window("2020-01-06", 1, "volume")["A"].tolist() == [4.0]
    assert len(panel.window("2020-01-06")) == 3
    with pytest.raises(DataError, match="lookback=0"):
        panel.window("2020-01-06", 0)


def test_between_takes_both_ends() -> None:
    panel = PricePanel.from_frame(close())
    assert list(panel.between("2020-01-03", "2020-01-06").dates) == list(DATES[1:3])
    assert len(panel.between(None, None)) == 4
    with pytest.raises(DataError, match="no date is left"):
        panel.between("2020-01-07", "2020-01-02")


def test_some_assets_are_selected_in_the_order_given() -> None:
    panel = PricePanel.from_frame(close(), volume=close())
    assert panel.select(["B", "A"]).assets == ("B", "A")
    with pytest.raises(DataError, match="no asset 'C'"):
        panel.select(["C"])


def test_a_panel_stays_itself_and_a_frame_becomes_one() -> None:
    panel = PricePanel.from_frame(close())
    assert as_panel(panel) is panel
    assert as_panel(close()).assets == panel.assets
