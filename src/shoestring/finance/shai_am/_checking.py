"""The checks that a strategy must pass before it is promoted, and their records."""

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoestring.core.errors import ConfigError
from shoestring.finance.records.store import Store
from shoestring.finance.running.lookahead import LookaheadReport, check_lookahead
from shoestring.finance.shai_am._checks import Check, subject_of, write_check
from shoestring.finance.shai_am._tasks import Reference, keep_data, request_of, run_in
from shoestring.finance.shai_am.config import CheckConfig, RunConfig
from shoestring.finance.shai_am.functional import run_backtest
from shoestring.finance.strategies.interface import KnownTable, Strategy

if TYPE_CHECKING:
    from shoestring.finance.shai_am._platform import Data, Platform

__all__ = ["Checked", "check_strategy"]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the checks of a strategy gave."""

    lookahead: LookaheadReport
    deterministic: bool
    detail: str
    """Of the determinism check, in a sentence."""

    @property
    def passed(self) -> bool:
        """Whether both were passed."""
        return self.lookahead.passed and self.deterministic


def check_strategy(  # the words of one check
    platform: "Platform",
    strategy: Strategy | Reference,
    data: "Data",
    *,
    config: RunConfig,
    checks: CheckConfig,
    known: Mapping[str, KnownTable] | None = None,
) -> Checked:
    """Look for look-ahead, run twice, and store both outcomes for `promote`.

    Parameters
    ----------
    platform : Platform
        Where the outcomes are stored.
    strategy : Strategy or Reference
        What is checked; by its reference it is also run in a fresh interpreter.
    data : Data
        As for `Platform.backtest`.
    config : RunConfig
        Range of dates, costs, seed.
    checks : CheckConfig
        How hard it is tried.
    known : mapping, optional
        Point-in-time tables.
    """
    loaded = strategy if isinstance(strategy, Strategy) else strategy.load()
    panel, _, tables = platform.market(data, known, loaded)
    report = check_lookahead(
        loaded,
        panel,
        config.start or None,
        config.end or None,
        known=tables,
        dates=checks.dates,
        seed=checks.seed,
    )
    same, detail = _run_twice(loaded, strategy, panel, replace(config, seed=checks.seed), tables)
    subject, data_hash = subject_of(loaded), platform.data_hash(data, known, loaded)
    found = "; ".join(map(str, report.leaks))
    outcome = Check(
        name="look_ahead",
        passed=report.passed,
        detail=found or f"nothing changed before any of {len(report.dates)} dates",
        figures={"dates": float(len(report.dates)), "leaks": float(len(report.leaks))},
    )
    write_check(platform.folder, subject, data_hash, outcome)
    write_check(platform.folder, subject, data_hash, Check(name="determinism", passed=same, detail=detail))
    return Checked(lookahead=report, deterministic=same, detail=detail)


def _run_twice(
    loaded: Strategy,
    strategy: Strategy | Reference,
    panel: Any,
    config: RunConfig,
    known: Mapping[str, KnownTable],
) -> tuple[bool, str]:
    """Backtest with two empty stores, the second time in another process where that is possible."""
    with tempfile.TemporaryDirectory(prefix="shoestring-check-") as folder:
        first, second = Store(Path(folder) / "one"), Store(Path(folder) / "two")
        one = run_backtest(loaded, panel, config, first, known=known)
        try:
            reference = strategy if isinstance(strategy, Reference) else Reference.of(strategy)
            data = keep_data(panel, known, second)
        except ConfigError:  # written in a session, or a table that cannot travel
            other = dict(run_backtest(loaded, panel, config, second, known=known).artifacts)
            where = "in one process"
        else:
            other = _elsewhere(request_of(reference, data, config, second), second)
            where = "in two processes"
    differ = sorted(n for n, ref in one.artifacts.items() if other.get(n) != ref)
    if differ:
        return False, f"two runs with one seed {where} differ in {', '.join(differ)}"
    return True, f"two runs {where} gave the same {len(one.artifacts)} hashes"


def _elsewhere(request: Mapping[str, Any], store: Store) -> dict[str, str]:
    # Text hashes differ from process to process unless they are fixed: a strategy that iterates over
    # a set of names shows here.
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "271828"
    try:
        answer = run_in(Path(sys.executable), request, timeout_s=24 * 3600.0)
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before
    if "error" in answer:
        raise ConfigError(answer["error"])
    found = store.by_key(answer["key"])
    return {} if found is None else dict(store.get(found.ref)["artifacts"])
