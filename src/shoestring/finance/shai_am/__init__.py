"""Shai-am: one interface for every strategy, the same object in research, backtest and live."""

from shoestring.finance.shai_am._platform import LiveRun, Platform
from shoestring.finance.shai_am._runs import Origin, Run
from shoestring.finance.shai_am.config import CheckConfig, RunConfig, SweepConfig
from shoestring.finance.shai_am.functional import orders_csv, read_orders, run_backtest

__all__ = [
    "CheckConfig",
    "LiveRun",
    "Origin",
    "Platform",
    "Run",
    "RunConfig",
    "SweepConfig",
    "orders_csv",
    "read_orders",
    "run_backtest",
]
