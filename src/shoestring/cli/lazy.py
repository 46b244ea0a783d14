"""Verbs that are listed by name and help, and imported when they are used."""

import os
from typing import Any

import typer
from typer.core import TyperCommand

from shoestring.core.entry import load_entry_point

__all__ = ["lazy_verb"]

SPINS = "30000"  # about half a millisecond


def lazy_verb(
    app: typer.Typer,
    name: str,
    entry: str,
    help: str,  # as typer calls it
    *,
    computes: bool = False,
) -> None:
    """Add a verb to `app` without importing it.

    Parameters
    ----------
    app : typer.Typer
        The command line.
    name : str
        The verb.
    entry : str
        ``module:function``; the function is what one would give to ``app.command()``.
    help : str
        The one line of ``shoestring --help``; the verb's own help is the function's docstring.
    computes : bool
        The verb computes in this process: threads are to spin briefly when they wait, see `_spin_briefly`.
    """

    class _Verb(TyperCommand):
        """Stands for the verb in lists and hands everything else to the real one."""

        def make_context(
            self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
        ) -> Any:
            """Parse with the real command, which its context then belongs to."""
            if computes:
                _spin_briefly()
            return _load(name, entry).make_context(info_name, args, parent=parent, **extra)

    app.command(name, cls=_Verb, help=help)(_nothing)


def _spin_briefly() -> None:
    """Make OpenMP threads that wait for one another spin for a moment, then sleep, unless the user decided.

    By default they spin ten times as long. Where another program uses a core too, a spinning thread keeps
    that core from the thread that all wait for. Without any spinning, every short product pays for waking up.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _nothing() -> None:
    """Never run: the context belongs to the real verb."""


def _load(name: str, entry: str) -> Any:
    single = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
    single.command(name)(load_entry_point(entry))
    return typer.main.get_command(single)
