"""A workspace in a folder: the store, the runs, the ledger, and the four modes of one strategy."""

import itertools
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from shoestring.core.config import to_dict
from shoestring.core.errors import ConfigError, ShoestringError, StorageError
from shoestring.core.progress import progress
from shoestring.finance.market.panel import PricePanel, as_panel
from shoestring.finance.market.sources import Market
from shoestring.finance.records.digest import digest_json
from shoestring.finance.records.ledger import Ledger, Swept
from shoestring.finance.records.store import Store
from shoestring.finance.running.keys import Digests
from shoestring.finance.running.run import decide
from shoestring.finance.shai_am._data import load_data
from shoestring.finance.shai_am._metadata import Metadata, RunRow
from shoestring.finance.shai_am._runs import Run
from shoestring.finance.shai_am._spread import Executor, spread
from shoestring.finance.shai_am._tasks import Reference, describe, keep_data, request_of, run_in
from shoestring.finance.shai_am.config import RunConfig, SweepConfig
from shoestring.finance.shai_am.functional import (
    Manifest,
    find_backtest,
    manifest_of,
    orders_csv,
    read_orders,
    run_backtest,
)
from shoestring.finance.strategies.interface import KnownTable, Sources, Strategy, StrategyInfo

__all__ = ["DEFAULT_MARKET", "Executor", "LiveRun", "Platform"]

Data = str | Path | Market | Sources | PricePanel | pd.DataFrame
DEFAULT_MARKET = "skfolio/sp500"
_LIMIT_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class LiveRun:
    """A date that was run, now or before."""

    strategy: str
    version: str
    date: str
    orders: Path
    """The order file."""
    weights: "pd.Series[float]"
    """Target weights by asset, those that are held."""
    again: bool
    """True: the date had been written before; nothing was done."""


