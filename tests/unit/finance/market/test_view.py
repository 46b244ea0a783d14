"""The cut view: what came later cannot be reached."""

import gc

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.known import KnownTable
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.view import view_of
from shoestring.finance.strategies.interface import NotEnoughHistoryError, Sources


@pytest.fixture(scope="module")
def panel() -> PricePanel:
    close = gbm_panel(3, 40, seed=2).close.copy()
    close.iloc[25:, 2] = np.nan  # delisted
    return PricePanel.from_frame(close, volume=close * 100)


@pytest.fixture(scope="module")
def sources(panel: PricePanel) -> Sources:
    days = panel.dates
    rows = pd.DataFrame(
        {"asset": panel.assets[0], "period": days[[2, 9]], "known_at": days[[5, 30]], "profit": [1.0, 2.0]}
    )
    features = {"x": panel.close.pct_change(fill_method=None)}
    return Sources(panel=panel, known={"statements": KnownTable.from_frame(rows)}, features=features)


def test_everything_ends_at_the_date(panel: PricePanel, sources: Sources) -> None:
    date = panel.dates[20]
    view = view_of(sources, date)
    assert view.prices().index[-1] == view.feature("x").index[-1] == view.dates[-1] == date
    assert view.known("statements").frame()["profit"].tolist() == [1.0]
    assert view.prices("volume", 5).shape == (5, 3)


def test_no_frame_is_a_window_into_the_later_rows(panel: PricePanel, sources: Sources) -> None:
    view = view_of(sources, panel.dates[20])
    for frame in (view.prices(lookback=3), view.feature("x", 3), view.returns(3)):
        base = frame.to_numpy()
        while base.base is not None:
            base = base.base
        assert max(base.shape) <= 21
    dates = view.dates.to_numpy()
    while dates.base is not None:
        dates = dates.base
    assert len(dates) == 21


def test_nothing_that_hangs_on_the_view_holds_the_panel(panel: PricePanel, sources: Sources) -> None:
    view = view_of(sources, panel.dates[20])
    seen: set[int] = set()
    todo = [getattr(view, name) for name in ("as_of", "_universe", "_assets")]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        assert not isinstance(thing, PricePanel | pd.DataFrame)
        todo += [r for r in gc.get_referents(thing) if not hasattr(r, "__file__") and not isinstance(r, dict)]


def test_assets_are_those_with_a_price_now_and_the_universe_is_all(
    panel: PricePanel, sources: Sources
) -> None:
    late = view_of(sources, panel.dates[30])
    assert late.assets == panel.assets[:2]
    assert late.universe == panel.assets
    assert list(late.prices().columns) == list(panel.assets[:2])
    assert list(late.prices(listed=False).columns) == list(panel.assets)


def test_a_universe_restricts_everything(panel: PricePanel, sources: Sources) -> None:
    view = view_of(sources, panel.dates[10], [panel.assets[2]])
    assert view.assets == view.universe == (panel.assets[2],)
    assert list(view.feature("x").columns) == [panel.assets[2]]


@pytest.mark.parametrize("universe", [[], ["nowhere"], ["a", "a"]])
def test_an_impossible_universe_is_refused(panel: PricePanel, sources: Sources, universe: list[str]) -> None:
    with pytest.raises(DataError, match="universe"):
        view_of(sources, panel.dates[10], universe)


def test_an_earlier_view_is_what_was_seen_then_and_a_later_one_is_refused(
    panel: PricePanel, sources: Sources
) -> None:
    view = view_of(sources, panel.dates[20])
    assert view.at(panel.dates[7]).prices().equals(view_of(sources, panel.dates[7]).prices())
    with pytest.raises(ConfigError, match="after the view"):
        view.at(panel.dates[21])


def test_too_short_a_history_says_so(panel: PricePanel, sources: Sources) -> None:
    view = view_of(sources, panel.dates[4])
    assert len(view.prices(lookback=5)) == 5
    with pytest.raises(NotEnoughHistoryError, match="only 5 rows"):
        view.prices(lookback=6)
    with pytest.raises(NotEnoughHistoryError):
        view.returns(5)


def test_unknown_names_are_refused_with_what_there_is(panel: PricePanel, sources: Sources) -> None:
    view = view_of(sources, panel.dates[4])
    with pytest.raises(DataError, match="x"):
        view.feature("y")
    with pytest.raises(DataError, match="statements"):
        view.known("prices")
    with pytest.raises(DataError, match="volume"):
        view.prices("open")


def test_writing_to_a_frame_does_not_reach_the_panel(panel: PricePanel, sources: Sources) -> None:
    before = panel.close.copy()
    frame = view_of(sources, panel.dates[20]).prices().copy()
    frame.iloc[:] = 0.0
    feature = view_of(sources, panel.dates[20]).feature("x")
    feature.iloc[:] = 0.0
    assert panel.close.equals(before)
    assert sources.features["x"].iloc[5].abs().sum() > 0
