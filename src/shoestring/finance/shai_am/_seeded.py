"""Strategies with a planted look-ahead, each in another way, and clean ones, to try the detector on."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.known import KnownTable
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.strategies import baselines
from shoestring.finance.strategies.allocators import LongShort, TopK
from shoestring.finance.strategies.composite import Labels, compose
from shoestring.finance.strategies.features import FEATURES, FeatureTable
from shoestring.finance.strategies.interface import Context, DataView, State, Strategy, strategy, top_k
from shoestring.finance.strategies.models import Ridge, WeightedSum

__all__ = ["CLEAN", "LEAKS", "seeded_market"]

Frames = Mapping[str, pd.DataFrame]


def seeded_market(seed: int = 0) -> tuple[PricePanel, dict[str, KnownTable]]:
    """Return a synthetic market of 12 assets and 3 years, with gaps, and statements filed after 45 days."""
    panel = gbm_panel(12, 756, seed=seed)
    rng = np.random.default_rng(seed)
    close = panel.close.where(rng.random(panel.close.shape) > 0.01)
    ends = pd.date_range(panel.dates[0], panel.dates[-1], freq="QE")
    rows = [
        {"asset": asset, "period": end, "known_at": end + pd.Timedelta(days=45), "profit": rng.normal()}
        for end in ends
        for asset in panel.assets
    ]
    return PricePanel.from_frame(close), {"statements": KnownTable.from_frame(pd.DataFrame(rows))}


class _ByFeature(Strategy):
    """Holds the assets with the highest value of one feature."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Hold the top three of those that have a price."""
        return top_k(data.feature("x", 1).iloc[-1].reindex(list(data.assets)), 3).equal_weight()


@strategy(name="leak_normalisation", version="1")
class GlobalNormalisation(_ByFeature):
    """Mean and deviation of the whole sample, also of what is to come."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        returns = data.returns(listed=False).reindex(data.dates).rolling(21).mean()
        return {"x": (returns - returns.mean()) / returns.std()}


@strategy(name="leak_shift", version="1")
class ShiftedBack(_ByFeature):
    """Tomorrow's return by ``shift(-1)``."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        return {"x": data.prices(listed=False).pct_change(fill_method=None).shift(-1)}


@strategy(name="leak_full_fit", version="1")
class FullSampleFit(_ByFeature):
    """A regression fitted once on all rows."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        returns = data.prices(listed=False).pct_change(fill_method=None)
        past, ahead = returns.shift(1).stack(future_stack=True), returns.stack(future_stack=True)
        both = pd.concat([past, ahead], axis=1).dropna().to_numpy()
        slope = float(np.polyfit(both[:, 0], both[:, 1], 1)[0])
        return {"x": returns * slope}


@strategy(name="leak_volatility", version="1")
class FutureVolatility(_ByFeature):
    """The volatility of the month to come."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        returns = data.prices(listed=False).pct_change(fill_method=None)
        return {"x": -returns.rolling(21, min_periods=5).std().shift(-21)}


@strategy(name="leak_centred", version="1")
class CentredWindow(_ByFeature):
    """A moving average whose window lies around the date."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        close = data.prices(listed=False)
        return {"x": close / close.rolling(21, center=True, min_periods=1).mean()}


@strategy(name="leak_backfill", version="1")
class Backfilled(_ByFeature):
    """Gaps filled with the next price."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        return {"x": data.prices(listed=False).bfill().pct_change(21, fill_method=None)}


@strategy(name="leak_label", version="1")
class LabelAcrossTheFit(_ByFeature):
    """Training labels that end after the date of the fit."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        close = data.prices(listed=False)
        return {"x": close.pct_change(5, fill_method=None), "y": close.shift(-5) / close - 1.0}

    def fit(self, ctx: Context, data: DataView) -> State:  # noqa: ARG002  # a hook
        """Correlate the feature with the label on all rows of the view."""
        both = pd.concat([data.feature("x").stack(), data.feature("y").stack()], axis=1).dropna()
        return {
            "sign": float(np.sign(both.corr().to_numpy()[0, 1])),
            "rows": len(both),
            "y": both.to_numpy()[-20:],
        }


@strategy(name="leak_period_end", version="1", data=["statements"])
class ByPeriodEnd(_ByFeature):
    """Statements used from the end of their quarter, weeks before they were filed."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        rows = data.known("statements").frame()
        wide = rows.pivot_table(index="period", columns="asset", values="profit")
        return {"x": wide.reindex(data.dates, method="ffill")}


@strategy(name="leak_memory", version="1")
class Remembers(Strategy):
    """A cache that outlives the date: what a later date put there is found by an earlier one."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        """Hold what rises most from now to the latest date that was seen so far."""
        _REMEMBERED[ctx.as_of] = data.prices().iloc[-1]
        rise = _REMEMBERED[max(_REMEMBERED)] / _REMEMBERED[ctx.as_of]
        return top_k(rise.reindex(list(data.assets)), 3).equal_weight()


_REMEMBERED: dict[pd.Timestamp, "pd.Series[float]"] = {}


def closed_over(panel: PricePanel, known: Mapping[str, KnownTable]) -> Strategy:  # noqa: ARG001  # as the others
    """Return a strategy whose method reaches the whole panel by a closure."""
    close = panel.close

    @strategy(name="leak_closure", version="1")
    class ClosedOver(Strategy):
        def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
            ahead = pd.Series(close.shift(-21).xs(ctx.as_of))
            return top_k(ahead.reindex(list(data.assets)), 3).equal_weight()

    return ClosedOver()


def from_file(panel: PricePanel, known: Mapping[str, KnownTable]) -> Strategy:  # noqa: ARG001  # as the others
    """Return a strategy that reads all prices from a file of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".csv", prefix="shoestring-", delete=False) as file:
        panel.close.to_csv(file)
    path = file.name

    @strategy(name="leak_file", version="1")
    class FromFile(Strategy):
        def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
            with Path(path).open() as f:
                close = pd.read_csv(f, index_col=0, parse_dates=True)
            ahead = pd.Series(close.shift(-21).xs(ctx.as_of))
            return top_k(ahead.reindex(list(data.assets)), 3).equal_weight()

    return FromFile()


