"""Fill the templates and write the pages."""

from collections.abc import Sequence
from pathlib import Path

from shoestring.core.files import write_text_atomic
from shoestring.core.optional import optional
from shoestring.core.pages import render_page
from shoestring.evidence.report.view import report_page, scoreboard_page
from shoestring.evidence.store import Verification

__all__ = ["write_report", "write_scoreboard"]

_TEMPLATES = Path(__file__).resolve().parent / "templates"


def write_report(path: Path, verifications: Sequence[Verification]) -> None:
    """Write the report of one system: verdicts, measurements, plots, settings, failures.

    The page is one file without scripts or external assets; it follows the reader's light or dark
    setting and reads on a phone. The same verifications give the same bytes.

    Parameters
    ----------
    path : Path
        The HTML file; replaced atomically.
    verifications : sequence of Verification
        Of one system, at least one; each becomes a section.

    Raises
    ------
    ConfigError
        If `verifications` is empty or of several systems.
    MissingExtraError
        If jinja2 or matplotlib is not installed (extra ``report``).
    StorageError
        If the file cannot be written.
    """
    optional("matplotlib", "report")
    write_text_atomic(path, render_page(_TEMPLATES, "report.html", report_page(verifications)))


def write_scoreboard(path: Path, verifications: Sequence[Verification]) -> None:
    """Write the scoreboard: every system with its verdict counts, and every claim.

    Parameters
    ----------
    path : Path
        The HTML file; replaced atomically.
    verifications : sequence of Verification
        Of any systems; where a system has full ones, its quick ones are left out.

    Raises
    ------
    MissingExtraError
        If jinja2 is not installed (extra ``report``).
    StorageError
        If the file cannot be written.
    """
    write_text_atomic(path, render_page(_TEMPLATES, "scoreboard.html", scoreboard_page(verifications)))
