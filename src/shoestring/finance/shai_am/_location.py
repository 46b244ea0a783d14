"""What a code location of Dagster loads: the one strategy that it is named for."""

from pathlib import Path
from typing import Any

from shoestring.core.errors import ConfigError
from shoestring.finance.shai_am._dagster import build_definitions
from shoestring.finance.shai_am._deployments import read_deployments
from shoestring.finance.shai_am._pipeline import Pipeline

__all__ = ["location_definitions"]


def location_definitions(root: str, name: str) -> Any:
    """Return the Dagster definitions of the strategy `name` on the platform in `root`.

    Raises
    ------
    ConfigError
        If the platform has no such strategy, or its file now declares another name.
    """
    deployments = read_deployments(Path(root))
    if name not in deployments:
        raise ConfigError(f"the platform in {root} has no strategy {name!r}; start the user interface again")
    pipeline = Pipeline(Path(root), deployments[name])
    if pipeline.info.name != name:
        raise ConfigError(
            f"{deployments[name].strategy} is now called {pipeline.info.name!r}, not {name!r}; add it under "
            "its new name"
        )
    return build_definitions(pipeline)
