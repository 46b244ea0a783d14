"""``shoestring finance promote``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from shoestring.cli.console import print_json, results
from shoestring.cli.finance_job import DEFAULT_WORKSPACE, market_of
from shoestring.core.errors import ConfigError

__all__ = ["promote"]


def promote(
    strategy: Annotated[str, typer.Argument(help="A name, FILE.py[:Class] or FILE.yaml.")],
    stage: Annotated[
        str | None, typer.Argument(help="validated, paper, live or retired; without it, where it is.")
    ] = None,
    workspace: Annotated[
        Path, typer.Option(help="Folder of the platform.", metavar="DIR")
    ] = DEFAULT_WORKSPACE,
    data: Annotated[str, typer.Option(help="Market that it was checked on.")] = "",
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make the live version before this one live again.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Limits as TOML.", metavar="FILE")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the strategy.", metavar="NAME=VALUE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Move a version of a strategy one stage up: draft, validated, paper, live.

    Refused unless a backtest, the look-ahead check and the determinism check of this very code, these
    parameters and this data are stored in the workspace, and the backtest keeps to the limits.

    Example: shoestring finance promote mine.py paper --data prices/
    """
    if rollback and stage is not None:
        raise ConfigError(f"--rollback leads to live by itself; leave out the stage {stage!r}")
    from shoestring.core.config import read_toml
    from shoestring.finance.shai_am._promotion import Limits, Registry

    registry = Registry(workspace, Limits() if config is None else read_toml(Limits, config))
    if rollback:
        _show_move(registry.rollback(_name_of(workspace, strategy)), json)
    elif stage is None:
        _show_versions(registry, _name_of(workspace, strategy), json)
    else:
        subject, data_hash = _as_it_is(workspace, strategy, data, set_ or ())
        _show_move(registry.promote(subject, data_hash, stage), json)  # type: ignore[arg-type]  # checked there


def _as_it_is(workspace: Path, strategy: str, data: str, parameters: Any) -> tuple[Any, str]:
    """Return a strategy with its code as it is now, and the hash of its data as they are now."""
    from shoestring.finance.shai_am import Platform
    from shoestring.finance.shai_am._checks import subject_of
    from shoestring.finance.shai_am._deployments import read_deployments
    from shoestring.finance.strategies.registry import load_strategy

    deployed = read_deployments(workspace).get(strategy)
    if deployed is not None:
        strategy, parameters, data = (
            deployed.strategy,
            (*deployed.parameters, *parameters),
            data or deployed.data,
        )
    loaded = load_strategy(strategy, tuple(parameters))
    with Platform(workspace) as platform:
        return subject_of(loaded), platform.data_hash(market_of(strategy, data), strategy=loaded)


def _name_of(workspace: Path, strategy: str) -> str:
    """Return the name of a strategy; a file is loaded for it, a name taken as it is."""
    from shoestring.finance.shai_am._deployments import read_deployments
    from shoestring.finance.strategies.registry import installed, load_strategy

    known = strategy in read_deployments(workspace) or strategy.isidentifier()
    return strategy if known and strategy not in installed() else load_strategy(strategy).info.name


def _show_move(move: Any, json: bool) -> None:
    report = {name: getattr(move, name) for name in move.__slots__}
    if json:
        print_json(report)
        return
    replaced = f", in place of number {move.replaced}" if move.replaced is not None else ""
    results().print(
        f"{move.strategy} {move.version} (number {move.number}): {move.before} -> {move.after}{replaced}"
    )


def _show_versions(registry: Any, name: str, json: bool) -> None:
    found = [
        {"number": v.number, "version": v.tags["version"], "stage": stage, "code": v.tags["code"][:12]}
        for v, stage in registry.versions(name)
    ]
    if json:
        print_json({"strategy": name, "versions": found})
        return
    table = Table("number", "version", "stage", "code", box=None, pad_edge=False)
    for row in found:
        table.add_row(*(str(value) for value in row.values()))
    results().print(table if found else f"{name} has no version in the registry of {registry.root}")
