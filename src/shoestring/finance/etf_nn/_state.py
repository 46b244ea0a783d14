"""A fitted model as one safetensors file: versioned, checksummed, written whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from shoestring.core.errors import StorageError
from shoestring.core.files import write_bytes_atomic

__all__ = ["load_state", "save_state"]

FORMAT = "shoestring-etf-nn-1"


def save_state(path: Path, head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and JSON values.

    Raises
    ------
    StorageError
        If the file cannot be written; an older one is then unchanged.
    """
    kept = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    text = json.dumps({"format": FORMAT, "head": dict(head)}, sort_keys=True, allow_nan=False)
    about = {"shoestring": text, "sha256": _digest(text, kept)}
    write_bytes_atomic(path, save(kept, metadata=about))


def load_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `save_state` wrote.

    Raises
    ------
    StorageError
        If the file is missing, damaged, of another version or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as f:
            about = f.metadata() or {}
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118  # not a mapping
        text = about["shoestring"]
        head = json.loads(text)
    except (OSError, SafetensorError, KeyError, ValueError) as e:
        raise StorageError(
            f"{path} holds no model of ETF-NN ({e}); give a file that StatementNet.save wrote"
        ) from e
    if head.get("format") != FORMAT or about.get("sha256") != _digest(text, tensors):
        raise StorageError(f"{path} is damaged or of another version; fit and save the model again")
    values: dict[str, Any] = head["head"]
    return values, tensors


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