class Platform:
    """One folder with everything that was computed in it; no server, no daemon.

    Parameters
    ----------
    folder : str or Path
        ``store/`` results by content, ``runs.sqlite`` what ran, ``ledger.sqlite`` and ``orders/`` the dates
        that ran live, ``reports/`` tear sheets. Made when it is not there.

    Attributes
    ----------
    lost : tuple of RunRow
        Runs of processes that died, found and marked when this object was made.
    swept : Swept
        Claims of such processes, settled likewise.
    """

    def __init__(self, folder: str | Path = "shoestring-workspace") -> None:
        self.folder = Path(folder)
        self.store = Store(self.folder / "store")
        self.metadata = Metadata(self.folder)
        self.ledger = Ledger(self.folder)
        self.lost: tuple[RunRow, ...] = tuple(self.metadata.sweep())
        self.swept: Swept = self.ledger.sweep()
        self.store.collect()
        self._data: dict[str, Market | Sources] = {}
        self._digests: list[tuple[PricePanel, Mapping[str, KnownTable], Digests]] = []

    def close(self) -> None:
        """Close the databases."""
        self.metadata.close()
        self.ledger.close()

    def __enter__(self) -> "Platform":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def backtest(  # noqa: PLR0913  # the words of one run
        self,
        strategy: Strategy | str | Reference,
        data: Data = "",
        *,
        start: str = "",
        end: str = "",
        config: RunConfig | None = None,
        known: Mapping[str, KnownTable] | None = None,
        executor: Executor = "inproc",
        environment: str = "",
        show_progress: bool = False,
    ) -> Run:
        """Run a strategy walk-forward and book it against prices.

        Parameters
        ----------
        strategy : Strategy, str or Reference
            The strategy, or where it is (as for `load_strategy`).
        data : str, Path, Market, PricePanel or DataFrame
            A market by name, files, or closing prices.
        start, end : str
            First and last date, both included; shorthand for those of `config`.
        config : RunConfig, optional
            Costs, lag, seed.
        known : mapping, optional
            Point-in-time tables by name.
        executor : str
            ``"inproc"`` here; ``"process"`` in a process of its own.
        environment : str
            Folder of a virtual environment whose Python runs it; the strategy's own by default.
        show_progress : bool
            One line on stderr, on a terminal.

        Returns
        -------
        Run
        """
        made = self._config(config, start, end)
        if environment:  # whose strategy may be impossible to load here
            where = self.market(data, known)
            return self._elsewhere(strategy, where, made, executor, (environment, _LIMIT_S))
        loaded = _loaded(strategy)
        panel, about, tables = self.market(data, known, loaded)
        if executor != "inproc" or loaded.info.environment:
            where = (panel, about, tables)
            limits = (loaded.info.environment, loaded.info.resources.timeout_s)
            return self._elsewhere(strategy, where, made, executor, limits)
        run_id = self._begin(loaded, about, made)
        try:
            manifest = run_backtest(
                loaded,
                panel,
                made,
                self.store,
                known=tables,
                digests=self.digests(panel, tables),
                run_id=run_id,
                show_progress=show_progress,
            )
        except ShoestringError as e:
            self.metadata.fail(run_id, str(e))
            raise
        return self._finish(run_id, manifest)

    def sweep(  # the words of one sweep
        self,
        strategy: str | Strategy,
        sweep: SweepConfig,
        data: Data = "",
        *,
        config: RunConfig | None = None,
        known: Mapping[str, KnownTable] | None = None,
        executor: Executor = "inproc",
        show_progress: bool = False,
    ) -> list[Run]:
        """Run every combination of parameter values; what was run before is found, not run.

        Parameters
        ----------
        strategy : str or Strategy
            Whose other parameters stay as they are.
        sweep : SweepConfig
            Values by parameter, and the number of processes.
        data, config, known, show_progress
            As in `backtest`.
        executor : str
            ``"inproc"``, ``"process"`` on this machine, or ``"ray"``.

        Returns
        -------
        list of Run
            In the order of the combinations, the last parameter fastest.
        """
        made = config or RunConfig()
        combinations = _combinations(sweep.grid)
        strategies = [_variant(strategy, values) for values in combinations]
        panel, about, tables = self.market(data, known, strategies[0])
        digests = self.digests(panel, tables)
        manifests: list[Manifest | None] = [
            find_backtest(s, panel, made, self.store, digests=digests) for s in strategies
        ]
        todo = [i for i, m in enumerate(manifests) if m is None]
        if executor == "inproc":
            for i in progress(todo, "sweep") if show_progress else todo:
                manifests[i] = run_backtest(
                    strategies[i], panel, made, self.store, known=tables, digests=digests
                )
        elif todo:
            kept = keep_data(panel, tables, self.store)
            travelling = [_travelling(strategy, combinations[i]) for i in todo]
            requests = [request_of(reference, kept, made, self.store) for reference in travelling]
            done = spread(requests, executor, sweep.jobs)
            for number, answer in progress(done, "sweep") if show_progress else done:
                manifests[todo[number]] = self._answer(answer)
        runs = []
        with self.metadata.together():
            for one, manifest in zip(strategies, manifests, strict=True):
                assert manifest is not None
                runs.append(self._finish(self._begin(one, about, made), manifest))
        return runs

    def live(  # the words of one run
        self,
        strategy: Strategy | str,
        date: str,
        data: Data = "",
        *,
        known: Mapping[str, KnownTable] | None = None,
        start: str | None = None,
        seed: int = 0,
    ) -> LiveRun:
        """Decide one date and write its order file, once.

        Parameters
        ----------
        strategy, data, known
            As in `backtest`.
        date : str
            A session on which the strategy is due, ``YYYY-MM-DD``.
        start : str, optional
            First date of the path, for strategies that use their previous weights.
        seed : int
            As that of the backtest.

        Raises
        ------
        StorageError
            If another process runs the date right now.
        ConfigError
            If the date is not due, or the name and version ran live with other code.
        """
        loaded = _loaded(strategy)
        info = loaded.info
        panel, about, tables = self.market(data, known, loaded)
        code = describe(loaded)["code"]
        self._check_frozen(info, code)
        claim = self.ledger.claim(info.name, info.version, date)
        if claim is None:
            return self._written(info.name, info.version, date)
        document = {**_document(loaded, about), "date": claim.date, "seed": seed}
        run_id = _new_id()
        self.metadata.begin(run_id, info.name, info.version, "live", document)
        try:
            made = decide(loaded, panel, claim.date, start=start, known=tables, seed=seed, store=self.store)
            content = orders_csv(made.weights.iloc[0])
            self.metadata.freeze(info.name, info.version, code)
            path = self.ledger.write_orders(claim, content)
        except BaseException as e:
            self.ledger.release(info.name, info.version, date)
            self.metadata.fail(run_id, f"{type(e).__name__}: {e}")
            raise
        weights = self.store.put(made.weights)
        artifacts = {"weights": weights, "orders": self.store.put(content)}
        self.metadata.finish(
            run_id, key=digest_json(document), artifacts=artifacts, metrics={}, tasks=made.tasks
        )
        return _live_run(info.name, info.version, claim.date, path, content, again=False)

    def last_due(self, strategy: Strategy, data: Data = "") -> str | None:
        """Return the last session of the data if the strategy is due on it, else None."""
        panel, _, _ = self.market(data, strategy=strategy)
        last = panel.dates[-1]
        return str(last.date()) if strategy.info.schedule.is_due(panel.dates, last) else None

    def run(self, run_id: str) -> Run:
        """Return a run by its id or the beginning of it."""
        row = self.metadata.run(run_id)
        return Run(
            id=row.id,
            strategy=row.strategy,
            version=row.version,
            document=row.document,
            metrics=self.metadata.metrics(row.id),
            artifacts=self.metadata.artifacts(row.id),
            tasks=self.metadata.tasks(row.id),
            store=self.store,
        )

    def compare(self, runs: Sequence[Run | str]) -> pd.DataFrame:
        """Return the figures of runs side by side, metrics x runs."""
        loaded = [run if isinstance(run, Run) else self.run(run) for run in runs]
        return pd.DataFrame({_label(run): dict(run.metrics) for run in loaded}, dtype=float)

    def digests(self, panel: PricePanel, known: Mapping[str, KnownTable]) -> Digests:
        """Return the digests of data, computed once for this object."""
        for other, tables, digests in self._digests:
            if other is panel and dict(tables) == dict(known):
                return digests
        made = Digests(panel, known)
        self._digests = [*self._digests[-3:], (panel, dict(known), made)]
        return made

    def data_hash(
        self,
        data: Data,
        known: Mapping[str, KnownTable] | None = None,
        strategy: Strategy | None = None,
    ) -> str:
        """Return the digest of all rows of the data, for checks and promotion."""
        panel, _, tables = self.market(data, known, strategy)
        return digest_json(self.digests(panel, tables).at(panel.dates[-1]))

    def market(
        self,
        data: Data,
        known: Mapping[str, KnownTable] | None = None,
        strategy: Strategy | None = None,
    ) -> tuple[PricePanel, dict[str, Any], dict[str, KnownTable]]:
        """Return the panel of `data`, what is recorded about it, and its point-in-time tables.

        A name goes to the strategy's own `sources` first, then to `load_market`; an empty one means the
        strategy's own example, else the default market.
        """
        if isinstance(data, str | Path):
            data = self._named(str(data), strategy)
        if isinstance(data, Sources):
            about = {"name": data.name, "kind": "unknown", "about": list(data.about)}
            return data.panel, about, {**data.known, **(known or {})}
        if isinstance(data, Market):
            about = {"name": data.name, "kind": data.about.kind, "about": data.about.lines()}
            return data.panel, about, dict(known or {})
        return as_panel(data), {"name": "prices given", "kind": "unknown", "about": []}, dict(known or {})

    def _named(self, name: str, strategy: Strategy | None) -> Market | Sources:
        """Return data by name, loaded once: the strategy's own, or what every strategy means by it."""
        if strategy is not None:
            place = f"{strategy.info.name}:{name}"
            if place not in self._data:
                own = strategy.sources(name)
                if own is None:
                    return self._named(name, None)
                self._data[place] = own
            return self._data[place]
        if name not in self._data:
            self._data[name] = load_data(name or DEFAULT_MARKET)
        return self._data[name]

    def _elsewhere(
        self,
        strategy: Strategy | str | Reference,
        data: tuple[PricePanel, dict[str, Any], dict[str, KnownTable]],
        config: RunConfig,
        executor: Executor,
        limits: tuple[str, float],
    ) -> Run:
        """Run a backtest in another process (environment and time as in `limits`), exchanging files only."""
        environment, timeout_s = limits
        panel, about, tables = data
        reference = _reference(strategy)
        request = request_of(reference, keep_data(panel, tables, self.store), config, self.store)
        if environment:
            answer = run_in(Path(environment) / "bin" / "python", request, timeout_s=timeout_s)
        else:
            answer = next(iter(spread([request], executor, 1)))[1]
        manifest = self._answer(answer)
        document = {
            "params": answer["params"],
            "code": answer["code"],
            "config": to_dict(config),
            "data": about,
        }
        run_id = _new_id()
        with self.metadata.together():
            self.metadata.begin(run_id, answer["name"], answer["version"], "backtest", document)
            return self._finish(run_id, manifest)

    def _answer(self, answer: Mapping[str, Any]) -> Manifest:
        if "error" in answer:
            raise ConfigError(answer["error"])
        found = self.store.by_key(answer["key"])
        if found is None:
            raise StorageError(
                f"the result {answer['key'][:12]} is not in {self.store.folder}; do all processes see it?"
            )
        return manifest_of(found.key, answer["hit"], self.store.get(found.ref))

    def _written(self, name: str, version: str, date: str) -> LiveRun:
        entry = self.ledger.entry(name, version, date)
        if entry is None or entry.status != "written":
            holder = "nobody any more; run again" if entry is None else f"process {entry.worker}"
            raise StorageError(f"{name} {version} on {date} is being run by {holder}")
        content = self.ledger.orders(entry)
        return _live_run(name, version, entry.date, self.folder / entry.orders, content, again=True)

    def _begin(self, strategy: Strategy, about: Mapping[str, Any], config: RunConfig) -> str:
        info = strategy.info
        document = {**_document(strategy, about), "config": to_dict(config)}
        self._check_frozen(info, document["code"])
        run_id = _new_id()
        self.metadata.begin(run_id, info.name, info.version, "backtest", document)
        return run_id

    def _check_frozen(self, info: StrategyInfo, code: str) -> None:
        """Refuse code under a name and version that ran live with other code."""
        frozen = self.metadata.frozen(info.name, info.version)
        if frozen is not None and frozen != code:
            raise ConfigError(
                f"{info.name} {info.version} ran live in this workspace with other code; "
                "give the changed strategy another version"
            )

    def _finish(self, run_id: str, manifest: Manifest) -> Run:
        self.metadata.finish(
            run_id,
            key=manifest.key,
            artifacts=manifest.artifacts,
            metrics=manifest.metrics,
            tasks=manifest.tasks,
        )
        return self.run(run_id)

    def _config(self, config: RunConfig | None, start: str, end: str) -> RunConfig:
        made = config or RunConfig()
        return replace(made, start=start or made.start, end=end or made.end)


