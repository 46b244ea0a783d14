import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.backtest.engine import Backtest, backtest
from shoestring.finance.market.generators import gbm_panel

NAN = np.nan


def prices(**columns: list[float]) -> pd.DataFrame:
    length = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=pd.bdate_range("2020-01-06", periods=length))


def weights(frame: pd.DataFrame, **rows: dict[str, float]) -> pd.DataFrame:
    """Rows by the number of their date: ``d0={"A": 1.0}``."""
    made = pd.DataFrame({frame.index[int(k[1:])]: v for k, v in rows.items()}).T
    return made.fillna(0.0)


def test_weights_drift_with_prices() -> None:
    px = prices(A=[10.0, 20.0, 20.0], B=[10.0, 10.0, 5.0])
    done = backtest(px, weights(px, d0={"A": 0.5, "B": 0.5}))
    assert done.nav.tolist() == pytest.approx([1.0, 1.5, 1.25])
    assert done.weights["A"].tolist() == pytest.approx([0.5, 2 / 3, 0.8])
    assert done.returns.tolist() == pytest.approx([0.0, 0.5, -1 / 6])
    assert done.turnover.tolist() == pytest.approx([1.0])


def test_costs_come_out_of_the_trade() -> None:
    px = prices(A=[10.0, 10.0, 10.0])
    costs = Costs(commission_bps=60, slippage_bps=40)
    done = backtest(px, weights(px, d0={"A": 1.0}, d2={"A": 0.0}), costs=costs)
    bought = 1 / 1.01
    assert done.nav.tolist() == pytest.approx([bought, bought, bought * 0.99])
    assert done.costs_paid.tolist() == pytest.approx([bought * 0.01, 0.01])
    assert done.trades["A"].tolist() == pytest.approx([bought, -1.0])
    assert done.cash.iloc[-1] == pytest.approx(1.0)
    assert done.returns.iloc[0] == pytest.approx(bought - 1)


def test_a_part_that_is_sold_pays_for_its_costs() -> None:
    px = prices(A=[10.0, 10.0])
    done = backtest(px, weights(px, d0={"A": 0.8}, d1={"A": 0.3}), costs=Costs(commission_bps=100))
    held = 0.8 / 1.01 / done.nav.iloc[0]
    assert done.trades["A"].iloc[1] == pytest.approx(-(held - 0.3) / 0.99)


def test_cash_is_what_is_missing_to_one() -> None:
    px = prices(A=[10.0, 20.0])
    done = backtest(px, weights(px, d0={"A": 0.25}))
    assert done.nav.tolist() == pytest.approx([1.0, 1.25])
    assert done.cash.tolist() == pytest.approx([0.75, 0.6])


def test_a_short_earns_when_prices_fall() -> None:
    px = prices(A=[10.0, 8.0], B=[10.0, 10.0])
    done = backtest(px, weights(px, d0={"A": -0.5, "B": 0.5}), allow_short=True)
    assert done.nav.iloc[-1] == pytest.approx(1.1)
    assert done.weights.loc[px.index[-1], "A"] == pytest.approx(-0.4 / 1.1)


def test_a_lag_trades_later() -> None:
    px = prices(A=[10.0, 20.0, 40.0])
    done = backtest(px, weights(px, d0={"A": 1.0}), lag=1)
    assert done.nav.tolist() == pytest.approx([1.0, 1.0, 2.0])
    assert done.trades.index.tolist() == [px.index[1]]
    assert backtest(px, weights(px, d2={"A": 1.0}), lag=1).turnover.empty
    with pytest.raises(DataError, match="lag=-1"):
        backtest(px, weights(px, d0={"A": 1.0}), lag=-1)


def test_a_held_asset_without_a_price_keeps_its_last_value() -> None:
    px = prices(A=[10.0, NAN, 30.0], B=[1.0, 1.0, 1.0])
    done = backtest(px, weights(px, d0={"A": 1.0}))
    assert done.nav.tolist() == pytest.approx([1.0, 1.0, 3.0])


