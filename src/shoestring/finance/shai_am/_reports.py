"""Tear sheets of runs, and what promotion reads of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from shoestring.core.config import from_dict
from shoestring.finance.backtest.engine import Backtest, backtest
from shoestring.finance.backtest.tearsheet import Notes, write_tearsheet
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.shai_am._runs import Run
from shoestring.finance.shai_am.config import RunConfig
from shoestring.finance.shai_am.functional import simulate
from shoestring.finance.strategies.baselines import equal_weight
from shoestring.finance.strategies.interface import Strategy

__all__ = ["BENCHMARK", "write_report"]

BENCHMARK = "equal weight"


def write_report(
    path: Path, runs: Sequence[tuple[Run, Strategy]], panel: PricePanel, about: Mapping[str, Any]
) -> None:
    """Write one tear sheet of runs on the same prices, beside equal weights of all assets.

    Parameters
    ----------
    path : Path
        The file.
    runs : sequence of (Run, Strategy)
        What to show.
    panel : PricePanel
        The prices that they ran on.
    about : mapping
        As `Platform.market` gives it.
    """
    booked: dict[str, Backtest] = {}
    figures: dict[str, dict[str, float]] = {}
    for run, strategy in runs:
        config = from_dict(RunConfig, run.document["config"])
        name = _name(run, booked)
        booked[name] = simulate(strategy, panel, _indexed(run.weights), config)
        own = set(run.metrics) - set(booked[name].metrics())
        figures[name] = {n: v for n in sorted(own) if (v := run.metrics[n]) is not None}
    first = next(iter(booked.values()))
    booked[BENCHMARK] = _benchmark(panel, first, from_dict(RunConfig, runs[0][0].document["config"]))
    lineage = {}
    for run, _ in runs:
        lineage[f"run of {run.strategy}"] = run.id
        lineage[f"code of {run.strategy}"] = str(run.document["code"])
        lineage[f"weights of {run.strategy}"] = run.artifacts["weights"]
    data = next(t.inputs["panel"] for t in runs[0][0].tasks if t.stage == "simulate")
    notes = Notes(data=list(about["about"]), figures=figures, lineage={"data": data, **lineage})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tearsheet(path, booked, benchmark=BENCHMARK, notes=notes)


def _benchmark(panel: PricePanel, like: Backtest, config: RunConfig) -> Backtest:
    """Hold equal weights over the same span, set again on the dates of the run."""
    close = panel.close
    dates = like.targets.index
    rows = {date: equal_weight(close.loc[[date]]) for date in dates}
    weights = pd.DataFrame(rows).T.set_axis(pd.DatetimeIndex(dates), axis=0)
    return backtest(panel, weights, costs=config.costs, start=like.nav.index[0], end=like.nav.index[-1])


def _indexed(weights: pd.DataFrame) -> pd.DataFrame:
    return weights.set_axis(pd.DatetimeIndex(weights.index), axis=0)


def _name(run: Run, taken: Mapping[str, Any]) -> str:
    name = f"{run.strategy} {run.version}"
    return name if name not in taken else f"{name} ({run.id})"
