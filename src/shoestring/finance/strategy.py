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
the same weights, bit for bit (`shoestring.finance.run`).
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, dataclass_transform

from shoestring.core.config import from_dict
from shoestring.core.errors import ConfigError, DataError
from shoestring.core.seeds import derive_seed
from shoestring.finance.schedule import Schedule
from shoestring.finance.selection import Selection, bottom_k, top_k
from shoestring.finance.view import (
    DataView,
    KnownTable,
    NotEnoughHistoryError,
    Sources,
    StrategyError,
    view_of,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from shoestring.finance._stages import StageTables
    from shoestring.finance.backtest import Backtest
    from shoestring.finance.panel import PricePanel

__all__ = [
    "Allocator",
    "Context",
    "DataSource",
    "DataView",
    "Execution",
    "FeatureSet",
    "KnownTable",
    "Model",
    "NotEnoughHistoryError",
    "Resources",
    "Schedule",
    "Selection",
    "Sources",
    "State",
    "Strategy",
    "StrategyError",
    "StrategyInfo",
    "bottom_k",
    "check_weights",
    "strategy",
    "top_k",
    "view_of",
]

State = Mapping[str, Any]
"""What `fit` returns: names to NumPy arrays, torch tensors or JSON values. Stored as safetensors, never
pickled; what `on_rebalance` gets is what came back from there, with tensors as NumPy arrays."""

S = TypeVar("S", bound="Strategy")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]*")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B?")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What the task of a strategy may use."""

    cpu: float = 1
    """Cores."""
    memory: str = "1G"
    """Main memory, e.g. ``"512M"``, ``"2G"``."""
    gpu: int = 0
    """Devices."""
    timeout_s: float = 3600.0
    """Wall-clock limit of one task, in seconds."""

    def __post_init__(self) -> None:
        if not self.cpu > 0 or self.gpu < 0 or not self.timeout_s > 0:
            raise ConfigError(
                f"resources cpu={self.cpu}, gpu={self.gpu}, timeout_s={self.timeout_s}; "
                "give positive numbers (gpu may be 0)"
            )
        if not _MEMORY.fullmatch(self.memory):
            raise ConfigError(f"resources memory={self.memory!r} is no size; write it like '512M' or '2G'")

    @property
    def memory_bytes(self) -> int:
        """`memory` in bytes."""
        match = _MEMORY.fullmatch(self.memory)
        assert match is not None
        return int(float(match[1]) * _UNITS[match[2]])


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategyInfo:
    """What `@strategy` says about a class."""

    name: str
    """Lower-case identifier; unique with `version`."""
    version: str
    """Goes up with every change of what the strategy decides; the registry refuses other code under it."""
    schedule: Schedule = field(default_factory=Schedule)
    """When it decides."""
    resources: Resources = Resources()
    """What its tasks may use."""
    refit: str = "BYS"
    """Rule of the dates of `fit`, as in `Schedule`; the fit in force is the one of the latest such date."""
    long_only: bool = True
    """False: weights may be negative."""
    max_gross: float = 1.0
    """Largest sum of absolute weights."""
    uses_previous: bool = False
    """True: `Context.previous_weights` may be read; a live run then replays every date since its start."""
    environment: str = ""
    """Virtual environment (folder) whose Python runs this strategy's tasks; empty for this one."""
    data: tuple[str, ...] = ()
    """Names of point-in-time tables that a run must be given."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"strategy name {self.name!r}: use lower-case letters, digits and _, beginning with a letter"
            )
        if not _VERSION.fullmatch(self.version):
            raise ConfigError(f"strategy version {self.version!r}: use letters, digits, '.', '+' and '-'")
        Schedule.parse(self.refit)
        if not self.max_gross > 0:
            raise ConfigError(f"max_gross={self.max_gross} of {self.name!r} must be above 0; 1 is unlevered")


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What a hook is told besides the data. It never says in which mode the strategy runs."""

    as_of: "pd.Timestamp"
    """Date of the decision; `data` ends here."""
    run_id: str = ""
    """Id of the run, for messages; a weight must not depend on it."""
    seed: int = 0
    """Seed of the run; take randomness from `rng`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The strategy's parameters."""
    state: State | None = None
    """What the latest `fit` returned; None if the strategy has no `fit`."""
    sessions_due: "pd.DatetimeIndex | None" = None
    """Dates of the schedule up to `as_of`, for training sets."""
    store: Any = None
    """The run's `Store`, or None."""
    previous: "pd.Series[float] | None" = None
    """Use `previous_weights`."""
    uses_previous: bool = False
    """Whether the strategy declared ``uses_previous=True``."""
    stages: "StageTables | None" = None
    """Use `cached`."""

    def cached(
        self, stage: str, part: Any, compute: "Callable[[], pd.Series[float]]", data: DataView
    ) -> "pd.Series[float]":
        """Return a Series by asset that only `part`, the state and the data at `as_of` decide.

        The run keeps it, so that another run which differs only in what comes later finds it.

        Parameters
        ----------
        stage : str
            What it is, e.g. ``"predict"``.
        part : dataclass instance
            What computes it: its code and its fields become the key.
        compute : callable
            Makes the Series; called when it is not there.
        data : DataView
            The view at `as_of`.

        Returns
        -------
        Series
            Over `data.universe`, NaN where `compute` gave nothing.
        """
        kept = None if self.stages is None else self.stages.get(stage, part, self.as_of)
        made = compute() if kept is None else kept
        made = made.reindex(list(data.universe)).astype(float)
        if self.stages is not None and kept is None:
            self.stages.put(stage, part, self.as_of, made)
        return made

    @property
    def previous_weights(self) -> "pd.Series[float]":
        """Target weights of the date before, empty at the first.

        Raises
        ------
        ConfigError
            If the strategy did not declare ``uses_previous=True``.
        """
        import pandas as pd

        if not self.uses_previous:
            raise ConfigError(
                "previous_weights were read by a strategy that does not declare them; "
                "write @strategy(..., uses_previous=True), so that live runs replay the path"
            )
        return pd.Series(dtype=float) if self.previous is None else self.previous.copy()

    def rng(self, *names: str | int) -> "np.random.Generator":
        """Return random numbers for this date and purpose, whatever dates ran before."""
        import numpy as np

        return np.random.default_rng(derive_seed(self.seed, self.as_of.isoformat(), *names))


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

        For strategies put together from parts (`shoestring.finance.composite`): a change of one part
        then repeats only the stages that it decides.
        """
        return None

    def report(self, ctx: Context, backtest: "Backtest") -> Mapping[str, float]:  # noqa: ARG002  # a hook
        """Return figures of the strategy's own for the tear sheet."""
        return {}

    def params(self) -> dict[str, Any]:
        """Return the parameters as plain values."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]  # the decorator makes it a dataclass

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
        When it decides, e.g. ``"BMS 06:00 America/New_York"``; rules: `shoestring.finance.schedule.RULES`.
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


class DataSource(Protocol):
    """Where prices come from."""

    def load(self, universe: Sequence[str] | None, start: Any, end: Any) -> "PricePanel":
        """Return the panel from `start` to `end`, both included; None means what there is."""
        ...


class FeatureSet(Protocol):
    """Columns for a model, for all dates at once."""

    def transform(self, ctx: Context, data: DataView) -> Mapping[str, "pd.DataFrame"]:
        """Return frames [T, N] by column; row t depends on nothing after t."""
        ...


class Model(Protocol):
    """Learns scores from features."""

    def fit(self, ctx: Context, X: "pd.DataFrame", y: "pd.Series[float]") -> State:
        """Learn from rows (date, asset) x columns, without NaN, and targets."""
        ...

    def predict(self, ctx: Context, X: "pd.DataFrame") -> "pd.Series[float]":
        """Return a score an asset for rows asset x columns; `ctx.state` is what `fit` returned."""
        ...


class Allocator(Protocol):
    """Turns scores into weights."""

    def allocate(self, ctx: Context, scores: "pd.Series[float]", data: DataView) -> "pd.Series[float]":
        """Return target weights by asset; `ctx.previous_weights` where they are declared."""
        ...


class Execution(Protocol):
    """Books weights against prices."""

    def simulate(self, weights: "pd.DataFrame", panel: "PricePanel") -> "Backtest":
        """Return trades, costs and the net asset value of weights (dates x assets)."""
        ...


def check_weights(weights: Any, info: StrategyInfo, data: DataView) -> "pd.Series[float]":
    """Return target weights over the whole universe, 0 where the strategy named none, or refuse them.

    Parameters
    ----------
    weights : Series
        What `on_rebalance` returned.
    info : StrategyInfo
        Says whether shorts are allowed and how large the gross sum may be.
    data : DataView
        The view at the date.

    Raises
    ------
    DataError
        For NaN or infinite weights, an asset that has no price or is named twice, a short without
        permission, or a gross sum above the limit.
    """
    import numpy as np
    import pandas as pd

    who = f"{info.name} {info.version} at {data.as_of.date()}"
    if not isinstance(weights, pd.Series):
        raise DataError(f"{who} returned a {type(weights).__name__}; return a Series of weights by asset")
    try:
        values = weights.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise DataError(f"{who} returned weights that are no numbers: {e}; return floats") from e
    names = [str(name) for name in weights.index]
    if len(set(names)) != len(names):
        raise DataError(f"{who} named an asset twice; return one weight an asset")
    if not np.isfinite(values).all():
        first = names[int(np.argmin(np.isfinite(values)))]
        raise DataError(f"{who} gave {first!r} a weight that is not finite; drop NaN scores before weighting")
    held = {name for name, value in zip(names, values, strict=True) if value != 0}
    if held - set(data.assets):
        raise DataError(
            f"{who} weighted {sorted(held - set(data.assets))[:3]}, which have no price there; "
            "choose from data.assets"
        )
    if info.long_only and (values < -_TOLERANCE).any():
        raise DataError(
            f"{who} gave {names[int(np.argmin(values))]!r} the weight {values.min():.6g}; "
            "shorts need @strategy(..., long_only=False)"
        )
    gross = float(np.abs(values).sum())
    if gross > info.max_gross * (1 + _TOLERANCE):
        raise DataError(
            f"{who} returned weights with gross sum {gross:.9g}, above max_gross={info.max_gross:g}; "
            "scale them down, or raise max_gross in @strategy"
        )
    by_name = dict(zip(names, (values + 0.0).tolist(), strict=True))  # + 0.0 turns -0.0 into 0.0
    return pd.Series(
        [by_name.get(name, 0.0) for name in data.universe], index=list(data.universe), dtype=float
    )


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


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value
