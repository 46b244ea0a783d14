"""Decoded pixels kept on disk, so that a JPEG archive is decoded once."""

import hashlib
import io
import json
import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoestring.core.errors import StorageError
from shoestring.core.files import write_bytes_atomic

__all__ = ["cache_folder", "cached_pixels", "file_identity"]

_log = logging.getLogger(__name__)
_VERSION = 1
_CHUNK = 1 << 20


def cache_folder() -> Path:
    """Return the user's cache folder: ``$SHOESTRING_CACHE``, else ``~/.cache/shoestring``.

    Notes
    -----
    Everything inside can be deleted at any time.
    """
    given = os.environ.get("SHOESTRING_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "shoestring"


def file_identity(path: Path) -> str:
    """Return the size and the SHA-256 of a file as text.

    Raises
    ------
    StorageError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
                size += len(block)
    except OSError as e:
        raise StorageError(e.errno, f"could not read {path}: {e.strerror}. Check the file") from e
    return f"{size}-{digest.hexdigest()}"


def cached_pixels(
    source: Path, decode: Callable[[], NDArray[np.uint8]], folder: Path | None = None
) -> NDArray[np.uint8]:
    """Return ``decode()``, from the cache where an intact result for these source bytes is there.

    Parameters
    ----------
    source : Path
        File that `decode` reads; its size and checksum are the key.
    decode : callable
        Gives the uint8 array.
    folder : Path, optional
        Where to keep it; default `cache_folder`.

    Notes
    -----
    Two files an entry: ``NAME-KEY.npy`` and a JSON note with version, shape and CRC-32 of the
    pixels. An entry that does not match its note is decoded again and replaced. A cache that
    cannot be written costs a warning in the log, not the data.
    """
    identity = file_identity(source)
    place = (folder or cache_folder()) / "images"
    array_path = place / f"{source.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npy"
    note_path = array_path.with_suffix(".json")
    if (found := _read(array_path, note_path, identity)) is not None:
        return found
    pixels = np.ascontiguousarray(decode())
    note = {
        "version": _VERSION,
        "source": identity,
        "shape": list(pixels.shape),
        "crc32": zlib.crc32(pixels.data),
    }
    try:
        write_bytes_atomic(array_path, _npy_bytes(pixels))
        write_bytes_atomic(note_path, json.dumps(note).encode())
    except StorageError as e:
        _log.warning("decoded images are not cached: %s", e)
    return pixels


def _read(array_path: Path, note_path: Path, identity: str) -> NDArray[np.uint8] | None:
    """Return the cached array, or None where it is absent or damaged."""
    try:
        note = json.loads(note_path.read_text())
        pixels: NDArray[np.uint8] = np.load(array_path, allow_pickle=False)
        crc32 = zlib.crc32(np.ascontiguousarray(pixels).data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as e:
        _log.warning("cached images %s cannot be read (%s); decoding again", array_path, e)
        return None
    made = {"version": _VERSION, "source": identity, "shape": list(pixels.shape), "crc32": crc32}
    if note != made or pixels.dtype != np.uint8:
        _log.warning("cached images %s are damaged or of another version; decoding again", array_path)
        return None
    return pixels


def _npy_bytes(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    return buffer.getvalue()
