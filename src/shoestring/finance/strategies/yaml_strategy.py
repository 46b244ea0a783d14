"""Strategies without code: a YAML file that names features, a model, an allocator and a schedule.

::

    name: quality_momentum
    version: "1.0"
    schedule: BMS 06:00 America/New_York
    data: sp500
    features:
      momentum: {kind: momentum, lookback: 252, skip: 21}
      calm: {kind: volatility, lookback: 63}
    model: {kind: weighted_sum, weights: {momentum: 1, calm: -1}}
    allocator: {kind: top_k, k: 5}
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from shoestring.core.config import apply_overrides, from_dict
from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.allocators import ALLOCATORS
from shoestring.finance.strategies.composite import Composite, Labels, compose
from shoestring.finance.strategies.features import FEATURES, FeatureTable, Known
from shoestring.finance.strategies.models import MODELS
from shoestring.finance.strategies.suggest import suggest

__all__ = ["YamlStrategy", "build", "read_yaml_strategy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class YamlStrategy:
    """The keys of a file."""

    name: str
    """Lower-case identifier."""
    version: str
    """In quotes: 1.10 without them is the number 1.1."""
    features: dict[str, dict[str, Any]]
    """Column name to ``{kind: ..., parameters}``."""
    model: dict[str, Any] = field(default_factory=lambda: {"kind": "weighted_sum"})
    """``{kind: ..., parameters}``."""
    allocator: dict[str, Any] = field(default_factory=lambda: {"kind": "top_k"})
    """``{kind: ..., parameters}``."""
    labels: dict[str, Any] = field(default_factory=dict)
    """Of models that learn: horizon, embargo, target."""
    normalise: str = "rank"
    """Of features over the assets of a date: rank, zscore or none."""
    schedule: str = "BMS 06:00 America/New_York"
    """When it decides."""
    refit: str = "BYS"
    """When the model is fitted again."""
    data: str = ""
    """Market to run on unless the command names one."""


def read_yaml_strategy(path: Path, overrides: Sequence[str] = ()) -> tuple[YamlStrategy, Composite]:
    """Read and build a strategy.

    Parameters
    ----------
    path : Path
        The file.
    overrides : sequence of str
        ``a.b=value``, e.g. ``allocator.k=3``.

    Raises
    ------
    ConfigError
        For a file that is no YAML mapping, a key that is there twice or not known (with a suggestion), a
        wrong type, or a part that refuses its parameters.
    """
    try:
        loaded = yaml.load(path.read_text(), Loader=_StrictLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigError(f"could not read the strategy {path}: {e}. Give a YAML file") from e
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"{path} holds a {type(loaded).__name__}; give keys such as name, version, features"
        )
    try:
        return build(apply_overrides(loaded, overrides))
    except ConfigError as e:
        raise ConfigError(f"{path.name}: {e}") from e


def build(values: Mapping[str, Any]) -> tuple[YamlStrategy, Composite]:
    """Build a strategy from the values of a file; see `read_yaml_strategy`."""
    allowed = [f.name for f in dataclasses.fields(YamlStrategy)]
    _check_keys("", values, allowed)
    if isinstance(values.get("version"), int | float):
        raise ConfigError(f'version={values["version"]!r} is a number; put it in quotes: version: "1.0"')
    spec = from_dict(YamlStrategy, values)
    columns = {
        column: _part(f"features.{column}", FEATURES, given) for column, given in spec.features.items()
    }
    strategy = compose(
        name=spec.name,
        version=spec.version,
        feature_set=from_dict(FeatureTable, {"columns": columns, "normalise": spec.normalise}),
        model=_part("model", MODELS, spec.model),
        allocator=_part("allocator", ALLOCATORS, spec.allocator),
        labels=_fields("labels", Labels, spec.labels),
        schedule=spec.schedule,
        refit=spec.refit,
        data=tuple(sorted({f.table for f in columns.values() if isinstance(f, Known)})),
    )
    unknown = set(getattr(strategy.model, "weights", {})) - set(columns)
    if unknown:
        name = sorted(unknown)[0]
        raise ConfigError(f"model.weights names {name!r}, which is no feature; {suggest(name, columns)}")
    return spec, strategy


def _part(where: str, kinds: Mapping[str, type[Any]], given: Mapping[str, Any]) -> Any:
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(f"{where}.kind={kind!r} is not known; {suggest(str(kind), kinds)}")
    return _fields(where, kinds[kind], {k: v for k, v in given.items() if k != "kind"})


def _fields(where: str, kind: type[Any], given: Mapping[str, Any]) -> Any:
    _check_keys(f"{where}.", given, [f.name for f in dataclasses.fields(kind)])
    try:
        return from_dict(kind, given)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from e


def _check_keys(where: str, given: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for key in given:
        if key not in allowed:
            raise ConfigError(f"unknown key {where}{key}; {suggest(str(key), allowed)}")


class _StrictLoader(yaml.SafeLoader):
    """Plain data only, and no key twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is there twice: the second would silently win."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [k for i, k in enumerate(keys) if k in keys[:i]]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]!r} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)
