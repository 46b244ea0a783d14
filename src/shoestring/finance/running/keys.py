"""What tasks are looked up by: digests of data by date, and the code and parameters of a stage."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from shoestring.core.config import to_dict
from shoestring.core.errors import ConfigError
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.records.code_digest import code_digest
from shoestring.finance.records.digest import FrameDigest, digest_json, digest_known
from shoestring.finance.strategies.interface import KnownTable, Strategy, StrategyInfo

__all__ = ["Digests", "check_unique", "strategy_code"]


class Digests:
    """Digests of a run's data by date; make one and give it to many runs on the same data."""

    def __init__(self, panel: PricePanel, known: Mapping[str, KnownTable]) -> None:
        self.panel = FrameDigest(panel.fields)
        self._known = known
        self._known_at: dict[tuple[str, Any], str] = {}

    def at(self, date: pd.Timestamp) -> dict[str, str]:
        """Return the digests of everything known at `date`, by name."""
        out = {"panel": self.panel.at(date)}
        for name, table in self._known.items():
            if (name, date) not in self._known_at:
                self._known_at[name, date] = digest_known(table, date)
            out[f"known.{name}"] = self._known_at[name, date]
        return out


def strategy_code(strategy: Strategy, stage: str = "weights") -> tuple[str, Any]:
    """Return the digest of the code, and the parameters, that decide a stage of a strategy.

    Parameters
    ----------
    strategy : Strategy
        The strategy.
    stage : str
        ``features``, ``fit`` or ``weights``.

    Returns
    -------
    code : str
        Digest of the source, and of what the strategy declares where that decides the stage: the words of
        `compose` or of a YAML file stand in no source.
    params
        Parameters as JSON values.
    """
    declared = _declared(strategy.info, stage)
    parts = strategy.parts(stage)
    if parts is None:
        return digest_json([code_digest(strategy), declared]), strategy.params()
    codes = [code_digest(strategy), *(code_digest(p) for part in parts for p in _nested(part))]
    return digest_json([codes, declared]), [_part_params(p) for p in parts]


def check_unique(strategies: Iterable[Strategy]) -> None:
    """Refuse two strategies with one name and version but different code.

    Raises
    ------
    ConfigError
        Naming both.
    """
    seen: dict[tuple[str, str], tuple[str, Strategy]] = {}
    for strategy in strategies:
        key = (strategy.info.name, strategy.info.version)
        code, _ = strategy_code(strategy)
        other_code, other = seen.setdefault(key, (code, strategy))
        if other_code != code:
            raise ConfigError(
                f"{key[0]} {key[1]} stands for different code: {_where(other)} and {_where(strategy)}; "
                "give one of them another version"
            )


def _declared(info: StrategyInfo, stage: str) -> dict[str, Any]:
    """Return the declared words that decide a stage; every hook sees the dates of the schedule."""
    words: dict[str, Any] = {"schedule": to_dict(info.schedule)}
    if stage == "weights":
        limits = {"long_only": info.long_only, "max_gross": info.max_gross}
        words |= {"refit": info.refit, "uses_previous": info.uses_previous, **limits}
    return words


def _nested(part: Any) -> list[Any]:
    """Return a part and the parts inside it."""
    if isinstance(part, Mapping):
        return [p for value in part.values() for p in _nested(value)]
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return []
    return [part, *(p for f in dataclasses.fields(part) for p in _nested(getattr(part, f.name)))]


def _part_params(part: Any) -> Any:
    """Describe a part by its class and fields, parts inside it likewise."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        name = f"{type(part).__module__}:{type(part).__qualname__}"
        return [name, {f.name: _part_params(getattr(part, f.name)) for f in dataclasses.fields(part)}]
    if isinstance(part, Mapping):
        return {key: _part_params(value) for key, value in part.items()}
    return part


def _where(strategy: Strategy) -> str:
    return f"{type(strategy).__module__}:{type(strategy).__qualname__}"
