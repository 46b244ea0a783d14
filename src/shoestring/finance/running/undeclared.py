"""Inputs that a strategy has besides its view: data in closures and globals, files, connections."""

import dataclasses
import dis
import inspect
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shoestring.finance.market.panel import PricePanel
from shoestring.finance.strategies.interface import Strategy

__all__ = ["held_data", "watched_reads"]

_READERS = frozenset(
    {"fopen", "load_market", "load_us_market", "memmap", "open", "read_bytes", "read_csv", "read_excel"}
    | {"read_feather", "read_hdf", "read_json", "read_parquet", "read_pickle", "read_prices", "read_sql"}
    | {"read_table", "read_text", "urlopen", "urlretrieve"}
)
_HARMLESS = ("/proc/", "/sys/", "/dev/", "/usr/share/zoneinfo/", "/etc/localtime")
_CODE = (".py", ".pyc", ".so", ".pth", ".egg-link")
_DEPTH = 3
_local = threading.local()
_installed: list[bool] = []


def held_data(strategy: Strategy, until: pd.Timestamp, num_sessions: int) -> list[str]:
    """Find dated data that the code of a strategy holds by itself and that go beyond a date.

    Parameters
    ----------
    strategy : Strategy
        Its methods, their closures, defaults and the globals that they name, its class and its fields are
        looked through; functions of the same project that they name likewise.
    until : Timestamp
        Data that end by then could do no harm.
    num_sessions : int
        Undated arrays with so many rows or more count as well.

    Returns
    -------
    list of str
        What was found and where, and calls that read files.
    """
    found: list[str] = []
    seen: set[int] = set()
    kinds = [k for k in type(strategy).__mro__ if k is not object and k is not Strategy]
    parts = [part for stage in ("features", "fit", "weights") for part in strategy.parts(stage) or ()]
    for kind in kinds + [type(part) for part in parts]:
        for name, member in vars(kind).items():
            _look(member, f"{kind.__name__}.{name}", until, num_sessions, found, seen)
    for owner in (strategy, *parts):
        for field in dataclasses.fields(owner):  # a strategy is a dataclass by its decorator
            value = getattr(owner, field.name)
            _look(value, f"parameter {field.name}", until, num_sessions, found, seen)
    return found


def _look(  # private; one walk
    thing: Any,
    where: str,
    until: pd.Timestamp,
    rows: int,
    found: list[str],
    seen: set[int],
    depth: int = 0,
) -> None:
    """Walk from a member to what it holds."""
    if id(thing) in seen or depth > _DEPTH:
        return
    seen.add(id(thing))
    thing = _unwrapped(thing)
    if isinstance(thing, types.FunctionType):
        for name, value in _reached(thing):
            _look(value, f"{where} -> {name}", until, rows, found, seen, depth)
        found += [f"{where} calls {name}(...)" for name in sorted(_names(thing.__code__) & _READERS)]
        return
    described = _dated(thing, until, rows)
    if described:
        found.append(f"{where} holds {described}")
    elif isinstance(thing, Mapping):
        for key, value in list(thing.items())[:1000]:
            _look(value, f"{where}[{key!r}]", until, rows, found, seen, depth + 1)
    elif isinstance(thing, list | tuple | set):
        for value in list(thing)[:1000]:
            _look(value, f"{where}[...]", until, rows, found, seen, depth + 1)


def _dated(thing: Any, until: pd.Timestamp, rows: int) -> str:
    """Describe data that go beyond a date, empty for anything else."""
    if isinstance(thing, PricePanel):
        return f"a panel up to {thing.dates[-1].date()}" if thing.dates[-1] > until else ""
    if isinstance(thing, pd.DataFrame | pd.Series | pd.DatetimeIndex):
        axes = [thing] if isinstance(thing, pd.DatetimeIndex) else [thing.index, *_date_columns(thing)]
        last = [axis.max() for axis in axes if isinstance(axis, pd.DatetimeIndex) and len(axis)]
        if last and max(last) > until:
            return f"a {type(thing).__name__} up to {max(last).date()}"
        return f"a {type(thing).__name__} of {len(thing)} rows" if not last and len(thing) >= rows else ""
    if isinstance(thing, np.ndarray) and thing.ndim and max(thing.shape) >= rows:
        return f"an array of shape {thing.shape}"
    return ""


def _date_columns(thing: Any) -> list[pd.DatetimeIndex]:
    if not isinstance(thing, pd.DataFrame):
        return []
    return [pd.DatetimeIndex(thing[c].dropna()) for c in thing.columns if thing[c].dtype.kind == "M"]


def _unwrapped(member: Any) -> Any:
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    if isinstance(member, property):
        member = member.fget
    return inspect.unwrap(member) if isinstance(member, types.FunctionType) else member


def _reached(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function can reach without an argument: closure, defaults, globals of its project."""
    names = _names(function.__code__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield "default", value
    top = (function.__module__ or "").partition(".")[0]
    for name in sorted(_loaded_globals(function.__code__) & set(function.__globals__)):
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            if value.__name__.partition(".")[0] == top or not _installed_module(value):
                yield from ((f"{name}.{n}", v) for n, v in vars(value).items() if n in names)
        elif isinstance(value, types.FunctionType):
            if (value.__module__ or "").partition(".")[0] == top and top != "shoestring":
                yield name, value
        else:
            yield name, value


def _installed_module(module: types.ModuleType) -> bool:
    return "site-packages" in str(getattr(module, "__file__", "")) or not hasattr(module, "__file__")


def _loaded_globals(code: types.CodeType) -> set[str]:
    """Return the names that code reads from its module; ``data.prices`` does not read a global ``prices``."""
    own = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return own.union(*(_loaded_globals(c) for c in inner))


def _names(code: types.CodeType) -> set[str]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*(_names(c) for c in inner))


@contextmanager
def watched_reads() -> Iterator[list[str]]:
    """Collect the files that this thread opens for reading, and its connections, while inside.

    Notes
    -----
    By the interpreter's audit events: reads inside compiled libraries that open files themselves are not
    seen (`held_data` looks for their names). The hook stays in the process, and is idle outside.
    """
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    seen: list[str] = []
    _local.seen = seen
    try:
        yield seen
    finally:
        _local.seen = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    seen = getattr(_local, "seen", None)
    if seen is None:
        return
    note = _EVENTS.get(event, _nothing)(arguments)
    if note and note not in seen:
        seen.append(note)


def _opened(arguments: tuple[Any, ...]) -> str:
    path, mode = arguments[0], arguments[1]
    if not isinstance(path, str | bytes) or (isinstance(mode, str) and not set(mode) & set("r+")):
        return ""
    name = str(Path(path.decode(errors="replace") if isinstance(path, bytes) else path).absolute())
    harmless = (
        name.startswith(_HARMLESS) or name.endswith(_CODE) or "zoneinfo" in name or ".dist-info" in name
    )
    return "" if harmless else f"opens {name}"


def _nothing(_: tuple[Any, ...]) -> str:
    return ""


_EVENTS: dict[str, Callable[[tuple[Any, ...]], str]] = {
    "open": _opened,
    "socket.connect": lambda a: f"connects to {a[1]}",
    "sqlite3.connect": lambda a: f"opens the database {a[0]}",
    "subprocess.Popen": lambda a: f"starts {a[0]}",
}
