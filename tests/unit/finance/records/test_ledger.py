"""Once per date: claims, order files, dead claims."""

import dataclasses
import multiprocessing as mp
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from shoestring.core.errors import ConfigError, StorageError
from shoestring.finance.records.ledger import Ledger
from shoestring.finance.records.worker import Worker

DEAD = (
    "import sys; from shoestring.finance.records.ledger import Ledger; "
    "ledger = Ledger(sys.argv[1]); claim = ledger.claim('s', '1', '2020-01-02'); "
    "{} import os; os._exit(9)"
)


def claims(folder: str) -> int:
    """Claim one date five times; how often it was won."""
    with Ledger(folder) as ledger:
        return sum(ledger.claim("s", "1", "2020-01-02") is not None for _ in range(5))


def test_one_of_forty_claims_from_eight_processes_wins(tmp_path: Path) -> None:
    with mp.get_context("fork").Pool(8) as pool:
        won = pool.map(claims, [str(tmp_path)] * 8, chunksize=1)
    assert sum(won) == 1


def test_spellings_of_a_date_are_one_date(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert ledger.claim("s", "1", pd.Timestamp("2020-01-02")) is not None
        assert ledger.claim("s", "1", "2020-01-02") is None
        assert ledger.claim("s", "1", "2020-01-02T00:00:00") is None
        assert ledger.claim("s", "2", "2020-01-02") is not None
        with pytest.raises(ConfigError, match="YYYY-MM-DD"):
            ledger.claim("s", "1", "tomorrow")


def test_orders_are_written_once_and_recorded(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        claim = ledger.claim("s", "1", "2020-01-02")
        assert claim is not None
        path = ledger.write_orders(claim, b"asset,target_weight\n")
        entry = ledger.entry("s", "1", "2020-01-02")
        assert entry is not None
        assert (entry.status, tmp_path / entry.orders) == ("written", path)
        assert path.read_bytes() == b"asset,target_weight\n"
        with pytest.raises(StorageError, match="was lost"):
            ledger.write_orders(claim, b"other")
        assert path.read_bytes() == b"asset,target_weight\n"
        assert not ledger.release("s", "1", "2020-01-02")
        assert sorted(p.name for p in path.parent.iterdir()) == ["2020-01-02.csv"]


def test_an_order_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        claim = ledger.claim("s", "1", "2020-01-02")
        assert claim is not None
        path = ledger.orders_path("s", "1", "2020-01-02")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"mine")
        with pytest.raises(StorageError, match="there already"):
            ledger.write_orders(claim, b"other")
        assert path.read_bytes() == b"mine"
        entry = ledger.entry("s", "1", "2020-01-02")
        assert entry is not None
        assert entry.status == "claimed"


def test_a_claim_that_was_released_writes_nothing(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        claim = ledger.claim("s", "1", "2020-01-02")
        assert claim is not None
        assert ledger.release("s", "1", "2020-01-02")
        with pytest.raises(StorageError, match="released"):
            ledger.write_orders(claim, b"x")
        assert not ledger.orders_path("s", "1", "2020-01-02").exists()


def test_the_claim_of_a_dead_process_is_released_by_the_sweep(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DEAD.format("pass;"), str(tmp_path)], check=False)
    with Ledger(tmp_path) as ledger:
        assert ledger.claim("s", "1", "2020-01-02") is None
        swept = ledger.sweep()
        assert [e.date for e in swept.released] == ["2020-01-02"]
        assert ledger.claim("s", "1", "2020-01-02") is not None


def test_an_order_file_that_a_dead_process_finished_counts_as_written(tmp_path: Path) -> None:
    finish = (
        "from shoestring.finance.records.ledger import _write_once; "
        "_write_once(ledger.orders_path('s', '1', '2020-01-02'), b'done');"
    )
    subprocess.run([sys.executable, "-c", DEAD.format(finish), str(tmp_path)], check=False)
    with Ledger(tmp_path) as ledger:
        swept = ledger.sweep()
        assert [e.date for e in swept.finished] == ["2020-01-02"]
        assert ledger.claim("s", "1", "2020-01-02") is None
        entry = ledger.entry("s", "1", "2020-01-02")
        assert entry is not None
        assert (entry.status, len(entry.sha256)) == ("written", 64)


def test_the_claim_of_a_living_process_stays(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.claim("s", "1", "2020-01-02")
        assert ledger.sweep().released == ()


def test_the_claim_of_another_host_is_left_and_named(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.claim("s", "1", "2020-01-02")
        ledger._db.execute("UPDATE date_run SET worker='elsewhere/boot/1/2'")
        swept = ledger.sweep()
        assert [e.worker for e in swept.left] == ["elsewhere/boot/1/2"]
        assert ledger.release("s", "1", "2020-01-02")


def test_catching_up_means_none_the_latest_or_all(tmp_path: Path) -> None:
    due = ["2020-01-02", "2020-02-03", "2020-03-02"]
    with Ledger(tmp_path) as ledger:
        ledger.claim("s", "1", due[0])
        assert ledger.missing("s", "1", due, "all") == due[1:]
        assert ledger.missing("s", "1", due, "latest") == due[2:]
        assert ledger.missing("s", "1", due, "none") == due[2:]
        ledger.claim("s", "1", due[2])
        assert ledger.missing("s", "1", due, "none") == []
        assert ledger.missing("s", "1", due, "latest") == [due[1]]


def test_a_process_that_took_over_a_number_is_another_worker() -> None:
    me = Worker.this()
    assert Worker.parse(str(me)) == me
    assert not me.is_gone()
    assert dataclasses.replace(me, start_ticks=me.start_ticks - 1).is_gone()
    assert dataclasses.replace(me, boot_id="before").is_gone()
    assert not dataclasses.replace(me, host="elsewhere", start_ticks=1).is_gone()
    assert Worker.parse("nonsense") is None
