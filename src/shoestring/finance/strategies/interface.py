"""What a strategy is: one class with typed parameters, and the one hook that every mode calls.

A ten-line rule is a whole strategy::

    @strategy(name="mom_lowvol", version="1.2", schedule="BMS 06:00 America/New_York")
    class MomLowVol(Strategy):
        lookback: int = 252

        def on_rebalance(self, ctx: Context, data: DataView) -> pd.Series:
            px = data.prices(lookback=self.lookback)
            score = px.iloc[-21] / px.iloc[0] - 1 - px.pct_change().std() * 16
            return top_k(score, 5).equal_weight()

Research, backtest, batch and live call the same hooks with data cut at the same date, so they give
the same weights, bit for bit (`shoestring.finance.running.run`).
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from shoestring.core.config import from_dict, to_plain
from shoestring.core.errors import ConfigError
from shoestring.finance.market.schedule import Schedule
from shoestring.finance.market.view import DataView, KnownTable, NotEnoughHistoryError, Sources
from shoestring.finance.strategies.context import Context, State
from shoestring.finance.strategies.declaration import Resources, StrategyInfo
from shoestring.finance.strategies.selection import Selection, bottom_k, top_k

if TYPE_CHECKING:
    import pandas as pd

    from shoestring.finance.backtest.engine import Backtest

# With the names of other modules that the file of a strategy uses.
__all__ = [
    "Context",
    "DataView",
    "KnownTable",
    "NotEnoughHistoryError",
    "Resources",
    "Schedule",
    "Selection",
    "Sources",
    "State",
    "Strategy",
    "StrategyInfo",
    "bottom_k",
    "strategy",
    "top_k",
]

S = TypeVar("S", bound="Strategy")


class Strategy:
    """Base of all strategies: only `on_rebalance` must be written.

    Decorate the class with `strategy`; its annotated attributes become frozen, keyword-only parameters.
    """

    info: ClassVar[StrategyInfo]
    """What the decorator was told."""

    @property
    def learns(self) -> bool:
        """Whether there is something to fit; without it no refit date has to come before a decision."""
        return type(self).fit is not Strategy.fit

    def sources(self, data: str) -> Sources | None:  # noqa: ARG002  # a hook
        """Return prices and tables for a strategy that needs more than prices; None: look for a market.

        `data` is what a command names, a folder for example; empty for the strategy's own example, which
        needs no download.
        """
        return None

    def universe(self, ctx: Context, data: DataView) -> Sequence[str] | None:  # noqa: ARG002  # a hook
        """Return the assets that may be held from `ctx.as_of` on; None for all of the panel."""
        return None

    def features(self, ctx: Context, data: DataView) -> Mapping[str, "pd.DataFrame"]:  # noqa: ARG002
        """Return frames [T, N] computed for all dates at once; row t must depend on nothing after t.

        Optional, for vectorised features; `data` holds every row of the run. The view serves the
        rows up to each date by ``data.feature(name)``. ``shoestring finance check`` finds rows that
        look ahead.
        """
        return {}

    def fit(self, ctx: Context, data: DataView) -> State | None:  # noqa: ARG002  # a hook
        """Learn from data cut at `ctx.as_of`; called on the refit schedule. None: nothing to learn."""
        return None

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        """Return target weights by asset; what is missing to 1 is cash, assets left out have weight 0."""
        raise NotImplementedError

    def parts(self, stage: str) -> Sequence[Any] | None:  # noqa: ARG002  # a hook
        """Return the dataclass instances that alone decide a stage; None: the whole strategy does.

        For strategies put together from parts (`shoestring.finance.strategies.composite`): a change of
        one part then repeats only the stages that it decides.
        """
        return None

    def report(self, ctx: Context, backtest: "Backtest") -> Mapping[str, float]:  # noqa: ARG002  # a hook
        """Return figures of the strategy's own for the tear sheet."""
        return {}

    def params(self) -> dict[str, Any]:
        """Return the parameters as plain values."""
        return {f.name: to_plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]  # the decorator makes it a dataclass

    @classmethod
    def from_params(cls: type[S], values: Mapping[str, Any] | None = None) -> S:
        """Build the strategy from plain values, checking every name and type.

        Raises
        ------
        ConfigError
            For an unknown parameter, a wrong type or a value that the strategy refuses.
        """
        return from_dict(cls, dict(values or {}))

    @classmethod
    def parameter_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of the parameters, from their type hints; a form can be drawn from it."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).json_schema()


@dataclass_transform(frozen_default=True, kw_only_default=True)
def strategy(  # noqa: PLR0913  # the words of one declaration
    *,
    name: str,
    version: str,
    schedule: str | Schedule = "BMS",
    resources: Resources | None = None,
    refit: str = "BYS",
    long_only: bool = True,
    max_gross: float = 1.0,
    uses_previous: bool = False,
    environment: str = "",
    data: Sequence[str] = (),
) -> Callable[[type[S]], type[S]]:
    """Declare a strategy: a class decorator that makes its parameters a frozen dataclass.

    Parameters
    ----------
    name, version : str
        What it is called; another code under the same pair is refused by the registry.
    schedule : str or Schedule
        When it decides, e.g. ``"BMS 06:00 America/New_York"``; rules:
        `shoestring.finance.market.schedule.RULES`.
    resources, refit, long_only, max_gross, uses_previous, environment, data
        As in `StrategyInfo`.

    Raises
    ------
    ConfigError
        For a class without `on_rebalance`, a parameter without a type, or a bad declaration.
    """
    info = StrategyInfo(
        name=name,
        version=version,
        schedule=Schedule.parse(schedule),
        resources=resources or Resources(),
        refit=refit,
        long_only=long_only,
        max_gross=max_gross,
        uses_previous=uses_previous,
        environment=environment,
        data=tuple(data),
    )

    def declare(cls: type[S]) -> type[S]:
        if not issubclass(cls, Strategy) or cls.on_rebalance is Strategy.on_rebalance:
            raise ConfigError(
                f"{cls.__name__} is no strategy: derive it from Strategy and write on_rebalance(ctx, data)"
            )
        _check_annotated(cls)
        made = dataclass(frozen=True, kw_only=True)(cls)
        made.info = info
        return made

    return declare


def _check_annotated(cls: type) -> None:
    """Refuse ``lookback = 252``: without a type it would be a constant that nobody can set."""
    annotated = set(inspect.get_annotations(cls))
    for name, value in vars(cls).items():
        plain = isinstance(value, bool | int | float | str | tuple | list | dict)
        if plain and not name.startswith("_") and name not in annotated:
            raise ConfigError(
                f"{cls.__name__}.{name} = {value!r} has no type, so it is no parameter; "
                f"write {name}: {type(value).__name__} = {value!r}"
            )
