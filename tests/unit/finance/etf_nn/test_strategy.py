"""The strategy on the platform's one path: the same weights in every mode, and nothing looks ahead."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.etf_nn import EtfNnStrategy, StatementNet, SyntheticMarket
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.table import Statements
from shoestring.finance.running.run import decide, run_strategy
from shoestring.finance.strategies.interface import KnownTable

RULE = EtfNnStrategy(top=3, ensemble=2, epochs=3)


def tables(market: SyntheticMarket) -> Mapping[str, KnownTable]:
    return {"statements": market.statements, "deposit_files": market.files}


@pytest.fixture(scope="module")
def weights(market: SyntheticMarket) -> pd.DataFrame:
    known = tables(market)
    return run_strategy(RULE, market.prices, "2009-01-01", "2009-04-30", known=known)


def test_it_holds_etfs_only(market: SyntheticMarket, weights: pd.DataFrame) -> None:
    held = weights.columns[(weights > 0).any()]
    assert set(held) <= set(market.files.etfs)
    assert ((weights > 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


def test_one_live_date_gives_the_bits_of_the_backtest(market: SyntheticMarket, weights: pd.DataFrame) -> None:
    date = weights.index[-1]
    known = tables(market)
    live = decide(RULE, market.prices, date, known=known).weights
    assert live.iloc[0].equals(weights.loc[date])


def test_data_of_later_dates_change_no_weight(market: SyntheticMarket, weights: pd.DataFrame) -> None:
    date = weights.index[1]
    statements = market.statements.frame()
    statements.loc[statements["known_at"] > date, list(market.statements.items)] *= -2.0
    files = market.files.frame()
    files.loc[files["known_at"] > date, "shares"] *= 7.0
    fields = {n: f.copy() for n, f in market.prices.fields.items()}
    for frame in fields.values():
        frame.loc[frame.index > date] *= np.linspace(0.5, 2, frame.shape[1])
    known: Mapping[str, KnownTable] = {
        "statements": market.statements.with_frame(statements),
        "deposit_files": market.files.with_frame(files),
    }
    other = run_strategy(RULE, PricePanel.from_frame(**fields), "2009-01-01", date, known=known)
    pd.testing.assert_frame_equal(other, weights.loc[:date], check_exact=True)


def test_dates_before_there_is_anything_to_learn_from_are_skipped(market: SyntheticMarket) -> None:
    made = run_strategy(RULE, market.prices, None, "2007-02-28", known=tables(market))
    assert made.index[0] > market.prices.dates[0] + pd.DateOffset(months=6)
    assert made.index[-1] == pd.Timestamp("2007-02-01")


def test_its_network_is_the_one_that_its_parameters_name() -> None:
    net = RULE.model(seed=7)
    assert isinstance(net, StatementNet)
    assert (net.ensemble, net.seed, net.training.epochs, net.horizon) == (2, 7, 3, "3M")
    assert EtfNnStrategy.from_params({"top": 2, "weighting": "softmax"}).weighting == "softmax"


def test_its_own_example_needs_no_download_and_says_that_it_is_synthetic() -> None:
    sources = RULE.sources("")
    assert set(sources.known) == {"statements", "deposit_files"}
    assert "Synthetic" in sources.about[0]


def test_a_folder_of_the_users_is_read(market: SyntheticMarket, tmp_path: Path) -> None:
    (tmp_path / "prices").mkdir()
    market.prices.close.reset_index().to_parquet(tmp_path / "prices" / "close.parquet")
    market.statements.rows.to_csv(tmp_path / "statements.csv", index=False)
    (tmp_path / "deposit_files").mkdir()
    market.files_frame.to_parquet(tmp_path / "deposit_files" / "all.parquet")
    sources = RULE.sources(str(tmp_path))
    pd.testing.assert_frame_equal(sources.panel.close, market.prices.close, check_freq=False)
    statements = sources.known["statements"]
    assert isinstance(statements, Statements)
    assert statements.tickers == market.statements.tickers
    with pytest.raises(ConfigError, match="lacks prices/"):
        RULE.sources(str(tmp_path / "deposit_files"))


@pytest.mark.slow  # several runs of the strategy
def test_the_platforms_look_ahead_detector_finds_nothing(market: SyntheticMarket) -> None:
    from shoestring.finance.running.lookahead import check_lookahead

    known = tables(market)
    report = check_lookahead(RULE, market.prices, "2009-01-01", "2009-04-30", known=known)
    assert not report.leaks
