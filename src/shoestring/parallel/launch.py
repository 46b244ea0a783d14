"""Start the ranks of a topology on this machine and collect what they return."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file
from torch import Tensor

from shoestring.core.entry import check_entry_point
from shoestring.core.errors import ConfigError, ShoestringError
from shoestring.core.files import write_json_atomic
from shoestring.parallel import netns
from shoestring.parallel.topology import Topology
from shoestring.parallel.transport import Transport

__all__ = ["LinkShape", "Rank", "RankError", "RankResult", "launch"]

_POLL_S = 0.02
_GONE_S = 5.0
_PREFIX = "shoestring-ranks-"
_LOOPBACK = "lo" if sys.platform == "linux" else "lo0"
_RAM = Path("/dev/shm")


class RankError(ShoestringError, RuntimeError):
    """A rank failed, died or did not end in time; the message has its traceback."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkShape:
    """The link between servers in an experiment."""

    inter_bits_per_s: float | None = None
    """Rate of a server's link, each direction; None is as fast as the machine."""
    how: Literal["auto", "namespaces", "emulated"] = "auto"
    """``namespaces``: the kernel shapes it. ``emulated``: a token bucket in the transport. ``auto``: the
    first if privileges allow."""

    def __post_init__(self) -> None:
        if self.how not in ("auto", "namespaces", "emulated"):
            raise ConfigError(f"how={self.how!r} is not one of 'auto', 'namespaces', 'emulated'")
        if self.inter_bits_per_s is not None and self.inter_bits_per_s <= 0:
            raise ConfigError(f"inter_bits_per_s={self.inter_bits_per_s} must be above 0; None is unlimited")

    def resolve(self) -> Literal["none", "namespaces", "emulated"]:
        """Resolve ``auto`` to what can be done on this machine."""
        if self.inter_bits_per_s is None and self.how != "namespaces":
            return "none"
        if self.how == "auto":
            return "emulated" if netns.why_no_namespaces() else "namespaces"
        return self.how


NO_SHAPE = LinkShape()


@dataclass(slots=True)
class RankResult:
    """What the function of one rank returns: JSON values and tensors."""

    values: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(slots=True)
class Rank:
    """What the function of a rank gets."""

    transport: Transport
    options: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    """The caller's tensors, one copy in memory for all ranks until written to."""
    report_progress: Callable[[float, str], None]
    """Heard from rank 0 only."""

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return self.transport.groups.rank

    @property
    def topology(self) -> Topology:
        """Of all ranks."""
        return self.transport.groups.topology


def launch(
    entry: str,
    topology: Topology,
    *,
    options: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    shape: LinkShape = NO_SHAPE,
    timeout_s: float = 3600.0,
    collective_timeout_s: float = 300.0,
    report_progress: Callable[[float, str], None] | None = None,
) -> list[RankResult]:
    """Run a function on every rank, each in a process of its own on this machine.

    Parameters
    ----------
    entry : str
        ``module:function``; the function takes a `Rank` and returns a `RankResult`.
    topology : Topology
        Servers and ranks.
    options : mapping or None
        JSON values for all ranks.
    tensors : mapping or None
        Tensors for all ranks, through one file in memory.
    shape : LinkShape
        The link between servers.
    timeout_s : float
        Wall-clock limit of the whole, in seconds.
    collective_timeout_s : float
        After which a message that misses its peer fails, in seconds.
    report_progress : callable or None
        Gets the progress that rank 0 reports.

    Returns
    -------
    list of RankResult
        By rank.

    Raises
    ------
    RankError
        If a rank failed (with its traceback), was killed, or the time was over. All other ranks are ended
        first.
    ConfigError
        If namespaces are asked for and cannot be used.

    Notes
    -----
    One process imports everything and forks the ranks, so the imports are paid for once. Ranks end when that
    process does, and it ends when this one does. Messages run over the loopback device, or over the veth
    devices of the namespaces. Nothing is pickled: JSON and safetensors only.
    """
    check_entry_point(entry)
    how = shape.resolve()
    base = _RAM if os.access(_RAM, os.W_OK) else Path(tempfile.gettempdir())
    _remove_left_behind(base)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        fcntl.flock(stack.enter_context((folder / "lock").open("wb")), fcntl.LOCK_EX)
        spaces: Sequence[str] = ()
        if how == "namespaces":
            made = stack.enter_context(netns.namespaces(topology.servers, shape.inter_bits_per_s))
            spaces = made.names
        save_file({k: v.contiguous() for k, v in (tensors or {}).items()}, folder / "tensors.safetensors")
        task = {
            "entry": entry,
            "servers": topology.servers,
            "ranks_per_server": topology.ranks_per_server,
            "options": dict(options or {}),
            "namespaces": list(spaces),
            "interface": netns.INTERFACE if spaces else _LOOPBACK,
            "emulated_bits_per_s": shape.inter_bits_per_s if how == "emulated" else None,
            "shaped_by_kernel": bool(spaces) and shape.inter_bits_per_s is not None,
            "collective_timeout_s": collective_timeout_s,
            "threads": max(int(os.environ.get("OMP_NUM_THREADS", "1") or 1), 1),
            "sys_path": [str(Path(p or ".").resolve()) for p in sys.path],
            "parent_pid": os.getpid(),
        }
        write_json_atomic(folder / "task.json", task, durable=False)
        _watch(folder, timeout_s, report_progress)
        return [_read_result(folder, rank) for rank in range(topology.world)]


