"""Strategies from parts: what each computes, and what a change of one repeats."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.sources import load_market
from shoestring.finance.market.view import view_of
from shoestring.finance.records.store import Store
from shoestring.finance.running.run import decide, decisions
from shoestring.finance.shai_am.config import RunConfig
from shoestring.finance.shai_am.functional import SimulatedExecution
from shoestring.finance.strategies.allocators import LongShort, TopK
from shoestring.finance.strategies.composite import Composite, Labels, compose
from shoestring.finance.strategies.features import FEATURES, FeatureTable
from shoestring.finance.strategies.interface import Context, Sources
from shoestring.finance.strategies.models import Ridge, WeightedSum
from shoestring.finance.strategies.parts import Allocator, DataSource, Execution, FeatureSet, Model


@pytest.fixture(scope="module")
def panel() -> PricePanel:
    close = gbm_panel(8, 560, seed=5).close.copy()
    close.iloc[400:, 7] = np.nan
    return PricePanel.from_frame(close)


def made(**changes: Any) -> Composite:
    columns = {"m": FEATURES["momentum"](lookback=40, skip=5), "v": FEATURES["volatility"](lookback=30)}
    parts: dict[str, Any] = {
        "feature_set": FeatureTable(columns=columns),
        "model": Ridge(alpha=1.0),
        "allocator": TopK(k=3),
        "labels": Labels(horizon=10),
    }
    return compose(name="parts", version="1", refit="BYS", **{**parts, **changes})


def stages(one: Composite, panel: PricePanel, store: Store) -> dict[str, set[bool]]:
    found: dict[str, set[bool]] = {}
    for task in decisions(one, panel, store=store).tasks:
        found.setdefault(task.stage, set()).add(task.hit)
    return found


@pytest.mark.parametrize(
    ("changes", "runs"),
    [
        ({}, set()),
        ({"allocator": TopK(k=2)}, {"weights"}),
        ({"model": Ridge(alpha=9.0)}, {"fit", "predict", "weights"}),
        ({"labels": Labels(horizon=5)}, {"fit", "predict", "weights"}),
        (
            {"feature_set": FeatureTable(columns={"m": FEATURES["momentum"](lookback=41, skip=5)})},
            {"features", "fit", "predict", "weights"},
        ),
    ],
    ids=["nothing", "allocator", "model", "labels", "features"],
)
def test_a_change_repeats_only_what_follows(
    panel: PricePanel, tmp_path: Path, changes: dict[str, Any], runs: set[str]
) -> None:
    store = Store(tmp_path)
    assert stages(made(), panel, store).keys() == {"features", "fit", "predict", "weights"}
    again = stages(made(**changes), panel, store)
    assert {stage for stage, hits in again.items() if hits == {False}} == runs
    assert all(len(hits) == 1 for hits in again.values())


def test_what_was_found_gives_the_same_weights_as_what_was_computed(
    panel: PricePanel, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    decisions(made(), panel, store=store)
    other = made(allocator=TopK(k=2, weighting="score"))
    found, fresh = decisions(other, panel, store=store), decisions(other, panel)
    assert found.weights.to_numpy().tobytes() == fresh.weights.to_numpy().tobytes()


def test_a_live_date_equals_the_backtest(panel: PricePanel) -> None:
    weights = decisions(made(), panel).weights
    for date in weights.index[[0, 5, -1]]:
        assert decide(made(), panel, date).weights.equals(weights.loc[[date]])


def test_ridge_without_a_penalty_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(50, 3)), columns=["a", "b", "c"])
    y = pd.Series(X.to_numpy() @ [1.0, -2.0, 0.5] + 3.0 + rng.normal(size=50) * 0.1)
    context = Context(as_of=pd.Timestamp("2020-01-01"))
    state = Ridge(alpha=0.0).fit(context, X, y)
    design = np.column_stack([X.to_numpy(), np.ones(50)])
    expected = np.linalg.lstsq(design, y.to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(state["coefficients"], expected[:3], rtol=1e-10)
    predicted = Ridge().predict(Context(as_of=pd.Timestamp("2020-01-01"), state=state), X)
    np.testing.assert_allclose(predicted, design @ expected, rtol=1e-9)


def test_a_strategy_of_a_known_signal_finds_it(panel: PricePanel) -> None:
    """Prices that trend: last month's winners win again, and the ridge learns that."""
    rng = np.random.default_rng(3)
    drift = np.repeat(rng.normal(0, 0.004, (14, 8)), 40, axis=0)
    close = pd.DataFrame(
        np.exp(np.cumsum(drift + rng.normal(0, 0.002, drift.shape), axis=0)),
        index=panel.dates, columns=panel.assets,
    )  # fmt: skip
    feature = FeatureTable(columns={"m": FEATURES["momentum"](lookback=15, skip=0)})
    one = made(feature_set=feature, labels=Labels(horizon=10))
    run = decisions(one, PricePanel.from_frame(close))
    ahead = (close.shift(-10) / close - 1).reindex(run.weights.index)
    held = (run.weights * ahead).sum(axis=1).iloc[:-1].mean()
    assert held > ahead.mean(axis=1).iloc[:-1].mean() + 0.005