def test_what_cannot_be_traded_stays_and_the_rest_makes_room() -> None:
    px = prices(A=[10.0, NAN, 10.0], B=[1.0, 1.0, 1.0], C=[1.0, 1.0, 1.0])
    done = backtest(px, weights(px, d0={"A": 0.4, "B": 0.6}, d1={"B": 0.5, "C": 0.5}))
    assert done.weights.loc[px.index[1]].tolist() == pytest.approx([0.4, 0.3, 0.3])
    assert done.trades.loc[px.index[1], "A"] == 0
    assert done.unfilled.tolist() == [0.0, 0.0]
    assert done.cash.iloc[1] == pytest.approx(0.0)


def test_a_wanted_asset_without_a_price_stays_in_cash() -> None:
    px = prices(A=[NAN, 10.0, 20.0], B=[1.0, 1.0, 1.0])
    done = backtest(px, weights(px, d0={"A": 0.7, "B": 0.3}))
    assert done.unfilled.tolist() == pytest.approx([0.7])
    assert done.nav.tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert done.weights.iloc[0].tolist() == pytest.approx([0.0, 0.3])


def test_a_delisted_asset_is_booked_to_cash_at_its_last_price_without_costs() -> None:
    px = prices(A=[10.0, 5.0, NAN, NAN], B=[1.0, 1.0, 1.0, 2.0])
    plan = weights(px, d0={"A": 0.5, "B": 0.5}, d3={"B": 1.0})
    done = backtest(px, plan, costs=Costs(commission_bps=0))
    assert done.nav.tolist() == pytest.approx([1.0, 0.75, 0.75, 1.25])
    assert done.weights["A"].tolist() == pytest.approx([0.5, 1 / 3, 0.0, 0.0])
    assert done.cash.iloc[2] == pytest.approx(1 / 3)
    assert done.trades.loc[px.index[3], "A"] == 0
    paid = backtest(px, plan, costs=Costs(commission_bps=50))
    assert paid.costs_paid.iloc[1] == pytest.approx(0.005 * paid.trades.loc[px.index[3], "B"])


def test_a_portfolio_that_lost_everything_ends_at_zero() -> None:
    px = prices(A=[10.0, 25.0, 10.0], B=[1.0, 1.0, 1.0])
    done = backtest(px, weights(px, d0={"A": -1.0}, d2={"B": 1.0}), allow_short=True)
    assert done.nav.tolist() == [1.0, 0.0, 0.0]
    assert done.returns.tolist() == [0.0, -1.0, 0.0]
    assert done.ruined_on == px.index[1]
    assert (done.weights.iloc[1:] == 0).all(axis=None)
    assert done.turnover.iloc[1] == 0
    assert done.costs_paid.iloc[1] == 0
    assert done.metrics()["annual_return"] == -1.0


def test_a_debt_before_a_rebalance_is_not_traded_into_a_gain() -> None:
    px = prices(A=[10.0, 19.9801, 19.0])  # 1e-5 below zero
    plan = weights(px, d0={"A": -1.0}, d1={"A": -0.5})
    done = backtest(px, plan, costs=Costs(commission_bps=10), allow_short=True)
    assert done.nav.iloc[0] > 0
    assert done.nav.iloc[1:].tolist() == [0.0, 0.0]
    assert done.ruined_on == px.index[1]


def test_start_and_end_bound_the_value_and_the_trades() -> None:
    px = prices(A=[10.0, 20.0, 40.0, 80.0])
    plan = weights(px, d0={"A": 1.0}, d1={"A": 0.5}, d3={"A": 1.0})
    done = backtest(px, plan, start=px.index[1], end=px.index[2])
    assert done.nav.tolist() == pytest.approx([1.0, 1.5])
    assert len(done.turnover) == 1


def test_prices_after_the_end_decide_nothing() -> None:
    nan = float("nan")
    px = prices(A=[10.0, 10.0, nan, nan, 30.0], B=[10.0, 10.0, 10.0, 20.0, 20.0])
    plan = weights(px, d0={"A": 1.0}, d2={"B": 1.0})
    end = px.index[3]
    done, cut = backtest(px, plan, end=end), backtest(px.loc[:end], plan)
    assert done.nav.tolist() == cut.nav.tolist() == [1.0, 1.0, 1.0, 2.0]


def test_no_rebalance_leaves_cash() -> None:
    px = prices(A=[10.0, 20.0])
    done = backtest(px, weights(px, d0={"A": 1.0}).iloc[:0])
    assert done.nav.tolist() == [1.0, 1.0]
    assert done.weights.to_numpy().tolist() == [[0.0], [0.0]]


