"""The workspace: backtests, sweeps, live dates, lineage; here, in processes, in another interpreter."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError, StorageError
from shoestring.finance.backtest.costs import Costs
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.market.known import KnownTable
from shoestring.finance.market.panel import PricePanel
from shoestring.finance.running.run import run_strategy
from shoestring.finance.shai_am import Platform, RunConfig, SweepConfig
from shoestring.finance.shai_am._tasks import Reference
from shoestring.finance.strategies.baselines import EqualWeight, Momentum
from shoestring.finance.strategies.interface import Context, DataView, Sources, Strategy, strategy, top_k

FILE = """
import pandas as pd
from shoestring.finance.strategies.interface import Strategy, strategy, top_k

@strategy(name="mine", version="1")
class Mine(Strategy):
    k: int = 2
    def on_rebalance(self, ctx, data):
        return top_k(data.prices(lookback=30).iloc[-1], self.k).equal_weight()
"""
CONFIG = RunConfig(start="2000-06-01", costs=Costs(commission_bps=5.0))
MINE = Momentum(lookback=60, skip=5, share=0.4)


@pytest.fixture(scope="module")
def panel() -> PricePanel:
    return gbm_panel(5, 560, seed=8)


@pytest.fixture
def platform(tmp_path: Path) -> Any:
    with Platform(tmp_path / "ws") as made:
        yield made


def test_a_backtest_is_kept_and_found_again_with_the_same_refs(platform: Platform, panel: PricePanel) -> None:
    first = platform.backtest(MINE, panel, config=CONFIG)
    second = platform.backtest(MINE, panel, config=CONFIG)
    assert first.hits == 0
    assert second.hits == len(second.tasks) == len(first.tasks)
    assert dict(first.artifacts) == dict(second.artifacts)
    assert first.metrics == second.metrics
    assert first.id != second.id
    assert [row.status for row in platform.metadata.runs()] == ["done", "done"]


def test_weights_and_value_are_those_of_the_core(platform: Platform, panel: PricePanel) -> None:
    run = platform.backtest(MINE, panel, config=CONFIG)
    weights = run_strategy(MINE, panel, "2000-06-01")
    assert run.weights.to_numpy().tobytes() == weights.to_numpy().tobytes()
    assert run.nav.index[0] == pd.Timestamp("2000-06-01")
    assert run.metrics["rebalances"] == len(weights)


def test_costs_and_lag_change_the_value_and_reuse_the_decisions(
    platform: Platform, panel: PricePanel
) -> None:
    cheap = platform.backtest(MINE, panel, config=RunConfig(start="2000-06-01"))
    dear = platform.backtest(MINE, panel, config=CONFIG)
    late = platform.backtest(MINE, panel, config=RunConfig(start="2000-06-01", lag=1))
    assert cheap.nav.iloc[-1] > dear.nav.iloc[-1]
    assert dear.artifacts["weights"] == late.artifacts["weights"] == cheap.artifacts["weights"]
    assert {t.stage for t in dear.tasks if not t.hit} == {"simulate"}
    assert late.artifacts["nav"] != cheap.artifacts["nav"]


def test_a_process_and_another_interpreter_give_the_same_hashes(panel: PricePanel, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    reference = str(tmp_path / "mine.py")
    refs = []
    for name, options in {
        "inproc": {},
        "process": {"executor": "process"},
        "interpreter": {"environment": sys.prefix},
    }.items():
        with Platform(tmp_path / name) as platform:
            run = platform.backtest(reference, panel, config=CONFIG, **options)  # type: ignore[arg-type]  # one option each
            assert run.strategy == "mine"
            refs.append(dict(run.artifacts))
    assert refs[0] == refs[1] == refs[2]


@pytest.mark.slow
def test_a_strategy_names_its_environment_itself(
    platform: Platform, panel: PricePanel, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE.replace('version="1"', f'version="1", environment="{sys.prefix}"'))
    assert platform.backtest(str(path), panel, config=CONFIG).metrics["rebalances"]
    path.write_text(FILE.replace('version="1"', f'version="1", environment="{tmp_path}/nowhere"'))
    with pytest.raises(ConfigError, match="no interpreter"):
        platform.backtest(str(path), panel, config=CONFIG)


@pytest.mark.slow
def test_an_error_elsewhere_comes_back_as_its_message(
    platform: Platform, panel: PricePanel, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(FILE.replace("lookback=30", "lookback=3000"))
    with pytest.raises(ConfigError, match="decided on none"):
        platform.backtest(str(tmp_path / "mine.py"), panel, environment=sys.prefix)


@strategy(name="tabled", version="1", data=["ratings"])
class Tabled(Strategy):
    """Uses a point-in-time table, its own by default."""

    def sources(self, data: str) -> Sources | None:
        if data:
            return None
        panel = gbm_panel(4, 300, seed=9)
        return Sources(panel=panel, known={"ratings": ratings(panel)}, name="own", about=("Synthetic.",))

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        stars = data.known("ratings").latest(ctx.as_of)["stars"]
        return top_k(stars.reindex(list(data.assets)), 1).equal_weight()


def ratings(panel: PricePanel) -> KnownTable:
    days = panel.dates
    rows = {
        "asset": panel.assets[:2],
        "period": days[[1, 1]],
        "known_at": days[[5, 100]],
        "stars": [1.0, 2.0],
    }
    return KnownTable.from_frame(pd.DataFrame(rows))


def test_a_strategy_brings_its_own_data(platform: Platform) -> None:
    run = platform.backtest(Tabled())
    assert run.document["data"]["name"] == "own"
    assert run.weights.iloc[-1].idxmax() == "A1"
    assert "known.ratings" in str(list(run.lineage("weights").lines()))


def test_what_was_refused_is_recorded_as_failed(platform: Platform, panel: PricePanel) -> None:
    with pytest.raises(DataError, match="decided on none"):
        platform.backtest(Momentum(lookback=5000), panel)
    (row,) = platform.metadata.runs()
    assert row.status == "failed"
    assert "decided on none" in row.error


@pytest.mark.parametrize("executor", ["inproc", "process"])
def test_a_sweep_runs_every_combination_once(panel: PricePanel, tmp_path: Path, executor: Any) -> None:
    grid = SweepConfig(grid={"lookback": (30, 60), "share": (0.2, 0.4)}, jobs=2)
    with Platform(tmp_path / "ws") as platform:
        base = Momentum(skip=5)
        runs = platform.sweep(base, grid, panel, config=CONFIG, executor=executor)
        again = platform.sweep(base, grid, panel, config=CONFIG, executor=executor)
        alone = platform.backtest(Momentum(skip=5, lookback=60, share=0.2), panel, config=CONFIG)
    params = [(r.document["params"]["lookback"], r.document["params"]["share"]) for r in runs]
    assert params == [(30, 0.2), (30, 0.4), (60, 0.2), (60, 0.4)]
    assert len({r.artifacts["nav"] for r in runs}) == 4
    assert [dict(r.artifacts) for r in again] == [dict(r.artifacts) for r in runs]
    assert all(r.hits == len(r.tasks) for r in again)
    assert dict(alone.artifacts) == dict(runs[2].artifacts)


@pytest.mark.slow
def test_a_sweep_on_ray_is_found_again_without_ray(panel: PricePanel, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    grid = SweepConfig(grid={"lookback": (30, 60)}, jobs=2)
    with Platform(tmp_path / "ws") as platform:
        runs = platform.sweep(Momentum(skip=5), grid, panel, config=CONFIG, executor="ray")
        again = platform.sweep(Momentum(skip=5), grid, panel, config=CONFIG)
    assert all(r.hits == len(r.tasks) for r in again)
    assert [dict(r.artifacts) for r in runs] == [dict(r.artifacts) for r in again]


def test_a_sweep_of_a_parameter_that_is_not_there_is_refused(platform: Platform, panel: PricePanel) -> None:
    with pytest.raises(ConfigError, match="lookbak"):
        platform.sweep("momentum", SweepConfig(grid={"lookbak": (1,)}), panel)


def test_a_class_of_a_session_cannot_travel_and_says_so() -> None:
    @strategy(name="local", version="1")
    class Local(Strategy):
        def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]": ...  # type: ignore[empty-body]  # never runs

    with pytest.raises(ConfigError, match="write it into a file"):
        Reference.of(Local())


@strategy(name="told", version="1")
class Told(Strategy):
    """Holds everything; its own figure is its parameter."""

    figure: float = 1.0

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        del ctx
        return pd.Series(0.1, index=list(data.assets))

    def report(self, ctx: Context, backtest: Any) -> dict[str, float]:
        del ctx, backtest
        return {"figure": self.figure}


def test_a_strategys_own_figures_are_those_of_its_parameters(platform: Platform, panel: PricePanel) -> None:
    one, two = (platform.backtest(Told(figure=figure), panel) for figure in (1.0, 2.0))
    assert one.artifacts["weights"] == two.artifacts["weights"]
    assert (one.metrics["figure"], two.metrics["figure"]) == (1.0, 2.0)


def test_another_refit_rule_in_a_file_is_another_backtest(
    platform: Platform, panel: PricePanel, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    text = "name: mine\nversion: '1'\nfeatures: {m: {kind: momentum, lookback: 30, skip: 1}}\n"
    weights = {}
    for refit in ("BYS", "BMS"):
        path.write_text(f"{text}model: {{kind: ridge}}\nrefit: {refit}\n")
        weights[refit] = platform.backtest(str(path), panel).artifacts["weights"]
    assert weights["BYS"] != weights["BMS"]


def test_a_live_date_is_the_backtests_row_and_runs_once(platform: Platform, panel: PricePanel) -> None:
    weights = platform.backtest(MINE, panel).weights
    date = str(weights.index[7].date())
    first = platform.live(MINE, date, panel)
    before = first.orders.stat().st_mtime_ns
    second = platform.live(MINE, date, panel)
    assert (first.again, second.again) == (False, True)
    assert first.orders.stat().st_mtime_ns == before
    row = weights.iloc[7]
    held = row[row != 0]
    assert list(first.weights.index) == list(held.index)
    assert first.weights.to_numpy().tobytes() == held.to_numpy().tobytes()


def test_a_live_date_that_fails_can_run_again(platform: Platform, panel: PricePanel) -> None:
    with pytest.raises(ConfigError, match="not due"):
        platform.live(MINE, "2001-03-14", panel)
    assert platform.ledger.entry("momentum", "1.0", "2001-03-14") is None
    assert not list(platform.folder.glob("orders/**/*.csv"))


def test_a_live_date_that_failed_binds_no_code(platform: Platform, panel: PricePanel, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    with pytest.raises(ConfigError, match="not due"):
        platform.live(str(path), "2001-03-14", panel)
    path.write_text(FILE.replace("lookback=30", "lookback=31"))
    assert not platform.live(str(path), "2001-03-01", panel).again


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_an_order_file_that_is_not_what_was_written_is_refused(
    platform: Platform, panel: PricePanel, damage: str
) -> None:
    orders = platform.live(MINE, "2001-03-01", panel).orders
    if damage == "gone":
        orders.unlink()
    else:
        orders.write_text("asset,target_weight\nCASH,1.0\n")  # whole, and not what was decided
    with pytest.raises(StorageError, match="estore it from a copy"):
        platform.live(MINE, "2001-03-01", panel)


def test_a_live_date_is_one_date_however_it_is_written(platform: Platform, panel: PricePanel) -> None:
    first = platform.live(MINE, "20010301", panel)
    assert first.date == "2001-03-01"
    assert platform.live(MINE, "2001-03-01", panel).again
    with pytest.raises(ConfigError, match="is no date"):
        platform.live(MINE, "2001-04-02x", panel)


def test_a_date_that_another_process_holds_is_refused(platform: Platform, panel: PricePanel) -> None:
    platform.ledger.claim("momentum", "1.0", "2001-03-01")
    with pytest.raises(StorageError, match="is being run by"):
        platform.live(MINE, "2001-03-01", panel)


def test_code_that_ran_live_is_bound_to_its_version(
    platform: Platform, panel: PricePanel, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    platform.live(str(path), "2001-03-01", panel)
    path.write_text(FILE.replace("lookback=30", "lookback=31"))
    with pytest.raises(ConfigError, match="another version"):
        platform.live(str(path), "2001-04-02", panel)
    with pytest.raises(ConfigError, match="another version"):
        platform.backtest(str(path), panel)
    path.write_text(FILE.replace("lookback=30", "lookback=31").replace('version="1"', 'version="2"'))
    platform.live(str(path), "2001-04-02", panel)


def test_the_last_session_is_due_or_not(platform: Platform, panel: PricePanel) -> None:
    assert platform.last_due(MINE, panel) is None
    first = panel.cut("2001-03-01")
    assert platform.last_due(MINE, first) == "2001-03-01"


def test_a_number_leads_back_to_data_and_code(platform: Platform, panel: PricePanel) -> None:
    run = platform.backtest(MINE, panel, config=CONFIG)
    origin = run.lineage("nav")
    assert origin.ref == run.artifacts["nav"]
    (booked,) = origin.inputs
    assert booked.stage == "simulate"
    folds = [o for o in booked.inputs if o.stage == "weights"]
    assert len(folds) == sum(t.stage == "weights" for t in run.tasks) > 1
    for fold in folds:
        assert fold.document is not None
        assert len(fold.document["code"]) == 64
        assert [o.name for o in fold.inputs] == ["panel prices given"]
        assert len(fold.inputs[0].ref) == 64
    assert run.lineage("sharpe").name.startswith("sharpe = ")
    assert origin.as_dict()["inputs"][0]["document"]["environment"] == booked.document["environment"]  # type: ignore[index]  # a task has one
    with pytest.raises(ConfigError, match="did you mean 'nav'"):
        run.lineage("nva")


def test_runs_are_read_back_and_compared(platform: Platform, panel: PricePanel) -> None:
    one = platform.backtest(MINE, panel, config=CONFIG)
    two = platform.backtest(EqualWeight(), panel, config=CONFIG)
    assert platform.run(one.id).tasks == one.tasks
    assert dict(platform.run(two.id).artifacts) == dict(two.artifacts)
    table = platform.compare([one, two.id])
    assert list(table.T["sharpe"]) == [one.metrics["sharpe"], two.metrics["sharpe"]]
    with pytest.raises(DataError, match="begin with"):
        platform.run("2")


def test_a_figure_that_is_not_defined_is_none(platform: Platform) -> None:
    index = pd.bdate_range("2000-01-03", periods=60)
    flat = PricePanel.from_frame(pd.DataFrame(1.0, index=index, columns=["a"]))
    run = platform.backtest(EqualWeight(), flat)
    assert run.metrics["sharpe"] is None
    assert run.nav.iloc[-1] == 1.0


@pytest.mark.parametrize(
    "bad",
    [
        {"lag": -1},
        {"seed": -1},
        {"start": "2020", "end": "2019"},
        {"start": "soon"},
    ],
)
def test_bad_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        RunConfig(**bad)


def test_a_year_means_its_first_and_last_day() -> None:
    assert (RunConfig(start="2001", end="2001").start, RunConfig(end="2001").end) == (
        "2001-01-01",
        "2001-12-31",
    )
