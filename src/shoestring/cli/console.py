"""Where verbs print: results on stdout, everything else on stderr."""

import json
import os
import sys
from typing import Any

from rich.console import Console

__all__ = ["note", "print_json", "results"]

_PLAIN_WIDTH = 140


def results() -> Console:
    """Return a console on stdout; as wide as the terminal, or 140 columns in a file or pipe."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PLAIN_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False)


def print_json(value: Any) -> None:
    """Print plain values as JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def note(text: str) -> None:
    """Write one line to stderr, without control characters."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    sys.stderr.write(f"shoestring: {line}\n")
    sys.stderr.flush()