def _remove_left_behind(base: Path) -> None:
    """Remove the folders of callers that were killed: they hold tensors in memory, and no lock any more."""
    for task in base.glob(f"{_PREFIX}*/task.json"):
        with contextlib.suppress(OSError), (task.parent / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(task.parent, ignore_errors=True)


def _watch(folder: Path, timeout_s: float, report: Callable[[float, str], None] | None) -> None:
    with (folder / "log.txt").open("ab") as log:
        nest = subprocess.Popen(
            [sys.executable, "-m", "shoestring.parallel._nest", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": _python_path()},
        )
    give_up = time.monotonic() + timeout_s
    last = ""
    try:
        while (code := nest.poll()) is None:
            if time.monotonic() > give_up:
                raise RankError(
                    f"the ranks did not end within {timeout_s:g} s, their time limit{_tail(folder)}"
                )
            time.sleep(_POLL_S)
            if report is not None and (text := _read(folder / "progress.json")) not in ("", last):
                last = text
                values = json.loads(text)
                report(values["fraction"], values["word"])
    finally:
        _end(nest, folder)
    if code:
        raise RankError(
            _read(folder / "error.txt") or f"the ranks ended with exit code {code}{_tail(folder)}"
        )


def _end(nest: "subprocess.Popen[bytes]", folder: Path) -> None:
    """End the process that forked the ranks, then any rank that the system did not end with it."""
    if nest.poll() is None:
        nest.kill()
    nest.wait()
    pids = []
    for pid_file in folder.glob("rank*.pid"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            pid = int(pid_file.read_text(encoding="utf-8"))
            if _is_ours(pid, folder):
                pids.append(pid)
                os.kill(pid, signal.SIGKILL)
    # They may write to the folder until they are gone, and it could not be removed.
    give_up = time.monotonic() + _GONE_S
    while any(_is_ours(pid, folder) for pid in pids) and time.monotonic() < give_up:
        time.sleep(_POLL_S)


def _is_ours(pid: int, folder: Path) -> bool:
    """Whether a live process was started for this folder; numbers of processes are used again."""
    try:
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _read_result(folder: Path, rank: int) -> RankResult:
    values = json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / f"rank{rank}.safetensors")
    return RankResult(values, {k: v.clone() for k, v in tensors.items()})


def _python_path() -> str:
    return os.pathsep.join(str(Path(p or ".").resolve()) for p in sys.path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _tail(folder: Path) -> str:
    lines = _read(folder / "log.txt").splitlines()[-8:]
    return "".join(f"\n  log: {line}" for line in lines)
