"""``shoestring finance ui``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from shoestring.cli.console import note, print_json, results
from shoestring.cli.finance_job import DEFAULT_WORKSPACE, market_of

__all__ = ["ui"]


def ui(  # noqa: PLR0913, PLR0917  # one parameter a flag
    strategies: Annotated[
        list[str] | None,
        typer.Argument(help="To add: names, FILE.py[:Class], FILE.yaml.", metavar="[STRATEGY]..."),
    ] = None,
    workspace: Annotated[
        Path, typer.Option(help="Folder of the platform.", metavar="DIR")
    ] = DEFAULT_WORKSPACE,
    data: Annotated[str, typer.Option(help="Market of the strategies added.")] = "",
    environment: Annotated[
        str, typer.Option(help="Virtual environment of the strategies added.", metavar="DIR")
    ] = "",
    catch_up: Annotated[
        Literal["none", "latest", "all"], typer.Option(help="Due dates that were missed and run now.")
    ] = "latest",
    since: Annotated[str, typer.Option(help="First live date.", metavar="DATE")] = "",
    port: Annotated[int, typer.Option(help="Port of the pages; 0 takes a free one.")] = 3000,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of what is added.", metavar="NAME=VALUE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON once it is ready.")] = False,
) -> None:
    """Start Dagster's pages and its daemon for the strategies of a workspace, on this machine only.

    Runs whose process died with the host are reported failed first. Strategies that are named are added to
    strategies.toml; each may have an environment of its own. Ctrl-C ends it.

    Example: shoestring finance ui momentum strategies/mine.py --workspace ws
    """
    from shoestring.finance.shai_am._deployments import (
        Deployment,
        add_deployment,
        locations,
        read_deployments,
    )
    from shoestring.finance.shai_am._ui import UiConfig, serve_ui

    for strategy in strategies or ():
        deployment = Deployment(
            strategy=strategy,
            parameters=tuple(set_ or ()),
            data=market_of(strategy, data),
            environment=environment,
            catch_up=catch_up,
            since=since,
        )
        note(f"added {add_deployment(workspace, deployment)}")
    deployed = read_deployments(workspace)
    config = UiConfig(port=port)
    with serve_ui(workspace, locations(deployed), config) as running:
        report = {
            "url": running.url,
            "tear_sheets": running.reports_url,
            "strategies": sorted(set(deployed) - set(running.failed_locations)),
            "failed": running.failed_locations,
            "lost_runs": [run.run_id for run in running.lost_runs],
        }
        _show(report, json)
        running.wait()
    note("ended")


def _show(report: dict[str, Any], json: bool) -> None:
    for name, reason in report["failed"].items():
        note(f"{name} cannot be loaded: {reason.splitlines()[0]}")
    if json:
        print_json(report)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("pages", report["url"])
    table.add_row("tear sheets", report["tear_sheets"])
    table.add_row("strategies", ", ".join(report["strategies"]) or "none could be loaded")
    if report["lost_runs"]:
        table.add_row("lost runs", f"{len(report['lost_runs'])} reported failed: their process was gone")
    results().print(table)
