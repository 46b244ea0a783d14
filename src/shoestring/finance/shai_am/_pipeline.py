"""The stages of a strategy on the platform as functions from hashes to hashes; no engine is imported."""

import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from shoestring.core.errors import DataError, StorageError
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.records.digest import digest_bytes
from shoestring.finance.records.ledger import Ledger
from shoestring.finance.records.store import Store
from shoestring.finance.running.keys import strategy_code
from shoestring.finance.running.run import decide
from shoestring.finance.shai_am._checks import record_walk_forward, subject_of
from shoestring.finance.shai_am._deployments import Deployment
from shoestring.finance.shai_am._mlflow import MlflowStore
from shoestring.finance.shai_am._platform import Platform
from shoestring.finance.shai_am._published import read_published
from shoestring.finance.shai_am._reports import write_report
from shoestring.finance.shai_am._tasks import keep_data, load_data
from shoestring.finance.strategies.interface import KnownTable, Strategy, StrategyInfo
from shoestring.finance.strategies.registry import load_strategy

__all__ = ["REPORTS_URL", "Made", "Pipeline"]

REPORTS_URL = "SHOESTRING_REPORTS_URL"
"""Environment variable by which runs learn where the tear sheets are served."""

_TICK = pd.Timedelta(days=1)
_ABOUT = {
    "data": "Prices up to the date.",
    "features": "Frames that the strategy makes of all dates at once.",
    "fit": "What the strategy learnt on its latest refit date.",
    "weights": "Target weights of the date.",
    "orders": "The order file of the date, written once.",
    "backtest": "Walk-forward over all dates, with costs.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What one stage made."""

    ref: str
    """Hash of the result, with its kind."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What to show: text, numbers, paths (`Path`)."""


class Pipeline:
    """A strategy on its data, stage by stage.

    Parameters
    ----------
    root : Path
        Folder of the platform.
    deployment : Deployment
        The strategy and where its data are.
    """

    def __init__(self, root: Path, deployment: Deployment) -> None:
        self.root = root
        self.deployment = deployment
        self.strategy = load_strategy(deployment.strategy, deployment.parameters)
        self.store = Store(root / "store")

    @property
    def info(self) -> StrategyInfo:
        """Name, version, schedule and resources."""
        return self.strategy.info

    @cached_property
    def code_version(self) -> str:
        """The strategy's version and the beginning of its code's digest."""
        return f"{self.info.version}-{strategy_code(self.strategy)[0][:12]}"

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages between the data and the orders, in order."""
        kind = type(self.strategy)
        own = {
            "features": kind.features is not Strategy.features,
            "fit": kind.fit is not Strategy.fit,
            "weights": True,
        }
        return tuple(name for name, there in own.items() if there)

    def describe(self, stage: str) -> str:
        """Say in a sentence what a stage makes."""
        data = self.deployment.data or "its own data"
        return f"{_ABOUT[stage]} Strategy {self.info.name} {self.info.version} on {data}."

    def data(self, date: str) -> Made:
        """Keep the panel as it was known at the close of `date`.

        Raises
        ------
        DataError
            If the data do not reach that date: a decision on older prices would pass for one of today.
        """
        with Platform(self.root) as platform:
            panel, _, known = platform.market(self.deployment.data, strategy=self.strategy)
        day = pd.Timestamp(date)
        if day not in panel.dates:
            raise DataError(
                f"the data {self.deployment.data or '(its own)'} have no prices of {date}; they end on "
                f"{panel.dates[-1].date()}. Update them, then run the date again"
            )
        cut = panel.cut(day)
        tables = {name: table.with_frame(_until(table.frame(), day)) for name, table in known.items()}
        ref = self.store.put(keep_data(cut, tables, self.store))
        return Made(ref=ref, metadata={"sessions": len(cut), "assets": len(cut.assets)})

    def decide(self, date: str, data: str) -> dict[str, Made]:
        """Run the stages of a date on the kept panel `data`, by the path that every mode takes."""
        panel, known = self._kept(data)
        since = self.deployment.since or None
        made = decide(self.strategy, panel, date, start=since, known=known, store=self.store)
        weights = made.weights.iloc[0]
        out: dict[str, Made] = {}
        for task in made.tasks:
            shown = {"cache_hit": task.hit, "seconds": task.seconds, "key": task.key, "task": task.name}
            out[task.stage] = Made(ref=task.ref, metadata=shown)
        # The task may hold the weights of several dates (a replayed path); this is the row of this one.
        ref = self.store.put(weights)
        held = weights[weights != 0].sort_values(ascending=False)
        shown = {"held": len(held), "cash": float(1 - held.sum()), **dict(out["weights"].metadata)}
        shown["largest"] = ", ".join(f"{name} {value:.4f}" for name, value in held.head(5).items())
        out["weights"] = Made(ref=ref, metadata=shown)
        return out

    def faults(self, weights: str) -> list[str]:
        """Say what is wrong with kept weights; they are checked again where they are about to be ordered."""
        series = self.store.get(weights)
        found = []
        if not series.notna().all():
            found.append("a weight is NaN")
        if self.info.long_only and (series < 0).any():
            found.append("a weight is negative")
        gross = float(series.abs().sum())
        if not gross <= self.info.max_gross * (1 + 1e-9):
            found.append(f"gross {gross:.6g} is above {self.info.max_gross:g}")
        return found

    def orders(self, date: str, data: str, weights: str) -> Made:
        """Write the order file of a date, or find it written: of any number of runs one writes it.

        The decision is taken by `Platform.live`, which finds every task of `decide` done.

        Raises
        ------
        StorageError
            If another process is at it, or the date was written with other weights than these.
        """
        panel, known = self._kept(data)
        since = self.deployment.since or None
        with Platform(self.root) as platform:
            live = platform.live(self.strategy, date, panel, known=known, start=since)
        decided = self.store.get(weights)
        held = decided[decided != 0]
        if not (live.weights.index.equals(held.index) and (live.weights == held).all()):
            raise StorageError(
                f"{live.strategy} {live.version} was ordered on {date} with other weights, from other data; "
                f"{live.orders} stays as it is. Compare the data, and correct the position by hand if need be"
            )
        content = live.orders.read_bytes()
        shown = {"orders": live.orders, "wrote_now": not live.again, "sha256": digest_bytes(content)}
        return Made(ref=digest_bytes(content), metadata=shown)

    def backtest(self, start: str, end: str) -> Made:
        """Run the strategy over all of its dates, write its tear sheet and record both."""
        with Platform(self.root) as platform:
            run = platform.backtest(self.strategy, self.deployment.data, start=start, end=end)
            panel, about, _ = platform.market(self.deployment.data, strategy=self.strategy)
            data = platform.data_hash(self.deployment.data, strategy=self.strategy)
        subject = subject_of(self.strategy)
        report = self.root / "reports" / self.info.name / f"{run.id}.html"
        write_report(report, [(run, self.strategy)], panel, about)
        record_walk_forward(self.root, subject, data, run.metrics, report)
        figures = {name: value for name, value in run.metrics.items() if value is not None}
        shown = {**figures, "run": run.id, "tear_sheet": report}
        if importlib.util.find_spec("mlflow") is not None:  # an environment need not have it
            shown["mlflow_run"] = MlflowStore(self.root).log_run(
                self.info.name,
                run.id,
                params=subject.params,
                metrics=figures,
                tags={"version": subject.version, "code": subject.code, "data": data},
                documents={"artifacts.json": run.artifacts},
            )
        address = os.environ.get(REPORTS_URL)
        if address:
            shown["tear_sheet_page"] = f"{address}/{self.info.name}/{report.name}"
        return Made(ref=run.artifacts["nav"], metadata=shown)

    def due(self, now: datetime) -> tuple[list[str], str]:
        """Return the dates that should run at `now` by the catch-up policy, and the reason if none.

        A date is due when the data have it and its time has come. Without catching up only one whose time
        came within the last day runs, with ``latest`` the newest one however late, with ``all`` every one
        from ``since`` on; none of them twice, by the ledger. Nothing runs by itself before it was promoted.
        """
        info = self.info
        if subject_of(self.strategy).key not in read_published(self.root, info.name).values():
            return [], (
                f"{info.name} {info.version} with this code and these parameters is neither paper nor live; "
                "promote it, or launch a date by hand"
            )
        with Platform(self.root) as platform:
            panel, _, _ = platform.market(self.deployment.data, strategy=self.strategy)
        moment = pd.Timestamp(now)
        dates = [d for d in info.schedule.due(panel.dates) if info.schedule.runs_at(d) <= moment]
        if self.deployment.since:
            dates = [d for d in dates if d >= pd.Timestamp(self.deployment.since)]
        policy = self.deployment.catch_up
        asked = dates if policy == "all" else dates[-1:]
        if policy == "none":
            asked = [d for d in asked if info.schedule.runs_at(d) > moment - _TICK]
        with Ledger(self.root) as ledger:
            open_ = ledger.missing(info.name, info.version, asked, policy) if asked else []
        if open_:
            return open_, ""
        last = f"the last due date is {dates[-1].date()}" if dates else "no date was due yet"
        return [], f"nothing to run: {last}, the data end on {panel.dates[-1].date()}, catch-up is {policy}"

    def _kept(self, data: str) -> tuple[PricePanel, Mapping[str, KnownTable]]:
        panel, known, _ = load_data(str(self.store.folder), json.dumps(self.store.get(data), sort_keys=True))
        return panel, known


def _until(rows: pd.DataFrame, day: pd.Timestamp) -> pd.DataFrame:
    """Return the rows of a point-in-time table that are known at `day`."""
    return rows[rows["known_at"] <= day]
