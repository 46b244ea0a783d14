"""A strategy put together from parts: features, a model, an allocator."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from shoestring.core.errors import ConfigError
from shoestring.finance.strategies.interface import (
    Context,
    DataView,
    NotEnoughHistoryError,
    State,
    Strategy,
    strategy,
)
from shoestring.finance.strategies.labels import forward_returns, labelled_dates

__all__ = ["Composite", "Labels", "compose"]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the model learns to predict."""

    horizon: int = 21
    """Sessions that a label looks ahead; a label enters a fit only when it lies in the past."""
    embargo: int = 0
    """Further sessions left out before a fit."""
    target: Literal["rank", "return"] = "rank"
    """Forward returns, or their ranks over the assets of one date in [-0.5, 0.5]."""

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.embargo < 0:
            raise ConfigError(
                f"labels: horizon={self.horizon}, embargo={self.embargo} sessions; give at least 1 and 0"
            )

    def of(self, close: pd.DataFrame, dates: pd.DatetimeIndex) -> pd.DataFrame:
        """Return the labels of dates, [len(dates), N]; NaN where they are not known."""
        ahead = forward_returns(close, dates, self.horizon)
        if self.target == "return":
            return ahead
        count = ahead.notna().sum(axis=1)
        ranks = ahead.rank(axis=1)
        return ranks.sub((count + 1) / 2, axis=0).div((count - 1).where(count > 1, 1), axis=0)


@dataclass(frozen=True, kw_only=True)
class Composite(Strategy):
    """The five interfaces in a row; `compose` gives one its name and schedule.

    `DataSource` and `Execution` belong to the run: the panel that it is given, and its backtest.
    """

    feature_set: Any
    """A `FeatureSet`."""
    model: Any
    """A `Model`."""
    allocator: Any
    """An `Allocator`."""
    labels: Labels = field(default_factory=Labels)

    @property
    def learns(self) -> bool:
        """Whether the model does."""
        return bool(getattr(self.model, "learns", True))

    def features(self, ctx: Context, data: DataView) -> Mapping[str, pd.DataFrame]:
        """Compute the feature set for all dates."""
        made: Mapping[str, pd.DataFrame] = self.feature_set.transform(ctx, data)
        return made

    def fit(self, ctx: Context, data: DataView) -> State | None:
        """Fit the model on the decision dates whose labels are known."""
        assert ctx.sessions_due is not None
        dates = labelled_dates(ctx.sessions_due, data.dates, self.labels.horizon, self.labels.embargo)
        if len(dates) == 0:
            raise NotEnoughHistoryError(f"at {ctx.as_of.date()} no label is known yet; start later")
        labels = self.labels.of(data.prices(listed=False), dates)
        names = self._names()
        table = pd.DataFrame({n: data.feature(n).loc[dates].stack(future_stack=True) for n in names})
        table["label"] = labels.stack(future_stack=True).reindex(table.index)
        table = table.dropna()
        state: State | None = self.model.fit(ctx, table[names], table["label"])
        return state

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        """Predict from the features of the date and allocate."""

        def predict() -> "pd.Series[float]":
            rows = {n: data.feature(n, 1).iloc[-1] for n in self._names()}
            scores: pd.Series[float] = self.model.predict(ctx, pd.DataFrame(rows))
            return scores

        scores = ctx.cached("predict", self.model, predict, data)
        weights: pd.Series[float] = self.allocator.allocate(ctx, scores.reindex(list(data.assets)), data)
        return weights

    def parts(self, stage: str) -> Sequence[Any]:
        """As `Strategy.parts`: an allocator decides weights only."""
        if stage == "features":
            return (self.feature_set,)
        learned = (self.model, self.labels)
        return learned if stage == "fit" else (self.feature_set, *learned, self.allocator)

    def params(self) -> dict[str, Any]:
        """Return the parts by their classes and fields."""
        return {f.name: _described(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def _names(self) -> list[str]:
        return sorted(self.feature_set.columns)


def compose(  # the words of one declaration
    *,
    name: str,
    version: str,
    feature_set: Any,
    model: Any,
    allocator: Any,
    labels: Labels | None = None,
    **declared: Any,
) -> Composite:
    """Put a strategy together from parts.

    Parameters
    ----------
    name, version : str
        As in `strategy`.
    feature_set, model, allocator : dataclass instances
        Parts that follow the protocols of `shoestring.finance.strategies.parts`; frozen dataclasses,
        since their code and fields decide what is computed again. A feature set names its columns in
        ``columns``.
    labels : Labels, optional
        What the model predicts.
    **declared
        More words of `strategy`: schedule, refit, uses_previous, resources, environment, data.

    Raises
    ------
    ConfigError
        For a part that is no dataclass instance.
    """
    for role, part in (("feature_set", feature_set), ("model", model), ("allocator", allocator)):
        if not dataclasses.is_dataclass(part) or isinstance(part, type):
            raise ConfigError(f"{role}={part!r} is no dataclass instance; make it @dataclass(frozen=True)")
    declared.setdefault("long_only", getattr(allocator, "long_only", True))
    body = {"__module__": __name__, "__qualname__": Composite.__qualname__, "__doc__": Composite.__doc__}
    bare: type[Composite] = type("Composite", (Composite,), body)
    made = strategy(name=name, version=version, **declared)(bare)
    return made(feature_set=feature_set, model=model, allocator=allocator, labels=labels or Labels())


def _described(part: Any) -> Any:
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = {f.name: _described(getattr(part, f.name)) for f in dataclasses.fields(part)}
        return {"kind": type(part).__name__, **fields}
    if isinstance(part, Mapping):
        return {k: _described(v) for k, v in part.items()}
    return part
