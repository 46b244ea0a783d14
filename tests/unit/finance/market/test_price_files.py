from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import DataError, StorageError
from shoestring.finance.market.price_files import read_prices

WIDE = "date,AAPL,MSFT\n2020-01-03,2.0,20\n2020-01-02,1.0,\n"
LONG = """Date,Ticker,Open,Close,Volume
2020-01-02,AAPL,1.5,1.0,100
2020-01-03,AAPL,1.5,2.0,200
2020-01-03,MSFT,15,20,300
"""
SINGLE = (
    "Date,Open,High,Low,Close,Adj Close,Volume\n2020-01-02,10,12,8,10,5,100\n2020-01-03,10,12,8,10,10,200\n"
)
LABELLED = (
    "date,AAPL|close,AAPL|volume,MSFT|close,MSFT|volume\n2020-01-02,1,100,10,5\n2020-01-03,2,200,20,6\n"
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_wide_file_is_sorted_by_date(tmp_path: Path) -> None:
    panel = read_prices(write(tmp_path, "p.csv", WIDE))
    assert panel.assets == ("AAPL", "MSFT")
    assert panel.close["AAPL"].tolist() == [1.0, 2.0]
    assert np.isnan(panel.close["MSFT"].iloc[0])


def test_a_long_file_becomes_one_column_an_asset(tmp_path: Path) -> None:
    panel = read_prices(write(tmp_path, "p.csv", LONG))
    assert list(panel) == ["close", "open", "volume"]
    assert panel.close["AAPL"].tolist() == [1.0, 2.0]
    assert np.isnan(panel.field("volume")["MSFT"].iloc[0])
    assert panel.field("open")["MSFT"].iloc[1] == 15.0


def test_a_labelled_file_is_split_into_fields(tmp_path: Path) -> None:
    panel = read_prices(write(tmp_path, "p.csv", LABELLED))
    assert panel.assets == ("AAPL", "MSFT")
    assert panel.close["MSFT"].tolist() == [10.0, 20.0]
    assert panel.field("volume")["AAPL"].tolist() == [100.0, 200.0]


def test_a_file_of_one_asset_is_named_after_it_and_adjusted(tmp_path: Path) -> None:
    panel = read_prices(write(tmp_path, "AAPL.csv", SINGLE))
    assert panel.assets == ("AAPL",)
    assert panel.close["AAPL"].tolist() == [5.0, 10.0]
    assert panel.field("open")["AAPL"].tolist() == [5.0, 10.0]
    assert panel.field("high")["AAPL"].tolist() == [6.0, 12.0]
    assert panel.field("volume")["AAPL"].tolist() == [100.0, 200.0]


def test_a_folder_of_assets_is_aligned(tmp_path: Path) -> None:
    write(tmp_path, "AAPL.csv", SINGLE)
    write(tmp_path, "MSFT.csv", "date,close\n2020-01-03,3\n2020-01-06,4\n")
    write(tmp_path, "notes.txt", "not prices")
    panel = read_prices(tmp_path)
    assert panel.assets == ("AAPL", "MSFT")
    assert len(panel) == 3
    assert panel.close["MSFT"].tolist()[1:] == [3.0, 4.0]
    assert panel.close["AAPL"].tolist()[:2] == [5.0, 10.0]  # adjusted; MSFT's file has no adjusted close


def test_a_folder_of_fields_is_aligned(tmp_path: Path) -> None:
    close = pd.DataFrame(
        {"A": [1.0, 2.0], "B": [3.0, 4.0]}, pd.DatetimeIndex(["2020-01-02", "2020-01-03"], name="date")
    )
    close.to_parquet(tmp_path / "close.parquet")
    (close[["A"]] * 100).reset_index().to_parquet(tmp_path / "volume.parquet")
    panel = read_prices(tmp_path)
    assert list(panel) == ["close", "volume"]
    assert panel.field("volume")["A"].tolist() == [100.0, 200.0]
    assert panel.field("volume")["B"].isna().all()


def test_parquet_and_csv_give_the_same_panel(tmp_path: Path) -> None:
    frame = pd.read_csv(write(tmp_path, "p.csv", WIDE))
    frame.to_parquet(tmp_path / "p.parquet")
    frame.to_csv(tmp_path / "z.csv.gz", index=False)
    one, *others = (read_prices(tmp_path / n) for n in ("p.csv", "p.parquet", "z.csv.gz"))
    for other in others:
        pd.testing.assert_frame_equal(one.close, other.close)


def test_prices_below_zero_are_refused_or_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "p.csv", "date,OIL\n2020-04-17,18.3\n2020-04-20,-37.6\n2020-04-21,10\n")
    with pytest.raises(DataError, match=r"'OIL' on 2020-04-20 is -37\.6"):
        read_prices(path)
    assert read_prices(path, zero_is_missing=True).close["OIL"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.csv", "day,A\n2020-01-02,1\n", "no column date; it has ['day', 'A']"),
        ("p.csv", "date,A\nsoon,1\n", "no date"),
        ("p.csv", "date,A\n01/02/2020,1\n", "no date"),  # January or February?
        ("p.csv", "date,A\n2020-01-02,1\n2020-01-02,2\n", "2020-01-02 twice"),
        ("p.csv", "date,ticker,close\n2020-01-02,A,1\n2020-01-02,A,2\n", "two rows of 'A' on 2020-01-02"),
        ("p.csv", "date,A,A\n2020-01-02,1,2\n", "two columns 'A'"),
        ("p.csv", "date,ticker,close\n2020-01-02,,1\n", "a row without ticker on 2020-01-02"),
        ("p.csv", "date,ticker,volume\n2020-01-02,A,1\n", "but no close"),
        ("p.csv", "day,ticker,close\n2020-01-02,A,1\n", "no column date"),
        ("p.csv", "", "no readable table"),
        ("p.parquet", "no parquet", "no readable table"),
        ("p.txt", WIDE, "is no price file; give .csv"),
    ],
)
def test_a_faulty_file_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(DataError) as error:
        read_prices(write(tmp_path, name, text))
    assert says in str(error.value)


