"""Which word was meant."""

import difflib
from collections.abc import Iterable

__all__ = ["suggest"]


def suggest(word: str, allowed: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the closest allowed word, else the list of allowed words."""
    words = sorted(allowed)
    close = difflib.get_close_matches(word, words, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"allowed: {', '.join(words) or 'nothing'}"