def _loaded(strategy: Strategy | str | Reference) -> Strategy:
    if isinstance(strategy, Strategy):
        return strategy
    return strategy.load() if isinstance(strategy, Reference) else Reference(strategy=strategy).load()


def _reference(strategy: Strategy | str | Reference) -> Reference:
    if isinstance(strategy, Reference):
        return strategy
    return Reference(strategy=strategy) if isinstance(strategy, str) else Reference.of(strategy)


def _document(strategy: Strategy, about: Mapping[str, Any]) -> dict[str, Any]:
    described = describe(strategy)
    return {"params": described["params"], "code": described["code"], "data": dict(about)}


def _combinations(grid: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _variant(strategy: str | Strategy, values: Mapping[str, Any]) -> Strategy:
    if isinstance(strategy, str):
        return _travelling(strategy, values).load()
    return type(strategy).from_params({**strategy.params(), **values})


def _travelling(strategy: str | Strategy, values: Mapping[str, Any]) -> Reference:
    if isinstance(strategy, str):
        return Reference(strategy=strategy, overrides=tuple(f"{n}={_toml(v)}" for n, v in values.items()))
    reference = Reference.of(strategy)
    return replace(reference, params={**(reference.params or {}), **values})


def _toml(value: Any) -> str:
    """Write a value as an override is read."""
    import json

    return json.dumps(value)


def _live_run(name: str, version: str, date: str, path: Path, content: bytes, *, again: bool) -> LiveRun:
    return LiveRun(
        strategy=name,
        version=version,
        date=date,
        orders=path,
        weights=read_orders(content),
        again=again,
    )


def _label(run: Run) -> str:
    return f"{run.strategy} {run.version} {run.id}"


def _new_id() -> str:
    """Return an id that sorts by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
