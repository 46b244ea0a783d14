"""The synthetic market keeps what it promises."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.etf_nn import MarketConfig, SyntheticMarket, synthetic_market
from shoestring.finance.etf_nn._samples import forward_returns

TINY = MarketConfig(
    num_firms=48,
    num_sectors=4,
    num_quarters=16,
    num_thematic=2,
    thematic_quarters=6,
    names_per_theme=8,
    file_every=20,
    split=0.2,
    delisted=0.2,
)


def signal_ic(ic: float, seed: int) -> float:
    """Mean correlation of the planted signal with the firm's return over the quarter after."""
    made = synthetic_market(replace(TINY, ic=ic, num_firms=200, delisted=0.0), seed=seed)
    firms = tuple(made.signal.columns)
    dates = pd.DatetimeIndex(made.signal.index[:-1])
    row = made.prices.dates.get_indexer(dates)
    close = np.log(made.prices.close[list(firms)].to_numpy())
    after = close[np.minimum(row + 63, len(close) - 1)] - close[row]
    signal = made.signal.loc[dates].to_numpy()
    return float(np.mean([np.corrcoef(s, a)[0, 1] for s, a in zip(signal, after, strict=True)]))


def test_the_same_seed_gives_the_same_market() -> None:
    one, two, other = (synthetic_market(TINY, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one.prices.close, two.prices.close)
    pd.testing.assert_frame_equal(one.statements.rows, two.statements.rows)
    pd.testing.assert_frame_equal(one.files_frame, two.files_frame)
    assert not one.prices.close.equals(other.prices.close)


def test_the_signal_has_the_correlation_that_was_set_and_none_without() -> None:
    # 15 quarters of 200 firms: a standard error of 0.018; market and sector moves take some of it
    assert 0.2 < signal_ic(0.3, 0) < 0.34
    assert abs(signal_ic(0.0, 0)) < 0.06


def test_statements_are_filed_a_month_or_two_late_and_have_holes(market: SyntheticMarket) -> None:
    rows = market.statements.rows
    lag = (rows["filed"] - rows["period_end"]).dt.days
    assert (lag.min(), lag.max()) == (30, 60)
    assert rows["revenue"].isna().mean() == pytest.approx(0.15, abs=0.02)
    assert rows["shares"].notna().all()


def test_thematic_etfs_are_young_and_the_broad_ones_old(market: SyntheticMarket) -> None:
    first = market.prices.close.apply(lambda c: c.first_valid_index())
    start = market.prices.dates[-6 * 63]
    assert (first[list(market.old)] == market.prices.dates[0]).all()
    assert (first[list(market.thematic)] >= start).all()
    assert market.market_etf in market.old


def test_an_etf_earns_what_its_basket_earns(market: SyntheticMarket) -> None:
    date = market.prices.dates[1000]
    baskets = market.files.baskets(market.prices, [date])
    close = market.prices.close
    change = (close.loc[market.prices.dates[1001]] / close.loc[date] - 1).fillna(0.0).to_numpy()
    got = baskets.at(0) @ change
    invested = np.asarray(baskets.at(0).sum(axis=1)).ravel()
    for i, name in enumerate(baskets.etfs):
        if name in market.old:
            own = close[name].iloc[1001] / close[name].iloc[1000] - 1
            assert got[i] / invested[i] == pytest.approx(own, abs=2e-4)  # the files' shares wobble


def test_splits_move_raw_prices_and_shares_and_nothing_else() -> None:
    made = synthetic_market(TINY, seed=3)
    factor = made.prices.field("split_factor")
    name = factor.columns[(factor.iloc[-1] == 2).to_numpy()][0]
    day = int((factor[name] == 2).to_numpy().argmax())
    raw, close = made.prices.field("unadjusted_close")[name], made.prices.close[name]
    assert raw.iloc[day] * 2 == pytest.approx(close.iloc[day])
    assert abs(np.log(close.iloc[day] / close.iloc[day - 1])) < 0.2
    mine = made.statements.rows[made.statements.rows["ticker"] == name].set_index("period_end")["shares"]
    assert mine.iloc[-1] == pytest.approx(2 * mine.iloc[0])


def test_delisted_firms_have_no_price_statement_or_share_afterwards() -> None:
    made = synthetic_market(TINY, seed=3)
    firms = list(made.signal.columns)
    gone = made.prices.close[firms].iloc[-1].isna()
    assert gone.sum() == int(0.2 * 48)
    name = gone.index[gone.to_numpy()][0]
    last = made.prices.close[name].last_valid_index()
    assert made.statements.rows.query("ticker == @name")["period_end"].max() <= last
    assert made.files_frame.query("ticker == @name")["date"].max() <= last
    log, _ = forward_returns(made.prices, (name,), made.prices.dates[:1], 3)
    assert np.isfinite(log).all()


@pytest.mark.parametrize(
    "options",
    [
        {"ic": 1.0},
        {"missing": -0.1},
        {"num_quarters": 10},
        {"num_firms": 20},
        {"num_firms": 70, "names_per_theme": 40},
    ],
)
def test_a_market_that_cannot_be_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        MarketConfig(**options)  # type: ignore[arg-type]  # wrong on purpose
