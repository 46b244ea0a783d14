"""What the verification measures: every arm runs, all are judged alike, stand-ins of real data say so."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.recorder import NullRecorder
from shoestring.evidence.model import Context, Outcome
from shoestring.finance.etf_nn._measure import measure_arm
from shoestring.finance.etf_nn._real import basket_etfs, load_problem
from shoestring.finance.etf_nn.evidence import study
from shoestring.finance.market.statements.formats import _ANNUAL

TINY = {
    "num_firms": 60,
    "num_sectors": 4,
    "num_quarters": 16,
    "num_thematic": 4,
    "thematic_quarters": 6,
    "names_per_theme": 10,
    "file_every": 10,
    "ic": 0.2,
}
FAST = {"epochs": 2, "patience": 2}


def measure(tmp_path: Path, data: Path | None = None, **options: Any) -> Outcome:
    given = {"training": FAST, "ensemble": 2, "lrs": [3e-3], **({} if data else {"market": TINY}), **options}
    context = Context(
        options=given,
        seed=0,
        folder=tmp_path,
        prepared=None,
        data=data,
        recorder=NullRecorder(),
        report_progress=lambda _share, _word: None,
    )
    return measure_arm(context)


@pytest.mark.parametrize(
    "method",
    [
        "etf-nn",
        "etf-net",
        "ridge",
        "value",
        "quality",
        "momentum",
        "low-volatility",
        "market",
        "equal",
        "truth",
    ],
)
def test_every_arm_gives_finite_figures(tmp_path: Path, method: str) -> None:
    outcome = measure(tmp_path, method=method)
    assert all(np.isfinite(v) for v in outcome.metrics.values())
    assert "sharpe" in outcome.metrics
    assert ("rank_ic" in outcome.metrics) == (method not in ("market", "equal"))
    assert ("stock_ic" in outcome.metrics) == (method in ("etf-nn", "ridge", "value", "quality", "truth"))


def test_all_arms_are_judged_on_the_same_eligible_etfs(tmp_path: Path) -> None:
    shares = {measure(tmp_path, method=m).metrics["eligible"] for m in ("etf-nn", "etf-net", "momentum")}
    assert len(shares) == 1


def test_closeness_to_the_signal_is_1_for_the_signal_itself_and_absent_where_there_is_none(
    tmp_path: Path,
) -> None:
    truth = measure(tmp_path, method="truth").metrics
    assert truth["signal_stock"] == pytest.approx(1.0)
    assert truth["signal_etf"] == pytest.approx(1.0)
    assert "signal_stock" not in measure(tmp_path, method="momentum").metrics
    assert abs(measure(tmp_path, method="momentum").metrics["signal_etf"]) < 1
    flat = measure(tmp_path, method="value", market={**TINY, "ic": 0.0}).metrics
    assert not {"signal_stock", "signal_etf"} & set(flat)


def test_a_grid_is_chosen_on_held_out_dates_and_said(tmp_path: Path) -> None:
    outcome = measure(tmp_path, method="etf-nn", lrs=[1e-3, 1e-2])
    assert any("of 2 chosen on held-out dates" in n for n in outcome.notes)


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="method='magic'"):
        measure(tmp_path, method="magic")


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_arms_of_the_study_have_methods_and_claims_have_arms(profile: str) -> None:
    made = study(profile)  # type: ignore[arg-type]  # one of the two words
    arms = {w.name: {a.name for a in w.arms} for w in made.workloads}
    for claim in made.claims:
        names = {claim.check.arm, getattr(claim.check, "than", claim.check.arm)}
        assert names <= arms[claim.workload], claim.name
    metrics = {m.name for m in made.metrics}
    assert all(c.check.metric in metrics for c in made.claims)


def us_folder(folder: Path) -> Path:
    """Write made-up figures in the layout of the US data."""
    rng = np.random.default_rng(0)
    tickers = [f"T{i}" for i in range(12)]
    dates = pd.bdate_range("2011-06-01", "2017-12-29", name="date")
    path = np.exp(np.cumsum(0.01 * rng.normal(size=(len(dates), 12)), axis=0))
    close = pd.DataFrame(path, dates, tickers).reset_index()
    close.to_parquet(folder / "us_stocks_adjclose.parquet")
    about = pd.DataFrame({"ticker": tickers, "gics_sector": ["X"] * 6 + ["Y"] * 6})
    about = about.assign(gics_sub_industry=["a"] * 5 + ["b"] * 7)
    about.to_csv(folder / "sp500_2016_sectors.csv", index=False)
    years = [f"12/31/{y}" for y in range(2011, 2017)]
    rows = pd.DataFrame([(t, y) for t in tickers for y in years], columns=["Ticker Symbol", "Period Ending"])
    for name in _ANNUAL:
        rows[name] = rng.uniform(1, 2, len(rows))
    rows.to_csv(folder / "nyse_annual_fundamentals_2012_2016.csv.gz", index=False)
    return folder


def test_real_statements_run_on_stand_in_baskets_and_the_notes_say_so(tmp_path: Path) -> None:
    outcome = measure(tmp_path, us_folder(tmp_path), method="ridge", set="annual")
    assert any("deposit files are synthetic" in n for n in outcome.notes)
    assert np.isfinite(outcome.metrics["rank_ic"])
    assert outcome.metrics["eligible"] > 50


def test_baskets_are_equal_weights_at_a_quarters_start_and_then_drift() -> None:
    dates = pd.bdate_range("2020-01-01", "2020-06-30")
    close = pd.DataFrame({"A": np.linspace(10, 20, len(dates)), "B": 5.0}, dates)
    funds, files = basket_etfs(close, {"both": ["A", "B"]})
    half = dates.get_loc(pd.Timestamp("2020-03-31"))
    want = 25 * (0.5 * close["A"].iloc[half] / close["A"].iloc[0] + 0.5)
    assert funds["both"].iloc[half] == pytest.approx(want)
    first = files[files["date"] == dates[0]].set_index("ticker")["shares"]
    assert first["A"] * 10 == pytest.approx(first["B"] * 5)
    assert files["date"].nunique() == 6  # one a month


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no file"):
        load_problem("annual", tmp_path)
    with pytest.raises(ConfigError, match="'monthly'"):
        load_problem("monthly", tmp_path)
