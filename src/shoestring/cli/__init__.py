"""The command line: verbs parse, call and print; each is imported when it is used."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from shoestring.cli import finance, graph, simulate
from shoestring.cli.lazy import lazy_verb
from shoestring.core.errors import ShoestringError

__all__ = ["app", "main"]

app = typer.Typer(
    name="shoestring",
    help="Deep learning on a shoestring: systems for scarce memory, bandwidth, data, bits and silicon, "
    "each checked against its paper on your machine.",
    epilog="Start with: shoestring list; then: shoestring verify NAME --quick",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _entry, _help in (
    ("list", "shoestring.cli.systems:list_systems", "List the systems, or those for one scarcity."),
    ("show", "shoestring.cli.systems:show", "Show the card of one system."),
    ("verify", "shoestring.cli.verify:verify", "Run a system, check its paper's claims."),
    ("scoreboard", "shoestring.cli.scoreboard:scoreboard", "Show every verdict so far."),
    ("quantize", "shoestring.cli.quantize:quantize", "Quantize a trained network, also without its data."),
):
    lazy_verb(app, _name, _entry, _help, computes=_name == "quantize")  # verify sets up its own processes
app.add_typer(graph.app, name="graph")
app.add_typer(simulate.app, name="simulate")
app.add_typer(finance.app, name="finance")


def _print_version(wanted: bool) -> None:
    if wanted:
        from shoestring.evidence.environment import package_version

        typer.echo(package_version())
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before the verb."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after ``shoestring``; those of the process when omitted.

    Returns
    -------
    int
        0 when everything that was asked for was done, 1 when something in it failed, 2 for wrong input,
        130 after Ctrl-C.

    Notes
    -----
    A `ShoestringError` or `MemoryError` becomes one line on stderr. With ``SHOESTRING_DEBUG=1`` it is raised
    instead.
    """
    try:
        app(None if arguments is None else list(arguments), prog_name="shoestring")
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    except ShoestringError as e:
        if os.environ.get("SHOESTRING_DEBUG") == "1":
            raise
        sys.stderr.write(f"shoestring: {' '.join(str(e).split())}\n")
        return 2
    except MemoryError as e:
        if os.environ.get("SHOESTRING_DEBUG") == "1":
            raise
        reason = " ".join(str(e).split()) or "an allocation failed"
        sys.stderr.write(f"shoestring: out of memory: {reason}; give a smaller input or free memory\n")
        return 1
    return 0
