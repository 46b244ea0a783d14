"""Deep learning on a shoestring: systems for scarce memory, bandwidth, data, bits and silicon."""

from importlib.metadata import version as _version

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        return _version("shoestring")
    raise AttributeError(f"module 'shoestring' has no attribute {name!r}")
