"""Files of tensors with JSON metadata: one safetensors file, checksummed, written whole or not at all."""

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

__all__ = ["read_tensors", "write_tensors"]

VERSION = 2
FORMAT = "shoestring-maps"


def write_tensors(path: Path, kind: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and metadata atomically: a line of JSON, then a safetensors body.

    Parameters
    ----------
    path : Path
        Where.
    kind : str
        ``"training"`` or ``"model"``; another kind is refused when it is read.
    tensors : mapping
        Name to tensor.
    meta : mapping
        JSON values.

    Raises
    ------
    StorageError
        If the file cannot be written; an older one is then unchanged.
    """
    body = save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()})
    text = json.dumps(dict(meta), sort_keys=True)
    digest = hashlib.sha256(text.encode() + body).hexdigest()
    head = {"format": FORMAT, "version": VERSION, "kind": kind, "sha256": digest, "meta": dict(meta)}
    write_bytes_atomic(path, json.dumps(head, sort_keys=True).encode() + b"\n" + body)


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and metadata of a file of `write_tensors`.

    Raises
    ------
    StorageError
        If it cannot be read, is damaged, of another kind, or of another version.
    """
    try:
        line, _, body = path.read_bytes().partition(b"\n")
    except OSError as e:
        raise StorageError(e.errno, f"could not read {path}: {e.strerror}. Check the path") from e
    try:
        head = json.loads(line)
        text = json.dumps(head["meta"], sort_keys=True)
        sound = head["sha256"] == hashlib.sha256(text.encode() + body).hexdigest()
        if head["format"] == FORMAT and head["version"] == VERSION and head["kind"] == kind and sound:
            return load(body), head["meta"]
    except (ValueError, KeyError, TypeError, SafetensorError) as e:
        raise StorageError(
            f"{path} is not a file of MAPS that this version can read ({e}); make it anew"
        ) from e
    raise StorageError(f"{path} is damaged, or not a {kind} file of version {VERSION} of MAPS; make it anew")
