"""From prices to a tear sheet: a strategy of ten lines beside its baselines, walk-forward and after costs.

The strategy sees only data cut at the date of its decision; the run for one date alone gives the same weights
as the whole backtest did on that date. The prices ship with skfolio; the page says what is wrong with them.
"""

from pathlib import Path

import pandas as pd

from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import backtest
from shoestring.finance.backtest.metrics import sharpe_difference_interval
from shoestring.finance.backtest.tearsheet import Notes, write_tearsheet
from shoestring.finance.market.sources import load_market
from shoestring.finance.running.run import decide, run_strategy
from shoestring.finance.strategies.baselines import EqualWeight, Momentum
from shoestring.finance.strategies.interface import Context, DataView, Strategy, strategy, top_k

START, END = "2005-01-01", "2022-12-28"


@strategy(name="mom_lowvol", version="1.0", schedule="BMS 06:00 America/New_York")
class MomLowVol(Strategy):
    """Winners of the last year that did not swing much."""

    lookback: int = 252

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Hold the best five."""
        px = data.prices(lookback=self.lookback)
        score = px.iloc[-21] / px.iloc[0] - 1 - 16 * px.pct_change(fill_method=None).std()
        return top_k(score, 5).equal_weight()


market = load_market("skfolio/sp500")
costs = Costs(commission_bps=5, slippage_bps=5)
runs = {}
for rule in (MomLowVol(), Momentum(), EqualWeight()):
    weights = run_strategy(rule, market.panel, START, END)
    runs[rule.info.name] = backtest(market.panel, weights, costs=costs, start=START, end=END)
    figures = runs[rule.info.name].metrics()
    print(
        f"{rule.info.name:12} {figures['annual_return']:7.1%} a year, Sharpe {figures['sharpe']:.2f}, "
        f"drawdown {figures['max_drawdown']:.0%}, turnover {figures['annual_turnover']:.1f}x"
    )

ours, equal = runs["mom_lowvol"], runs["equal_weight"]
interval = sharpe_difference_interval(ours.returns, equal.returns)
print(f"Sharpe minus equal weight's: {interval.estimate:.2f}, 95 % {interval.low:.2f} to {interval.high:.2f}")

last = ours.targets.index[-1]
alone = decide(MomLowVol(), market.panel, last).weights.iloc[0]
assert (alone == ours.targets.loc[last]).all()
print(f"{last:%Y-%m-%d} alone, as a live run decides it: {', '.join(alone[alone > 0].index)}")

notes = Notes(title="Ten lines", data=market.about.lines())
write_tearsheet(Path("tearsheet.html"), runs, benchmark="equal_weight", notes=notes)
print(f"tearsheet.html: {Path('tearsheet.html').stat().st_size / 1024:.0f} KB, no network needed")
