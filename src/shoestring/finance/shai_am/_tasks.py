"""A backtest as a request of plain values, so that it can run in another process, interpreter or machine.

As a program: ``python -m shoestring.finance.shai_am._tasks REQUEST.json RESULT.json``. Only files go in and
out, Parquet and JSON; the other interpreter may have other versions of everything.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from shoestring.core.config import from_dict, to_dict
from shoestring.core.entry import load_entry_point
from shoestring.core.errors import ConfigError, ShoestringError, StorageError
from shoestring.core.files import write_json_atomic
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.records.store import Store
from shoestring.finance.running.keys import Digests, strategy_code
from shoestring.finance.shai_am.config import RunConfig
from shoestring.finance.shai_am.functional import run_backtest
from shoestring.finance.strategies.interface import KnownTable, Strategy
from shoestring.finance.strategies.registry import load_class, load_strategy

__all__ = ["Reference", "keep_data", "load_data", "request_of", "run_in", "run_request"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A strategy by where its class is and by its parameters."""

    strategy: str
    """As for `load_strategy`."""
    overrides: tuple[str, ...] = ()
    """``name=value``."""
    params: Mapping[str, Any] | None = None
    """All parameters as values, instead of `overrides`."""

    def load(self) -> Strategy:
        """Return the strategy."""
        if self.params is not None:
            return load_class(self.strategy).from_params(self.params)
        return load_strategy(self.strategy, self.overrides)

    @classmethod
    def of(cls, strategy: Strategy) -> "Reference":
        """Return where the class of a strategy can be found by another process.

        Raises
        ------
        ConfigError
            If it was written into a session or a script, or put together without a file.
        """
        kind = type(strategy)
        module = sys.modules.get(kind.__module__)
        file = getattr(module, "__file__", None)
        if module is not None and getattr(module, kind.__qualname__, None) is kind and file:
            if kind.__module__.startswith("shoestring_strategy_"):
                return cls(strategy=f"{file}:{kind.__qualname__}", params=strategy.params())
            if kind.__module__ != "__main__":
                return cls(strategy=f"{kind.__module__}:{kind.__qualname__}", params=strategy.params())
        raise ConfigError(
            f"another process cannot find the class of {strategy.info.name}; write it into a file and give "
            "that ('mine.py:Class', 'mine.yaml'), or run it in this process"
        )


def keep_data(panel: PricePanel, known: Mapping[str, KnownTable], store: Store) -> dict[str, Any]:
    """Put a panel and its tables into the store and return a description that `run_request` reads.

    Raises
    ------
    ConfigError
        For a table whose class cannot be made from a frame again.
    """
    fields = {name: store.put(frame) for name, frame in panel.fields.items()}
    tables = {}
    for name, table in known.items():
        kind = type(table)
        if not hasattr(kind, "from_frame"):
            raise ConfigError(
                f"the table {name!r} ({kind.__name__}) cannot be handed to another process: it has no "
                "from_frame; run in this process"
            )
        tables[name] = {"kind": f"{kind.__module__}:{kind.__qualname__}", "ref": store.put(table.frame())}
    return {"panel": store.put(fields), "known": tables}


def request_of(
    reference: Reference, data: Mapping[str, Any], config: RunConfig, store: Store, run_id: str = ""
) -> dict[str, Any]:
    """Return a backtest as plain values."""
    return {
        "store": str(store.folder.resolve()),
        "strategy": reference.strategy,
        "overrides": list(reference.overrides),
        "params": None if reference.params is None else dict(reference.params),
        "data": dict(data),
        "config": to_dict(config),
        "run_id": run_id,
    }


def run_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a backtest that `request_of` describes.

    Returns
    -------
    dict
        ``key`` of the manifest in the store, ``hit``, and what the strategy says about itself; or ``error``
        for input that is refused.
    """
    store = Store(request["store"])
    reference = Reference(
        strategy=request["strategy"], overrides=tuple(request["overrides"]), params=request["params"]
    )
    try:
        strategy = reference.load()
        panel, known, digests = load_data(request["store"], json.dumps(request["data"], sort_keys=True))
        config = from_dict(RunConfig, request["config"])
        made = run_backtest(
            strategy, panel, config, store, known=known, digests=digests, run_id=request["run_id"]
        )
    except ShoestringError as e:
        return {"error": str(e)}
    return {"key": made.key, "hit": made.hit, **describe(strategy)}


def describe(strategy: Strategy) -> dict[str, Any]:
    """Return name, version, parameters and code of a strategy."""
    code, _ = strategy_code(strategy)
    info = strategy.info
    return {"name": info.name, "version": info.version, "params": strategy.params(), "code": code}


def run_in(python: Path, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """Run a request with another interpreter, for a strategy with an environment of its own.

    Parameters
    ----------
    python : Path
        The interpreter; Shoestring is installed in its environment.
    request : mapping
        As `request_of` gives it.
    timeout_s : float
        Wall-clock limit; the process is killed then.

    Raises
    ------
    ConfigError
        If the interpreter is not there.
    StorageError
        If it ended without a result; the end of its error output is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="shoestring-task-") as folder:
        question, answer = Path(folder) / "request.json", Path(folder) / "result.json"
        write_json_atomic(question, dict(request))
        command = [str(python), "-m", "shoestring.finance.shai_am._tasks", str(question), str(answer)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except FileNotFoundError as e:
            raise ConfigError(
                f"there is no interpreter {python}; give the folder of a virtual environment"
            ) from e
        except subprocess.TimeoutExpired as e:
            raise StorageError(
                f"the task did not end within {timeout_s:g} s in {python}; raise resources.timeout_s"
            ) from e
        if done.returncode or not answer.is_file():
            last = done.stderr.strip().rpartition("\n")[2]
            raise StorageError(f"{python} ended with code {done.returncode} and no result: {last}")
        result: dict[str, Any] = json.loads(answer.read_text())
    return result


@lru_cache(maxsize=4)
def load_data(store: str, data: str) -> tuple[PricePanel, dict[str, KnownTable], Digests]:
    """Read a panel and tables once a process."""
    kept = Store(store)
    given = json.loads(data)
    fields = {name: kept.get(ref) for name, ref in kept.get(given["panel"]).items()}
    panel = PricePanel.from_frame(fields.pop("close"), **fields)
    known = {
        name: getattr(load_entry_point(table["kind"]), "from_frame")(kept.get(table["ref"]))  # noqa: B009  # a class
        for name, table in given["known"].items()
    }
    return panel, known, Digests(panel, known)


if __name__ == "__main__":
    write_json_atomic(Path(sys.argv[2]), run_request(json.loads(Path(sys.argv[1]).read_text())))
