"""``shoestring finance live``."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.console import note, print_json
from shoestring.cli.finance_job import DEFAULT_WORKSPACE, market_of, reference

__all__ = ["live"]


def live(  # one parameter a flag
    strategy: Annotated[str, typer.Argument(help="A name, FILE.py[:Class] or FILE.yaml.")],
    date: Annotated[
        str, typer.Option(help="Session to decide, or 'due': the last one of the data.", metavar="DATE")
    ] = "due",
    data: Annotated[str, typer.Option(help="Market by name, price file or folder.")] = "",
    since: Annotated[
        str, typer.Option(help="First date of the path, if previous weights matter.", metavar="DATE")
    ] = "",
    workspace: Annotated[Path, typer.Option(help="Folder of results.", metavar="DIR")] = DEFAULT_WORKSPACE,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the strategy.", metavar="NAME=VALUE")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Decide one date and write its order file, once.

    The weights are those that a backtest gives for the date, bit for bit. A date that was written stays: the
    command then says so and shows the file that is there.

    Example: shoestring finance live momentum --date 2022-12-01
    """
    loaded = reference(strategy, set_ or ()).load()
    from shoestring.finance.shai_am import Platform

    market = market_of(strategy, data)
    with Platform(workspace) as platform:
        for entry in platform.swept.released:
            note(f"a dead process held {entry.strategy} {entry.version} on {entry.date}: it may run again")
        day = platform.last_due(loaded, market) if date == "due" else date
        if day is None:
            note(f"{loaded.info.name} is not due on the last session of the data; nothing to do")
            if json:
                print_json({"strategy": loaded.info.name, "date": None})
            return
        done = platform.live(loaded, day, market, start=since or None)
    if done.again:
        note(f"{done.strategy} {done.version} on {done.date} was written before; nothing was done")
    if json:
        print_json(
            {
                "strategy": done.strategy,
                "version": done.version,
                "date": done.date,
                "orders": str(done.orders),
                "again": done.again,
                "weights": {str(asset): float(weight) for asset, weight in done.weights.items()},
            }
        )
        return
    typer.echo(done.orders.read_text(), nl=False)
    note(f"orders: {done.orders}")
