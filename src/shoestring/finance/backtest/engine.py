"""The net asset value of a schedule of target weights: drift between rebalances, costs, gaps, delistings.

All rebalances are solved at once. What a portfolio holds after a rebalance depends on what it held before
only through the costs (and through assets that cannot be traded that day), so a sweep over *all* rebalances
from a first guess shrinks the error by the cost rate, 1e-3 or so, and is exact after a few.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shoestring.core.errors import DataError
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.metrics import summary
from shoestring.finance.market.panel import PricePanel, as_panel

__all__ = ["Backtest", "backtest"]

F = NDArray[np.float64]
B = NDArray[np.bool_]
I = NDArray[np.intp]  # noqa: E741  # beside F and B

GROSS_SLACK = 1e-9
"""Sums of weights may exceed the limit by rounding."""
BLOCK_BYTES = 1 << 18
"""Rebalances that are solved together: as many rows as stay in the L2 cache."""
SETTLED = 1e-15
"""A holding that moved by less than this share of the portfolio has settled."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Backtest:
    """What a schedule of weights would have earned.

    Attributes
    ----------
    nav : Series, [T]
        Net asset value at every close, after the trades of that close; it starts from 1 before them.
    returns : Series, [T]
        Change of `nav`; the first entry holds the costs of trades on the first date.
    weights : DataFrame, [T, N]
        Shares of `nav` held after the close, drifted with prices.
    trades : DataFrame, [K, N]
        Values traded at K rebalances as shares of the net asset value before them; positive is bought.
    turnover : Series, [K]
        Sum of absolute trades: bought plus sold, so that replacing a whole portfolio is 2.
    costs_paid : Series, [K]
        Costs as shares of the net asset value before the rebalance.
    unfilled : Series, [K]
        Gross weight that was wanted in assets without a price that day and was not bought.
    ruined_on : Timestamp or None
        The first date without anything left (possible with shorts or leverage); `nav` is 0 from there on.
    targets : DataFrame, [K, N]
        The weights that were asked for, by the date of the trade.
    costs : Costs
        As given.
    """

    nav: "pd.Series[float]"
    returns: "pd.Series[float]"
    weights: pd.DataFrame
    trades: pd.DataFrame
    turnover: "pd.Series[float]"
    costs_paid: "pd.Series[float]"
    unfilled: "pd.Series[float]"
    ruined_on: pd.Timestamp | None
    targets: pd.DataFrame
    costs: Costs

    @property
    def cash(self) -> "pd.Series[float]":
        """Share of the net asset value that is not in any asset, [T]."""
        return 1.0 - self.weights.sum(axis=1)

    def metrics(self) -> dict[str, float]:
        """Return the usual figures by name; see `shoestring.finance.backtest.metrics.summary`."""
        return summary(self.returns, turnover=self.turnover, costs_paid=self.costs_paid)


