"""Checkpoints of a run: one safetensors file, written whole or not at all."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from shoestring.core.config import to_dict
from shoestring.core.errors import ConfigError, StorageError
from shoestring.core.files import write_bytes_atomic
from shoestring.graphs.granndis.config import GranndisConfig

__all__ = ["load_checkpoint", "save_checkpoint"]

_FORMAT = "shoestring-granndis"
_VERSION = 1


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: GranndisConfig,
    epoch: int,
    losses: list[float],
) -> None:
    """Write weights, Adam's state and the curve after `epoch` epochs.

    Raises
    ------
    StorageError
        If the file cannot be written; an older one is then unchanged.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{key}.{name}"] = torch.as_tensor(value)
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    meta = {"format": _FORMAT, "version": str(_VERSION), "epoch": str(epoch), "run": fingerprint(config)}
    body = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, meta)
    write_bytes_atomic(path, body)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: GranndisConfig,
    losses: list[float],
) -> int:
    """Go on from a file if there is one.

    Returns
    -------
    int
        Epochs already done, 0 if there is no file; model, optimizer and `losses` are filled in place.

    Raises
    ------
    StorageError
        If the file is no checkpoint of this version.
    ConfigError
        If it belongs to another run.
    """
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as f:
            meta = f.metadata() or {}
            tensors: dict[str, Tensor] = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as e:
        raise StorageError(f"{path} is not a readable checkpoint ({e}); delete it to start afresh") from e
    if meta.get("format") != _FORMAT or meta.get("version") != str(_VERSION):
        raise StorageError(f"{path} is not a checkpoint of version {_VERSION}; delete it to start afresh")
    if meta["run"] != fingerprint(config):
        raise ConfigError(
            f"{path} belongs to a run with other options; give the same options, or another file. "
            "Only the number of epochs, limits of time and checkpoint_every may differ"
        )
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    for name, parameter in model.named_parameters():
        state = {
            k.split(".")[1]: v
            for k, v in tensors.items()
            if k.startswith("adam.") and k.endswith(f".{name}") and k.split(".", 2)[2] == name
        }
        if state:
            optimizer.state[parameter] = {
                k: v.clone() if k == "step" else v.clone().to(parameter.device) for k, v in state.items()
            }
    losses[:] = tensors["losses"].tolist()
    return int(meta["epoch"])


def fingerprint(config: GranndisConfig) -> str:
    """Hash of what decides the result."""
    same = replace(
        config,
        timeout_s=1.0,
        collective_timeout_s=1.0,
        training=replace(
            config.training, epochs=0, checkpoint_every=0, measure=False, evaluate=False, calibrate=False
        ),
    )
    values = to_dict(same)
    values.pop("link")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
