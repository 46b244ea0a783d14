"""Which code of a strategy is on paper or live, in a file that every environment can read."""

import json
from collections.abc import Mapping
from pathlib import Path

from shoestring.core.errors import StorageError
from shoestring.core.files import write_json_atomic

__all__ = ["read_published", "write_published"]

_SCHEMA = 1


def write_published(root: Path, strategy: str, subjects: Mapping[str, str]) -> None:
    """Write the keys of the subjects that are ``paper`` and ``live``; the registry decides, this follows it.

    Parameters
    ----------
    root : Path
        Folder of the platform.
    strategy : str
        Name.
    subjects : mapping
        `Subject.key` by alias.
    """
    write_json_atomic(_path(root, strategy), {"schema": _SCHEMA, "subjects": dict(subjects)})


def read_published(root: Path, strategy: str) -> dict[str, str]:
    """Return the keys of the subjects that are ``paper`` and ``live``, by alias; empty if none is.

    Raises
    ------
    StorageError
        If the file is damaged.
    """
    path = _path(root, strategy)
    try:
        content = json.loads(path.read_text())
        subjects = content["subjects"]
        if content["schema"] != _SCHEMA or not all(isinstance(v, str) for v in subjects.values()):
            raise ValueError("of another schema")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise StorageError(f"{path} cannot be read ({e}); any promotion of {strategy} writes it again") from e
    return dict(subjects)


def _path(root: Path, strategy: str) -> Path:
    return root / "stages" / f"{strategy}.json"
