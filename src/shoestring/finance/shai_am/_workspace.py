"""The files of a Dagster home: one code location an environment, each with its own interpreter."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from shoestring.core.errors import ConfigError
from shoestring.core.files import write_text_atomic

__all__ = ["INSTANCE", "Location", "dagster_home", "write_workspace"]

MAX_CONCURRENT_RUNS = 2  # SQLite under more writers reports "database is locked"
INSTANCE: dict[str, Any] = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},  # the dialog of the first visit
    "run_monitoring": {"enabled": True, "start_timeout_seconds": 60, "poll_interval_seconds": 5},
    "run_coordinator": {
        "module": "dagster.core.run_coordinator",
        "class": "QueuedRunCoordinator",
        "config": {"max_concurrent_runs": MAX_CONCURRENT_RUNS, "dequeue_interval_seconds": 1},
    },
}
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_LOCATION = '''"""Written by `shoestring finance ui`; changes are lost."""

from shoestring.finance.shai_am._location import location_definitions

defs = location_definitions({root}, {name})
'''


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """One strategy and the environment that it runs in."""

    name: str
    """Of the strategy; unique, since it is the prefix of its assets."""
    python: Path
    """Interpreter of its environment, which has Shoestring and the same Dagster installed."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"strategy name {self.name!r} is not of letters, digits and underscores; rename it"
            )
        if not os.access(self.python, os.X_OK) or not self.python.is_file():
            raise ConfigError(
                f"the environment of strategy {self.name!r} has no interpreter {self.python}; "
                "make it with python -m venv, or correct `python`"
            )


def dagster_home(root: Path) -> Path:
    """Return the folder below a platform's `root` that holds Dagster's files (``DAGSTER_HOME``)."""
    return root.absolute() / "dagster"


def write_workspace(root: Path, locations: Sequence[Location]) -> Path:
    """Write ``dagster.yaml``, ``workspace.yaml`` and one file a location.

    Parameters
    ----------
    root : Path
        Folder of the platform.
    locations : sequence of Location
        At least one; names are unique.

    Returns
    -------
    Path
        The Dagster home.

    Raises
    ------
    ConfigError
        If a name is there twice, or there is no location.

    Notes
    -----
    Interpreters are named as given, links unresolved: a virtual environment is found by its own path.
    """
    names = [location.name for location in locations]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"strategy {twice[0]!r} is there twice; one UI needs unique names, rename one")
    if not names:
        raise ConfigError(f"the platform in {root} has no strategy; name one on the command line")
    home = dagster_home(root)
    entries = []
    for location in locations:
        path = home / "locations" / f"{location.name}.py"
        # A JSON string of ASCII characters is a Python string too.
        text = _LOCATION.format(root=json.dumps(str(root.absolute())), name=json.dumps(location.name))
        write_text_atomic(path, text)
        entries.append(
            {
                "python_file": {
                    "relative_path": f"locations/{path.name}",
                    "attribute": "defs",
                    "location_name": location.name,
                    "executable_path": os.path.abspath(location.python),  # noqa: PTH100  # keeps links
                }
            }
        )
    write_text_atomic(home / "dagster.yaml", yaml.safe_dump(INSTANCE, sort_keys=True))
    write_text_atomic(home / "workspace.yaml", yaml.safe_dump({"load_from": entries}, sort_keys=False))
    return home
