"""Byte budgets of a memory tier: every tensor of the tier is reserved here before it exists."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from shoestring.core.errors import ConfigError, ShoestringError

__all__ = ["Budget", "BudgetExceeded", "Reservation", "format_bytes", "parse_bytes"]

_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _UNITS |= {_letter: 1024**_power, f"{_letter}IB": 1024**_power, f"{_letter}B": 1000**_power}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


class BudgetExceeded(ShoestringError, MemoryError):  # noqa: N818  # a state of the tier, named as in the docs
    """A tier would hold more bytes than its budget.

    Attributes
    ----------
    tier, what : str
        The tier and what asked for memory.
    asked_bytes, used_bytes, limit_bytes : int
        What it asked for, what was in use, and the budget.
    minimum_bytes : int or None
        The least budget that would do, where it is known.
    """

    def __init__(
        self,
        tier: str,
        what: str,
        *,
        asked_bytes: int,
        used_bytes: int,
        limit_bytes: int,
        minimum_bytes: int | None = None,
        advice: str = "",
    ) -> None:
        self.tier = tier
        self.what = what
        self.asked_bytes = asked_bytes
        self.used_bytes = used_bytes
        self.limit_bytes = limit_bytes
        self.minimum_bytes = minimum_bytes
        least = "" if minimum_bytes is None else f"; the minimum is {format_bytes(minimum_bytes)}"
        advice = advice or f"Give the {tier} tier a larger budget"
        super().__init__(
            f"the {tier} budget of {format_bytes(limit_bytes)} is too small: {what} asked for "
            f"{format_bytes(asked_bytes)} with {format_bytes(used_bytes)} in use{least}. {advice}"
        )


class Reservation:
    """Bytes taken from a budget until `release`; a context manager."""

    __slots__ = ("_budget", "nbytes", "what")

    def __init__(self, budget: "Budget", what: str, nbytes: int) -> None:
        self._budget: Budget | None = budget
        self.what = what
        self.nbytes = nbytes

    def release(self) -> None:
        """Give the bytes back; a second call does nothing."""
        if self._budget is not None:
            self._budget._give_back(self.nbytes)
            self._budget = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Budget:
    """Counts the bytes of one tier and refuses more than its limit.

    Parameters
    ----------
    tier : str
        ``"device"`` or ``"host"``; appears in the errors.
    limit_bytes : int or None
        Greatest number of bytes in use at once; None sets no limit but counts all the same.

    Attributes
    ----------
    used_bytes, peak_bytes : int
        In use now, and at most so far.
    """

    def __init__(self, tier: str, limit_bytes: int | None) -> None:
        self.tier = tier
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.peak_bytes = 0
        self.minimum_bytes: int | None = None

    @property
    def free_bytes(self) -> int:
        """Bytes that may still be reserved (a very large number without a limit)."""
        return (1 << 62) if self.limit_bytes is None else self.limit_bytes - self.used_bytes

    def reserve(self, what: str, nbytes: int) -> Reservation:
        """Take `nbytes` for `what`.

        Raises
        ------
        BudgetExceeded
            If the limit would be passed; nothing is taken then.
        """
        if nbytes < 0:
            raise ConfigError(f"{what} asked for {nbytes} bytes; a reservation is 0 or more")
        if nbytes > self.free_bytes:
            raise BudgetExceeded(
                self.tier,
                what,
                asked_bytes=nbytes,
                used_bytes=self.used_bytes,
                limit_bytes=self.limit_bytes or 0,
                minimum_bytes=self.minimum_bytes,
            )
        self.used_bytes += nbytes
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        return Reservation(self, what, nbytes)

    @contextmanager
    def reserved(self, what: str, nbytes: int) -> Iterator[None]:
        """Hold `nbytes` for the length of a block."""
        with self.reserve(what, nbytes):
            yield

    def _give_back(self, nbytes: int) -> None:
        self.used_bytes -= nbytes


def parse_bytes(text: int | str) -> int:
    """Return a number of bytes from ``"64MiB"``, ``"64M"`` (both 2**20), ``"64MB"`` (10**6) or an integer.

    Raises
    ------
    ConfigError
        If the text is no size or the size is not positive.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        number = text
    else:
        match = _SIZE.fullmatch(str(text))
        if match is None or match[2].upper() not in _UNITS:
            raise ConfigError(f"{text!r} is not a size; write it as '64MiB', '2GiB' or a number of bytes")
        number = int(float(match[1]) * _UNITS[match[2].upper()])
    if number <= 0:
        raise ConfigError(f"a size of {text!r} holds nothing; give at least one byte")
    return number


def format_bytes(nbytes: float) -> str:
    """Return bytes as text with a binary unit, e.g. ``"1.5 MiB"``, rounded up so that it can be typed in."""
    value, unit = float(nbytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    if unit == "B":
        return f"{int(value)} B"
    tenth = -(-value * 10 // 1) / 10 if value > 0 else value
    return f"{tenth:.1f} {unit}"
