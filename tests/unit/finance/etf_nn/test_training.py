"""The batched ensemble, its parts switched off, and which dates it learns from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.etf_nn._network import BatchedNetwork
from shoestring.finance.etf_nn._samples import (
    Samples,
    forward_returns,
    make_samples,
    sample_dates,
    split_dates,
)
from shoestring.finance.etf_nn._training import scores_of, train_ensemble
from shoestring.finance.etf_nn.config import NetworkConfig, TrainingConfig, horizon_months
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.market.statements.features import FeaturePanel

QUICK = TrainingConfig(epochs=4, patience=2, lr=3e-3)
TINY = NetworkConfig(hidden=(8, 4))
LINEAR = NetworkConfig(hidden=(), norm="none", dropout=0.0)


def samples(num_dates: int = 20, firms: int = 30, quarters: int = 1, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.5, 0.5, (num_dates * firms, quarters, 5)).astype(np.float32)
    y = (x[:, 0] @ np.array([1.0, -0.5, 0.2, 0.0, 0.0]) + 0.3 * rng.normal(size=len(x))).astype(np.float32)
    dates = pd.date_range("2010-03-31", periods=num_dates, freq="QE")
    known = pd.DatetimeIndex(dates + pd.DateOffset(months=3))
    return Samples(x, y, dates, np.arange(num_dates + 1) * firms, known)


@pytest.mark.parametrize(
    ("network", "loss", "quarters"),
    [
        (TINY, "huber", 1),
        (TINY, "rank_ic", 1),
        (TINY, "pairwise", 2),
        (NetworkConfig(hidden=(6,), norm="none", encoder="gru", gru_width=4), "mse", 3),
    ],
)
def test_the_batched_ensemble_equals_its_members_trained_one_by_one(
    network: NetworkConfig, loss: str, quarters: int
) -> None:
    data = samples(quarters=quarters)
    training = replace(QUICK, loss=loss)  # type: ignore[arg-type]  # one of the words
    together = train_ensemble(data, network, training, seed=3, members=(0, 1, 2))
    for k in range(3):
        alone = train_ensemble(data, network, training, seed=3, members=(k,))
        assert alone.best_epoch == together.best_epoch[k : k + 1]
        for (name, one), (_, many) in zip(
            alone.network.named_parameters(), together.network.named_parameters(), strict=True
        ):
            # the last bias moves no order: under these losses its gradient is rounding, which Adam scales up
            free = loss in ("rank_ic", "pairwise") and name == f"biases.{len(network.hidden)}"
            if not free:
                torch.testing.assert_close(one[0], many[k], rtol=1e-4, atol=1e-5)


def test_members_differ_and_the_same_seed_gives_the_same_bits() -> None:
    one = train_ensemble(samples(), TINY, QUICK, seed=1, members=(0, 1)).network
    two = train_ensemble(samples(), TINY, QUICK, seed=1, members=(0, 1)).network
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    other = train_ensemble(samples(), TINY, QUICK, seed=2, members=(0, 1)).network
    assert not torch.equal(one.weights[0], other.weights[0])
    assert not torch.equal(one.weights[0][0], one.weights[0][1])


def test_with_every_part_off_the_network_is_least_squares() -> None:
    data = samples()
    training = TrainingConfig(
        loss="mse", lr=0.02, weight_decay=0.0, epochs=300, holdout=0.0, dates_per_batch=len(data.dates)
    )
    net = train_ensemble(data, LINEAR, training, seed=0, members=(0,)).network
    want = LinearRegression().fit(data.x[:, 0].astype(float), data.y.astype(float))
    np.testing.assert_allclose(net.weights[0][0, :, 0].detach().numpy(), want.coef_, atol=2e-4)
    np.testing.assert_allclose(net.biases[0].item(), want.intercept_, atol=2e-4)


def test_scores_start_near_zero_and_the_scale_can_be_switched_off() -> None:
    x = torch.from_numpy(samples().x)
    off = BatchedNetwork(replace(TINY, output_scale=1.0), 5, 1, seed=0, members=(0, 1)).eval()
    small = BatchedNetwork(TINY, 5, 1, seed=0, members=(0, 1)).eval()
    with torch.no_grad():
        torch.testing.assert_close(small(x), 0.01 * off(x))
    for one, two in zip(small.parameters(), [*off.parameters()], strict=True):
        assert torch.equal(one, two) or torch.equal(one, two * 0.01)


@pytest.mark.parametrize("loss", ["huber", "rank_ic", "pairwise"])
def test_a_weak_signal_is_learnt_that_a_random_start_drowns(loss: str) -> None:
    data = samples(num_dates=40, firms=100)
    noise = np.random.default_rng(1).normal(size=len(data.y)).astype(np.float32)
    weak = replace(data, y=(0.01 * data.x[:, 0, 0] + 0.1 * noise).astype(np.float32))
    training = TrainingConfig(loss=loss, epochs=3, holdout=0.0)  # type: ignore[arg-type]  # one of the words

    def learnt(scale: float) -> float:
        config = replace(TINY, output_scale=scale, dropout=0.0)
        net = train_ensemble(weak, config, training, seed=0, members=range(5)).network
        score = scores_of(net, torch.from_numpy(data.x)).mean(0).numpy()
        return float(np.corrcoef(score, data.x[:, 0, 0])[0, 1])

    assert learnt(0.01) > learnt(1.0) + 0.1


def test_the_gru_equals_torchs_own() -> None:
    config = NetworkConfig(hidden=(), norm="none", dropout=0.0, encoder="gru", gru_width=4)
    ours = BatchedNetwork(config, 5, 3, seed=0, members=(0,))
    ours.eval()
    torch.nn.init.uniform_(ours.gru_bias)
    reference = torch.nn.GRU(5, 4, batch_first=True)
    given = {
        "weight_ih_l0": ours.gru_in[0].T,
        "weight_hh_l0": ours.gru_state[0].T,
        "bias_ih_l0": ours.gru_bias[0, 0],
        "bias_hh_l0": ours.gru_bias[0, 1],
    }
    reference.load_state_dict({n: p.detach() for n, p in given.items()})
    with torch.no_grad():
        x = torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(0))
        _, state = reference(x.flip(1))  # quarter 0 is the latest, so it comes last
        want = state[0] @ ours.weights[0][0] + ours.biases[0][0]
        torch.testing.assert_close(ours(x)[0], want[:, 0])


def test_weight_decay_acts_on_matrices_only() -> None:
    net = BatchedNetwork(TINY, 5, 1, seed=0, members=(0,))
    assert {id(p) for p in net.decayed()} == {id(p) for p in net.weights}
    assert len(net.decayed()) + len(net.kept()) == len(list(net.parameters()))


def test_early_stopping_keeps_the_best_state_and_can_be_switched_off() -> None:
    short = train_ensemble(samples(), TINY, replace(QUICK, epochs=30, lr=0.1), seed=0, members=(0, 1))
    assert max(short.best_epoch) < 30
    assert np.isfinite(short.holdout_ic)
    off = train_ensemble(samples(), TINY, replace(QUICK, holdout=0.0), seed=0, members=(0, 1))
    assert off.best_epoch == (4, 4)
    assert np.isnan(off.holdout_ic)


def test_the_held_out_dates_are_the_last_ones_and_the_embargo_drops_what_reaches_into_them() -> None:
    data = samples(20)
    train, held = split_dates(data, 0.2, embargo=True)
    assert held is not None
    assert list(held.dates) == list(data.dates[16:])
    assert (train.known_at <= held.dates[0]).all()
    long = replace(data, known_at=pd.DatetimeIndex(data.dates + pd.DateOffset(months=12)))
    assert len(split_dates(long, 0.2, embargo=True)[0].dates) == 13  # three more of the quarters overlap
    assert len(split_dates(long, 0.2, embargo=False)[0].dates) == 16


def test_the_embargo_leaves_something_or_says_that_it_does_not() -> None:
    data = samples(2)
    late = replace(data, known_at=pd.DatetimeIndex(data.dates + pd.DateOffset(years=9)))
    with pytest.raises(DataError, match="leave none before"):
        split_dates(late, 0.5, embargo=True)


def test_taking_dates_takes_their_rows() -> None:
    data = samples(4, firms=3)
    part = data.take(np.array([1, 3]))
    np.testing.assert_array_equal(part.y, np.concatenate([data.y[3:6], data.y[9:12]]))
    assert part.day.tolist() == [0, 0, 0, 1, 1, 1]


def close_of(dates: pd.DatetimeIndex, num: int = 6) -> PricePanel:
    rng = np.random.default_rng(0)
    path = np.exp(np.cumsum(0.01 * rng.normal(size=(len(dates), num)), axis=0))
    return PricePanel.from_frame(pd.DataFrame(path, dates, [f"F{i}" for i in range(num)]))


def features_of(dates: pd.DatetimeIndex, num: int = 6) -> FeaturePanel:
    shape = (len(dates), num)
    return FeaturePanel(
        dates,
        tuple(f"F{i}" for i in range(num)),
        ("x",),
        np.zeros((*shape, 1, 1), dtype=np.float32),
        np.ones(shape, dtype=bool),
        np.zeros(shape, dtype=np.int64),
    )


def test_sample_dates_are_the_last_sessions_of_months() -> None:
    dates = pd.bdate_range("2020-01-01", "2020-08-15")
    assert [str(d.date()) for d in sample_dates(dates, 3)] == ["2020-03-31", "2020-06-30"]
    assert len(sample_dates(dates, 1)) == 8  # the unfinished August counts as well


def test_targets_are_ranks_of_what_was_known_by_the_end() -> None:
    prices = close_of(pd.bdate_range("2020-01-01", "2020-12-31"))
    when = sample_dates(prices.dates, 1)
    made = make_samples(
        features_of(when), prices, 3, "rank", sector_neutral=False, end=pd.Timestamp("2020-09-30")
    )
    assert made.known_at.max() <= pd.Timestamp("2020-09-30")
    assert made.dates[-1] == pd.Timestamp("2020-06-30")
    later = prices.dates.searchsorted(pd.Timestamp("2020-06-30"))
    change = prices.close.iloc[later] / prices.close.loc["2020-03-31"]
    rank = (change.rank() - 1) / 5 - 0.5
    day = list(made.dates).index(pd.Timestamp("2020-03-31"))
    np.testing.assert_allclose(made.y[made.start[day] : made.start[day + 1]], rank, atol=1e-6)


def test_prices_after_the_end_change_no_sample() -> None:
    prices = close_of(pd.bdate_range("2020-01-01", "2020-12-31"))
    when = sample_dates(prices.dates, 1)
    end = pd.Timestamp("2020-09-30")
    moved = prices.close.copy()
    moved.loc[moved.index > end] *= np.linspace(1, 9, 6)
    for kind in ("rank", "excess", "class"):
        one, two = (
            make_samples(features_of(when), p, 3, kind, sector_neutral=True, end=end)
            for p in (prices, PricePanel.from_frame(moved))
        )
        np.testing.assert_array_equal(one.y, two.y)


def test_excess_returns_have_no_mean_and_classes_are_halves() -> None:
    prices = close_of(pd.bdate_range("2020-01-01", "2020-12-31"))
    when = sample_dates(prices.dates, 3)
    end = prices.dates[-1]
    excess = make_samples(features_of(when), prices, 3, "excess", sector_neutral=False, end=end)
    assert excess.y[:6].sum() == pytest.approx(0, abs=1e-6)
    classes = make_samples(features_of(when), prices, 3, "class", sector_neutral=False, end=end)
    assert classes.y[:6].sum() == 3


def test_a_delisted_asset_keeps_its_last_return() -> None:
    dates = pd.bdate_range("2020-01-01", "2020-12-31")
    close = close_of(dates).close.copy()
    close.loc["2020-04-15":, "F2"] = np.nan
    prices = PricePanel.from_frame(close)
    log, _ = forward_returns(prices, ("F2",), pd.DatetimeIndex(["2020-03-31"]), 3)
    last, first = close["F2"].loc[["2020-04-14", "2020-03-31"]].to_numpy()
    assert log[0, 0] == pytest.approx(np.log(last / first))


def test_without_a_finished_horizon_there_is_nothing_to_learn_from() -> None:
    prices = close_of(pd.bdate_range("2020-01-01", "2020-02-28"))
    with pytest.raises(DataError, match="no training date"):
        make_samples(
            features_of(prices.dates[:1]), prices, 3, "rank", sector_neutral=False, end=prices.dates[-1]
        )


def test_a_loss_that_explodes_is_an_error() -> None:
    data = samples()
    broken = replace(data, y=np.full_like(data.y, np.nan))
    with pytest.raises(DataError, match="not finite"):
        train_ensemble(broken, TINY, QUICK, seed=0, members=(0,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NetworkConfig(hidden=(0,)), "hidden"),
        (lambda: NetworkConfig(dropout=1.0), "dropout"),
        (lambda: NetworkConfig(output_scale=0.0), "output_scale"),
        (lambda: TrainingConfig(lr=0.0), "lr"),
        (lambda: TrainingConfig(epochs=0), "epochs"),
        (lambda: TrainingConfig(holdout=0.9), "holdout"),
        (lambda: TrainingConfig(window_years=-1), "window_years"),
        (lambda: horizon_months("3W"), "3W"),
        (lambda: horizon_months("M"), "'M'"),
    ],
)
def test_options_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]  # one of the lambdas above


def test_horizons_are_months_or_years() -> None:
    assert (horizon_months("3M"), horizon_months("1Y")) == (3, 12)
