"""One path for all modes: the same bits whatever the mode, the store, the start or the order."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.known import KnownTable
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.view import StrategyError, view_of
from shoestring.finance.records.store import Store
from shoestring.finance.running.run import decide, decisions, run_strategy
from shoestring.finance.strategies.interface import (
    Context,
    DataView,
    NotEnoughHistoryError,
    Sources,
    State,
    Strategy,
    strategy,
    top_k,
)
from shoestring.finance.strategies.weights import check_weights


@strategy(name="everything", version="1", schedule="W", refit="BQS", long_only=False)
class Everything(Strategy):
    """Features, a fit, a universe and random numbers."""

    k: int = 3

    def universe(self, ctx: Context, data: DataView) -> list[str]:  # noqa: ARG002  # a hook
        return sorted(data.assets, reverse=True)[1:]

    def features(self, ctx: Context, data: DataView) -> Mapping[str, pd.DataFrame]:  # noqa: ARG002  # a hook
        return {"mom": data.prices(listed=False).pct_change(20, fill_method=None)}

    def fit(self, ctx: Context, data: DataView) -> State:
        past = data.feature("mom", 30)
        return {"mean": past.mean().to_numpy(), "names": list(past.columns), "luck": ctx.rng("fit").random()}

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        assert ctx.state is not None
        base = pd.Series(ctx.state["mean"], index=ctx.state["names"])
        score = data.feature("mom", 1).iloc[-1] - base + 0.01 * ctx.rng("noise").random() * ctx.state["luck"]
        return -top_k(score.reindex(list(data.assets)), self.k).score_weight()


@strategy(name="path", version="1", schedule="BMS", uses_previous=True)
class Smooth(Strategy):
    """Weights that depend on the weights before."""

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        target = (
            top_k(data.prices(lookback=30).iloc[-1], 2)
            .equal_weight()
            .reindex(list(data.assets), fill_value=0.0)
        )
        return (target + ctx.previous_weights.reindex(list(data.assets), fill_value=0.0)) / 2


@pytest.fixture(scope="module")
def panel() -> PricePanel:
    close = gbm_panel(6, 560, seed=4).close.copy()
    close.iloc[300:, 5] = np.nan
    close.iloc[:100, 4] = np.nan
    return PricePanel.from_frame(close)


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return one.index.equals(other.index) and one.to_numpy().tobytes() == other.to_numpy().tobytes()


@pytest.mark.parametrize("made", [Everything(), Smooth()], ids=["everything", "path"])
def test_a_store_changes_no_bit_cold_or_warm(made: Strategy, panel: PricePanel, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain = decisions(made, panel, seed=5)
    cold = decisions(made, panel, seed=5, store=store)
    warm = decisions(made, panel, seed=5, store=store)
    assert same(plain.weights, cold.weights)
    assert same(cold.weights, warm.weights)
    assert not any(t.hit for t in cold.tasks)
    assert all(t.hit for t in warm.tasks)
    assert [t.ref for t in warm.tasks] == [t.ref for t in cold.tasks]


@pytest.mark.parametrize("made", [Everything(), Smooth()], ids=["everything", "path"])
def test_a_live_date_gives_the_backtests_weights_bit_for_bit(made: Strategy, panel: PricePanel) -> None:
    weights = run_strategy(made, panel, seed=5)
    for date in weights.index[[0, 3, len(weights) // 2, -1]]:
        live = decide(made, panel.cut(date), date, start=panel.dates[0], seed=5)
        assert same(live.weights, weights.loc[[date]])


def test_weights_do_not_depend_on_start_or_end(panel: PricePanel) -> None:
    whole = run_strategy(Everything(), panel)
    part = run_strategy(Everything(), panel, whole.index[20], whole.index[40])
    assert same(part, whole.iloc[20:41])


def test_weights_equal_a_plain_loop_over_the_dates(panel: PricePanel) -> None:
    """The oracle: every date by hand, from a panel that was cut before anything looked at it."""
    made = Everything()
    whole = run_strategy(made, panel, seed=2)
    due = made.info.schedule.due(panel.dates)
    refits = dataclasses.replace(made.info.schedule, rule="BQS").due(panel.dates)
    for date in whole.index[::9]:
        fitted = refits[refits <= date][-1]

        def seen(day: pd.Timestamp) -> DataView:
            cut = panel.cut(day)
            frames = made.features(Context(as_of=day), view_of(Sources(panel=cut), day))
            view = view_of(Sources(panel=cut, features=frames), day)
            return view_of(Sources(panel=cut, features=frames), day, made.universe(Context(as_of=day), view))

        state = made.fit(Context(as_of=fitted, seed=2), seen(fitted))
        context = Context(as_of=date, seed=2, state=state, sessions_due=due[due <= date])
        by_hand = check_weights(made.on_rebalance(context, seen(date)), made.info, seen(date))
        expected = by_hand.reindex(list(panel.assets), fill_value=0.0)
        assert whole.loc[date].to_numpy().tobytes() == expected.to_numpy().tobytes()


def test_dates_without_enough_history_are_skipped_and_named(panel: PricePanel) -> None:
    made = decisions(Smooth(), panel)
    assert [str(d.date()) for d in made.skipped] == [
        str(d.date()) for d in made.skipped if d < made.weights.index[0]
    ]
    assert len(made.skipped) == 1
    with pytest.raises(NotEnoughHistoryError):
        decide(Smooth(), panel, made.skipped[0], start=panel.dates[0])


def test_everything_skipped_is_an_empty_frame_with_the_assets(panel: PricePanel) -> None:
    made = decisions(Everything(), panel.cut(panel.dates[15]))
    assert made.weights.shape == (0, 6)
    assert list(made.weights.columns) == list(panel.assets)


def test_a_longer_panel_runs_only_what_is_new(panel: PricePanel, tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = Smooth()
    decisions(made, panel, end="2001-12-31", store=store)
    longer = decisions(made, panel, store=store)
    assert [t.hit for t in longer.tasks][:2] == [True, True]
    assert not longer.tasks[-1].hit


def test_another_seed_or_parameter_runs_again(panel: PricePanel, tmp_path: Path) -> None:
    store = Store(tmp_path)
    decisions(Everything(), panel, end="2000-12-31", store=store)
    for other, seed in ((Everything(), 1), (Everything(k=2), 0)):
        assert not any(t.hit for t in decisions(other, panel, end="2000-12-31", seed=seed, store=store).tasks)


def raised(panel: PricePanel, row: int) -> PricePanel:
    values = panel.close.to_numpy().copy()
    values[row, 0] *= 1.01
    return PricePanel.from_frame(pd.DataFrame(values, index=panel.dates, columns=panel.assets))


def test_a_changed_price_runs_again_only_from_its_date_on(panel: PricePanel, tmp_path: Path) -> None:
    store = Store(tmp_path)
    decisions(Smooth(), panel, store=store)
    again = decisions(Smooth(), raised(panel, len(panel) - 1), store=store)
    assert all(t.hit for t in again.tasks)  # no decision saw the last close
    again = decisions(Smooth(), raised(panel, 270), store=store)
    assert again.tasks[0].hit
    assert not again.tasks[1].hit


def test_a_date_that_is_not_due_is_refused_with_the_last_sessions(panel: PricePanel) -> None:
    date = panel.dates[123]
    assert not Smooth().info.schedule.is_due(panel.dates, date)
    with pytest.raises(ConfigError, match="not due"):
        decide(Smooth(), panel, date, start=panel.dates[0])


def test_a_path_cannot_be_decided_without_its_start(panel: PricePanel) -> None:
    with pytest.raises(ConfigError, match="start="):
        decide(Smooth(), panel, run_strategy(Smooth(), panel).index[-1])


@strategy(name="needs", version="1", data=["ratings"])
class Needs(Strategy):
    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        rating = data.known("ratings").latest(ctx.as_of)["stars"]
        return top_k(rating.reindex(list(data.assets)), 1).equal_weight()


def test_a_table_that_is_declared_must_be_given_and_is_cut(panel: PricePanel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ratings"):
        decisions(Needs(), panel)
    days = panel.dates
    rows = pd.DataFrame(
        {
            "asset": [panel.assets[0], panel.assets[1]],
            "period": days[[10, 10]],
            "known_at": days[[15, 200]],
            "stars": [1.0, 5.0],
        }
    )
    store = Store(tmp_path)
    weights = decisions(Needs(), panel, known={"ratings": KnownTable.from_frame(rows)}, store=store).weights
    first = weights.loc[weights.index < days[200], panel.assets[0]]
    assert (first == 1).all()
    assert (weights.loc[weights.index >= days[200], panel.assets[1]] == 1).all()
    changed = KnownTable.from_frame(rows.assign(stars=[1.0, 4.0]))
    again = decisions(Needs(), panel, "2000-06-01", known={"ratings": changed}, store=store)
    assert not again.tasks[0].hit


@strategy(name="bad_feature", version="1")
class BadFeature(Strategy):
    what: str = "dates"

    def features(self, ctx: Context, data: DataView) -> Mapping[str, pd.DataFrame]:  # noqa: ARG002  # a hook
        frame = data.prices(listed=False)
        return {"x": frame.iloc[1:] if self.what == "dates" else frame.add_prefix("my_")}

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        return pd.Series(dtype=float)


@pytest.mark.parametrize(("what", "word"), [("dates", "dates of the view"), ("assets", "no asset")])
def test_features_of_another_shape_are_refused(panel: PricePanel, what: str, word: str) -> None:
    with pytest.raises(DataError, match=word):
        decisions(BadFeature(what=what), panel)


@strategy(name="broken", version="1")
class Broken(Strategy):
    where: str = "on_rebalance"

    def features(self, ctx: Context, data: DataView) -> Mapping[str, pd.DataFrame]:  # noqa: ARG002  # a hook
        return {"x": 1 / 0} if self.where == "features" else {}  # type: ignore[dict-item]  # never there

    def fit(self, ctx: Context, data: DataView) -> State:  # noqa: ARG002  # a hook
        return {"x": int("missing")} if self.where == "fit" else {}

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":  # noqa: ARG002  # a hook
        return pd.Series(dtype=float)[["missing"]]


@pytest.mark.parametrize("where", ["features", "fit", "on_rebalance"])
def test_an_error_of_the_strategy_says_where_and_when(panel: PricePanel, where: str) -> None:
    with pytest.raises(
        StrategyError, match=rf"broken 1: {where} at \d{{4}}-\d\d-\d\d raised \w+Error.*test_run.py"
    ):
        decisions(Broken(where=where), panel, "2001-02-01")
