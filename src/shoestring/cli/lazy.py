"""Verbs that are listed by name and help, and imported when they are used."""

import os
from typing import Any

import typer
from typer.core import TyperCommand

from shoestring.core.entry import load_entry_point

__all__ = ["lazy_verb"]


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
        The verb computes in this process: threads that wait for one another are to sleep, see `_wait_asleep`.
    """

    class _Verb(TyperCommand):
        """Stands for the verb in lists and hands everything else to the real one."""

        def make_context(
            self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
        ) -> Any:
            """Parse with the real command, which its context then belongs to."""
            if computes:
                _wait_asleep()
            return _load(name, entry).make_context(info_name, args, parent=parent, **extra)

    app.command(name, cls=_Verb, help=help)(_nothing)


def _wait_asleep() -> None:
    """Make OpenMP threads sleep while they wait, unless the user decided.

    By default they spin. Where another program uses a core too, a spinning thread keeps that core from the
    thread that all wait for, and short products take many times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _nothing() -> None:
    """Never run: the context belongs to the real verb."""


def _load(name: str, entry: str) -> Any:
    single = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)
    single.command(name)(load_entry_point(entry))
    return typer.main.get_command(single)
