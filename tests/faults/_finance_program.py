"""A slow strategy to be killed: ``_finance_program.py backtest|live WORKSPACE``; also the strategy itself.

Every decision writes a line to ``executed``. While ``block`` exists, a decision on or after the date in it
waits. Both lie in the folder that ``SHOESTRING_TEST_FOLDER`` names.
"""

import os
import sys
import time
from pathlib import Path

import pandas as pd

from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.shai_am import Platform
from shoestring.finance.strategies.interface import Context, DataView, Strategy, strategy, top_k

DATE = "2001-06-01"
PANEL = gbm_panel(5, 600, seed=7)
FOLDER = Path(os.environ.get("SHOESTRING_TEST_FOLDER", "."))


@strategy(name="slow", version="1", schedule="BMS")
class Slow(Strategy):
    """Momentum, with a trace of what ran."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        with (FOLDER / "executed").open("a") as f:
            f.write(f"{ctx.as_of.date()}\n")
        block = FOLDER / "block"
        while block.exists() and str(ctx.as_of.date()) >= block.read_text():
            time.sleep(0.01)
        prices = data.prices(lookback=21)
        return top_k(prices.iloc[-1] / prices.iloc[0], 2).equal_weight()


def main() -> None:
    """Run one mode."""
    with Platform(sys.argv[2]) as platform:
        if sys.argv[1] == "backtest":
            sys.stdout.write(platform.backtest(Slow(), PANEL).artifacts["nav"])
        else:
            sys.stdout.write(str(platform.live(Slow(), DATE, PANEL).orders))


if __name__ == "__main__":
    main()
