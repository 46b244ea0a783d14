"""Finding strategies: by name among the installed ones, as ``module:Class``, in a .py or a YAML file."""

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from shoestring.core.config import apply_overrides
from shoestring.core.entry import load_entry_point
from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.interface import Strategy
from shoestring.finance.strategies.suggest import suggest

__all__ = ["GROUP", "installed", "load_class", "load_strategy"]

GROUP = "shoestring.strategies"
"""Entry-point group in which a package names its strategies."""


def installed() -> dict[str, EntryPoint]:
    """Return the strategies that installed packages name, by name; nothing is imported.

    Raises
    ------
    ConfigError
        If two packages give one name to different classes.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigError(
                f"the strategy {point.name!r} is both {other.value} and {point.value}; "
                "uninstall one of the packages, or name its class as module:Class"
            )
    return dict(sorted(found.items()))


@lru_cache(maxsize=1)
def _installed_once() -> dict[str, EntryPoint]:
    """Read the packages once a process: a sweep asks for the same name hundreds of times."""
    return installed()


def load_strategy(reference: str, overrides: Sequence[str] = ()) -> Strategy:
    """Load a strategy and set its parameters.

    Parameters
    ----------
    reference : str
        A name of `installed`; ``package.module:Class``; ``path.py`` or ``path.py:Class``; ``path.yaml``.
    overrides : sequence of str
        Parameters as ``lookback=126``; in a YAML file any key, as ``allocator.k=3``.

    Raises
    ------
    ConfigError
        If there is no such strategy (with a suggestion), it cannot be imported, or a parameter is refused.
    """
    if Path(reference).suffix in (".yaml", ".yml"):
        from shoestring.finance.strategies.yaml_strategy import read_yaml_strategy

        return read_yaml_strategy(Path(reference), overrides)[1]
    return load_class(reference).from_params(apply_overrides({}, overrides))


def load_class(reference: str) -> type[Strategy]:
    """Load the class of a strategy; see `load_strategy`."""
    path, _, name = reference.rpartition(":") if ":" in reference else (reference, "", "")
    if Path(path).suffix == ".py":
        return _only_strategy(_load_file(Path(path)), name)
    if ":" in reference:
        return _checked(load_entry_point(reference), reference)
    points = _installed_once()
    if reference not in points:
        raise ConfigError(
            f"the strategy {reference!r} is not known; {suggest(reference, points)} "
            "Or give a file: mine.py, mine.py:Class, mine.yaml"
        )
    return _checked(load_entry_point(points[reference].value), reference)


def _load_file(path: Path) -> ModuleType:
    """Import a user's file; modules beside it can be imported by it."""
    if not path.is_file():
        raise ConfigError(f"there is no strategy file {path}; start one with: shoestring finance new {path}")
    where = path.resolve()
    text = hashlib.sha256(where.read_bytes()).hexdigest()
    name = f"shoestring_strategy_{path.stem}_{text[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(where.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as e:
        del sys.modules[name]
        if not isinstance(e, Exception) or isinstance(e, ConfigError):
            raise
        raise ConfigError(f"{path} cannot be imported: {type(e).__name__}: {e}; correct the file") from e
    finally:
        sys.path.remove(str(where.parent))
    return module


def _only_strategy(module: ModuleType, name: str) -> type[Strategy]:
    classes = {n: v for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Strategy)}
    found = {n: v for n, v in classes.items() if v.__module__ == module.__name__ and "info" in vars(v)}
    if name:
        if name not in found:
            raise ConfigError(f"{module.__file__} has no strategy {name!r}; {suggest(name, found)}")
        return found[name]
    if len(found) != 1:
        raise ConfigError(
            f"{module.__file__} has {len(found)} strategies ({', '.join(found) or 'none'}); "
            "decorate one with @strategy, or choose with FILE.py:Class"
        )
    return next(iter(found.values()))


def _checked(thing: Any, reference: str) -> type[Strategy]:
    if not (isinstance(thing, type) and issubclass(thing, Strategy) and hasattr(thing, "info")):
        raise ConfigError(f"{reference!r} is no class decorated with @strategy; name one")
    return thing
