"""One progress line on stderr, only on a terminal (or when forced)."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

__all__ = ["progress"]

T = TypeVar("T")


def progress(items: Iterable[T], title: str, total: int | None = None, every_s: float = 0.2) -> Iterator[T]:
    """Yield `items` and show count, rate and time left on stderr when it is a terminal.

    Parameters
    ----------
    items : iterable
        What to loop over.
    title : str
        Shown before the count.
    total : int, optional
        Number of items, taken from ``len(items)`` where there is one.
    every_s : float
        Least time between two updates, in seconds.
    """
    if not (sys.stderr.isatty() and os.environ.get("SHOESTRING_PROGRESS", "1") != "0"):
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= every_s or done == total:
            last = now
            rate = done / max(now - start, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if total else ""
            of = f"/{total}" if total else ""
            sys.stderr.write(f"\r\x1b[2K{title} {done}{of}, {rate:.1f}/s{left}")
            sys.stderr.flush()
    sys.stderr.write("\n")
