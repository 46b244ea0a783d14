"""Net asset values against bt, another backtester, on the same weights with the same costs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bt
import numpy as np
import pandas as pd
import pytest

from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import backtest
from shoestring.finance.market.panel import PricePanel

CAPITAL = 1e6
Frame = pd.DataFrame


def walk(days: int, assets: int, seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0003, 0.015, (days, assets))
    dates = pd.bdate_range("2001-01-01", periods=days, name="date")
    names = [f"a{i}" for i in range(assets)]
    return pd.DataFrame(rng.uniform(5, 300, assets) * np.exp(np.cumsum(steps, axis=0)), dates, names)


def bt_nav(prices: Frame, algos: list[Any], rate: float, half_spread: float = 0.0) -> "pd.Series[float]":
    """Net asset value of bt; commissions in proportion to value, half a spread as bt books spreads."""
    spread = {"bidoffer": 2 * half_spread * prices.fillna(0.0)} if half_spread else None
    run = bt.Backtest(
        bt.Strategy("s", algos),
        prices,
        initial_capital=CAPITAL,
        commissions=lambda q, p: abs(q) * p * rate,
        integer_positions=False,
        progress_bar=False,
        additional_data=spread,
    )
    run.run()
    nav: pd.Series[float] = run.strategy.values / CAPITAL
    return nav.iloc[1:]  # bt puts a date with the capital alone before the first


def every(step: int) -> Callable[[Frame, np.random.Generator], Frame]:
    def weights(prices: Frame, rng: np.random.Generator) -> Frame:
        dates = prices.index[::step]
        return pd.DataFrame(rng.dirichlet(np.ones(prices.shape[1]), len(dates)), dates, prices.columns)

    return weights


def buy_and_hold(prices: Frame, rng: np.random.Generator) -> Frame:
    return every(1)(prices, rng).iloc[[7]]


def concentrated(prices: Frame, rng: np.random.Generator) -> Frame:
    """Two assets at a time: most positions are closed or opened whole."""
    made = every(21)(prices, rng)
    return (made.rank(axis=1, ascending=False) <= 2).astype(float) / 2


def half_cash(prices: Frame, rng: np.random.Generator) -> Frame:
    made = every(5)(prices, rng)
    return made.mul(rng.uniform(0.1, 0.9, len(made)), axis=0)


def long_short(prices: Frame, rng: np.random.Generator) -> Frame:
    made = every(10)(prices, rng)
    made = made.sub(made.mean(axis=1), axis=0)
    return made.div(made.abs().sum(axis=1), axis=0)


def levered(prices: Frame, rng: np.random.Generator) -> Frame:
    return 1.6 * every(21)(prices, rng)


SCHEDULES = {
    "daily": every(1),
    "weekly": every(5),
    "monthly": every(21),
    "buy and hold": buy_and_hold,
    "concentrated": concentrated,
    "half in cash": half_cash,
    "long-short": long_short,
    "levered": levered,
}


@pytest.mark.parametrize("bps", [0.0, 5.0, 60.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_net_asset_value_equals_that_of_bt(schedule: str, bps: float) -> None:
    prices = walk(260, 6, seed=1)
    weights = SCHEDULES[schedule](prices, np.random.default_rng(2))
    algos = [bt.algos.WeighTarget(weights), bt.algos.Rebalance()]
    theirs = bt_nav(prices, algos, bps * 1e-4)
    ours = backtest(prices, weights, costs=Costs(commission_bps=bps), allow_short=True, max_gross=2.0).nav
    assert np.abs(ours / theirs - 1).max() < 1e-8
    assert theirs.iloc[-1] != theirs.iloc[0]


def test_slippage_equals_half_a_spread_of_bt() -> None:
    prices = walk(260, 6, seed=3)
    weights = every(5)(prices, np.random.default_rng(4))
    algos = [bt.algos.WeighTarget(weights), bt.algos.Rebalance()]
    theirs = bt_nav(prices, algos, 7e-4, half_spread=12e-4)
    ours = backtest(prices, weights, costs=Costs(commission_bps=7, slippage_bps=12)).nav
    assert np.abs(ours / theirs - 1).max() < 1e-8


class TradeWhatHasAPrice(bt.Algo):  # type: ignore[misc]  # bt has no types
    """The rules of `backtest` for holes, in bt's words: keep what has no price, drop what is delisted."""

    def __init__(self, weights: Frame, holes: Frame, fee: "Fee") -> None:
        super().__init__()
        self.weights, self.holes, self.fee = weights, holes, fee
        self.last = holes.apply(lambda column: column.last_valid_index())

    def __call__(self, target: Any) -> bool:
        now = target.now
        for name, child in target.children.items():
            if now > self.last[name] and child.position:
                self.fee.free = True
                target.close(name)
                target.update(now)
                self.fee.free = False
        if now not in self.weights.index:
            return False
        wanted = self.weights.loc[now]
        priced = [n for n in wanted.index if self.holes[n].notna()[now]]
        stuck = {n: c.weight for n, c in target.children.items() if n not in priced and c.position}
        kept, asked = sum(map(abs, stuck.values())), wanted[priced].abs().sum()
        share = 1.0 if not stuck or not asked else min(1.0, max(0.0, (wanted.abs().sum() - kept) / asked))
        target.temp["weights"] = {**{n: wanted[n] * share for n in priced}, **stuck}
        return True


@dataclass
class Fee:
    rate: float
    free: bool = False

    def __call__(self, q: float, p: float) -> float:
        return 0.0 if self.free else abs(q) * p * self.rate

    def __deepcopy__(self, memo: dict[int, Any]) -> "Fee":
        return self  # bt copies the algorithms; both sides must see one switch


def test_missing_prices_and_a_delisting_give_the_value_of_bt() -> None:
    full = walk(300, 6, seed=5)
    holes = full.copy()
    rng = np.random.default_rng(6)
    gaps = rng.random(holes.shape) < 0.12
    gaps[[0, -1]] = False
    holes = holes.mask(gaps)
    holes.iloc[83:131, 1] = np.nan  # a long gap over several rebalances
    holes.iloc[170:, 2] = np.nan  # delisted while it is held
    holes.iloc[:60, 3] = np.nan  # listed late
    weights = every(7)(full, rng)
    fee = Fee(25e-4)
    run = bt.Backtest(
        bt.Strategy("s", [TradeWhatHasAPrice(weights, holes, fee), bt.algos.Rebalance()]),
        holes.ffill(),
        initial_capital=CAPITAL,
        commissions=fee,
        integer_positions=False,
        progress_bar=False,
    )
    run.run()
    theirs = run.strategy.values.iloc[1:] / CAPITAL
    ours = backtest(PricePanel.from_frame(holes), weights, costs=Costs(commission_bps=25))
    assert np.abs(ours.nav / theirs - 1).max() < 1e-8
    assert (ours.unfilled > 0).any()
    assert ours.weights.to_numpy()[169, 2] > 0
    assert (ours.weights.iloc[170:, 2] == 0).all()