def test_names_of_assets_are_taken_as_they_are_written(tmp_path: Path) -> None:
    text = "date,ticker,close\n2020-01-02,NA,1\n2020-01-02,000660,2\n2020-01-02,TRUE,3\n"
    assert read_prices(write(tmp_path, "p.csv", text)).assets == ("000660", "NA", "TRUE")


def test_a_file_may_have_a_dot_in_the_name_of_its_asset(tmp_path: Path) -> None:
    for name in ("BRK.A.csv", "BRK.B.csv"):
        write(tmp_path, name, "date,close\n2020-01-02,1\n")
    assert read_prices(tmp_path).assets == ("BRK.A", "BRK.B")


def test_two_files_of_one_asset_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "A.csv", "date,close\n2020-01-02,1\n")
    pd.DataFrame({"date": ["2020-01-02"], "close": [1.0]}).to_parquet(tmp_path / "A.parquet")
    with pytest.raises(DataError, match="two files of 'A'"):
        read_prices(tmp_path)


def test_dates_with_a_time_zone_are_refused(tmp_path: Path) -> None:
    zoned = pd.DataFrame(
        {"A": [1.0]}, index=pd.DatetimeIndex(["2020-01-02"], tz="America/New_York", name="date")
    )
    zoned.to_parquet(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="the dates carry the time zone America/New_York"):
        read_prices(tmp_path / "p.parquet")


def test_a_faulty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.csv"):
        read_prices(tmp_path)
    write(tmp_path, "one.csv", WIDE)
    write(tmp_path, "two.csv", WIDE)
    with pytest.raises(DataError, match="has the column 'AAPL'; such a folder"):
        read_prices(tmp_path)
    with pytest.raises(StorageError, match="could not read"):
        read_prices(tmp_path / "absent.csv")
