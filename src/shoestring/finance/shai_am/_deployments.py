"""Which strategies a platform runs: ``strategies.toml`` in its folder, one section a strategy."""

import datetime as dt
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tomli_w

from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import ConfigError
from shoestring.core.files import write_text_atomic
from shoestring.finance.shai_am._workspace import Location

__all__ = ["FILE", "Deployment", "add_deployment", "locations", "probe", "read_deployments"]

FILE = "strategies.toml"
_SCHEMA = 1
_PROBE_LIMIT_S = 300.0
# Runs in the strategy's own environment, where alone it can be imported.
_PROBE = (
    "import json, sys\n"
    "from importlib.metadata import PackageNotFoundError, version\n"
    "from shoestring.core.errors import ShoestringError\n"
    "from shoestring.finance.strategies.registry import load_strategy\n"
    "try:\n"
    "    info = load_strategy(sys.argv[1], sys.argv[2:]).info\n"
    "    out = {'name': info.name, 'version': info.version, 'environment': info.environment}\n"
    "except ShoestringError as e:\n"
    "    out = {'error': str(e)}\n"
    "try:\n"
    "    out['dagster'] = version('dagster')\n"
    "except PackageNotFoundError:\n"
    "    out['dagster'] = ''\n"
    "print(json.dumps(out))\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """One strategy on the platform."""

    strategy: str
    """As for `load_strategy`: an installed name, ``module:Class``, or a file (absolute)."""
    parameters: tuple[str, ...] = ()
    """``name=value``."""
    data: str = ""
    """Market to run on: a name, a file or a folder (absolute); empty for the strategy's own."""
    environment: str = ""
    """Folder of the virtual environment that it runs in; empty for the platform's own."""
    catch_up: Literal["none", "latest", "all"] = "latest"
    """Which due dates run that were missed while nothing ran."""
    since: str = ""
    """First date of its path, ``YYYY-MM-DD``; needed to catch up on all dates, and to replay a path."""

    def __post_init__(self) -> None:
        if self.since:
            try:
                dt.date.fromisoformat(self.since)
            except ValueError as e:
                raise ConfigError(f"since={self.since!r} is no date; write it as YYYY-MM-DD") from e
        if self.catch_up == "all" and not self.since:
            raise ConfigError("catch_up='all' has no beginning; give since, the first date, or use 'latest'")

    def python(self) -> Path:
        """Return the interpreter of its environment."""
        return Path(self.environment) / "bin" / "python" if self.environment else Path(sys.executable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """What a strategy says about itself in its own environment."""

    name: str
    version: str
    environment: str
    dagster: str
    """Version of Dagster there; empty without one."""


def read_deployments(root: Path) -> dict[str, Deployment]:
    """Return the strategies of the platform in `root`, by name.

    Raises
    ------
    ConfigError
        For a file that is no TOML, of another schema, or with unknown keys.
    """
    path = root / FILE
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"could not read {path}: {e}; correct it, or remove it and add again") from e
    if values.pop("schema", None) != _SCHEMA or not all(isinstance(v, dict) for v in values.values()):
        raise ConfigError(f"{path} is not of schema {_SCHEMA} with one section a strategy; correct it")
    found = {}
    for name, section in values.items():
        try:
            found[name] = from_dict(Deployment, section)
        except ConfigError as e:
            raise ConfigError(f"{path}: {name}: {e}") from e
    return found


def add_deployment(root: Path, deployment: Deployment) -> str:
    """Add a strategy to the platform, or replace the one of its name; return that name.

    Raises
    ------
    ConfigError
        If it cannot be loaded in its environment, or that has not the platform's version of Dagster.
    """
    made = replace(
        deployment,
        strategy=_absolute_strategy(deployment.strategy),
        data=_absolute_data(deployment.data),
        environment=os.path.abspath(deployment.environment) if deployment.environment else "",  # noqa: PTH100  # keeps links
    )
    found = probe(made)
    if found.environment and not made.environment:
        made = replace(made, environment=os.path.abspath(found.environment))  # noqa: PTH100  # keeps links
        found = probe(made)
    mine = _own_dagster()
    if made.environment and found.dagster != mine:
        raise ConfigError(
            f"the environment {made.environment} has dagster {found.dagster or '(none)'}, this one {mine}; "
            f"install it there: {made.python()} -m pip install dagster=={mine}"
        )
    kept = read_deployments(root)
    kept[found.name] = made
    _write(root, kept)
    return found.name


def probe(deployment: Deployment) -> Probed:
    """Ask a strategy's own environment for its name and version.

    Raises
    ------
    ConfigError
        If the environment has no interpreter, no Shoestring, or refuses the strategy.
    """
    python = deployment.python()
    Location(name="probe", python=python)  # checks the interpreter
    command = [str(python), "-c", _PROBE, deployment.strategy, *deployment.parameters]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as e:
        raise ConfigError(
            f"{deployment.strategy} was not loaded in {_PROBE_LIMIT_S:g} s by {python}; load it there by hand"
        ) from e
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode or not last.startswith("{"):
        reason = done.stderr.strip().rpartition("\n")[2] or "no answer"
        raise ConfigError(
            f"{deployment.strategy} cannot be loaded by {python}: {reason}; install Shoestring and what the "
            "strategy needs there"
        )
    answer = json.loads(last)
    if "error" in answer:
        raise ConfigError(answer["error"])
    return Probed(**answer)


def locations(deployments: Mapping[str, Deployment]) -> list[Location]:
    """Return the code locations of strategies."""
    return [Location(name=name, python=d.python()) for name, d in deployments.items()]


def _write(root: Path, deployments: Mapping[str, Deployment]) -> None:
    sections = {
        name: {k: v for k, v in to_dict(d).items() if k != "schema"}
        for name, d in sorted(deployments.items())
    }
    write_text_atomic(root / FILE, tomli_w.dumps({"schema": _SCHEMA, **sections}))


def _absolute_strategy(reference: str) -> str:
    """Return a reference with its file, if it names one, as an absolute path."""
    path, colon, name = reference.rpartition(":") if ":" in reference else (reference, "", "")
    if Path(path).suffix not in (".py", ".yaml", ".yml"):
        return reference
    return f"{Path(path).resolve()}{colon}{name}"


def _absolute_data(name: str) -> str:
    from shoestring.finance.market.sources import market_names

    return name if not name or name in market_names() else str(Path(name).resolve())


def _own_dagster() -> str:
    from importlib.metadata import version

    return version("dagster")
