"""Digests that decide whether a result may be used again: of values, rows up to a date, the environment.

Equal things have equal digests whatever their order or spelling, and nothing that has no defined
spelling (NaN, infinities, keys that are no text) gets one.
"""

import datetime as dt
import enum
import hashlib
import json
import math
import platform
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from shoestring.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from shoestring.finance.market.panel import PricePanel
    from shoestring.finance.market.view import KnownTable

__all__ = [
    "FrameDigest",
    "canonical_json",
    "digest_bytes",
    "digest_json",
    "digest_known",
    "environment_digest",
    "environment_lock",
]

_EXACT = 2**53


def digest_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data`, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """Return the SHA-256 of `canonical_json`."""
    return digest_bytes(canonical_json(value).encode())


def canonical_json(value: Any) -> str:
    """Write a value as the one JSON text of everything that equals it.

    Parameters
    ----------
    value : Any
        Mappings with text keys (in any order), lists, tuples, text, numbers (NumPy's too), booleans,
        None, dates, paths, enumerations.

    Returns
    -------
    str
        Sorted keys, no blanks; numbers that are equal are written alike (1, 1.0, -0.0 as 0), other
        floats with the fewest digits that give them back.

    Raises
    ------
    DataError
        For NaN, infinities, keys that are no text, and kinds that are not listed above.
    """
    return json.dumps(
        _plain(value, ""), sort_keys=True, allow_nan=False, separators=(",", ":"), ensure_ascii=True
    )


def _plain(value: Any, where: str) -> Any:  # noqa: PLR0911  # one branch a kind of value
    if value is None or (isinstance(value, bool | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value, where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _number(float(value), where)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise DataError(
                    f"{where or 'value'} has the key {key!r}, which is no text; keys must be strings"
                )
        return {str(k): _plain(v, f"{where}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dt.date):  # includes datetime and pandas' Timestamp
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return _plain(value.item(), where)
    raise DataError(
        f"{where or 'value'} is a {type(value).__name__}, which has no canonical spelling; give text, "
        "numbers, booleans, dates, lists or mappings (arrays belong into the store as objects)"
    )


def _number(value: float, where: str) -> int | float:
    if not math.isfinite(value):
        raise DataError(
            f"{where or 'value'} is {value}, and NaN or infinity equals nothing that could be looked up; "
            "give a finite number or None"
        )
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


class FrameDigest:
    """Digests of the rows of date-by-asset frames up to any date, from one pass over them.

    Parameters
    ----------
    frames : mapping of str to DataFrame
        Frames [T, N] with one date index; the names and columns count, their dtype is float64.

    Notes
    -----
    The digest at a date is that of the frames cut there, so it depends on nothing later. Any NaN is
    the same NaN, and -0.0 is 0.0. Asking for increasing dates costs one SHA-256 over the rows altogether.
    """

    def __init__(self, frames: "Mapping[str, pd.DataFrame]") -> None:
        import numpy as np

        self._frames = dict(sorted(frames.items()))
        first = next(iter(self._frames.values()), None)
        dates = np.zeros(0, np.int64) if first is None else first.index.to_numpy()
        self._dates = dates.astype("datetime64[ns]")
        head = {name: [str(c) for c in frame.columns] for name, frame in self._frames.items()}
        self._hasher = hashlib.sha256(canonical_json(head).encode())
        self._row = 0
        self._known: dict[int, str] = {}

    def at(self, date: Any = None) -> str:
        """Return the digest of the rows up to and with `date`, of all when omitted."""
        import numpy as np

        end = len(self._dates)
        if date is not None and end:
            end = int(np.searchsorted(self._dates, np.datetime64(date, "ns"), side="right"))
        if end not in self._known:
            if end < self._row:
                return FrameDigest({n: f.iloc[:end] for n, f in self._frames.items()}).at()
            self._update(end)
            self._known[end] = self._hasher.hexdigest()
        return self._known[end]

    def _update(self, end: int) -> None:
        """Hash the rows that were not hashed yet, date by date over all frames, in blocks."""
        import numpy as np

        block = 1024
        for first in range(self._row, end, block):
            last = min(first + block, end)
            columns: list[np.ndarray[Any, Any]] = [
                self._dates[first:last].astype(np.int64).view(np.float64)[:, None]
            ]
            columns += [_normal(f.to_numpy()[first:last]) for f in self._frames.values()]
            self._hasher.update(np.ascontiguousarray(np.hstack(columns)).view(np.uint8).data)
        self._row = end


def _normal(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return values as float64 with one NaN and one zero."""
    import numpy as np

    out = np.array(values, dtype=np.float64) + 0.0
    out[np.isnan(out)] = np.nan
    return out


def digest_known(table: "KnownTable", date: Any) -> str:
    """Return the digest of a point-in-time table's rows that were known at `date`, whatever their order.

    Notes
    -----
    Rows enter by a 64-bit hash of their values.
    """
    import numpy as np
    import pandas as pd

    frame = table.frame()
    rows = frame[frame["known_at"] <= pd.Timestamp(date)]
    hashes = np.sort(pd.util.hash_pandas_object(rows, index=False).to_numpy(dtype=np.uint64))
    head = canonical_json([[str(c) for c in frame.columns], [str(t) for t in frame.dtypes]])
    return digest_bytes(head.encode() + hashes.tobytes())


def digest_panel(panel: "PricePanel") -> FrameDigest:
    """Return the digests of a panel by date."""
    return FrameDigest(panel.fields)


@lru_cache(maxsize=1)
def environment_lock() -> dict[str, Any]:
    """Return what is installed: Python, machine, and every distribution with its version."""
    # Reading each one's metadata takes a third of a second; the folder's name says it all. Other entries of
    # the path are no environment: Ray puts folders of its own there, and the keys must be those of elsewhere.
    installed: dict[str, str] = {}
    for entry in sys.path:
        if Path(entry).name not in ("site-packages", "dist-packages"):
            continue
        for info in Path(entry).glob("*.dist-info"):
            name, _, version = info.name.removesuffix(".dist-info").partition("-")
            installed.setdefault(name.lower(), version)
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "distributions": dict(sorted(installed.items())),
    }


@lru_cache(maxsize=1)
def environment_digest() -> str:
    """Return the digest of `environment_lock`: another version of any package makes other keys."""
    return digest_json(environment_lock())
