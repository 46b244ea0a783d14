import importlib.machinery
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, MissingExtraError, StorageError
from shoestring.finance.market.sources import load_market, load_us_market, market_names, us_market_names


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("skfolio/sp500", (8313, 20), "real"),
        ("skfolio/sp500_index", (8313, 1), "real"),
        ("skfolio/factors", (2264, 5), "real"),
        ("synthetic/weak_signals", (2500, 300), "synthetic"),
        ("synthetic/gbm", (2520, 50), "synthetic"),
    ],
)
def test_markets_that_ship_say_what_they_are(name: str, shape: tuple[int, int], kind: str) -> None:
    assert name in market_names()
    market = load_market(name)
    assert (len(market.panel), len(market.panel.assets)) == shape
    assert (market.name, market.about.kind) == (name, kind)
    lines = market.about.lines()
    assert len(lines) >= 3
    assert lines[0].startswith(kind.capitalize())
    if name == "skfolio/sp500":
        assert any("biased upwards" in line for line in lines)


def test_a_synthetic_market_depends_on_its_seed() -> None:
    one, two = (load_market("synthetic/gbm", seed=s) for s in (1, 2))
    assert not one.panel.close.equals(two.panel.close)
    assert "seed 1" in one.about.origin


def test_a_market_is_a_data_source() -> None:
    market = load_market("skfolio/factors")
    part = market.load(["USMV", "SIZE"], "2015-01-01", "2015-12-31")
    assert part.assets == ("USMV", "SIZE")
    assert str(part.dates[0].date()) == "2015-01-02"
    assert str(part.dates[-1].date()) == "2015-12-31"
    assert len(market.load()) == 2264


def test_a_path_is_a_market_of_unknown_origin(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("date,A\n2020-01-02,1\n2020-01-03,2\n")
    market = load_market(path)
    assert market.about.kind == "unknown"
    assert market.about.lines()[0] == "Prices of the user: mine.csv."
    with pytest.raises(ConfigError, match=r"'nothing' is not known.*skfolio/sp500"):
        load_market("nothing")


def test_sets_without_dates_get_weekdays_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout of universal-portfolios: a package with a folder data of CSV files without dates."""
    package = tmp_path / "universal"
    (package / "data").mkdir(parents=True)
    (package / "data" / "djia.csv").write_text("A,[,\n1.0,1.1,\n1.01,1.2,\n")
    spec = importlib.machinery.ModuleSpec("universal", None, origin=str(package / "__init__.py"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "universal" else find(name))
    market = load_market("olps/djia")
    assert market.panel.assets == ("S00", "S01")
    assert market.panel.close["S01"].tolist() == [1.1, 1.2]
    assert str(market.panel.dates[1].date()) == "1990-01-02"
    assert "The dates are made up" in market.about.lines()[-1]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install universal-portfolios"):
        load_market("olps/djia")


def test_a_folder_of_us_data_is_read_by_its_layout(tmp_path: Path) -> None:
    dates = pd.to_datetime(["2020-01-02", "2020-01-03"])
    flat = pd.DataFrame({"date": dates, "MMM": [1.0, 2.0], "ABT": [np.nan, 3.0]})
    flat.to_parquet(tmp_path / "us_stocks_adjclose.parquet")
    columns = {
        f"MMM|{f}": [float(i + 1), float(i + 2)] for i, f in enumerate(("close", "adjclose", "volume"))
    }
    pd.DataFrame({"date": dates, **columns}).to_parquet(tmp_path / "us_stocks150_ohlcv.parquet")
    spy = pd.DataFrame({"date": dates, "open": [1.0, 2.0], "close": [3.0, 4.0], "capital_gains": [0.0, 0.0]})
    spy.to_parquet(tmp_path / "spy_1993_2025.parquet")
    funds = pd.DataFrame({"date": dates, "SPY": [5.0, 6.0], "CLF": [20.0, -30.0], "VIX": [10.0, 11.0]})
    funds.to_parquet(tmp_path / "etf_index_adjclose.parquet")
    np.savez(tmp_path / "olps_cumulative_prices.npz", djia=np.array([[1.0, 1.1], [1.2, 1.3]], np.float32))

    assert load_us_market(tmp_path, "us_stocks").panel.assets == ("MMM", "ABT")
    ohlcv = load_us_market(tmp_path, "us_stocks150").panel
    assert ohlcv.close["MMM"].tolist() == [2.0, 3.0]
    assert ohlcv.field("volume")["MMM"].tolist() == [3.0, 4.0]
    assert load_us_market(tmp_path, "spy").panel.close["SPY"].tolist() == [3.0, 4.0]
    assert load_us_market(tmp_path, "etfs").panel.assets == ("SPY",)
    mixed = load_us_market(tmp_path, "etfs_all").panel
    assert mixed.close["CLF"].isna().tolist() == [False, True]
    old = load_us_market(tmp_path, "olps/djia")
    assert old.about.dates == "synthetic"
    np.testing.assert_allclose(old.panel.close, [[1.0, 1.1], [1.2, 1.3]], rtol=1e-6)

    assert "us_stocks" in us_market_names()
    with pytest.raises(ConfigError, match="'bonds' is not known"):
        load_us_market(tmp_path, "bonds")
    with pytest.raises(StorageError, match="does not hold the set 'tse'"):
        load_us_market(tmp_path, "olps/tse")
    with pytest.raises(StorageError, match=r"no file us_stocks_adjclose\.parquet"):
        load_us_market(tmp_path / "elsewhere", "us_stocks")
