"""Servers as network namespaces with shaped links, for experiments on one machine (Linux, root, iproute2).

Every server is a namespace with one veth into a switch (a bridge in a namespace of its own). Both ends of the
veth carry a token bucket filter, so what a server sends and what it receives is limited separately. Ranks
of one server talk over that namespace's loopback, which is not limited.
"""

import ctypes
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shoestring.core.errors import ConfigError, ShoestringError

__all__ = ["Namespaces", "enter_namespace", "link_bytes", "namespaces", "unshape_here", "why_no_namespaces"]

INTERFACE = "eth0"
_CLONE_NEWNET = 0x40000000
_FOLDER = Path("/run/netns")
_HERE = "SHOESTRING_NAMESPACE"
_BURST_BYTES = 256 * 1024
_QUEUE_MS = 400


@dataclass(frozen=True, slots=True)
class Namespaces:
    """One namespace a server."""

    names: tuple[str, ...]
    bits_per_s: float | None
    """Rate of every server's link in each direction; None is unlimited."""


def why_no_namespaces() -> str | None:
    """Say why network namespaces cannot be used here; None if they can."""
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"the program {tool!r} is not installed (package iproute2)"
    if os.geteuid() != 0:
        return "it needs root"
    name = f"shoestring-probe-{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode:
        return f"the kernel refuses: {made.stderr.strip()}"
    shaped = subprocess.run(
        _in(name, "tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1gbit", "burst", "32kb",
            "latency", "50ms"),
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return f"tc refuses: {shaped.stderr.strip()}" if shaped.returncode else None


@contextmanager
def namespaces(servers: int, bits_per_s: float | None) -> Iterator[Namespaces]:
    """Set up the namespaces of `servers` servers and remove them at the end, whatever happened.

    Parameters
    ----------
    servers : int
        1 to 200.
    bits_per_s : float or None
        Rate of every server's link in each direction; None does not limit it.

    Raises
    ------
    ConfigError
        If `servers` or `bits_per_s` is out of range, or namespaces cannot be used here.
    """
    if not 1 <= servers <= 200:
        raise ConfigError(f"servers={servers} is outside 1..200")
    if bits_per_s is not None and bits_per_s < 1e5:
        raise ConfigError(f"bits_per_s={bits_per_s} must be at least 100000; None does not limit the link")
    why = why_no_namespaces()
    if why is not None:
        raise ConfigError(f"network namespaces cannot be used here: {why}. Emulate the link in the transport")
    tag = f"shoestring-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    switch = f"{tag}-switch"
    names = tuple(f"{tag}-{s}" for s in range(servers))
    try:
        for name in (switch, *names):
            _run("ip", "netns", "add", name)
        _run(*_in(switch, "ip", "link", "add", "bridge", "type", "bridge"))
        _run(*_in(switch, "ip", "link", "set", "bridge", "up"))
        for s, name in enumerate(names):
            _connect(switch, name, s, bits_per_s)
        yield Namespaces(names, bits_per_s)
    finally:
        for name in (*names, switch):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def enter_namespace(name: str) -> None:
    """Move this thread, and all threads and processes that it starts later, to a namespace.

    Raises
    ------
    OSError
        If there is no such namespace or no permission.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with (_FOLDER / name).open("rb") as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"could not enter network namespace {name}: {os.strerror(error)}")
    os.environ[_HERE] = name


def unshape_here() -> None:
    """Take the limit off this server's link for the rest of the run; nothing outside a namespace of ours.

    To be called by one rank of every server.
    """
    name = os.environ.get(_HERE)
    if name is not None:
        tag, _, server = name.rpartition("-")
        for where, device in ((name, INTERFACE), (f"{tag}-switch", f"port{server}")):
            _run(*_in(where, "tc", "qdisc", "del", "dev", device, "root"))


def link_bytes() -> tuple[int, int]:
    """Bytes that the kernel sent and received on this namespace's link, headers included."""
    for line in Path("/proc/self/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == INTERFACE:
            fields = figures.split()
            return int(fields[8]), int(fields[0])
    return 0, 0


def _connect(switch: str, name: str, server: int, bits_per_s: float | None) -> None:
    port = f"port{server}"
    _run("ip", "link", "add", INTERFACE, "netns", name, "type", "veth", "peer", "name", port, "netns", switch)
    _run(*_in(name, "ip", "addr", "add", f"10.77.0.{server + 1}/24", "dev", INTERFACE))
    _run(*_in(name, "ip", "link", "set", "lo", "up"))
    _run(*_in(name, "ip", "link", "set", INTERFACE, "up"))
    _run(*_in(switch, "ip", "link", "set", port, "master", "bridge"))
    _run(*_in(switch, "ip", "link", "set", port, "up"))
    if bits_per_s is not None:
        for where, device in ((name, INTERFACE), (switch, port)):
            _run(
                *_in(where, "tc", "qdisc", "add", "dev", device, "root", "tbf"),
                *("rate", f"{round(bits_per_s)}bit", "burst", str(_BURST_BYTES), "latency", f"{_QUEUE_MS}ms"),
            )


def _in(name: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", name, *command]


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ShoestringError(
            f"setting up the network failed: {' '.join(command)}: {done.stderr.strip()}. "
            "Run without a shaped link, or emulate it"
        )
