"""The typed faces of the compiled core: `io`, `partition`, `sparse`. Nothing else imports `_core`."""

from shoestring.core.errors import MissingExtraError

__all__: list[str] = []

try:
    import shoestring.native._core  # noqa: F401  (loaded here so that a missing build is explained once)
except ModuleNotFoundError as e:
    if e.name != "shoestring.native._core":
        raise
    raise MissingExtraError(
        "the compiled core 'shoestring.native._core' is not there, so this copy of Shoestring was not built. "
        "Install it with a C++20 compiler at hand: pip install . (or pip install -e . for development)"
    ) from e
