"""Independent random streams from one seed."""

import hashlib

__all__ = ["derive_seed"]


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive a seed in [0, 2**63) for one purpose from the seed of a run.

    Streams with different names are independent, and adding one never shifts another.

    Parameters
    ----------
    seed : int
        The seed of the run.
    *names : str or int
        What the stream is for, e.g. ``"generator"``, ``"order"``, epoch.

    Examples
    --------
    >>> derive_seed(0, "generator") != derive_seed(0, "order")
    True
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