def test_labels_are_ranks_of_what_came_after(panel: PricePanel) -> None:
    labels = Labels(horizon=10).of(panel.close, panel.dates[[100, 395]])
    ahead = panel.close.iloc[110] / panel.close.iloc[100] - 1
    assert (labels.iloc[0].rank() == ahead.rank()).all()
    assert labels.iloc[0].min() == -0.5
    assert labels.iloc[0].max() == 0.5
    assert np.isnan(labels.to_numpy()[1, 7])  # delisted before the label ended


@pytest.mark.parametrize("name", [n for n in FEATURES if n != "known"])
def test_a_feature_at_a_date_is_what_the_cut_panel_gives(panel: PricePanel, name: str) -> None:
    date = panel.dates[450]
    feature = FEATURES[name]()
    whole = feature.compute(view_of(Sources(panel=panel), panel.dates[-1]))
    cut = feature.compute(view_of(Sources(panel=panel.cut(date)), date))
    assert whole.loc[:date].to_numpy().tobytes() == cut.to_numpy().tobytes()
    assert whole.loc[date].notna().sum() == 7


def test_ranks_lie_between_minus_and_plus_one_half_and_keep_gaps(panel: PricePanel) -> None:
    table = FeatureTable(columns={"m": FEATURES["momentum"](lookback=40, skip=5)})
    ranks = table.transform(Context(as_of=panel.dates[-1]), view_of(Sources(panel=panel), panel.dates[-1]))[
        "m"
    ]
    row = ranks.iloc[500]
    assert (row.min(), row.max(), int(row.isna().sum())) == (-0.5, 0.5, 1)
    assert row.sum() == pytest.approx(0)


def test_a_weighted_sum_adds_and_refuses_unknown_names() -> None:
    X = pd.DataFrame({"a": [1.0, np.nan], "b": [2.0, 3.0]}, index=["x", "y"])
    context = Context(as_of=pd.Timestamp("2020-01-01"))
    made = WeightedSum(weights={"a": 2.0, "b": -1.0}).predict(context, X)
    assert made["x"] == 0
    assert np.isnan(made["y"])
    assert WeightedSum().predict(context, X)["x"] == 3
    with pytest.raises(ConfigError, match="did you mean 'a'"):
        WeightedSum(weights={"aa": 1.0}).predict(context, X)


def test_long_short_is_neutral_and_stays_in_cash_when_it_cannot_be(panel: PricePanel) -> None:
    context, view = Context(as_of=panel.dates[-1]), view_of(Sources(panel=panel), panel.dates[-1])
    scores = pd.Series(np.arange(10.0), index=list("abcdefghij"))
    weights = LongShort(share=0.2).allocate(context, scores, view)
    assert weights[weights > 0].index.tolist() == ["j", "i"]
    assert (weights.sum(), weights.abs().sum()) == (0, 1)
    assert (LongShort().allocate(context, scores.iloc[:1], view) == 0).all()


def test_top_k_caps_a_weight_and_leaves_the_rest_in_cash(panel: PricePanel) -> None:
    context, view = Context(as_of=panel.dates[-1]), view_of(Sources(panel=panel), panel.dates[-1])
    scores = pd.Series(np.arange(7.0), index=list(view.assets))
    assert TopK(k=2, max_weight=0.3).allocate(context, scores, view).sum() == pytest.approx(0.6)
    quiet = TopK(k=7, weighting="inverse_volatility").allocate(context, scores, view)
    assert quiet.idxmax() == view.returns(63).std().idxmin()
    assert quiet.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: TopK(k=0),
        lambda: TopK(max_weight=1.5),
        lambda: LongShort(share=0.6),
        lambda: Labels(horizon=0),
        lambda: Ridge(alpha=-1),
        FeatureTable,
        lambda: FEATURES["momentum"](lookback=5, skip=5),
        lambda: FEATURES["volatility"](lookback=1),
        lambda: made(model=Ridge),
        lambda: made(model=object()),
    ],
)
def test_bad_parts_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigError):
        bad()


def test_parameters_describe_the_parts() -> None:
    params = made().params()
    assert params["allocator"] == {
        "kind": "TopK",
        "k": 3,
        "weighting": "equal",
        "lookback": 63,
        "max_weight": 1.0,
    }
    assert params["feature_set"]["columns"]["m"] == {"kind": "Momentum", "lookback": 40, "skip": 5}


def test_the_shipped_parts_follow_the_five_interfaces() -> None:
    """Mypy checks the signatures; here each one is called as the interface says."""
    source: DataSource = load_market("synthetic/gbm")
    features: FeatureSet = FeatureTable(columns={"r": FEATURES["reversal"]()})
    model: Model = WeightedSum()
    allocator: Allocator = TopK(k=2)
    execution: Execution = SimulatedExecution(config=RunConfig())
    loaded = source.load(None, None, "2001-12-31")
    last = loaded.dates[-1]
    context = Context(as_of=last)
    frames = features.transform(context, view_of(Sources(panel=loaded), last))
    view = view_of(Sources(panel=loaded, features=frames), last)
    assert model.fit(context, pd.DataFrame(), pd.Series(dtype=float)) == {}
    scores = model.predict(context, pd.DataFrame({"r": view.feature("r", 1).iloc[-1]}))
    weights = allocator.allocate(context, scores, view)
    table = pd.DataFrame([weights.reindex(loaded.assets, fill_value=0.0)], index=[loaded.dates[-30]])
    assert execution.simulate(table, loaded).nav.index[-1] == last
