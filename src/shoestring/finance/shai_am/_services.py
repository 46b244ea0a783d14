"""Child processes that end when this one does, with their output in files."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from shoestring.core.errors import ShoestringError

__all__ = ["Service", "ServiceError"]

_POLL_S = 0.1
# Runs before the service: the kernel ends it when its parent ends, however that happens (Linux).
_DIE_WITH_PARENT = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)\n"
    "if os.getppid() != int(sys.argv[1]):\n"
    "    sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


class ServiceError(ShoestringError, RuntimeError):
    """A service did not start, or ended by itself; the message has the end of its log."""


class Service:
    """One running service and everything it started.

    Parameters
    ----------
    name : str
        For messages and for the name of the log.
    command : sequence of str
        Absolute program and arguments.
    environment : mapping
        The whole environment.
    logs : Path
        Folder of ``NAME.log``, which begins anew.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = logs / f"{name}.log"
        self._asked = False
        launcher = [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid())]
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                [*launcher, *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own: all of it can be ended, and Ctrl-C is ours
            )

    @property
    def pid(self) -> int:
        """Number of the process, which is that of its group too."""
        return self._process.pid

    def check(self) -> None:
        """Raise a `ServiceError` if the service has ended."""
        code = self._process.poll()
        if code is not None:
            raise ServiceError(
                f"the {self.name} ended with code {code}; its log {self.log} ends with: {self.log_end()}"
            )

    def log_end(self, num_lines: int = 12) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-num_lines:])

    def ask_to_stop(self) -> None:
        """Ask the service to end, once, and do not wait."""
        if not self._asked:
            self._asked = True
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def stop(self, patience_s: float) -> None:
        """Ask the service to end, then end what is left of its group after `patience_s` seconds."""
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        self._wait_for_group(patience_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._wait_for_group(patience_s)

    def _wait_for_group(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while _group_lives(self.pid) and time.monotonic() < end:
            time.sleep(_POLL_S)


def _group_lives(group: int) -> bool:
    """Whether a process of a group still runs; one that ended and was not waited for does not count."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended in the meantime
            continue
        if int(number) == group and state not in "ZX":
            return True
    return False
