"""What the verification of Shai-am runs for one arm and seed: modes, cache, leaks, value, cost, lines."""

import ast
import inspect
import itertools
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shoestring.evidence.model import Context, Outcome
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import backtest
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.sources import load_market
from shoestring.finance.records.store import Store, task_document
from shoestring.finance.running.keys import Digests
from shoestring.finance.running.lookahead import check_lookahead
from shoestring.finance.running.run import decisions
from shoestring.finance.shai_am import _plain_script, _ten_lines
from shoestring.finance.shai_am._measured_nav import nav_gap
from shoestring.finance.shai_am._platform import Platform
from shoestring.finance.shai_am._pool import Pool
from shoestring.finance.shai_am._seeded import CLEAN, LEAKS, seeded_market
from shoestring.finance.shai_am._ten_lines import MomLowVol
from shoestring.finance.shai_am.config import RunConfig
from shoestring.finance.shai_am.functional import run_backtest, simulate
from shoestring.finance.strategies.allocators import TopK
from shoestring.finance.strategies.composite import Composite, Labels, compose
from shoestring.finance.strategies.features import FEATURES, FeatureTable
from shoestring.finance.strategies.models import Ridge, WeightedSum

__all__ = [
    "measure_cache",
    "measure_leaks",
    "measure_lines",
    "measure_modes",
    "measure_overhead",
    "measure_value",
]

MARKET = "skfolio/sp500"


def measure_modes(context: Context) -> Outcome:
    """Run one strategy by one way and compare with a plain run in memory, bit for bit."""
    for name in ("reference", "measured"):  # left by a task that was killed
        shutil.rmtree(context.folder / name, ignore_errors=True)
    panel = load_market(MARKET).panel
    config = RunConfig(start=context.options["start"], seed=context.seed, costs=Costs(commission_bps=5.0))
    plain = decisions(MomLowVol(), panel, config.start, seed=config.seed).weights
    booked = simulate(MomLowVol(), panel, plain, config)
    with Platform(context.folder / "reference") as platform:
        reference = platform.backtest(MomLowVol(), panel, config=config)
    with Platform(context.folder / "measured") as platform:
        weights, nav, refs = _by_way(context.options["way"], platform, panel, config, plain)
    metrics = {
        "weights_differ": float((weights.to_numpy() != plain.loc[weights.index].to_numpy()).sum()),
        "dates": float(len(weights)),
    }
    if nav is not None:
        differ = sum(refs.get(name) != ref for name, ref in reference.artifacts.items())
        metrics["hashes_differ"] = float(differ)
        metrics["nav_gap"] = float(np.abs(nav / booked.nav.loc[nav.index] - 1).max())
    return Outcome(metrics=metrics)