def backtest(
    prices: PricePanel | pd.DataFrame,
    weights: pd.DataFrame,
    *,
    costs: Costs = Costs(),  # noqa: B008  # frozen
    start: str | pd.Timestamp | None = None,
    end: str | pd.Timestamp | None = None,
    lag: int = 0,
    allow_short: bool = False,
    max_gross: float = 1.0,
) -> Backtest:
    """Follow a schedule of target weights through prices.

    Parameters
    ----------
    prices : PricePanel or DataFrame, [T, N]
        Closing prices; NaN where an asset is not listed or has no price.
    weights : DataFrame, [K, M]
        A row for every rebalance, on a date of `prices`: target shares of the net asset value by asset; cash
        is 1 minus their sum. Assets of `prices` without a column have weight 0. Rows before `start` or after
        `end` are not traded.
    costs : Costs
        Proportional costs; they come out of the trade: who buys for 100 gets assets for 100 / (1 + rate).
    start, end : str, Timestamp or None
        Dates of `nav`, both included; None means all of `prices`.
    lag : int
        Sessions between a row's date and its trade; 0 trades at the close on which the weights were decided.
    allow_short : bool
        Allow negative weights.
    max_gross : float
        Largest sum of absolute weights of a row; above 1 is leverage.

    Returns
    -------
    Backtest

    Raises
    ------
    DataError
        For weights that are NaN or infinite, negative without `allow_short`, above `max_gross`, on a date or
        of an asset that `prices` does not have, unsorted or duplicate.

    Notes
    -----
    - Between rebalances the numbers of shares stay; weights drift. Cash earns nothing.
    - A target of 0 sells the whole position; its costs come out of cash.
    - A held asset without a price is valued at its last one. On a rebalance it cannot be traded: it stays,
      and the targets of the others shrink so that the gross weight is not more than what was asked for.
      A wanted asset without a price is not bought; its share stays in cash (`Backtest.unfilled`).
    - An asset that has no price any more from some date to `end` is delisted: the day after, its position is
      booked to cash at the last price, without costs.
    - When shorts or leverage eat up everything, the portfolio ends at 0.

    Costs O(T N) memory and time, times the number of sweeps (about 5 at usual costs; at most as many as an
    asset that cannot be traded meets rebalances in a row).
    """
    panel = as_panel(prices)
    targets = _checked_targets(panel, weights, allow_short=allow_short, max_gross=max_gross)
    rows = _trade_rows(panel.dates, targets.index, lag)
    window = panel.between(start, end)
    offset = int(panel.dates.searchsorted(window.dates[0]))
    inside = (rows >= offset) & (rows < offset + len(window))
    rows = rows[inside] - offset
    wanted = targets.to_numpy()[inside]

    close = panel.close.to_numpy()[: offset + len(window)]  # what comes after the end decides nothing
    market = _Market.of(close, offset, len(window))
    solved = _solve(market, rows, wanted, costs.rate)
    return _assemble(window, market, rows, wanted, solved, costs)


def _checked_targets(
    panel: PricePanel, weights: pd.DataFrame, *, allow_short: bool, max_gross: float
) -> pd.DataFrame:
    """Return weights [K, N] in the order of the panel's assets."""
    index = weights.index
    if not isinstance(index, pd.DatetimeIndex):
        raise DataError(f"the rows of weights are indexed by {type(index).__name__}; give rebalance dates")
    known = set(panel.assets)
    unknown = [str(c) for c in weights.columns if str(c) not in known]
    if unknown:
        raise DataError(f"weights name the asset {unknown[0]!r}, which has no prices; drop it or add prices")
    if not weights.columns.is_unique:
        raise DataError("weights have two columns of one asset; keep one")
    if not (index.is_monotonic_increasing and index.is_unique):
        raise DataError("the dates of weights are unsorted or there twice; sort them, one row a date")
    strange = index[~index.isin(panel.dates)]
    if len(strange):
        raise DataError(
            f"weights are given for {strange[0]}, on which there are no prices; use dates of the panel, "
            "e.g. from shoestring.finance.market.calendars.rebalance_dates"
        )
    values = weights.to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(values).all():
        k, i = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"the weight of {weights.columns[i]!r} on {index[k].date()} is {values[k, i]}; give finite "
            "weights, 0 for assets that are not wanted"
        )
    if not allow_short and (values < 0).any():
        k, i = np.argwhere(values < 0)[0]
        raise DataError(
            f"the weight of {weights.columns[i]!r} on {index[k].date()} is {values[k, i]:g}, a short "
            "position; give weights of 0 or more, or allow_short=True"
        )
    gross = np.abs(values).sum(axis=1)
    if (gross > max_gross + GROSS_SLACK).any():
        k = int(np.argmax(gross > max_gross + GROSS_SLACK))
        raise DataError(
            f"the absolute weights on {index[k].date()} sum to {gross[k]:.6g}; at most "
            f"max_gross={max_gross:g} is allowed. Scale them down, or permit leverage with a larger max_gross"
        )
    named = pd.DataFrame(values, index=index, columns=[str(c) for c in weights.columns])
    return named.reindex(columns=list(panel.assets), fill_value=0.0)


