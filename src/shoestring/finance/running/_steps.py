"""One strategy on one state of the data: features, fits, decisions, each a task that is found again."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from shoestring.core.errors import DataError, ShoestringError
from shoestring.core.progress import progress
from shoestring.finance.market.view import DataView, NotEnoughHistoryError, Sources, StrategyError, view_of
from shoestring.finance.records.digest import FrameDigest, digest_json
from shoestring.finance.records.objects import decode, encode
from shoestring.finance.records.stages import StageTables
from shoestring.finance.records.store import Cached, Store, task_document
from shoestring.finance.running.folds import Fold, folds
from shoestring.finance.running.keys import Digests, strategy_code
from shoestring.finance.running.tasks import Decisions, Task
from shoestring.finance.strategies.context import Context, State
from shoestring.finance.strategies.interface import Strategy
from shoestring.finance.strategies.weights import check_weights

__all__ = ["StrategyRun"]


@dataclass(kw_only=True)
class _Log:
    """Tasks of a run in order, and the results that were read already."""

    tasks: list[Task] = field(default_factory=list)
    states: dict[pd.Timestamp, tuple[State | None, str]] = field(default_factory=dict)


class StrategyRun:
    """One strategy on one state of the data."""

    def __init__(  # private; everything of one run
        self,
        strategy: Strategy,
        sources: Sources,
        seed: int,
        store: Store | None,
        digests: Digests | None,
        run_id: str,
        sessions: pd.DatetimeIndex,
        due: pd.DatetimeIndex,
    ) -> None:
        self.strategy = strategy
        self.sources = sources
        self.panel = sources.panel
        self.known = sources.known
        self.seed = seed
        self.store = store
        self.run_id = run_id
        self.sessions = sessions
        self.due = due
        self.log = _Log()
        self.params = strategy.params()
        self.code: dict[str, tuple[str, Any]] = {}
        self.digests = digests or Digests(self.panel, self.known)
        self.feature_digest: FrameDigest | None = None
        self.universes: dict[pd.Timestamp, tuple[str, ...] | None] = {}

    def weights_of(self, dates: pd.DatetimeIndex, show_progress: bool) -> Decisions:
        if len(self.sessions) and len(dates):
            self._make_features()
        parts: list[pd.DataFrame] = []
        skipped: list[pd.Timestamp] = []
        previous: pd.Series[float] | None = None
        all_folds = folds(self.sessions, dates, self.strategy.info.refit)
        title = f"{self.strategy.info.name} {self.strategy.info.version}"
        for fold in progress(all_folds, title) if show_progress else all_folds:
            table = self._fold(fold, previous)
            skipped += [d for d in fold.dates if d not in table.index]
            if len(table):
                parts.append(table)
                previous = table.iloc[-1]
        columns = pd.Index(self.panel.assets, dtype=object)
        weights = pd.concat(parts) if parts else pd.DataFrame(index=dates[:0], columns=columns, dtype=float)
        return Decisions(weights=weights, skipped=tuple(skipped), tasks=tuple(self.log.tasks))

    def _make_features(self) -> None:
        """Call `features` once, on data cut at the run's last session."""
        if type(self.strategy).features is Strategy.features:
            return
        last = self.sessions[-1]
        context = self._context(last, None)

        def compute() -> dict[str, pd.DataFrame]:
            with self._hook("features", last):
                made = self.strategy.features(context, view_of(self.sources, last))
            return {name: self._checked_feature(name, frame) for name, frame in sorted(made.items())}

        frames = self._frames("features", last, compute)
        self.sources = Sources(panel=self.panel, known=self.known, features=frames)
        self.feature_digest = FrameDigest(frames)

    def _frames(
        self, stage: str, last: pd.Timestamp, compute: Callable[[], dict[str, pd.DataFrame]]
    ) -> dict[str, pd.DataFrame]:
        """Make or find several frames; the task's result is the list of their refs."""
        if self.store is None:
            return compute()
        store = self.store
        cached = self._task(
            stage, f"{stage} to {last.date()}", last, lambda: {n: store.put(f) for n, f in compute().items()}
        )
        return {name: self._plain_frame(store.get(ref)) for name, ref in store.get(cached.ref).items()}

    def _plain_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Give a frame that was read the index that it had when it was written."""
        frame.columns = pd.Index(frame.columns, dtype=object)
        frame.index = self.sessions[: len(frame)]
        return frame

    def _checked_feature(self, name: str, frame: Any) -> pd.DataFrame:
        who = f"feature {name!r} of {self.strategy.info.name}"
        if not isinstance(frame, pd.DataFrame) or not frame.index.equals(self.sessions):
            raise DataError(
                f"{who} is no frame with the {len(self.sessions)} dates of the view; "
                "keep the index of data.prices(), with NaN where nothing is known yet"
            )
        unknown = set(frame.columns) - set(self.panel.assets)
        if unknown:
            raise DataError(
                f"{who} has the column {sorted(map(str, unknown))[0]!r}, which is no asset of the panel"
            )
        made = frame.astype(np.float64).reindex(columns=list(self.panel.assets))
        made.columns = pd.Index(made.columns, dtype=object)
        made.index = self.sessions
        return made

    def _fold(self, fold: Fold, previous: "pd.Series[float] | None") -> pd.DataFrame:
        """Return the weights of a fold, [dates not in warm-up, N]."""
        try:
            state, state_ref = self._state(fold.fitted_on)
        except NotEnoughHistoryError:
            return self._weight_table({})
        if self.store is None:
            return self._decide(fold, state, previous, None)
        inputs = {"state": state_ref} if state_ref else {}
        last = fold.dates[-1]
        stages = StageTables(self.store, fold.dates, {**self._inputs(last), **inputs}, self.seed)
        if self.strategy.info.uses_previous:
            inputs["previous"] = self._previous_digest(previous)
        span = f"{fold.dates[0].date()}..{last.date()}"
        cached = self._task(
            "weights",
            f"weights {span}",
            last,
            lambda: self._decide(fold, state, previous, stages),
            extra=inputs,
            dates=[d.date().isoformat() for d in fold.dates],
            before=stages,
        )
        table: pd.DataFrame = self.store.get(cached.ref)
        table.columns = pd.Index(table.columns, dtype=object)
        table.index = fold.dates[fold.dates.isin(table.index)]
        return table

    def _decide(
        self,
        fold: Fold,
        state: State | None,
        previous: "pd.Series[float] | None",
        stages: StageTables | None,
    ) -> pd.DataFrame:
        rows: dict[pd.Timestamp, pd.Series[float]] = {}
        for date in fold.dates:
            context = self._context(date, state, previous, stages)
            try:
                view = self._view(date)
                with self._hook("on_rebalance", date):
                    decided = self.strategy.on_rebalance(context, view)
                weights = check_weights(decided, self.strategy.info, view)
            except NotEnoughHistoryError:
                continue
            if len(weights) != len(self.panel.assets):
                weights = weights.reindex(list(self.panel.assets), fill_value=0.0)
            rows[date] = previous = weights
        if stages is not None:
            stages.save()
        return self._weight_table(rows)

    def _weight_table(self, rows: "Mapping[pd.Timestamp, pd.Series[float]]") -> pd.DataFrame:
        columns = pd.Index(self.panel.assets, dtype=object)
        values = np.array([r.to_numpy() for r in rows.values()], dtype=np.float64)
        index = pd.DatetimeIndex(list(rows), name="date").astype("datetime64[ns]")
        return pd.DataFrame(values.reshape(len(rows), len(columns)), index=index, columns=columns)

    def _state(self, date: pd.Timestamp | None) -> tuple[State | None, str]:
        """Return what `fit` gave at a date and its ref; in memory it takes the same way through bytes."""
        if not self.strategy.learns:
            return None, ""
        if date is None:
            raise NotEnoughHistoryError(
                f"{self.strategy.info.name} has no refit date before {self.sessions[0].date()}; start later"
            )
        if date not in self.log.states:
            self.log.states[date] = self._fit(date)
        return self.log.states[date]

    def _fit(self, date: pd.Timestamp) -> tuple[State | None, str]:
        def compute() -> State | None:
            context, view = self._context(date, None), self._view(date)
            with self._hook("fit", date):
                return self.strategy.fit(context, view)

        if self.store is None:
            return decode(*encode(compute())), ""
        cached = self._task("fit", f"fit {date.date()}", date, compute)
        return self.store.get(cached.ref), cached.ref

    def _view(self, date: pd.Timestamp) -> DataView:
        if type(self.strategy).universe is Strategy.universe:
            return view_of(self.sources, date)
        if date not in self.universes:
            with self._hook("universe", date):
                chosen = self.strategy.universe(self._context(date, None), view_of(self.sources, date))
            self.universes[date] = None if chosen is None else tuple(chosen)
        return view_of(self.sources, date, self.universes[date])

    @contextmanager
    def _hook(self, name: str, date: pd.Timestamp) -> Iterator[None]:
        """Say of an error of a strategy's own where and when it happened."""
        try:
            yield
        except ShoestringError:
            raise
        except Exception as e:
            frames = traceback.extract_tb(e.__traceback__)
            last = next((f for f in reversed(frames) if "site-packages" not in f.filename), frames[-1])
            info = self.strategy.info
            raise StrategyError(
                f"{info.name} {info.version}: {name} at {date.date()} raised {type(e).__name__}: {e} "
                f"({last.filename}, line {last.lineno}); correct the strategy, or its data at that date"
            ) from e

    def _context(
        self,
        date: pd.Timestamp,
        state: State | None,
        previous: "pd.Series[float] | None" = None,
        stages: StageTables | None = None,
    ) -> Context:
        return Context(
            as_of=date,
            run_id=self.run_id,
            seed=self.seed,
            params=self.params,
            state=state,
            sessions_due=self.due[self.due <= date],
            store=self.store,
            previous=previous if self.strategy.info.uses_previous else None,
            uses_previous=self.strategy.info.uses_previous,
            stages=stages,
        )

    def _inputs(self, date: pd.Timestamp) -> dict[str, str]:
        """Return digests of everything that can be seen at a date."""
        inputs = self.digests.at(date)
        if self.feature_digest is not None:
            inputs["features"] = self.feature_digest.at(date)
        return inputs

    def _previous_digest(self, previous: "pd.Series[float] | None") -> str:
        if previous is None:
            return "none"
        return digest_json({str(n): v for n, v in previous.items() if v != 0})

    def _task(  # private; the words of one task
        self,
        stage: str,
        name: str,
        date: pd.Timestamp,
        compute: Callable[[], Any],
        *,
        extra: Mapping[str, str] | None = None,
        dates: Sequence[str] = (),
        before: StageTables | None = None,
    ) -> Cached:
        """Run or find a task and record it."""
        assert self.store is not None
        if stage not in self.code:
            self.code[stage] = strategy_code(self.strategy, stage)
        code, params = self.code[stage]
        inputs = {**self._inputs(date), **(extra or {})}
        document = task_document(
            stage,
            code=code,
            params={"strategy": params, "dates": list(dates), "date": date.date().isoformat()},
            inputs=inputs,
            seed=self.seed,
        )
        cached = self.store.cached(document, compute)
        if before is not None:
            self.log.tasks += [Task(**t) for t in before.tasks()]
            inputs |= before.refs()
        self.log.tasks.append(
            Task(
                stage=stage,
                name=name,
                key=cached.key,
                ref=cached.ref,
                hit=cached.hit,
                seconds=cached.seconds,
                inputs=inputs,
            )
        )
        return cached