def _by_way(
    way: str, platform: Platform, panel: PricePanel, config: RunConfig, plain: pd.DataFrame
) -> "tuple[pd.DataFrame, pd.Series[float] | None, dict[str, str]]":
    if way == "live":
        chosen = plain.iloc[:: max(len(plain) // 12, 1)]
        rows = {}
        for date in chosen.index:
            done = platform.live(MomLowVol(), str(date.date()), panel.cut(date), seed=config.seed)
            rows[date] = done.weights.reindex(list(panel.assets), fill_value=0.0)
        live = pd.DataFrame(rows).T.set_axis(chosen.index, axis=0)
        return live, None, {}
    options: dict[str, Any] = {}
    if way in ("process", "ray"):
        options["executor"] = way
    elif way == "interpreter":
        options["environment"] = sys.prefix
    run = platform.backtest(MomLowVol(), panel, config=config, **options)
    return run.weights, run.nav, dict(run.artifacts)


def measure_cache(context: Context) -> Outcome:
    """Backtest many strategies twice, then with another allocator; with or without a store."""
    options = context.options
    panel = load_market(MARKET).panel.between(options["from"], None)
    config = RunConfig(start=options["start"], seed=context.seed)
    family = _family(int(options["strategies"]), int(options["parameters"]))
    shutil.rmtree(context.folder / "store", ignore_errors=True)  # left by a task that was killed
    store = Store(context.folder / "store") if options["store"] else None
    digests = Digests(panel, {})
    seconds = []
    for part in range(2):
        started = time.perf_counter()
        for number, strategy in enumerate(family):
            _one(strategy, panel, config, store, digests)
            context.report_progress((part + number / len(family)) / 2, "sweep")
        seconds.append(time.perf_counter() - started)
    metrics = {
        "first_s": seconds[0],
        "again_s": seconds[1],
        "speed_up": seconds[0] / seconds[1],
        "backtests": float(len(family)),
    }
    if store is not None:
        changed = _composite("weighted_sum", 126, 42, TopK(k=4, weighting="score"), config.seed)
        tasks = run_backtest(changed, panel, config, store, digests=digests).tasks
        upstream = [t for t in tasks if t.stage in ("features", "fit", "predict")]
        metrics["upstream_rerun"] = float(sum(not t.hit for t in upstream))
        metrics["downstream_rerun"] = float(
            sum(not t.hit for t in tasks if t.stage in ("weights", "simulate"))
        )
    return Outcome(metrics=metrics)


def _one(
    strategy: Composite, panel: PricePanel, config: RunConfig, store: Store | None, digests: Digests
) -> None:
    if store is not None:
        run_backtest(strategy, panel, config, store, digests=digests)
        return
    weights = decisions(strategy, panel, config.start, seed=config.seed).weights
    simulate(strategy, panel, weights, config).metrics()


def _family(strategies: int, parameters: int) -> list[Composite]:
    """Return strategies (models by momentum and volatility windows) x parameters (several k)."""
    kinds = itertools.product((126, 63, 168, 210, 252), (42, 21, 63, 84), ("weighted_sum", "ridge"))
    chosen = list(itertools.islice(kinds, strategies))
    return [
        _composite(model, momentum, volatility, TopK(k=3 + k), 0)
        for (momentum, volatility, model), k in itertools.product(chosen, range(parameters))
    ]


def _composite(model: str, momentum: int, volatility: int, allocator: TopK, seed: int) -> Composite:  # noqa: ARG001
    columns = {
        "m": FEATURES["momentum"](lookback=momentum, skip=21),
        "v": FEATURES["volatility"](lookback=volatility),
    }
    return compose(
        name=f"{model}_{momentum}_{volatility}",
        version="1",
        feature_set=FeatureTable(columns=columns),
        model=Ridge() if model == "ridge" else WeightedSum(weights={"m": 1.0, "v": -1.0}),
        allocator=allocator,
        labels=Labels(horizon=21),
    )


def measure_leaks(context: Context) -> Outcome:
    """Try the detector, or only its central idea, on planted leaks and on clean strategies."""
    panel, known = seeded_market(context.seed)
    whole = context.options["whole"]
    found: dict[str, list[str]] = {}
    several = int(context.options["strategies"])
    leaky, clean = (list(itertools.islice(kind.items(), several)) for kind in (LEAKS, CLEAN))
    group = [("leak", *item) for item in leaky] + [("clean", *item) for item in clean]
    for number, (kind, name, make) in enumerate(group):
        report = check_lookahead(
            make(panel, known), panel, known=known, dates=int(context.options["dates"]), seed=context.seed
        )
        seen = [
            leak for leak in report.leaks if whole or (leak.kind == "looks ahead" and leak.what == "weights")
        ]
        if seen:
            found.setdefault(kind, []).append(name)
        context.report_progress((number + 1) / len(group), name)
    leaks, alarms = found.get("leak", []), found.get("clean", [])
    return Outcome(
        metrics={
            "leaks_found": float(len(leaks)),
            "leaks_missed": float(len(leaky) - len(leaks)),
            "clean_passed": float(len(clean) - len(alarms)),
            "false_alarms": float(len(alarms)),
        },
        notes=(f"missed: {', '.join(sorted(set(dict(leaky)) - set(leaks))) or 'none'}",),
    )


def measure_value(context: Context) -> Outcome:
    """Compare net asset values with an independent account of the same weights."""
    gaps = nav_gap(context.options["against"], context.seed)
    return Outcome(metrics={"nav_gap": max(gaps.values()), "schedules": float(len(gaps))})


def measure_overhead(context: Context) -> Outcome:
    """Time an empty task."""
    shutil.rmtree(context.folder / "store", ignore_errors=True)
    times = _TASKS[context.options["how"]](context.folder, int(context.options["tasks"]))
    return Outcome(
        metrics={
            "task_ms": statistics.median(times) * 1e3,
            "worst_ms": max(times) * 1e3,
            "tasks": float(len(times)),
        }
    )


def _in_process(folder: Path, tasks: int) -> list[float]:
    store = Store(folder / "store")

    def one(number: int) -> None:
        document = task_document("empty", code="", params={"number": number}, inputs={})
        store.cached(document, lambda: None)

    return _timed(one, tasks)


def _plain_call(folder: Path, tasks: int) -> list[float]:  # noqa: ARG001  # as the others
    return _timed(_nothing, tasks)


def _in_pool(folder: Path, tasks: int) -> list[float]:
    store = str(folder / "store")
    with Pool(1) as pool:
        list(pool.map(_kept_elsewhere, [(store, -1)]))  # the pool is warm before the clock runs
        return _timed(lambda number: list(pool.map(_kept_elsewhere, [(store, number)])), tasks)


def _kept_elsewhere(task: tuple[str, int]) -> str:
    folder, number = task
    document = task_document("empty", code="", params={"number": number}, inputs={})
    return Store(folder).cached(document, lambda: None).ref


def _nothing(number: int) -> int:
    return number


def _timed(one: Callable[[int], Any], tasks: int) -> list[float]:
    times = []
    for number in range(tasks):
        started = time.perf_counter()
        one(number)
        times.append(time.perf_counter() - started)
    return times[1:]  # the first one loads what is loaded once


_TASKS: Mapping[str, Callable[[Path, int], list[float]]] = {
    "plain": _plain_call,
    "store": _in_process,
    "pool": _in_pool,
}


def measure_lines(context: Context) -> Outcome:
    """Count the lines of one rule in the framework and as a script, and check that both earn the same."""
    panel = gbm_panel(12, 900, seed=context.seed)
    start = str(panel.dates[300].date())
    script = _plain_script.run(panel.close, start)
    config = RunConfig(start=start, costs=Costs(commission_bps=5.0))
    weights = decisions(MomLowVol(), panel, start).weights
    ours = backtest(panel, weights, costs=config.costs, start=weights.index[0]).nav
    gap = float(np.abs(ours / script.reindex(ours.index) - 1).max())
    chosen = _ten_lines.MomLowVol if context.options["as"] == "framework" else _plain_script.run
    return Outcome(metrics={"lines": float(_lines(chosen)), "nav_gap": gap})


def _lines(thing: Any) -> int:
    """Count the lines of code of a class or function: no blank ones, comments or docstrings."""
    text = inspect.getsource(thing)
    tree = ast.parse(text)
    documented = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    prose = {line for node in documented for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    code = [
        line
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.strip().startswith("#") and number not in prose
    ]
    return len(code)
