"""``shoestring finance compare`` and ``shoestring finance lineage``."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.console import print_json, results
from shoestring.cli.finance_job import DEFAULT_WORKSPACE, figures_table
from shoestring.core.optional import optional

__all__ = ["compare", "lineage"]


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of runs, or their beginnings; the latest ten without.", metavar="[RUN]..."),
    ] = None,
    strategy: Annotated[str, typer.Option(help="Only runs of this strategy.")] = "",
    workspace: Annotated[Path, typer.Option(help="Folder of results.", metavar="DIR")] = DEFAULT_WORKSPACE,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the figures of runs side by side.

    Example: shoestring finance compare --strategy momentum
    """
    optional("pandas", "finance")
    from shoestring.finance.shai_am import Platform

    with Platform(workspace) as platform:
        rows = platform.metadata.runs(strategy or None, limit=200)
        latest = [row.id for row in rows if row.status == "done" and row.mode == "backtest"][:10]
        found = [platform.run(run) for run in runs or latest]
    shown = {f"{r.strategy} {r.version} {r.id}": dict(r.metrics) for r in found}
    if json:
        print_json(
            {r.id: {"strategy": r.strategy, "version": r.version, "metrics": dict(r.metrics)} for r in found}
        )
        return
    results().print(figures_table(shown))


def lineage(
    run: Annotated[str, typer.Argument(help="Id of a run, or the beginning of it.")],
    name: Annotated[str, typer.Argument(help="nav, weights, ... or a figure such as sharpe.")] = "nav",
    workspace: Annotated[Path, typer.Option(help="Folder of results.", metavar="DIR")] = DEFAULT_WORKSPACE,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, all digests whole.")] = False,
) -> None:
    """Show where a number comes from: every step back to the digests of data and code.

    Example: shoestring finance lineage 20261126-1730 sharpe
    """
    optional("pandas", "finance")
    from shoestring.finance.shai_am import Platform

    with Platform(workspace) as platform:
        found = platform.run(run)
        origin = found.lineage(name)
    if json:
        print_json({"run": found.id, "document": dict(found.document), "lineage": origin.as_dict()})
        return
    typer.echo(f"{found.strategy} {found.version}, run {found.id}")
    typer.echo("\n".join(origin.lines()))
