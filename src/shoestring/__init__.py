"""Deep learning on a shoestring: systems for scarce memory, bandwidth, data, bits and silicon."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("shoestring")
    raise AttributeError(f"module 'shoestring' has no attribute {name!r}")
