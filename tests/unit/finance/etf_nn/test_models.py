"""StatementNet and the models beside it: point in time, same bits, saved and found again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge

from shoestring.core.errors import ConfigError, DataError, NotFittedError, StorageError
from shoestring.finance.etf_nn import (
    NetworkConfig,
    StatementComposite,
    StatementNet,
    StatementRegressor,
    SyntheticMarket,
    TrainingConfig,
)
from shoestring.finance.etf_nn._models import correlation_inside
from shoestring.finance.etf_nn._samples import Samples
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import FeatureConfig
from shoestring.finance.market.statements.table import Statements

TRAINING = TrainingConfig(epochs=4, patience=2, lr=3e-3)
END = "2008-06-30"


def net(**changes: object) -> StatementNet:
    made = StatementNet(ensemble=2, training=TRAINING, network=NetworkConfig(hidden=(16, 8)))
    return made.set_params(**changes)  # type: ignore[no-any-return]  # scikit-learn ships no types


@pytest.fixture(scope="module")
def fitted(market: SyntheticMarket) -> StatementNet:
    return net().fit(market.statements, market.prices, END)


def scramble(statements: Statements, after: str) -> Statements:
    rows = statements.rows.copy()
    later = rows["filed"] > pd.Timestamp(after)
    rows.loc[later, list(statements.items)] *= -3.0
    return Statements.from_frame(rows)


def shake(prices: PricePanel, after: str) -> PricePanel:
    later = prices.dates > pd.Timestamp(after)
    fields = {}
    for name, frame in prices.fields.items():
        moved = frame.copy()
        moved.loc[later] *= np.linspace(0.5, 2, len(prices.assets))
        fields[name] = moved
    return PricePanel.from_frame(**fields)


def test_nothing_after_the_end_of_training_changes_a_weight(
    market: SyntheticMarket, fitted: StatementNet
) -> None:
    other = net().fit(scramble(market.statements, END), shake(market.prices, END), END)
    for one, two in zip(fitted.network_.parameters(), other.network_.parameters(), strict=True):
        assert one.equal(two)


def test_something_before_the_end_does(market: SyntheticMarket, fitted: StatementNet) -> None:
    other = net().fit(scramble(market.statements, "2008-01-01"), market.prices, END)
    assert not fitted.network_.weights[0].equal(other.network_.weights[0])


def test_nothing_filed_or_traded_after_the_date_changes_a_score(
    market: SyntheticMarket, fitted: StatementNet
) -> None:
    date = "2009-03-02"
    one = fitted.predict(market.statements, market.prices, date)
    two = fitted.predict(scramble(market.statements, date), shake(market.prices, date), date)
    pd.testing.assert_series_equal(one, two, check_exact=True)


def test_scores_of_a_date_do_not_depend_on_other_dates_bit_for_bit(
    market: SyntheticMarket, fitted: StatementNet
) -> None:
    dates = market.prices.dates[1050:1150:25]
    many = fitted.predict_many(market.statements, market.prices, dates)
    for date in dates:
        one = fitted.predict(market.statements, market.prices, date)
        assert many.loc[date].dropna().equals(one.rename(date))


def test_scores_find_the_planted_signal(market: SyntheticMarket) -> None:
    model = net(training=replace(TRAINING, epochs=15, patience=15)).fit(market.statements, market.prices, END)
    dates = pd.DatetimeIndex(market.signal.index[market.signal.index > END][:-1])
    scores = model.predict_many(market.statements, market.prices, dates)
    truth = market.signal.loc[dates].shift(1)  # filed by then: the quarter before
    assert scores.corrwith(truth[scores.columns], axis=1, method="spearman").mean() > 0.2


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "excess"},
        {"target": "class", "training": replace(TRAINING, loss="logistic")},
        {"training": replace(TRAINING, loss="rank_ic")},
        {"training": replace(TRAINING, loss="pairwise", window_years=2)},
        {"sector_neutral": False},
        {
            "features": FeatureConfig(quarters=2),
            "network": NetworkConfig(encoder="gru", gru_width=6, hidden=()),
        },
        {"ensemble": 1, "horizon": "6M"},
    ],
)
def test_every_option_fits_and_scores_with_the_same_bits_twice(
    market: SyntheticMarket, changes: dict[str, object]
) -> None:
    one, two = (net(**changes).fit(market.statements, market.prices, END) for _ in range(2))
    a = one.predict(market.statements, market.prices, "2009-03-02")
    b = two.predict(market.statements, market.prices, "2009-03-02")
    assert a.equals(b)
    assert a.std() > 0
    assert np.isfinite(a).all()


def test_a_window_learns_from_its_years_only(market: SyntheticMarket) -> None:
    model = net(training=replace(TRAINING, window_years=2)).fit(market.statements, market.prices, END)
    assert model.dates_[0] >= pd.Timestamp("2006-06-30")


def test_a_saved_model_scores_the_same_bits(
    market: SyntheticMarket, fitted: StatementNet, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "net.safetensors")
    again = StatementNet.load(tmp_path / "net.safetensors")
    assert again.get_params() == fitted.get_params()
    assert again.best_epoch_ == fitted.best_epoch_
    one, two = (m.predict(market.statements, market.prices, "2009-03-02") for m in (fitted, again))
    assert one.equals(two)


def test_a_damaged_or_foreign_file_is_refused(fitted: StatementNet, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    fitted.save(path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        StatementNet.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(StorageError, match="holds no model"):
        StatementNet.load(path)
    with pytest.raises(StorageError, match="holds no model"):
        StatementNet.load(tmp_path / "absent")


def test_an_unfitted_model_and_other_features_are_refused(
    market: SyntheticMarket, fitted: StatementNet, tmp_path: Path
) -> None:
    with pytest.raises(NotFittedError, match="call fit first"):
        net().predict(market.statements, market.prices, END)
    with pytest.raises(NotFittedError, match="nothing to save"):
        net().save(tmp_path / "x")
    with pytest.raises(DataError, match="differ from those of fit"):
        StatementNet.from_state(*fitted.state()).set_params(
            features=FeatureConfig(missing_flags=False)
        ).predict(market.statements, market.prices, END)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": "soon"}, "soon"),
        ({"target": "price"}, "target='price'"),
        ({"ensemble": 0}, "ensemble=0"),
        ({"target": "class"}, "does not fit"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    market: SyntheticMarket, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        net(**changes).fit(market.statements, market.prices, END)


def test_a_clone_has_the_same_options_and_is_not_fitted(fitted: StatementNet) -> None:
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "network_")


def test_ridge_learns_from_the_same_rows_as_scikit_learn(
    market: SyntheticMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = StatementRegressor(Ridge(alpha=10.0), training=TRAINING)
    kept: list[Samples] = []
    original = StatementRegressor._fit_samples

    def keep(self: StatementRegressor, rows: Samples) -> None:
        kept.append(rows)
        original(self, rows)

    monkeypatch.setattr(StatementRegressor, "_fit_samples", keep)
    model.fit(market.statements, market.prices, END)
    x = kept[0].x.reshape(len(kept[0].x), -1).astype(float)
    want = Ridge(alpha=10.0).fit(x, kept[0].y)
    np.testing.assert_array_equal(model.estimator_.coef_, want.coef_)
    assert np.isfinite(model.holdout_ic_)


def test_a_composite_is_the_mean_of_its_ranks(market: SyntheticMarket) -> None:
    model = StatementComposite(("roa", "-debt_to_assets")).fit(market.statements, market.prices, END)
    dates = pd.DatetimeIndex(["2009-03-02"])
    from shoestring.finance.market.statements.features import feature_panel

    panel = feature_panel(market.statements, market.prices, dates, FeatureConfig())
    roa, debt = (panel.values[0, :, 0, panel.names.index(n)] for n in ("roa", "debt_to_assets"))
    got = model.predict_panel(panel).iloc[0]
    np.testing.assert_allclose(got[panel.scored[0]], ((roa - debt) / 2)[panel.scored[0]], atol=1e-7)
    with pytest.raises(DataError, match="none of"):
        StatementComposite(("luck",)).fit(market.statements, market.prices, END).predict_panel(panel)


def test_the_correlation_inside_dates_equals_numpys() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=9).astype(np.float32)
    dates = pd.DatetimeIndex(["2020-01-01", "2020-02-01"])
    rows = Samples(np.zeros((9, 1, 1), np.float32), y, dates, np.array([0, 4, 9]), dates)
    score = rng.normal(size=9)
    want = np.mean([np.corrcoef(score[a:b], y[a:b])[0, 1] for a, b in ((0, 4), (4, 9))])
    assert correlation_inside(score, rows) == pytest.approx(want)