def _trade_rows(dates: pd.DatetimeIndex, decided: pd.Index, lag: int) -> I:
    if lag < 0:
        raise DataError(f"lag={lag} would trade before the decision; give 0 or more sessions")
    return np.asarray(dates.get_indexer(decided), dtype=np.intp) + lag


@dataclass(frozen=True, slots=True)
class _Market:
    """Prices of the window without holes, and what can be traded when."""

    filled: F
    """[T, N] last known price; 1 before the first."""
    tradeable: B
    """[T, N] has a price on that date."""
    alive: B
    """[T, N] not yet delisted."""

    @classmethod
    def of(cls, close: F, offset: int, length: int) -> "_Market":
        known = ~np.isnan(close)
        last = known.shape[0] - 1 - np.argmax(known[::-1], axis=0)
        rows = np.arange(offset, offset + length)[:, None]
        window = close[offset : offset + length]
        tradeable = known[offset : offset + length]
        if tradeable.all():
            return cls(window, tradeable, rows <= last)
        source = np.where(tradeable, np.arange(length)[:, None], -1)
        np.maximum.accumulate(source, axis=0, out=source)
        filled = np.take_along_axis(window, np.maximum(source, 0), axis=0)
        return cls(np.where(source >= 0, filled, 1.0), tradeable, rows <= last)


@dataclass(frozen=True, slots=True)
class _Solved:
    """Rebalances; everything is a share of the value before the rebalance."""

    held: F
    """[K, N] after it."""
    traded: F
    """[K, N] bought minus sold."""
    cash: F
    """[K] after it."""
    growth: F
    """[K] value before it over the value before the last one (of the start, for the first)."""


