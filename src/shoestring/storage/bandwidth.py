"""Measured bandwidth of a storage folder, as an engine reaches it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from shoestring.native.io import Engine

__all__ = ["Bandwidth", "measure_bandwidth"]

_PROBE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Bandwidth:
    """Bytes per second of large sequential requests."""

    read_bytes_per_s: float
    write_bytes_per_s: float


def measure_bandwidth(engine: Engine, folder: Path, nbytes: int = _PROBE_BYTES) -> Bandwidth:
    """Write a file of `nbytes` to `folder`, read it again, and remove it.

    Parameters
    ----------
    engine : Engine
        With the backend, depth and emulated limit that the run will have.
    folder : Path
        Made if it is missing.
    nbytes : int
        Size of the probe, held in memory once.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"probe-{os.getpid()}.bin"
    seconds = []
    try:
        with engine.buffer(nbytes) as buffer, engine.open(path, mode="create", size_bytes=nbytes) as file:
            buffer.array[:] = 1
            for request in (engine.write, engine.read):
                start = time.perf_counter()
                request(file, 0, buffer, nbytes).result()
                seconds.append(time.perf_counter() - start)
    finally:
        path.unlink(missing_ok=True)
    return Bandwidth(read_bytes_per_s=nbytes / seconds[1], write_bytes_per_s=nbytes / seconds[0])
