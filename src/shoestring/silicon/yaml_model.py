"""Models read from YAML: every mistake in a file becomes one line that names the key."""

import difflib
from collections.abc import Hashable
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from shoestring.core.errors import ConfigError
from shoestring.core.files import write_text_atomic

__all__ = ["YamlModel", "is_power_of_two"]

# The largest file that is read; a machine is a few kilobytes.
_MAX_BYTES = 1 << 20


def is_power_of_two(value: int) -> bool:
    """Tell whether `value` is 1, 2, 4, 8 and so on."""
    return value > 0 and value & (value - 1) == 0


class YamlModel(BaseModel):
    """A frozen, strict pydantic model with files: unknown keys, wrong types, NaN and infinity are errors.

    Subclasses that ship files name their folder in `folder`.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    folder: ClassVar[str] = ""

    @classmethod
    def shipped(cls) -> tuple[str, ...]:
        """Return the names of the files that ship with the package."""
        return tuple(sorted(path.name.removesuffix(".yaml") for path in _shipped(cls.folder)))

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Read a file, or one that ships with the package, by its name.

        Parameters
        ----------
        source : str or Path
            A path, or a name out of `shipped()` with or without ``.yaml``.

        Raises
        ------
        ConfigError
            In one line: the file, the key, what it holds and what is allowed.
        """
        text, origin = _read(source, cls)
        return cls.from_text(text, origin=origin)

    @classmethod
    def from_text(cls, text: str, *, origin: str = "config") -> Self:
        """Read YAML `text`; `origin` begins the message of an error."""
        try:
            values = yaml.load(text, Loader=_Loader)  # a SafeLoader
        except yaml.YAMLError as e:
            raise ConfigError(f"{origin}: {_yaml_problem(e)}") from e
        except RecursionError as e:
            raise ConfigError(f"{origin}: nested too deeply; a {cls.__name__} has a few levels") from e
        if not isinstance(values, dict):
            raise ConfigError(
                f"{origin}: the file holds {_show(values)}; it must hold the keys "
                f"{', '.join(cls.model_fields)}"
            )
        return cls.from_values(values, origin=origin)

    @classmethod
    def from_values(cls, values: dict[str, Any], *, origin: str = "config") -> Self:
        """Check plain `values`, with errors as those of `from_yaml`."""
        try:
            return cls.model_validate(values)
        except ValidationError as e:
            # A misspelt key is also a missing one; the spelling is the cause.
            worst = min(e.errors(), key=lambda error: error["type"] != "extra_forbidden")
            raise ConfigError(f"{origin}: {_explain(cls, worst)}") from None

    def to_text(self) -> str:
        """Return the model as YAML with every value resolved."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def to_yaml(self, path: Path) -> None:
        """Write `to_text` to `path` atomically; `from_yaml` reads it back equal."""
        write_text_atomic(path, self.to_text())


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice; YAML itself would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, str) and key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(
                    f"the key {key!r} is given twice, in lines {seen[key]} and {line}; keep one of them"
                )
            if isinstance(key, str):
                seen[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _shipped(folder: str) -> list[Any]:
    root = resources.files("shoestring.silicon") / folder if folder else None
    return [p for p in root.iterdir() if p.name.endswith(".yaml")] if root else []


def _read(source: str | Path, kind: type[YamlModel]) -> tuple[str, str]:
    name = str(source).removesuffix(".yaml")
    path = Path(source)
    for resource in _shipped(kind.folder):
        if resource.name == f"{name}.yaml" and not path.is_file():
            return resource.read_text(encoding="utf-8"), resource.name
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(
                f"{path}: {path.stat().st_size} bytes; a {kind.__name__} has at most {_MAX_BYTES}"
            )
        return path.read_text(encoding="utf-8"), str(path)
    except FileNotFoundError as e:
        names = kind.shipped()
        raise ConfigError(f"{source!s} is no file and no shipped name; shipped are {', '.join(names)}") from e
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"could not read {path}: {e}; give a YAML file in UTF-8") from e


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"not YAML, line {mark.line + 1} column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def _explain(kind: type[BaseModel], error: ErrorDetails) -> str:
    """Return one line for pydantic's error: key, what it holds, what is allowed."""
    where = _key(error["loc"])
    given = error["input"]
    if error["type"] == "extra_forbidden":
        allowed = list(_model_at(kind, error["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(str(error["loc"][-1]), allowed, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{where} is no key here; {hint}allowed are {', '.join(allowed)}"
    if error["type"] == "missing":
        return f"{where} is missing; add it"
    if error["type"] == "value_error":
        text = str(error.get("ctx", {}).get("error", error["msg"]))
        if isinstance(given, dict):  # a check of the whole section, whose text begins with the key
            return f"{where}.{text}" if where else text
        return f"{where}={_show(given)} is not allowed; {text}"
    message = error["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    message = message.partition(" or instance of")[0].replace("dictionary", "a section of keys")
    return f"{where}={_show(given)} is not allowed; give {message}"


def _key(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return " ".join(text.split())


def _show(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _model_at(kind: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model whose keys stand at `loc`."""
    for part in loc:
        field = kind.model_fields.get(str(part))
        if field is None:
            continue
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                kind = candidate
    return kind
