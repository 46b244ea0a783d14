"""A bar on stderr for a job that reports its fraction."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["progress_bar"]


@contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """Show a bar on stderr, on a terminal only; gives a function of the fraction done and a word.

    The environment variable ``SHOESTRING_PROGRESS=0`` switches it off.
    """
    console = Console(stderr=True)
    hidden = not console.is_terminal or os.environ.get("SHOESTRING_PROGRESS", "1") == "0"
    columns = (
        TextColumn("{task.percentage:>3.0f}%"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda fraction, word: bar.update(task, completed=fraction, description=word)
