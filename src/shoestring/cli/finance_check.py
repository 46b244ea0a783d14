"""``shoestring finance check``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from shoestring.cli.console import note, print_json, results
from shoestring.cli.finance_job import DEFAULT_WORKSPACE, market_of, reference, run_config

__all__ = ["check"]


def check(  # noqa: PLR0913, PLR0917  # one parameter a flag
    strategy: Annotated[str, typer.Argument(help="A name, FILE.py[:Class] or FILE.yaml.")],
    data: Annotated[str, typer.Option(help="Market by name, price file or folder.")] = "",
    start: Annotated[str, typer.Option(help="First date or year.", metavar="DATE")] = "",
    end: Annotated[str, typer.Option(help="Last date or year, included.", metavar="DATE")] = "",
    dates: Annotated[int, typer.Option(min=1, help="Dates that are tried.")] = 8,
    workspace: Annotated[Path, typer.Option(help="Folder of results.", metavar="DIR")] = DEFAULT_WORKSPACE,
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the strategy.", metavar="NAME=VALUE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look for look-ahead, and run twice.

    Everything after a date is changed, then removed: weights, features and fits up to the date must stay the
    same bit for bit. The outcome is stored for promote. The exit code is 1 if something was found.

    Example: shoestring finance check mine.py --start 2005
    """
    options = run_config(config, start=start, end=end)
    named = reference(strategy, set_ or ())
    from shoestring.finance.shai_am import CheckConfig, Platform
    from shoestring.finance.shai_am._checking import check_strategy

    with Platform(workspace) as platform:
        done = check_strategy(
            platform,
            named,
            market_of(strategy, data),
            config=options,
            checks=CheckConfig(dates=dates, seed=options.seed),
        )
    report = done.lookahead
    if json:
        leaks = [{"kind": leak.kind, "what": leak.what, "date": leak.date} for leak in report.leaks]
        print_json(
            {
                "strategy": report.strategy,
                "passed": done.passed,
                "dates": list(report.dates),
                "leaks": leaks,
                "deterministic": done.deterministic,
                "detail": done.detail,
            }
        )
    else:
        table = Table("check", "outcome", box=None, pad_edge=False)
        found = "passed" if report.passed else "; ".join(map(str, report.leaks))
        table.add_row(f"look-ahead, {len(report.dates)} dates", found)
        table.add_row("determinism", ("passed: " if done.deterministic else "") + done.detail)
        results().print(table)
    if not done.passed:
        note(f"{report.strategy} did not pass")
        raise typer.Exit(1)
