"""What a strategy says about itself: its name and version, when it decides, what its tasks may use."""

import re
from dataclasses import dataclass, field

from shoestring.core.errors import ConfigError
from shoestring.finance.market.schedule import Schedule

__all__ = ["Resources", "StrategyInfo"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]*")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B?")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What the task of a strategy may use."""

    cpu: float = 1
    """Cores."""
    memory: str = "1G"
    """Main memory, e.g. ``"512M"``, ``"2G"``."""
    gpu: int = 0
    """Devices."""
    timeout_s: float = 3600.0
    """Wall-clock limit of one task, in seconds."""

    def __post_init__(self) -> None:
        if not self.cpu > 0 or self.gpu < 0 or not self.timeout_s > 0:
            raise ConfigError(
                f"resources cpu={self.cpu}, gpu={self.gpu}, timeout_s={self.timeout_s}; "
                "give positive numbers (gpu may be 0)"
            )
        if not _MEMORY.fullmatch(self.memory):
            raise ConfigError(f"resources memory={self.memory!r} is no size; write it like '512M' or '2G'")

    @property
    def memory_bytes(self) -> int:
        """`memory` in bytes."""
        match = _MEMORY.fullmatch(self.memory)
        assert match is not None
        return int(float(match[1]) * _UNITS[match[2]])


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategyInfo:
    """What `@strategy` says about a class."""

    name: str
    """Lower-case identifier; unique with `version`."""
    version: str
    """Goes up with every change of what the strategy decides; the registry refuses other code under it."""
    schedule: Schedule = field(default_factory=Schedule)
    """When it decides."""
    resources: Resources = Resources()
    """What its tasks may use."""
    refit: str = "BYS"
    """Rule of the dates of `fit`, as in `Schedule`; the fit in force is the one of the latest such date."""
    long_only: bool = True
    """False: weights may be negative."""
    max_gross: float = 1.0
    """Largest sum of absolute weights."""
    uses_previous: bool = False
    """True: `Context.previous_weights` may be read; a live run then replays every date since its start."""
    environment: str = ""
    """Virtual environment (folder) whose Python runs this strategy's tasks; empty for this one."""
    data: tuple[str, ...] = ()
    """Names of point-in-time tables that a run must be given."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"strategy name {self.name!r}: use lower-case letters, digits and _, beginning with a letter"
            )
        if not _VERSION.fullmatch(self.version):
            raise ConfigError(f"strategy version {self.version!r}: use letters, digits, '.', '+' and '-'")
        Schedule.parse(self.refit)
        if not self.max_gross > 0:
            raise ConfigError(f"max_gross={self.max_gross} of {self.name!r} must be above 0; 1 is unlevered")
