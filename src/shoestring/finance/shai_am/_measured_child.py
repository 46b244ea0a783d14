"""A program that the verification kills: ``MODE FOLDER DECISIONS``, see `_measure_kills`."""

import os
import signal
import sys
from pathlib import Path

import pandas as pd

from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.shai_am._platform import Platform
from shoestring.finance.strategies.interface import Context, DataView, Strategy, strategy, top_k

__all__: list[str] = []

TRACE = "SHOESTRING_TRACE"
DIE_AFTER = "SHOESTRING_DIE_AFTER"
LIVE_DATE = "2003-06-02"


@strategy(name="mortal", version="1", schedule="W")
class Mortal(Strategy):
    """Momentum that leaves a trace of every decision and, when told so, kills its process."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        """Hold the best two."""
        trace = Path(os.environ[TRACE])
        with trace.open("a") as f:
            f.write(f"{ctx.as_of.date()}\n")
        if len(trace.read_text().split()) == int(os.environ[DIE_AFTER]):
            os.kill(os.getpid(), signal.SIGKILL)
        prices = data.prices(lookback=21)
        return top_k(prices.iloc[-1] / prices.iloc[0], 2).equal_weight()


def main(mode: str, folder: str) -> None:
    """Run a backtest or a live date in a workspace."""
    panel = gbm_panel(5, 1000, seed=11)
    with Platform(folder) as platform:
        if mode == "backtest":
            sys.stdout.write(platform.backtest(Mortal(), panel).artifacts["nav"])
        else:
            sys.stdout.write(platform.live(Mortal(), LIVE_DATE, panel).orders.read_text())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