@strategy(name="leak_unseeded", version="1")
class Unseeded(Strategy):
    """Random numbers that no seed decides: two runs differ."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Hold three at random."""
        draws = np.random.default_rng().random(len(data.assets))
        return top_k(pd.Series(draws, index=list(data.assets)), 3).equal_weight()


@strategy(name="clean_expanding", version="1")
class Expanding(_ByFeature):
    """Normalised by what was known at each date."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        returns = data.prices(listed=False).pct_change(fill_method=None).rolling(21, min_periods=10).mean()
        return {"x": (returns - returns.expanding().mean()) / returns.expanding().std()}


@strategy(name="clean_momentum_volatility", version="1")
class MomentumLessVolatility(Strategy):
    """The ten-line rule of the documentation."""

    lookback: int = 126

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        """Hold the best five."""
        px = data.prices(lookback=self.lookback).ffill()
        score = px.iloc[-21] / px.iloc[0] - 1 - px.pct_change().std() * 16
        return top_k(score, 5).equal_weight()


@strategy(name="clean_smoothed", version="1", uses_previous=True)
class Smoothed(Strategy):
    """Half of the way from the last weights to the new ones."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        """Mix momentum with what is held."""
        px = data.prices(lookback=64).ffill()
        target = top_k(px.iloc[-1] / px.iloc[0], 4).equal_weight().reindex(list(data.assets), fill_value=0.0)
        held = ctx.previous_weights.reindex(list(data.assets), fill_value=0.0)
        return (target + held) / 2.0


@strategy(name="clean_random", version="1")
class SeededRandom(Strategy):
    """Random weights from the seed of the run."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        """Hold three at random."""
        return top_k(
            pd.Series(ctx.rng("pick").random(len(data.assets)), index=list(data.assets)), 3
        ).equal_weight()


@strategy(name="clean_statements", version="1", data=["statements"])
class ByFilingDate(_ByFeature):
    """Statements used from their filing on."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        return {"x": data.known("statements").join(data.dates, "profit")}


@strategy(name="clean_fitted", version="1")
class FittedOnThePast(_ByFeature):
    """The honest twin of `LabelAcrossTheFit`."""

    def features(self, ctx: Context, data: DataView) -> Frames:  # noqa: ARG002  # a hook
        """As `Strategy.features`."""
        return {"x": data.prices(listed=False).pct_change(5, fill_method=None)}

    def fit(self, ctx: Context, data: DataView) -> State:  # noqa: ARG002  # a hook
        """Correlate the feature five days ago with the return since."""
        past = data.feature("x").shift(5).stack()
        both = pd.concat([past, data.feature("x").stack()], axis=1).dropna()
        return {"sign": float(np.sign(both.corr().to_numpy()[0, 1]))}


def _composite(learned: bool) -> Strategy:
    columns = {"m": FEATURES["momentum"](lookback=63, skip=5), "v": FEATURES["volatility"](lookback=42)}
    return compose(
        name="clean_ridge" if learned else "clean_sum",
        version="1",
        feature_set=FeatureTable(columns=columns),
        model=Ridge(alpha=1.0) if learned else WeightedSum(weights={"m": 1.0, "v": -1.0}),
        allocator=TopK(k=3) if learned else LongShort(share=0.25),
        labels=Labels(horizon=5),
    )


Maker = Callable[[PricePanel, Mapping[str, KnownTable]], Strategy]


def _just(made: Callable[[], Strategy]) -> Maker:
    return lambda panel, known: made()  # noqa: ARG005  # needs no data


LEAKS: Mapping[str, Maker] = {
    "global normalisation": _just(GlobalNormalisation),
    "shift(-1)": _just(ShiftedBack),
    "fit on the full sample": _just(FullSampleFit),
    "future volatility": _just(FutureVolatility),
    "centred window": _just(CentredWindow),
    "backfilled gaps": _just(Backfilled),
    "label across the fit": _just(LabelAcrossTheFit),
    "statements by period end": _just(ByPeriodEnd),
    "memory across dates": _just(Remembers),
    "panel in a closure": closed_over,
    "prices from a file": from_file,
    "unseeded numbers": _just(Unseeded),
}
"""Strategies that depend on what they must not depend on, by what is wrong with them."""

CLEAN: Mapping[str, Maker] = {
    "equal weight": _just(baselines.EqualWeight),
    "momentum": _just(lambda: baselines.Momentum(lookback=126)),
    "reversal": _just(baselines.Reversal),
    "risk parity": _just(lambda: baselines.RiskParity(lookback=126, method="inverse_volatility")),
    "expanding normalisation": _just(Expanding),
    "ten-line rule": _just(MomentumLessVolatility),
    "smoothed weights": _just(Smoothed),
    "seeded random": _just(SeededRandom),
    "statements by filing date": _just(ByFilingDate),
    "fitted on the past": _just(FittedOnThePast),
    "weighted sum, long and short": _just(lambda: _composite(False)),
    "ridge on features": _just(lambda: _composite(True)),
}
"""Strategies that do not."""
