"""The errors of Shoestring: each says what was given, what is allowed and what to do."""

__all__ = [
    "ConfigError",
    "DataError",
    "MissingExtraError",
    "NotFittedError",
    "ShoestringError",
    "StorageError",
    "UnsupportedModelError",
]


class ShoestringError(Exception):
    """Base of every error that Shoestring raises on purpose."""


class ConfigError(ShoestringError, ValueError):
    """An option is outside its range, unknown, or contradicts another."""


class DataError(ShoestringError, ValueError):
    """Input data are missing, malformed or do not fit the model."""


class UnsupportedModelError(ShoestringError, TypeError):
    """A model holds a layer that the method cannot handle; the message names the layer."""


class MissingExtraError(ShoestringError, ImportError):
    """An optional dependency is not installed; the message is the command that installs it."""


class StorageError(ShoestringError, OSError):
    """A file could not be read or written completely."""


class NotFittedError(ShoestringError, AttributeError):
    """A result was asked for before the run that makes it."""
