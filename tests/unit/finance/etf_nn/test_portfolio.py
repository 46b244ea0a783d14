"""Weights from scores: ties, few eligible ETFs, four weightings."""

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.finance.etf_nn import ETFPortfolio, SyntheticMarket, basket_returns


def table(scores: dict[str, float], eligible: set[str] | None = None, coverage: float = 1.0) -> pd.DataFrame:
    names = list(scores)
    return pd.DataFrame(
        {
            "score": list(scores.values()),
            "eligible": [eligible is None or n in eligible for n in names],
            "coverage": coverage,
        },
        index=pd.Index(names, name="etf"),
    )


SIX = {"F": 1.0, "E": 2.0, "D": 3.0, "C": 4.0, "B": 5.0, "A": 6.0}


def daily(seed: int = 0, names: str = "ABCDEF") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    scale = np.linspace(0.005, 0.03, len(names))
    return pd.DataFrame(rng.normal(size=(300, len(names))) * scale, columns=list(names))


def test_the_best_share_the_whole_equally() -> None:
    assert ETFPortfolio(top=3).allocate(table(SIX)).to_dict() == dict.fromkeys("ABC", 1 / 3)
    assert list(ETFPortfolio(top=0.2).allocate(table(SIX)).index) == ["A", "B"]  # 1.2, rounded up


def test_equal_scores_go_by_name_whatever_their_order() -> None:
    same = dict.fromkeys("DBCA", 1.0)
    assert list(ETFPortfolio(top=2).choose(table(same)).index) == ["A", "B"]
    assert list(ETFPortfolio(top=2).choose(table(same).iloc[::-1]).index) == ["A", "B"]


def test_fewer_eligible_than_wanted_share_the_whole_and_none_is_cash() -> None:
    few = ETFPortfolio(top=5).allocate(table(SIX, {"B", "D"}))
    assert few.to_dict() == {"B": 0.5, "D": 0.5}
    assert ETFPortfolio(top=5).allocate(table(SIX, set())).empty


def test_scores_that_are_missing_and_low_coverage_are_not_held() -> None:
    assert list(ETFPortfolio(top=2).choose(table({**SIX, "A": float("nan")})).index) == ["B", "C"]
    assert ETFPortfolio(top=2).allocate(table(SIX, coverage=0.5)).empty
    assert len(ETFPortfolio(top=2, min_coverage=0.4).allocate(table(SIX, coverage=0.5))) == 2


def test_softmax_of_standardised_scores_by_hand() -> None:
    weights = ETFPortfolio(top=3, weighting="softmax", temperature=2.0).allocate(table(SIX))
    score = np.array([6.0, 5.0, 4.0])
    power = np.exp((score - 5) / score.std() / 2)
    np.testing.assert_allclose(weights, power / power.sum())
    level = ETFPortfolio(top=3, weighting="softmax", temperature=1e6).allocate(table(SIX))
    np.testing.assert_allclose(level, 1 / 3, atol=1e-6)


def test_risk_parity_with_equal_scores_gives_equal_contributions() -> None:
    same = table(dict.fromkeys("ABCD", 1.0))
    returns = daily()
    weights = ETFPortfolio(top=4, weighting="risk_parity", lookback=300).allocate(same, returns)
    from sklearn.covariance import LedoitWolf

    cov = LedoitWolf().fit(returns[list(weights.index)]).covariance_
    share = weights.to_numpy() * (cov @ weights.to_numpy())
    np.testing.assert_allclose(share / share.sum(), 0.25, atol=2e-3)


def test_risk_budgets_and_mean_variance_lean_on_the_scores() -> None:
    returns = daily()
    up, down = table(SIX), table({n: -s for n, s in SIX.items()})
    for weighting in ("risk_parity", "mean_variance"):
        portfolio = ETFPortfolio(top=6, weighting=weighting, tilt=0.3)
        one, two = portfolio.allocate(up, returns), portfolio.allocate(down, returns)
        assert one.sum() == pytest.approx(1.0)
        assert (one >= 0).all()
        assert one["B"] > two["B"]
        assert one["E"] < two["E"]


def test_returns_that_are_missing_short_or_broken_are_refused() -> None:
    portfolio = ETFPortfolio(top=3, weighting="risk_parity")
    with pytest.raises(DataError, match="needs daily returns"):
        portfolio.allocate(table(SIX))
    with pytest.raises(DataError, match="no column"):
        portfolio.allocate(table(SIX), daily(names="AB"))
    with pytest.raises(DataError, match="10 days"):
        portfolio.allocate(table(SIX), daily().iloc[:10])
    with pytest.raises(DataError, match="not all of them finite"):
        portfolio.allocate(table(SIX), daily().mask(daily() > 0.02))
    with pytest.raises(DataError, match="infinite"):
        portfolio.allocate(table({**SIX, "A": np.inf}), daily())


def test_a_fund_listed_today_has_the_past_of_its_basket(market: SyntheticMarket) -> None:
    young = market.thematic[0]
    first = int(market.prices.close[young].notna().to_numpy().argmax())
    date = pd.Timestamp(market.prices.dates[first + 1])
    baskets = market.files.baskets(market.prices, [date])
    past = basket_returns(baskets, 0, market.prices, 100)[young]
    weights = pd.Series(baskets.at(0).toarray()[baskets.etfs.index(young)], market.prices.assets)
    change = market.prices.window(date, 101).ffill().pct_change(fill_method=None).iloc[1:].fillna(0.0)
    np.testing.assert_allclose(past, change.to_numpy() @ weights.to_numpy(), atol=1e-15)
    assert past.std() > 0


@pytest.mark.parametrize(
    "options",
    [
        {"top": 0},
        {"top": 1.5},
        {"top": -1},
        {"weighting": "best"},
        {"temperature": 0.0},
        {"min_coverage": 1.5},
        {"shrink_names": -1.0},
        {"lookback": 5},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ETFPortfolio(**options)  # type: ignore[arg-type]  # wrong on purpose
