"""A backtest as a chain of kept tasks: decisions, simulation, figures; and a live decision as a file.

Plain functions on panels and weights; `Platform` only adds a workspace.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import DataError
from shoestring.finance.backtest.engine import Backtest, backtest
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.records.code_digest import code_digest
from shoestring.finance.records.store import Store, task_document
from shoestring.finance.running.keys import Digests, strategy_code
from shoestring.finance.running.run import decisions
from shoestring.finance.running.tasks import Task
from shoestring.finance.shai_am.config import RunConfig
from shoestring.finance.strategies.interface import Context, KnownTable, Strategy

__all__ = [
    "Manifest",
    "SimulatedExecution",
    "find_backtest",
    "manifest_of",
    "orders_csv",
    "read_orders",
    "run_backtest",
    "simulate",
]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that a backtest gave, by refs into the store."""

    key: str
    """Digest of strategy, parameters, data, options, environment and seed."""
    hit: bool
    """True: the whole backtest was there already."""
    artifacts: Mapping[str, str]
    """Refs by name: weights, nav, returns, drifted, trades, turnover, costs."""
    metrics: Mapping[str, float | None]
    """Figures by name; None where one is not defined."""
    skipped: tuple[str, ...]
    """Dates in warm-up."""
    tasks: tuple[Task, ...]
    """Every step, for the lineage."""


def run_backtest(  # the words of one run
    strategy: Strategy,
    panel: PricePanel,
    config: RunConfig,
    store: Store,
    *,
    known: Mapping[str, KnownTable] | None = None,
    digests: Digests | None = None,
    run_id: str = "",
    show_progress: bool = False,
) -> Manifest:
    """Run a strategy over its dates and book its weights against prices.

    Parameters
    ----------
    strategy, panel, known, digests, run_id, show_progress
        As in `shoestring.finance.running.run.decisions`.
    config : RunConfig
        Dates, costs, lag, seed.
    store : Store
        Where every step is kept; what is there is not computed again.

    Raises
    ------
    DataError
        If no date has enough history, or as `decisions` and `backtest`.
    """
    shared = digests or Digests(panel, dict(known or {}))
    found = find_backtest(strategy, panel, config, store, digests=shared)
    if found is not None:
        return found
    made = decisions(
        strategy,
        panel,
        config.start or None,
        config.end or None,
        known=known,
        seed=config.seed,
        store=store,
        digests=shared,
        run_id=run_id,
        show_progress=show_progress,
    )
    if made.weights.empty:
        raise DataError(
            f"{strategy.info.name} decided on none of its {len(made.skipped)} dates: the history before them "
            "is too short, or the schedule has no date in the range; give longer data or other dates"
        )
    tasks = list(made.tasks)
    weights = store.put(made.weights)
    end = _last(panel, config)
    folds = {t.name: t.ref for t in tasks if t.stage == "weights"}
    inputs = {"weights": weights, "panel": shared.panel.at(end)}
    booked = _book(strategy, panel, made.weights, config, store, inputs)
    tasks.append(_task("simulate", f"simulate to {end.date()}", booked, {**folds, **inputs}))
    parts = store.get(booked.ref)
    body = {
        "artifacts": {"weights": weights, **parts["artifacts"]},
        "metrics": parts["metrics"],
        "skipped": [d.date().isoformat() for d in made.skipped],
        "tasks": [asdict(t) for t in tasks],
    }
    kept = store.keep(_document(strategy, panel, config, shared), body)
    return manifest_of(kept.key, False, body)


def find_backtest(
    strategy: Strategy, panel: PricePanel, config: RunConfig, store: Store, *, digests: Digests
) -> Manifest | None:
    """Return a backtest that was run before, None if it was not."""
    found = store.find(_document(strategy, panel, config, digests))
    if found is None:
        return None
    body = store.get(found.ref)
    if not all(store.has(ref) for ref in body["artifacts"].values()):
        return None
    return manifest_of(found.key, True, body)


@dataclass(frozen=True, kw_only=True)
class SimulatedExecution:
    """Books weights at closing prices with costs in proportion to what is traded; an `Execution`."""

    config: RunConfig
    """Dates, costs, lag."""
    long_only: bool = True
    """False: weights may be negative."""
    max_gross: float = 1.0
    """Largest sum of absolute weights."""

    def simulate(self, weights: pd.DataFrame, panel: PricePanel) -> Backtest:
        """Return the net asset value of weights (dates x assets) from the first date on."""
        return backtest(
            panel,
            weights,
            costs=self.config.costs,
            start=self.config.start or weights.index[0],
            end=self.config.end or None,
            lag=self.config.lag,
            allow_short=not self.long_only,
            max_gross=self.max_gross,
        )


