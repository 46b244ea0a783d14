"""Checkpoints of a distillation run: one safetensors file, checksummed, written whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from shoestring.core.errors import StorageError
from shoestring.core.files import write_bytes_atomic

__all__ = ["read_checkpoint", "write_checkpoint"]

VERSION = 1
MAGIC = b"shoestring-checkpoint"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata to `path`, atomically.

    Layout: one line of JSON (format, version, sha256 of the rest, metadata), then a safetensors body.
    """
    body = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    head = {"format": MAGIC.decode(), "version": VERSION, "sha256": hashlib.sha256(body).hexdigest(), "meta": meta}
    write_bytes_atomic(path, json.dumps(head).encode() + b"\n" + body)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and metadata of a checkpoint.

    Raises
    ------
    StorageError
        If the file is not a checkpoint of this version, or is damaged.
    """
    line, _, body = path.read_bytes().partition(b"\n")
    try:
        head = json.loads(line)
        known = head["format"] == MAGIC.decode() and head["version"] == VERSION
        if known and head["sha256"] == hashlib.sha256(body).hexdigest():
            return load(body), head["meta"]
    except (ValueError, KeyError, TypeError, SafetensorError) as e:
        raise StorageError(f"{path} is not a checkpoint that this version can read; delete it to start afresh") from e
    raise StorageError(f"{path} is damaged or of another version (expected version {VERSION}); delete it to start afresh")
