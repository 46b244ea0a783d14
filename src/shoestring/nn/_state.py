"""Keep the weights of a model in a file, and put them back."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from shoestring.core.errors import DataError, StorageError
from shoestring.core.files import write_bytes_atomic
from shoestring.core.optional import optional

__all__ = ["load_state", "save_state"]

_ZIP_MAGIC = b"PK\x03\x04"
_MAX_NAMES = 5


def save_state(model: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the state dict of a model as safetensors, atomically.

    Parameters
    ----------
    model : nn.Module
        Parameters and buffers are written in their own dtype, contiguous.
    path : path
        Usually ``NAME.safetensors``; missing folders are made.
    metadata : mapping of str to str, optional
        Kept in the header of the file, e.g. how the weights were made.

    Raises
    ------
    StorageError
        If the file cannot be written; an older one is then unchanged.
    MissingExtraError
        If safetensors is not installed.
    """
    safetensors = optional("safetensors.torch", extra="compression")
    # clone: entries that share memory (tied weights) are refused by the format, so each is written out
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    write_bytes_atomic(Path(path), safetensors.save(state, metadata=dict(metadata or {})))


def load_state(model: nn.Module, path: str | Path) -> None:
    """Read weights from a file into a model of the same architecture.

    Parameters
    ----------
    model : nn.Module
        Changed in place, and only if everything fits.
    path : path
        A safetensors file; or a file of ``torch.save`` that holds a plain state dict (also under
        the key ``state_dict``), which is read with ``weights_only=True``, so that no code in it
        can run. A ``module.`` before every name is dropped.

    Raises
    ------
    DataError
        If the file is neither, holds anything but tensors, or does not fit the model; the message
        names the missing, unexpected or misshapen entries.
    StorageError
        If the file cannot be read.
    MissingExtraError
        If safetensors is not installed.
    """
    path = Path(path)
    state = _read(path)
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    _check(model, state, path)
    model.load_state_dict(state)


def _read(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running code from the file."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as e:
        raise StorageError(e.errno, f"could not read {path}: {e.strerror}. Check the path") from e
    if head[8:9] == b"{":
        safetensors = optional("safetensors.torch", extra="compression")
        try:
            loaded: dict[str, Tensor] = safetensors.load(path.read_bytes())
        except (ValueError, RuntimeError, optional("safetensors", extra="compression").SafetensorError) as e:
            raise DataError(f"{path} is a damaged safetensors file: {e}. Copy it again") from e
        return loaded
    if not head.startswith(_ZIP_MAGIC):
        raise DataError(
            f"{path} is neither safetensors nor a file of torch.save (1.6 or newer); plain pickle is not "
            "read because it can run any code. Convert it with shoestring.nn.save_state"
        )
    return _read_torch(path)


def _read_torch(path: Path) -> dict[str, Tensor]:
    """Read a file of ``torch.save`` that holds tensors only."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as e:
        # the text of torch's error recommends to switch the check off, so it stays in the cause
        raise DataError(
            f"{path} is damaged or no plain state dict ({type(e).__name__}). "
            "Save model.state_dict(), not the model, or convert it with shoestring.nn.save_state"
        ) from e
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise DataError(f"{path} holds more than named tensors; save model.state_dict() alone")
    return dict(content)


def _check(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that do not fit."""
    expected = model.state_dict()
    faults = []
    if missing := sorted(set(expected) - set(state)):
        faults.append(f"missing {_some(missing)}")
    if unexpected := sorted(set(state) - set(expected)):
        faults.append(f"unexpected {_some(unexpected)}")
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(state))
        if state[name].shape != expected[name].shape
    ]
    if shapes:
        faults.append(f"misshapen {_some(shapes)}")
    if faults:
        raise DataError(
            f"{path} does not fit {type(model).__name__}: {'; '.join(faults)}. "
            "Build the model that the weights are of"
        )


def _some(names: Iterable[str]) -> str:
    """List the first few names and count the rest."""
    names = list(names)
    rest = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