def test_blocks_of_rebalances_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = gbm_panel(7, 300, seed=1, delisted=0.3, gaps=0.05)
    rng = np.random.default_rng(0)
    plan = pd.DataFrame(rng.dirichlet(np.ones(7), 300), panel.dates, panel.assets)
    whole = backtest(panel, plan, costs=Costs(commission_bps=30))
    monkeypatch.setattr("shoestring.finance.backtest.engine.BLOCK_BYTES", 1)
    parts = backtest(panel, plan, costs=Costs(commission_bps=30))
    np.testing.assert_allclose(parts.nav, whole.nav, rtol=1e-13)
    np.testing.assert_allclose(parts.trades, whole.trades, atol=1e-13)


def test_the_same_input_gives_the_same_bits() -> None:
    panel = gbm_panel(5, 200, seed=2, gaps=0.02)
    plan = pd.DataFrame(0.2, panel.dates[::5], panel.assets)
    one, two = (backtest(panel, plan, costs=Costs(commission_bps=5)) for _ in range(2))
    assert one.nav.to_numpy().tobytes() == two.nav.to_numpy().tobytes()


def test_metrics_come_from_the_returns_after_costs() -> None:
    px = prices(A=[10.0, 11.0, 12.0, 11.0])
    done = backtest(px, weights(px, d0={"A": 1.0}), costs=Costs(commission_bps=10))
    figures = done.metrics()
    assert isinstance(done, Backtest)
    assert figures["total_return"] == pytest.approx(1.1 / 1.001 - 1)
    assert figures["annual_turnover"] == pytest.approx(1 / 1.001 * 252 / 4)
    assert figures["annual_costs"] == pytest.approx(0.001 / 1.001 * 252 / 4)


def bad(px: pd.DataFrame, fault: str) -> pd.DataFrame:
    good = weights(px, d0={"A": 0.5, "B": 0.5}, d1={"A": 0.5, "B": 0.5})
    changes = {
        "nan": lambda w: w.replace(0.5, NAN),
        "infinite": lambda w: w.replace(0.5, np.inf),
        "short": lambda w: -w,
        "gross": lambda w: w * 1.2,
        "asset": lambda w: w.assign(X=0.0),
        "twice": lambda w: w.set_axis(["A", "A"], axis=1),
        "date": lambda w: w.set_axis([px.index[0], pd.Timestamp("2020-01-11")]),
        "order": lambda w: w.iloc[::-1],
        "again": lambda w: w.set_axis(px.index[[0, 0]]),
        "index": lambda w: w.reset_index(drop=True),
    }
    made: pd.DataFrame = changes[fault](good)
    return made


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("nan", "the weight of 'A' on 2020-01-06 is nan; give finite weights"),
        ("infinite", "is inf; give finite"),
        ("short", "-0.5, a short position; give weights of 0 or more, or allow_short=True"),
        ("gross", "sum to 1.2; at most max_gross=1 is allowed"),
        ("asset", "the asset 'X', which has no prices"),
        ("twice", "two columns of one asset"),
        ("date", "given for 2020-01-11 00:00:00, on which there are no prices"),
        ("order", "unsorted or there twice"),
        ("again", "unsorted or there twice"),
        ("index", "RangeIndex; give rebalance dates"),
    ],
)
def test_a_faulty_schedule_is_refused(fault: str, says: str) -> None:
    px = prices(A=[10.0, 11.0], B=[1.0, 1.0])
    with pytest.raises(DataError) as error:
        backtest(px, bad(px, fault))
    assert says in str(error.value)


def test_leverage_and_shorts_are_allowed_on_demand() -> None:
    px = prices(A=[10.0, 11.0], B=[1.0, 1.0])
    done = backtest(px, weights(px, d0={"A": 1.5, "B": -0.5}), allow_short=True, max_gross=2.0)
    assert done.nav.iloc[-1] == pytest.approx(1.15)


@pytest.mark.parametrize("name", ["commission_bps", "slippage_bps"])
@pytest.mark.parametrize("value", [-1.0, 1000.0, NAN])
def test_costs_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}=.*basis points"):
        Costs(**{name: value})
