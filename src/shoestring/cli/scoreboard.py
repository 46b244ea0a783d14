"""``shoestring scoreboard``."""

from pathlib import Path
from typing import Annotated

import typer

from shoestring.cli.console import note, print_json, results
from shoestring.core.errors import DataError
from shoestring.evidence.store import load_verifications

__all__ = ["scoreboard"]


def scoreboard(
    folder: Annotated[Path, typer.Option("--from", help="Folder of stored evidence.", metavar="DIR")] = Path(
        ".shoestring/evidence"
    ),
    html: Annotated[Path | None, typer.Option(help="Also write it as an HTML page.", metavar="FILE")] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the README's table between its markers.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every verdict so far, system by system.

    Where a system has a full verification, that one counts; its quick one counts otherwise.

    Example: shoestring scoreboard --from evidence --html scoreboard.html
    """
    verifications = load_verifications(folder)
    if not verifications:
        raise DataError(
            f"no evidence in {folder}. Make some with: shoestring verify NAME, or name a folder with --from"
        )
    if html is not None:
        from shoestring.evidence.report import write_scoreboard

        write_scoreboard(html, verifications)
        note(f"wrote {html}")
    if json:
        from shoestring.evidence.report.view import strongest
        from shoestring.evidence.tables import summary

        print_json([summary(v) for group in strongest(verifications).values() for v in group])
    elif markdown:
        from shoestring.evidence.report import readme_table

        typer.echo(f"<!-- scoreboard -->\n{readme_table(verifications)}<!-- /scoreboard -->")
    else:
        from shoestring.evidence.tables import scoreboard_table

        results().print(scoreboard_table(verifications))
