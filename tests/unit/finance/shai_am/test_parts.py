"""Order files, records of runs, the pool, the checks that promotion reads."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, DataError, StorageError
from shoestring.finance.market.generators import gbm_panel
from shoestring.finance.running.tasks import Task
from shoestring.finance.shai_am import Platform, RunConfig
from shoestring.finance.shai_am._checking import check_strategy
from shoestring.finance.shai_am._checks import read_check, subject_of
from shoestring.finance.shai_am._data import load_data
from shoestring.finance.shai_am._metadata import Metadata
from shoestring.finance.shai_am._pool import Pool
from shoestring.finance.shai_am._reports import write_report
from shoestring.finance.shai_am._seeded import ShiftedBack
from shoestring.finance.shai_am._tasks import Reference
from shoestring.finance.shai_am.config import CheckConfig, SweepConfig
from shoestring.finance.shai_am.functional import orders_csv, read_orders
from shoestring.finance.strategies.baselines import Momentum
from shoestring.finance.strategies.interface import Sources

TASK = Task(stage="fit", name="fit 2020", key="k", ref="r", hit=False, seconds=0.5, inputs={"panel": "p"})


def test_orders_come_back_bit_for_bit_whatever_the_names() -> None:
    weights = pd.Series({"A": 0.1 + 0.2, 'B "x", y': -1 / 3, "NA": 1e-17, "none": 0.0, "nan": 0.25})
    content = orders_csv(weights)
    made = read_orders(content)
    held = weights[weights != 0]
    assert list(made.index) == list(held.index)
    assert made.to_numpy().tobytes() == held.to_numpy().tobytes()
    assert orders_csv(weights) == content
    assert float(content.decode().splitlines()[-1].partition(",")[2]) == pytest.approx(1 - held.sum())


@pytest.mark.parametrize(
    "content", [b"", b"asset,target_weight\nA,0.5\n", b"a,b\n1,2\n", b"asset,target_weight\nA,x\nCASH,1\n"]
)
def test_an_order_file_that_is_not_whole_is_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        read_orders(content)


def test_a_run_is_recorded_whole(tmp_path: Path) -> None:
    metadata = Metadata(tmp_path)
    metadata.begin("r1", "s", "1", "backtest", {"params": {"k": 1}})
    metadata.finish("r1", key="key", artifacts={"nav": "n"}, metrics={"sharpe": 0.5, "x": None}, tasks=[TASK])
    assert metadata.run("r1").status == "done"
    assert metadata.run("r").document == {"params": {"k": 1}}
    assert metadata.metrics("r1") == {"sharpe": 0.5, "x": None}
    assert metadata.artifacts("r1") == {"nav": "n"}
    assert metadata.tasks("r1") == (TASK,)
    metadata.close()


def test_runs_recorded_together_are_there_together_or_not_at_all(tmp_path: Path) -> None:
    metadata = Metadata(tmp_path)

    def broken() -> None:
        with metadata.together():
            metadata.begin("r1", "s", "1", "backtest", {})
            metadata.begin("r1", "s", "1", "backtest", {})

    with pytest.raises(Exception, match="UNIQUE"):
        broken()
    assert metadata.runs() == []
    with metadata.together():
        metadata.begin("r1", "s", "1", "backtest", {})
        metadata.begin("r2", "t", "1", "backtest", {})
    assert [row.id for row in metadata.runs("t")] == ["r2"]
    metadata.close()


def test_runs_of_dead_processes_are_marked_lost_and_living_ones_are_not(tmp_path: Path) -> None:
    metadata = Metadata(tmp_path)
    metadata.begin("mine", "s", "1", "backtest", {})
    metadata.begin("dead", "s", "1", "backtest", {})
    metadata._db.execute("UPDATE run SET worker='here/boot/1/2' WHERE id='dead'")
    metadata._db.execute("UPDATE run SET worker='nonsense' WHERE id='dead'")
    assert [row.id for row in metadata.sweep()] == ["dead"]
    assert {row.id: row.status for row in metadata.runs()} == {"mine": "running", "dead": "lost"}
    assert metadata.sweep() == []
    metadata.close()


def test_a_version_is_bound_to_its_first_code(tmp_path: Path) -> None:
    metadata = Metadata(tmp_path)
    metadata.freeze("s", "1", "a")
    metadata.freeze("s", "1", "a")
    metadata.freeze("s", "2", "b")
    with pytest.raises(ConfigError, match="another version"):
        metadata.freeze("s", "1", "b")
    metadata.close()


def double(number: int) -> int:
    return 2 * number


def die(number: int) -> None:
    os._exit(number)


def threads(_: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


def test_a_pool_gives_every_result_with_its_number_and_one_thread_each() -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    with Pool(2) as pool:
        assert sorted(pool.map(double, range(7))) == [(i, 2 * i) for i in range(7)]
        assert dict(pool.map(threads, [0])) == {0: "1"}
    assert os.environ.get("OMP_NUM_THREADS") == before


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_with_advice() -> None:
    with Pool(1) as pool, pytest.raises(StorageError, match="fewer jobs"):
        list(pool.map(die, [9]))


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(tmp_path / "ws")


def test_checks_are_stored_where_promotion_reads_them(platform: Platform) -> None:
    panel = gbm_panel(5, 400, seed=3)
    good = Momentum(lookback=40, skip=5)
    done = check_strategy(platform, good, panel, config=RunConfig(), checks=CheckConfig(dates=2))
    assert done.passed
    assert "two processes" in done.detail
    bad = check_strategy(platform, ShiftedBack(), panel, config=RunConfig(), checks=CheckConfig(dates=2))
    assert not bad.passed
    assert bad.deterministic
    data = platform.data_hash(panel)
    for name, made, expected in (
        ("look_ahead", good, True),
        ("determinism", good, True),
        ("look_ahead", ShiftedBack(), False),
    ):
        stored = read_check(platform.folder, subject_of(made), data, name)
        assert stored is not None
        assert stored.passed is expected
    assert read_check(platform.folder, subject_of(Momentum(lookback=41, skip=5)), data, "look_ahead") is None
    platform.close()


def test_a_tear_sheet_shows_the_run_beside_equal_weights_with_its_lineage(platform: Platform) -> None:
    panel = gbm_panel(5, 400, seed=3)
    made = Momentum(lookback=40, skip=5)
    run = platform.backtest(made, panel)
    path = platform.folder / "reports" / "sheet.html"
    write_report(path, [(run, made), (run, made)], panel, {"about": ["Synthetic prices."]})
    text = path.read_text()
    for word in ("momentum 1.0", "equal weight", "Synthetic prices.", run.id, run.artifacts["weights"][:12]):
        assert word in text
    platform.close()


@pytest.mark.parametrize(
    "bad", [lambda: SweepConfig(jobs=0), lambda: SweepConfig(grid={"k": ()}), lambda: CheckConfig(dates=0)]
)
def test_bad_options_are_refused(bad: object) -> None:
    with pytest.raises(ConfigError):
        bad()  # type: ignore[operator]  # a function


def test_a_reference_finds_the_same_strategy_elsewhere() -> None:
    made = Momentum(lookback=41)
    assert Reference.of(made).load() == made
    assert Reference(strategy="momentum", overrides=("lookback=41",)).load() == made


def test_a_folder_of_prices_and_tables_is_data_by_name(tmp_path: Path) -> None:
    panel = gbm_panel(3, 60, seed=1)
    (tmp_path / "prices").mkdir()
    (tmp_path / "known").mkdir()
    panel.close.to_csv(tmp_path / "prices" / "close.csv")
    days = panel.dates
    rows = pd.DataFrame(
        {"asset": panel.assets[0], "period": days[:2], "known_at": days[[5, 9]], "stars": [1.0, 2.0]}
    )
    rows.to_csv(tmp_path / "known" / "ratings.csv", index=False)
    made = load_data(str(tmp_path))
    assert isinstance(made, Sources)
    np.testing.assert_allclose(made.panel.close.to_numpy(), panel.close.to_numpy())
    assert made.known["ratings"].frame()["stars"].tolist() == [1.0, 2.0]
    (tmp_path / "known" / "broken.parquet").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"broken\.parquet"):
        load_data(str(tmp_path))
