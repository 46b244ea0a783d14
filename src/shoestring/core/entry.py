"""Load a function that a file names as ``module:function``."""

import importlib
import re
from collections.abc import Callable
from typing import Any

from shoestring.core.errors import ConfigError

__all__ = ["check_entry_point", "load_entry_point"]

_FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def check_entry_point(text: str) -> tuple[str, str]:
    """Split ``module:function`` into module and function without importing anything.

    Raises
    ------
    ConfigError
        If `text` has another form.
    """
    if not isinstance(text, str) or not _FORM.fullmatch(text):
        raise ConfigError(f"entry point {text!r} is not of the form package.module:function")
    module, _, function = text.partition(":")
    return module, function


def load_entry_point(text: str) -> Callable[..., Any]:
    """Import the module of ``module:function`` and return that function.

    Parameters
    ----------
    text : str
        A dotted module and the name of one callable at its top level; nothing else is evaluated.

    Returns
    -------
    callable
        The function.

    Raises
    ------
    ConfigError
        If the form is wrong, the module does not exist, or it has no such callable. An error that
        the module raises while it is imported is passed on.
    """
    module_name, function_name = check_entry_point(text)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        if e.name is None or not (module_name == e.name or module_name.startswith(e.name + ".")):
            raise
        raise ConfigError(f"entry point {text!r}: there is no module {e.name!r}; correct the name") from e
    function = getattr(module, function_name, None)
    if not callable(function):
        state = "has no" if function is None else "has a value, not a function, called"
        raise ConfigError(
            f"entry point {text!r}: module {module_name!r} {state} {function_name!r}; correct the name"
        )
    return function  # type: ignore[no-any-return]  # any callable is what the caller asked for
