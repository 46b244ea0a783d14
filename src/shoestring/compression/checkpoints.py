"""Checkpoints of a distillation run: one safetensors file, checksummed, written whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from shoestring.core.errors import StorageError
from shoestring.core.files import write_bytes_atomic

__all__ = ["read_checkpoint", "write_checkpoint"]

VERSION = 2
FORMAT = "shoestring-checkpoint"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata to a file, atomically.

    Layout: one line of JSON (format, version, sha256 of the rest, strides of the tensors that are not in C
    order, metadata), then a safetensors body.

    Parameters
    ----------
    path : Path
        Where.
    tensors : mapping
        Name to tensor, on any device.
    meta : mapping
        JSON values.

    Raises
    ------
    StorageError
        If the file cannot be written; an older one is then unchanged.
    """
    body = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    c_order = {k: torch.empty(v.shape, device="meta").stride() for k, v in tensors.items()}
    head = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": hashlib.sha256(body).hexdigest(),
        "strides": {k: v.stride() for k, v in tensors.items() if v.stride() != c_order[k]},
        "meta": meta,
    }
    write_bytes_atomic(path, json.dumps(head).encode() + b"\n" + body)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and metadata of a checkpoint.

    Parameters
    ----------
    path : Path
        A file of `write_checkpoint`.

    Returns
    -------
    tuple
        Tensors on the CPU, in the memory layout that they were written from (kernels, and so the last bits of
        a result, depend on it); and the metadata.

    Raises
    ------
    StorageError
        If the file cannot be read, is not a checkpoint of this version, or is damaged.
    """
    try:
        line, _, body = path.read_bytes().partition(b"\n")
    except OSError as e:
        raise StorageError(e.errno, f"could not read {path}: {e.strerror}. Check the path") from e
    try:
        head = json.loads(line)
        known = head["format"] == FORMAT and head["version"] == VERSION
        if known and head["sha256"] == hashlib.sha256(body).hexdigest():
            return _laid_out(load(body), head["strides"]), head["meta"]
    except (ValueError, KeyError, TypeError, SafetensorError) as e:
        raise StorageError(
            f"{path} is not a checkpoint that this version can read; delete it to start afresh"
        ) from e
    raise StorageError(
        f"{path} is damaged or of another version (expected version {VERSION}); delete it to start afresh"
    )


def _laid_out(tensors: dict[str, Tensor], strides: Mapping[str, list[int]]) -> dict[str, Tensor]:
    for name, stride in strides.items():
        plain = tensors[name]
        tensors[name] = torch.empty_strided(plain.shape, stride, dtype=plain.dtype).copy_(plain)
    return tensors
