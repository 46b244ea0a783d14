"""Frozen dataclasses to and from plain dicts and TOML, with overrides like ``cache.size=3``."""

import dataclasses
import tomllib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tomli_w

from shoestring.core.errors import ConfigError

__all__ = ["apply_overrides", "from_dict", "read_toml", "to_dict", "to_plain", "to_toml"]

C = TypeVar("C")
SCHEMA = 1


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config (a dataclass instance) as plain dicts, lists and scalars, with ``schema = 1``."""
    return {"schema": SCHEMA, **to_plain(config)}


def from_dict(kind: type[C], values: Mapping[str, Any]) -> C:
    """Build a config from plain values, checking every name and type.

    Parameters
    ----------
    kind : type
        A dataclass; nested dataclasses, tuples, literals, optionals and scalars are supported.
    values : mapping
        As `to_dict` gives it; missing keys take their defaults.

    Raises
    ------
    ConfigError
        For an unknown key, a wrong type, a missing required key or another schema.
    """
    values = dict(values)
    schema = values.pop("schema", SCHEMA)
    if schema != SCHEMA:
        raise ConfigError(
            f"schema={schema!r} is not known; this version reads schema {SCHEMA}. Convert the file or update"
        )
    return _build(kind, values, "")


def read_toml(kind: type[C], path: Path, overrides: Sequence[str] = ()) -> C:
    """Read a config from a TOML file and apply ``a.b=value`` overrides."""
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(
            f"could not read the config {path}: {e}. Give a TOML file; --print-config shows one"
        ) from e
    return from_dict(kind, apply_overrides(values, overrides))


def to_toml(config: Any) -> str:
    """Return a config as TOML text."""
    return tomli_w.dumps(_without_none(to_dict(config)))


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `values` with overrides such as ``a.b=3`` or ``name=text`` applied (TOML values, else text)."""
    out = _copy(values)
    for item in overrides:
        key, sign, text = item.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"override {item!r} has no key and value; write it as a.b=value")
        *parents, leaf = key.strip().split(".")
        place = out
        for name in parents:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise ConfigError(f"override {item!r}: {name!r} is a value, not a section")
        place[leaf] = _parse(text.strip())
    return out


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def to_plain(value: Any) -> Any:
    """Return dataclasses, tuples and mappings within a value as dicts and lists; the rest stays."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: to_plain(v) for k, v in value.items()}
    return value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value


def _build(kind: type[C], values: Mapping[str, Any], where: str) -> C:
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # kind is a dataclass by contract
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"unknown option {where}{unknown[0]!r}; allowed: {', '.join(fields)}")
    made = {name: _coerce(hints[name], value, where + name) for name, value in values.items()}
    missing = [
        n
        for n, f in fields.items()
        if n not in made and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"option {where}{missing[0]!r} is required; add it to the config")
    return kind(**made)


def _coerce(hint: Any, value: Any, where: str) -> Any:  # noqa: PLR0911  # one branch a kind of type
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _build(hint, value, where + ".")  # type: ignore[arg-type]  # is_dataclass also admits instances
    if origin in (Union, types.UnionType):
        return _coerce_union(args, value, where)
    if origin is Literal:
        if value in args:
            return value
        raise ConfigError(f"{where}={value!r} is not one of {', '.join(map(repr, args))}")
    if origin is tuple and isinstance(value, list | tuple):
        return _coerce_tuple(args, value, where)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {k: _coerce(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    plain = origin or hint
    if hint is Any or (
        isinstance(plain, type)
        and isinstance(value, plain)
        and (plain is bool or not isinstance(value, bool))
    ):
        return value
    raise ConfigError(
        f"{where}={value!r} has type {type(value).__name__}; expected {getattr(hint, '__name__', hint)}"
    )


def _coerce_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    error: ConfigError | None = None
    for arg in (a for a in args if a is not type(None)):
        try:
            return _coerce(arg, value, where)
        except ConfigError as e:
            error = error or e
    raise error or ConfigError(f"{where}={value!r} fits none of {args}")


def _coerce_tuple(args: tuple[Any, ...], value: Sequence[Any], where: str) -> tuple[Any, ...]:
    kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
    if len(kinds) != len(value):
        raise ConfigError(f"{where} has {len(value)} entries; expected {len(kinds)}")
    return tuple(_coerce(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