def simulate(strategy: Strategy, panel: PricePanel, weights: pd.DataFrame, config: RunConfig) -> Backtest:
    """Book weights against prices, within the limits that the strategy declares."""
    info = strategy.info
    execution = SimulatedExecution(config=config, long_only=info.long_only, max_gross=info.max_gross)
    return execution.simulate(weights, panel)


def orders_csv(weights: "pd.Series[float]") -> bytes:
    """Write target weights as an order file: one line an asset that is held, and the cash.

    The weights are written with all their digits, so that reading gives the same bits; the file of the
    same weights is the same file.
    """
    out = io.StringIO()
    out.write("asset,target_weight\n")
    held = weights[weights != 0]
    for asset, value in held.items():
        name = str(asset)
        quoted = '"' + name.replace('"', '""') + '"' if set(name) & set(',"\r\n') else name
        out.write(f"{quoted},{float(value)!r}\n")
    out.write(f"CASH,{1.0 - float(held.sum())!r}\n")
    return out.getvalue().encode()


def read_orders(content: bytes) -> "pd.Series[float]":
    """Read the weights of an order file, without the cash.

    Raises
    ------
    DataError
        If it is none, or is not whole.
    """
    try:
        frame = pd.read_csv(io.BytesIO(content), dtype=str, na_filter=False)
        # By Python's own parser: pandas' fast one may miss the last bit.
        series = frame.set_index("asset")["target_weight"].map(float).astype(float)
    except (ValueError, KeyError) as e:
        raise DataError(f"this is no order file: {e}; give one that shoestring finance live wrote") from e
    if len(series) == 0 or series.index[-1] != "CASH":
        raise DataError("the order file has no last line CASH, so it is not whole; run the date again")
    return series.iloc[:-1]


def _document(strategy: Strategy, panel: PricePanel, config: RunConfig, digests: Digests) -> dict[str, Any]:
    code, params = strategy_code(strategy)
    return task_document(
        "backtest",
        code=code,
        params={
            "strategy": params,
            "simulate": code_digest(backtest),
            "config": to_dict(config),
        },
        inputs=digests.at(_last(panel, config)),
        seed=config.seed,
    )


def _last(panel: PricePanel, config: RunConfig) -> pd.Timestamp:
    dates = panel.dates if not config.end else panel.between(None, config.end).dates
    last: pd.Timestamp = dates[-1]
    return last


def _book(
    strategy: Strategy,
    panel: PricePanel,
    weights: pd.DataFrame,
    config: RunConfig,
    store: Store,
    inputs: Mapping[str, str],
) -> Any:
    document = task_document(
        "simulate",
        code=code_digest(backtest),
        params={
            "config": to_dict(replace(config, seed=0)),
            "long_only": strategy.info.long_only,
            "max_gross": strategy.info.max_gross,
            "report": _report_document(strategy),
        },
        inputs=inputs,
    )

    def compute() -> dict[str, Any]:
        result = simulate(strategy, panel, weights, config)
        context = Context(as_of=result.nav.index[-1], seed=config.seed, params=strategy.params())
        figures = {**_exposure(result), **result.metrics(), **strategy.report(context, result)}
        tables = {
            "nav": result.nav,
            "returns": result.returns,
            "drifted": result.weights,
            "trades": result.trades,
            "turnover": result.turnover,
            "costs": result.costs_paid,
        }
        return {
            "artifacts": {name: store.put(table) for name, table in tables.items()},
            "metrics": {n: v if math.isfinite(v) else None for n, v in figures.items()},
        }

    return store.cached(document, compute)


def _report_document(strategy: Strategy) -> Any:
    """Describe what decides a strategy's own figures; nothing where it has none."""
    if type(strategy).report is Strategy.report:
        return None
    return [code_digest(strategy), strategy.params()]


def _exposure(result: Backtest) -> dict[str, float]:
    """Return the figures that limits are about, from the weights that were asked for."""
    targets = result.targets
    return {
        "rebalances": float(len(targets)),
        "gross": float(targets.abs().sum(axis=1).max()),
        "weight": float(targets.abs().to_numpy().max()),
    }


def _task(stage: str, name: str, cached: Any, inputs: Mapping[str, str]) -> Task:
    return Task(
        stage=stage,
        name=name,
        key=cached.key,
        ref=cached.ref,
        hit=cached.hit,
        seconds=cached.seconds,
        inputs=dict(inputs),
    )


def manifest_of(key: str, hit: bool, body: Mapping[str, Any]) -> Manifest:
    """Return a manifest from the plain values that the store has; of a hit, every task is one."""
    tasks = [from_dict(Task, t) for t in body["tasks"]]
    return Manifest(
        key=key,
        hit=hit,
        artifacts=dict(body["artifacts"]),
        metrics=dict(body["metrics"]),
        skipped=tuple(body["skipped"]),
        tasks=tuple(replace(t, hit=True) for t in tasks) if hit else tuple(tasks),
    )
