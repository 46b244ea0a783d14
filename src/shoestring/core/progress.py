"""One progress line on stderr, only on a terminal."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

__all__ = ["progress"]

T = TypeVar("T")
_EVERY_S = 0.2


def progress(items: Iterable[T], title: str) -> Iterator[T]:
    """Yield `items` and show count, rate and time left on stderr when it is a terminal.

    The environment variable ``SHOESTRING_PROGRESS=0`` switches it off.

    Parameters
    ----------
    items : iterable
        What to loop over; its length, where it has one, gives the time left.
    title : str
        Shown before the count.
    """
    if not sys.stderr.isatty() or os.environ.get("SHOESTRING_PROGRESS", "1") == "0":
        yield from items
        return
    total = len(items) if isinstance(items, Sized) else None
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _EVERY_S or done == total:
            last = now
            rate = done / max(now - start, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if total else ""
            of = f"/{total}" if total else ""
            sys.stderr.write(f"\r\x1b[2K{title} {done}{of}, {rate:.1f}/s{left}")
            sys.stderr.flush()
    sys.stderr.write("\n")
