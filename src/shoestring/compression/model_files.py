"""Load a user's float model: a factory function by name, and weights from a file that cannot run code."""

import importlib.util
import inspect
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shoestring.core.entry import load_entry_point
from shoestring.core.errors import ConfigError, DataError, StorageError

__all__ = ["load_factory", "load_model", "load_weights", "read_state_dict"]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


def load_model(
    factory: str, weights: str | Path | None = None, factory_kwargs: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a model with a user's function and load its weights.

    Parameters
    ----------
    factory : str
        ``package.module:function`` or ``path/to/file.py:function``. The function's code is run.
    weights : path, optional
        A ``.safetensors`` file, or a torch file of tensors; without one the factory's own weights are kept.
    factory_kwargs : mapping, optional
        Keyword arguments of the function.

    Returns
    -------
    nn.Module
        In evaluation mode, on the CPU.

    Raises
    ------
    ConfigError
        If the function is not found, takes other arguments, or gives no module.
    DataError
        If the weights do not fit the model, are not finite, or their file holds more than tensors.
    StorageError
        If the file is missing or damaged.
    """
    function = load_factory(factory)
    kwargs = dict(factory_kwargs or {})
    if isinstance(function, nn.Module):
        raise ConfigError(
            f"{factory!r} is a {type(function).__name__}, not a function; name a function that returns it"
        )
    try:
        inspect.signature(function).bind(**kwargs)
    except TypeError as e:
        given = ", ".join(f"{k}={v!r}" for k, v in kwargs.items()) or "no arguments"
        raise ConfigError(
            f"{factory!r} cannot be called with {given}: {e}; set its arguments under [factory] in the config"
        ) from e
    model = function(**kwargs)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{factory!r} returned {type(model).__name__}; it must return a torch.nn.Module")
    model = model.cpu()
    if weights is not None:
        load_weights(model, Path(weights))
    return model.eval()


def load_factory(text: str) -> Callable[..., Any]:
    """Return the function that ``package.module:function`` or ``path/to/file.py:function`` names.

    A file's folder is searched for imports while the file is run, as for a script.

    Raises
    ------
    ConfigError
        If there is no such module, file or function.
    """
    place, _, name = text.rpartition(":")
    if not place.endswith(".py"):
        return load_entry_point(text)
    path = Path(place).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"{text!r}: there is no file {place}; give path/to/file.py:function or package.module:function"
        )
    function = getattr(_run_file(path.resolve()), name, None)
    if not callable(function):
        raise ConfigError(f"{text!r}: {place} has no function {name!r}; correct the name after the colon")
    return function  # type: ignore[no-any-return]  # any callable is what the caller asked for


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a file's tensors into `model`, naming every key that does not fit.

    Raises
    ------
    DataError
        If keys are missing, unexpected or of another shape, or values are not finite.
    StorageError
        If the file is missing or damaged.
    """
    found, wanted = read_state_dict(path), model.state_dict()
    problems = [
        (f"{len(keys)} {what}", keys)
        for what, keys in (
            ("missing", [k for k in wanted if k not in found and not k.endswith("num_batches_tracked")]),
            ("unexpected", [k for k in found if k not in wanted]),
            (
                "of another shape",
                [
                    f"{k} (file {tuple(found[k].shape)}, model {tuple(wanted[k].shape)})"
                    for k in wanted
                    if k in found and found[k].shape != wanted[k].shape
                ],
            ),
        )
        if keys
    ]
    if problems:
        text = "; ".join(f"{what}: {_some(keys)}" for what, keys in problems)
        raise DataError(
            f"the weights in {path} do not fit {type(model).__name__}: {text}. Give the file that "
            "belongs to this architecture, or correct the factory's arguments"
        )
    bad = [k for k, v in found.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise DataError(
            f"the weights in {path} hold NaN or infinite values: {_some(bad)}; give a file of a healthy model"
        )
    model.load_state_dict(found, strict=False)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file or a torch file, without running code that the file may hold.

    Parameters
    ----------
    path : path
        A torch file may wrap the tensors as ``{"state_dict": ...}``; the prefixes of DataParallel and of
        torch.compile are taken off.

    Raises
    ------
    DataError
        If the file holds something other than tensors by name, or needs unpickling of arbitrary objects.
    StorageError
        If the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise StorageError(f"there is no file {path}; give the weights as a .safetensors or torch file")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for key in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(
            f"{path} does not hold tensors by name but {_describe(state)}; "
            "save model.state_dict() and give that file"
        )
    tensors = {str(k): v for k, v in state.items()}
    for prefix in _PREFIXES:
        if all(k.startswith(prefix) for k in tensors):
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    return tensors


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as e:
        raise StorageError(f"{path} cannot be read as safetensors: {e}. Copy or save it again") from e


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        with path.open("rb") as f:
            start = f.read(2)
        if start not in (b"PK", b"\x80\x02"):  # a zip archive, or the pickle of old torch files
            raise StorageError(f"{path} is neither a safetensors nor a torch file; give one of these") from e
        raise DataError(
            f"{path} holds pickled Python objects, which can run code when loaded, so it is refused. "
            "Where you trust the file, convert it: "
            f"torch.save(torch.load({path.name!r}, weights_only=False).state_dict(), 'weights.pt')"
        ) from e
    except (RuntimeError, EOFError, KeyError, ValueError, OSError) as e:
        reason = " ".join(str(e).split())[:200] or type(e).__name__
        raise StorageError(f"{path} cannot be read as a torch file: {reason}. Copy or save it again") from e


def _run_file(path: Path) -> Any:
    name = f"shoestring_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a file that ends in .py has a spec"
    assert spec.loader is not None, "a file that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and the like look their module up
    with _importable(path.parent):
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def _some(keys: list[str], most: int = 3) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def _describe(state: Any) -> str:
    if isinstance(state, Mapping):
        odd = [str(k) for k, v in state.items() if not isinstance(v, Tensor)]
        return f"a mapping with {_some(odd)}" if odd else "an empty mapping"
    return f"a {type(state).__name__}"