def _solve(market: _Market, rows: I, wanted: F, rate: float) -> _Solved:
    """Solve all rebalances, block by block; inside a block by sweeps over all of its rows."""
    num, assets = wanted.shape
    held = np.zeros((num, assets))
    traded = np.zeros((num, assets))
    cash, growth = np.ones(num), np.ones(num)
    before, before_cash, before_row = np.zeros(assets), 1.0, 0
    block = max(8, BLOCK_BYTES // (8 * assets))
    with np.errstate(all="ignore"):  # a ruined portfolio divides by zero; _assemble ends it
        for lo in range(0, num, block):
            part = slice(lo, min(lo + block, num))
            previous = np.concatenate([[before_row], rows[part][:-1]])
            step = _Step(
                market.filled[rows[part]] / market.filled[previous],
                market.tradeable[rows[part]],
                market.alive[rows[part]],
                wanted[part],
                rate,
            )
            held[part], traded[part], cash[part], growth[part] = step.settle(before, before_cash)
            last = part.stop - 1
            before, before_cash, before_row = held[last], float(cash[last]), int(rows[last])
    return _Solved(held, traded, cash, growth)


@dataclass(frozen=True, slots=True)
class _Step:
    """The rebalances of one block."""

    relative: F
    tradeable: B
    alive: B
    wanted: F
    rate: float

    def settle(self, before: F, before_cash: float) -> tuple[F, F, F, F]:
        """Sweep until nothing moves; row j is exact after j + 1 sweeps at the latest."""
        held = np.where(self.tradeable, self.wanted, 0.0)
        cash = 1.0 - held.sum(axis=1)
        for _ in range(len(held) + 1):
            start = np.concatenate([before[None], held[:-1]])
            start_cash = np.concatenate([[before_cash], cash[:-1]])
            new, traded, new_cash, growth = self.sweep(start, start_cash)
            moved = _largest(new - held) > SETTLED or _largest(new_cash - cash) > SETTLED
            held, cash = new, new_cash
            if not moved:
                break
        return held, traded, cash, growth

    def sweep(self, start: F, start_cash: F) -> tuple[F, F, F, F]:
        """Rebalance every row, given what was held after the one before it."""
        value = start * self.relative
        growth = start_cash + value.sum(axis=1)
        value /= growth[:, None]
        value[~self.alive] = 0.0  # booked to cash
        goal = self.goal(value)
        change = goal - value
        traded = np.where(change > 0, change / (1 + self.rate), change / (1 - self.rate))
        closing = goal == 0
        traded[closing] = -value[closing]
        held = value + traded
        held[closing] = 0.0
        cash = 1.0 - value.sum(axis=1) - traded.sum(axis=1) - self.rate * np.abs(traded).sum(axis=1)
        return held, traded, cash, growth

    def goal(self, value: F) -> F:
        """Return targets that can be had: what has no price stays, the rest shrinks to make room for it."""
        if self.tradeable.all():
            return self.wanted
        stuck = np.where(self.tradeable, 0.0, value)
        room = np.abs(self.wanted).sum(axis=1)
        free = np.where(self.tradeable, self.wanted, 0.0)
        asked = np.abs(free).sum(axis=1)
        kept = np.abs(stuck).sum(axis=1)
        share = np.where((kept > 0) & (asked > 0), np.clip((room - kept) / asked, 0.0, 1.0), 1.0)
        return free * share[:, None] + stuck


def _largest(change: F) -> float:
    """Return the largest absolute value; what is NaN comes after a ruin, and nobody looks there."""
    return float(np.fmax.reduce(np.abs(change), axis=None, initial=0.0))


def _assemble(
    window: PricePanel, market: _Market, rows: I, wanted: F, solved: _Solved, costs: Costs
) -> Backtest:
    """Follow the holdings from every rebalance to the next."""
    dates, assets = window.dates, list(window.assets)
    nav, value = _follow(market, rows, solved)
    ruined = np.flatnonzero(~(nav > 0))
    ruined_on = None
    if len(ruined):
        nav[ruined[0] :], value[ruined[0] :] = 0.0, 0.0
        ruined_on = dates[ruined[0]]
    alive_nav = np.where(nav > 0, nav, 1.0)
    drifted = np.where(market.alive, value, 0.0) / alive_nav[:, None]
    when = dates[rows]
    returns = np.diff(nav, prepend=1.0) / np.concatenate([[1.0], alive_nav[:-1]])
    traded = solved.traded + 0.0  # no -0.0
    live = nav[rows] > 0
    traded[~live] = 0.0
    turnover = np.abs(traded).sum(axis=1)
    missed = np.where(market.tradeable[rows], 0.0, np.abs(wanted)).sum(axis=1)

    def per_trade(values: F) -> "pd.Series[float]":
        return pd.Series(values, index=when)

    return Backtest(
        nav=pd.Series(nav, index=dates, name="nav"),
        returns=pd.Series(returns, index=dates, name="return"),
        weights=pd.DataFrame(drifted, index=dates, columns=assets),
        trades=pd.DataFrame(traded, index=when, columns=assets),
        turnover=per_trade(turnover),
        costs_paid=per_trade(turnover * costs.rate),
        unfilled=per_trade(missed),
        ruined_on=ruined_on,
        targets=pd.DataFrame(wanted, index=when, columns=assets),
        costs=costs,
    )


def _follow(market: _Market, rows: I, solved: _Solved) -> tuple[F, F]:
    """Return the net asset value [T] and the value of every position [T, N]."""
    length = len(market.filled)
    if not len(rows):
        return np.ones(length), np.zeros_like(market.filled)
    since = np.searchsorted(rows, np.arange(length), side="right") - 1
    base = np.maximum(since, 0)
    with np.errstate(all="ignore"):
        start = np.cumprod(solved.growth)
        units = solved.held * (start[:, None] / market.filled[rows])
        value = units[base]
        value *= market.filled
        value[since < 0] = 0.0
        nav = np.where(since < 0, 1.0, start[base] * solved.cash[base] + value.sum(axis=1))
    lost = np.flatnonzero(~(solved.growth > 0))
    if len(lost):  # nothing was left to trade with: what follows that rebalance means nothing
        nav[rows[lost[0]] :] = 0.0
    return nav, value
