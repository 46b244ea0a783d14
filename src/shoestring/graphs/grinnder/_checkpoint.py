"""Checkpoints: weights, optimiser state and place in the run in one safetensors file, whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from shoestring.core.errors import StorageError
from shoestring.core.files import write_bytes_atomic

__all__ = ["load_checkpoint", "save_checkpoint"]

_FORMAT = "shoestring-grinnder-1"


def save_checkpoint(path: Path, model: nn.Module, optimizer: Optimizer, meta: Mapping[str, Any]) -> None:
    """Write ``model.*`` and ``optimizer.<parameter>.*`` tensors and JSON metadata, atomically.

    Raises
    ------
    StorageError
        If the file cannot be written; an older one is then unchanged.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars[f"optimizer.{index}.{name}"] = value
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    head = {"format": _FORMAT, "meta": dict(meta), "scalars": scalars, "sha256": _digest(tensors)}
    write_bytes_atomic(path, save(tensors, metadata={"shoestring": json.dumps(head)}))


def load_checkpoint(path: Path, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Load a checkpoint into model and optimiser; return its metadata.

    Raises
    ------
    StorageError
        If the file is damaged, no checkpoint, or of another model.
    """
    try:
        with safe_open(path, framework="pt") as f:
            head = json.loads((f.metadata() or {})["shoestring"])
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118  # not a mapping
    except (OSError, SafetensorError, KeyError, ValueError) as e:
        raise StorageError(f"{path} is not a checkpoint of GriNNder ({e}); delete it to start afresh") from e
    if head.get("format") != _FORMAT or head.get("sha256") != _digest(tensors):
        raise StorageError(f"{path} is damaged or of another version; delete it to start afresh")
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as e:
        raise StorageError(f"{path} is of another model ({e}); give its own model, or delete it") from e
    state: dict[int, dict[str, Any]] = {}
    entries = {k: v for k, v in tensors.items() if k.startswith("optimizer.")}
    for key, value in {**entries, **head["scalars"]}.items():
        _, index, name = key.split(".", 2)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    meta: dict[str, Any] = head["meta"]
    return meta


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
