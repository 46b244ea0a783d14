"""Walk-forward: refits, rebalances, point in time, resume, and ETF-level features."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import DataError
from shoestring.finance.etf_nn import (
    EtfBacktest,
    ETFPortfolio,
    NetworkConfig,
    StatementNet,
    StatementRegressor,
    SyntheticMarket,
    TrainingConfig,
    backtest,
    etf_features,
)
from shoestring.finance.etf_nn._walk import etf_rank_ic, rebalance_schedule, refit_schedule
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import FeatureConfig, feature_panel
from shoestring.finance.market.statements.table import Statements

NET = StatementNet(
    ensemble=2,
    network=NetworkConfig(hidden=(8,)),
    training=TrainingConfig(epochs=3, patience=3, lr=3e-3),
)
START = "2008-08-15"


def run(market: SyntheticMarket, folder: Path | None = None, **changes: object) -> EtfBacktest:
    given = {
        "statements": market.statements,
        "prices": market.prices,
        "files": market.files,
        "start": START,
        "portfolio": ETFPortfolio(top=3),
        "folder": folder,
        **changes,
    }
    return backtest(given.pop("model", NET), **given)  # type: ignore[arg-type]  # a mapping of arguments


@pytest.fixture(scope="module")
def book(market: SyntheticMarket) -> EtfBacktest:
    return run(market)


def test_schedules_by_hand() -> None:
    dates = pd.bdate_range("2020-01-10", "2021-06-30")
    monthly = rebalance_schedule(dates, pd.Timestamp("2020-01-15"), 1)
    assert [str(d.date()) for d in monthly[:3]] == ["2020-01-15", "2020-02-03", "2020-03-02"]
    quarterly = rebalance_schedule(dates, pd.Timestamp("2020-01-15"), 3)
    assert [str(d.date()) for d in quarterly[:3]] == ["2020-01-15", "2020-04-01", "2020-07-01"]
    assert [str(d.date()) for d in refit_schedule(monthly, 12)] == ["2020-01-15", "2021-01-01"]
    with pytest.raises(DataError, match="no session from"):
        rebalance_schedule(dates, pd.Timestamp("2031-01-15"), 1)


def test_three_etfs_share_the_whole_at_each_rebalance(book: EtfBacktest) -> None:
    held = book.book.targets
    assert ((held > 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose(held.sum(axis=1), 1.0)
    assert book.refits[0] == pd.Timestamp(START)
    assert book.etf["reason"][~book.etf["eligible"]].ne("").all()
    figures = book.metrics()
    assert {"sharpe", "max_drawdown", "rank_ic", "rank_ic_t", "icir", "benchmark_sharpe"} <= set(figures)
    assert figures["rank_ic"] == pytest.approx(book.rank_ic.mean())


def test_weights_of_a_date_do_not_depend_on_what_came_later(
    market: SyntheticMarket, book: EtfBacktest
) -> None:
    date = book.book.targets.index[3]
    early = run(market, end=date)
    pd.testing.assert_frame_equal(early.book.targets, book.book.targets.loc[:date], check_exact=True)
    rows = market.statements.rows.copy()
    rows.loc[rows["filed"] > date, list(market.statements.items)] *= -2.0
    close = {n: f.copy() for n, f in market.prices.fields.items()}
    for frame in close.values():
        frame.loc[frame.index > date] *= np.linspace(0.5, 2, frame.shape[1])
    files = market.files_frame.copy()
    late = files["date"] >= date
    files.loc[late, "shares"] *= np.linspace(0.1, 5, int(late.sum()))
    other = run(
        market,
        statements=Statements.from_frame(rows),
        prices=PricePanel.from_frame(**close),
        files=type(market.files).from_frame(files),
    )
    pd.testing.assert_frame_equal(
        other.book.targets.loc[:date], book.book.targets.loc[:date], check_exact=True
    )
    assert not other.book.targets.equals(book.book.targets)  # the perturbation does reach later dates


def test_a_run_goes_on_from_kept_fits_with_the_same_bits(
    market: SyntheticMarket, book: EtfBacktest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(market, tmp_path)
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert len(kept) == len(first.refits)

    def never(*_args: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(StatementNet, "_fit_samples", never)
    again = run(market, tmp_path)
    pd.testing.assert_frame_equal(again.book.targets, book.book.targets, check_exact=True)


def test_kept_fits_of_other_data_options_or_damage_are_not_used(
    market: SyntheticMarket, book: EtfBacktest, tmp_path: Path
) -> None:
    run(market, tmp_path)
    kept = {p.name for p in tmp_path.iterdir()}
    run(market, tmp_path, model=StatementNet(**{**NET.get_params(), "seed": 5}))
    assert len({p.name for p in tmp_path.iterdir()} - kept) == len(kept)
    for path in tmp_path.iterdir():
        path.write_bytes(b"half a file")
    again = run(market, tmp_path)
    pd.testing.assert_frame_equal(again.book.targets, book.book.targets, check_exact=True)


def test_other_models_walk_the_same_way(market: SyntheticMarket) -> None:
    from sklearn.linear_model import Ridge

    result = run(market, model=StatementRegressor(Ridge(alpha=10.0)))
    assert np.isfinite(result.book.nav).all()


def test_features_of_an_etf_are_the_ranked_means_of_its_stocks(market: SyntheticMarket) -> None:
    dates = market.prices.dates[[1000, 1200]]
    panel = feature_panel(market.statements, market.prices, dates, FeatureConfig())
    baskets = market.files.baskets(market.prices, dates)
    made = etf_features(panel, baskets)
    place = [baskets.stocks.index(t) for t in panel.tickers]
    weights = baskets.at(1).toarray()[:, place]
    mean = (weights @ panel.values[1, :, 0].astype(float))[:, 0] / (weights @ panel.scored[1].astype(float))
    want = (pd.Series(mean).rank() - 1) / (np.isfinite(mean).sum() - 1) - 0.5
    np.testing.assert_allclose(made.values[1, :, 0, 0], want, atol=1e-6)
    assert made.tickers == baskets.etfs


def test_the_rank_correlation_of_a_date_equals_scipys(market: SyntheticMarket, book: EtfBacktest) -> None:
    from scipy.stats import spearmanr

    date = book.book.targets.index[0]
    table = book.etf.loc[date]
    names = table.index[table["eligible"].to_numpy(bool)]
    close = market.prices.close[list(names)]
    later = close.index[close.index >= date + pd.DateOffset(months=3)][0]
    change = np.log(close.loc[later] / close.loc[date])
    want = spearmanr(table.loc[names, "score"].astype(float), change).statistic
    assert book.rank_ic.loc[date] == pytest.approx(want)
    some = etf_rank_ic(book.etf, market.prices, 3, among=market.old)
    assert some.loc[date] != book.rank_ic.loc[date]
    assert np.isnan(book.rank_ic.iloc[-1])  # its three months are not over


def test_a_date_before_the_first_fit_is_refused(market: SyntheticMarket) -> None:
    from shoestring.finance.etf_nn import walk_forward

    dates = market.prices.dates[[900, 1000]]
    panel = feature_panel(market.statements, market.prices, dates, FeatureConfig())
    with pytest.raises(DataError, match="before the first fit"):
        walk_forward(NET, panel, market.prices, dates[1:], dates)
