"""What holds for every panel and schedule; the ledger of shares is the specification in plain steps."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import backtest
from shoestring.finance.market.panel import PricePanel

FEW = settings(max_examples=60, deadline=None)
Case = tuple[pd.DataFrame, pd.DataFrame, float]


@st.composite
def cases(draw: st.DrawFn, *, holes: bool = True, shorts: bool = True, swing: float = 0.03) -> Case:
    """Prices with late listings, delistings and gaps, target weights, and a cost rate."""
    days, assets = draw(st.integers(2, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prices = rng.uniform(1, 200, assets) * np.exp(np.cumsum(rng.normal(0, swing, (days, assets)), axis=0))
    if holes:
        prices[rng.random(prices.shape) < draw(st.sampled_from([0.0, 0.1, 0.5]))] = np.nan
        for i in range(assets):
            prices[: rng.choice([0, days // 3]), i] = np.nan
            prices[days - rng.choice([0, days // 3]) :, i] = np.nan
    dates = pd.bdate_range("2010-01-04", periods=days, name="date")
    frame = pd.DataFrame(prices, dates, [f"a{i}" for i in range(assets)])
    chosen = np.flatnonzero(rng.random(days) < draw(st.sampled_from([0.1, 0.5, 1.0])))
    weights = rng.dirichlet(np.ones(assets), len(chosen)) * rng.uniform(0, 1, (len(chosen), 1))
    weights[rng.random(weights.shape) < 0.3] = 0.0
    if shorts:
        weights *= rng.choice([-1, 1], weights.shape, p=[0.2, 0.8])
    return (
        frame,
        pd.DataFrame(weights, dates[chosen], frame.columns),
        draw(st.sampled_from([0.0, 10.0, 200.0])),
    )


def ledger(prices: pd.DataFrame, weights: pd.DataFrame, rate: float) -> list[float]:
    """Shares and cash, day by day, asset by asset."""
    table, targets = prices.to_numpy(), weights.to_numpy()
    days, assets = table.shape
    rows = [int(r) for r in prices.index.get_indexer(weights.index)]
    ends = [max(np.flatnonzero(~np.isnan(table[:, i])), default=-1) for i in range(assets)]
    shares, cash, last, nav = [0.0] * assets, 1.0, [0.0] * assets, []
    for t in range(days):
        for i in range(assets):
            if not np.isnan(table[t, i]):
                last[i] = float(table[t, i])
            if t > ends[i]:
                cash, shares[i] = cash + shares[i] * last[i], 0.0
        value = cash + sum(s * p for s, p in zip(shares, last, strict=True))
        if t in rows and value > 0:
            target = [float(w) for w in targets[rows.index(t)]]
            priced = [i for i in range(assets) if not np.isnan(table[t, i])]
            kept = sum(abs(shares[i] * last[i]) / value for i in range(assets) if i not in priced)
            asked = sum(abs(target[i]) for i in priced)
            room = sum(map(abs, target)) - kept
            share = min(1.0, max(0.0, room / asked)) if kept and asked else 1.0
            for i in priced:
                wanted, now = share * target[i] * value, shares[i] * last[i]
                change = wanted - now
                traded = -now if wanted == 0 else change / (1 + rate if change > 0 else 1 - rate)
                shares[i] += traded / last[i]
                cash -= traded + rate * abs(traded)
        nav.append(cash + sum(s * p for s, p in zip(shares, last, strict=True)))
        if nav[-1] <= 0:
            return [*nav[:-1], *[0.0] * (days - t)]
    return nav


@FEW
@given(cases())
def test_net_asset_value_equals_a_ledger_of_shares(case: Case) -> None:
    prices, weights, bps = case
    ours = backtest(prices, weights, costs=Costs(commission_bps=bps), allow_short=True)
    np.testing.assert_allclose(ours.nav, ledger(prices, weights, bps * 1e-4), rtol=1e-11)


@FEW
@given(cases(swing=0.4))
def test_the_end_of_a_ruined_portfolio_is_that_of_the_ledger(case: Case) -> None:
    prices, weights, bps = case
    weights = -weights.abs()
    ours = backtest(prices, weights, costs=Costs(commission_bps=bps), allow_short=True)
    expected = ledger(prices, weights, bps * 1e-4)
    np.testing.assert_allclose(ours.nav, expected, rtol=1e-9, atol=1e-12)  # what is left may be tiny
    assert (ours.ruined_on is not None) == (0.0 in expected)


@FEW
@given(cases())
def test_accounts_balance(case: Case) -> None:
    prices, weights, bps = case
    ours = backtest(prices, weights, costs=Costs(commission_bps=bps), allow_short=True)
    assert ours.nav.iloc[-1] == pytest.approx(np.prod(1 + ours.returns), rel=1e-12)
    np.testing.assert_allclose(ours.costs_paid, ours.trades.abs().sum(axis=1) * bps * 1e-4, atol=1e-15)
    assert (ours.weights[prices.isna().cummin()].fillna(0) == 0).all(axis=None)  # nothing before it is listed
    total = ours.weights.sum(axis=1) + ours.cash
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


@FEW
@given(cases(), st.floats(0.01, 100), st.integers(0, 2**16))
def test_units_and_order_of_assets_do_not_matter(case: Case, unit: float, seed: int) -> None:
    prices, weights, bps = case
    costs = Costs(commission_bps=bps)
    one = backtest(prices, weights, costs=costs, allow_short=True)
    order = np.random.default_rng(seed).permutation(prices.shape[1])
    other = backtest(prices.iloc[:, order] * unit, weights, costs=costs, allow_short=True)
    np.testing.assert_allclose(one.nav, other.nav, rtol=1e-11)


@FEW
@given(cases(holes=False), st.integers(1, 39))
def test_the_past_does_not_depend_on_later_rows(case: Case, keep: int) -> None:
    prices, weights, bps = case
    keep = min(keep, len(prices))
    early = weights[weights.index <= prices.index[keep - 1]]
    costs = Costs(commission_bps=bps)
    whole = backtest(prices, weights, costs=costs, allow_short=True)
    part = backtest(
        PricePanel.from_frame(prices).cut(prices.index[keep - 1]), early, costs=costs, allow_short=True
    )
    np.testing.assert_allclose(part.nav, whole.nav.iloc[:keep], rtol=1e-12)


@FEW
@given(cases(holes=False, shorts=False))
def test_without_costs_targets_are_reached(case: Case) -> None:
    prices, weights, _ = case
    ours = backtest(prices, weights)
    np.testing.assert_allclose(ours.weights.loc[weights.index], weights, atol=1e-13)
    assert (ours.costs_paid == 0).all()
