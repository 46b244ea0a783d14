"""Import an optional dependency at its point of use."""

import importlib
from types import ModuleType

from shoestring.core.errors import MissingExtraError

__all__ = ["optional"]


def optional(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    extra : str
        The extra of this package that installs it.

    Raises
    ------
    MissingExtraError
        If the package of `module` is not installed. A package that is installed but fails
        inside raises its own error.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name != module.partition(".")[0]:
            raise
        raise MissingExtraError(
            f"{module!r} is not installed. It comes with the {extra!r} extra: "
            f"pip install 'shoestring[{extra}]'"
        ) from e
