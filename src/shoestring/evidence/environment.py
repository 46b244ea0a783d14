"""On what machine and with which versions something was measured."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["git_commit", "hardware", "package_version", "resources", "usable_cores", "versions"]

_PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARIES = (
    "numpy",
    "scipy",
    "torch",
    "torchvision",
    "scikit-learn",
    "pandas",
    "torch-geometric",
    "transformers",
    "onnxruntime",
)


@cache
def hardware() -> Mapping[str, Any]:
    """Return processor, usable cores, memory, GPUs and system of this machine; nothing that identifies it."""
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(),
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
    }


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python and of the libraries that decide numbers; none of them is imported."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def package_version() -> str:
    """Return the version of Shoestring; ``"0+source"`` when it runs from a folder without being installed."""
    try:
        return importlib.metadata.version("shoestring")
    except importlib.metadata.PackageNotFoundError:
        return "0+source"


def git_commit(package: Path = _PACKAGE) -> str | None:
    """Return the commit of the checkout that `package` is the source of, with ``+`` if its sources differ.

    None when the package is installed (also inside somebody else's checkout), or there is no git.
    """
    top = _git(package, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() / "src" / package.name != package:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--", str(package))
    return f"{commit}+" if commit and changed else commit or None


def resources() -> frozenset[str]:
    """Return what this machine has of ``"cpu"`` and ``"gpu"``."""
    return frozenset({"cpu", "gpu"}) if hardware()["gpus"] else frozenset({"cpu"})


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _git(folder: Path, *arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run(
            [git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _gpus() -> list[str]:
    """Names of NVIDIA GPUs, as the driver lists them."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        model = next((s for s in path.read_text(encoding="utf-8").splitlines() if s.startswith("Model:")), "")
        names.append(model.partition(":")[2].strip() or "NVIDIA GPU")
    return names
