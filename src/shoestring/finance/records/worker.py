"""Which process does some work, told so that a later process can prove it gone."""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Worker", "is_running_since"]

_PROC = Path("/proc")
_CLOCK_SLACK_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """A process of one host and one boot; its number alone could be another process's by now."""

    host: str
    boot_id: str
    """Changes with every start of the kernel."""
    pid: int
    start_ticks: int
    """Clock ticks from boot to the start of the process: no clock that can be set is involved."""

    @classmethod
    def this(cls) -> "Worker":
        """Return this process."""
        pid = os.getpid()
        return cls(host=socket.gethostname(), boot_id=_boot_id(), pid=pid, start_ticks=_start_ticks(pid) or 0)

    @classmethod
    def parse(cls, text: str) -> "Worker | None":
        """Read what ``str(worker)`` gives; None for anything else."""
        parts = text.rsplit("/", 3)
        if len(parts) != 4 or not (parts[2].isdecimal() and parts[3].isdecimal()):
            return None
        return cls(host=parts[0], boot_id=parts[1], pid=int(parts[2]), start_ticks=int(parts[3]))

    def __str__(self) -> str:
        return f"{self.host}/{self.boot_id}/{self.pid}/{self.start_ticks}"

    def is_gone(self) -> bool:
        """Whether the process has provably ended; of another host nothing is known, so False."""
        if self.host != socket.gethostname():
            return False
        return self.boot_id != _boot_id() or _start_ticks(self.pid) != self.start_ticks


def is_running_since(pid: int, moment: float) -> bool:
    """Whether process `pid` of this host runs and was there at `moment` (seconds since the epoch).

    For work that ended before it named its `Worker`: a process that took the number over later
    started after `moment`. The clock must not have been set by more than a few seconds in between.
    """
    ticks = _start_ticks(pid)
    if ticks is None:
        return False
    uptime_s = float((_PROC / "uptime").read_text().split()[0])
    started = time.time() - uptime_s + ticks / os.sysconf("SC_CLK_TCK")
    return started <= moment + _CLOCK_SLACK_S


def _boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _start_ticks(pid: int) -> int | None:
    """Start of a process in ticks since boot; None if it has ended, also when nobody waited for it yet."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
