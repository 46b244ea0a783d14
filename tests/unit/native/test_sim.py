"""The typed face of the accelerator core: what it refuses, what it returns, and that a run can be stopped."""

import signal
import threading
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from shoestring.core.errors import ConfigError, DataError
from shoestring.native.sim import (
    Aggregation,
    BankTiming,
    Cache,
    CacheShape,
    Machine,
    Records,
    Round,
    Schedule,
)

MACHINE = Machine(cache=CacheShape(bytes=8192), dram=BankTiming())
RECORDS = Records(lines=1, region_lines=1)


def ring(num: int) -> Aggregation:
    indices = (np.arange(num, dtype=np.int32) + 1) % num
    return Aggregation(np.arange(num + 1, dtype=np.int64), indices.astype(np.int32), num_sources=num)


def bounds(*cuts: int) -> Schedule:
    return Schedule(bounds=np.array(cuts, np.int64))


def run(agg: Aggregation, **changes: Any) -> Round:
    given: dict[str, Any] = {
        "records": RECORDS,
        "schedule": bounds(0, agg.num_sources),
        "machine": MACHINE,
        "output_lines": 1,
        "partial_lines": 1,
    }
    return agg.run(**{**given, **changes})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CacheShape(bytes=3 << 10), r"cache\.bytes=3072.*3 sets; it must be a power of two"),
        (lambda: CacheShape(bytes=-1024), r"cache\.bytes=-1024"),
        (lambda: CacheShape(ways=17), r"cache\.ways=17 is outside 1 \.\. 16"),
        (lambda: CacheShape(line_bytes=48), r"cache\.line_bytes=48"),
        (lambda: CacheShape(policy=cast(Any, "plru")), r"cache\.policy='plru'"),
        (lambda: BankTiming(read_cycles=-1), r"dram\.read_cycles=-1 is outside"),
        (lambda: BankTiming(row_cycles=float("nan")), r"dram\.row_cycles=nan"),
        (lambda: BankTiming(burst_cycles=0), r"dram\.burst_cycles=0 must be above 0"),
        (lambda: BankTiming(channels=3), r"dram\.channels=3"),
        (lambda: BankTiming(mapping="ro-ba-ch"), r"dram\.mapping='ro-ba-ch'"),
        (lambda: BankTiming(refresh_share=1.0), r"dram\.refresh_share=1\.0"),
        (lambda: Machine(engines=0, cache=CacheShape(), dram=BankTiming()), "engines=0 is outside"),
        (lambda: Machine(queue_lines=0, cache=CacheShape(), dram=BankTiming()), "queue_lines=0"),
        (lambda: Machine(hit_cycles=-1, cache=CacheShape(), dram=BankTiming()), "hit_cycles=-1"),
    ],
)
def test_a_machine_that_cannot_be_is_refused_by_its_key(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [
        ([0, 2], [0], "indptr must rise from 0 to the number of edges, 1"),
        ([0, 2, 1, 3], [0, 1, 2], "indptr must rise"),
        ([0, 1], [4], r"indices lie in 4 \.\. 4; allowed are 0 \.\. 3"),
        ([0, 1], [-1], "indices lie in -1"),
        ([0, 2, 3], [1, 0, 0], "the sources of a vertex must rise"),
    ],
)
def test_a_graph_that_contradicts_itself_is_refused(
    indptr: list[int], indices: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Aggregation(np.array(indptr, np.int64), np.array(indices, np.int32), num_sources=4)


def test_rows_may_fall_between_vertices_but_not_inside_one() -> None:
    indptr, indices = np.array([0, 2, 2, 4], np.int64), np.array([2, 3, 0, 0], np.int32)
    assert Aggregation(indptr, indices, num_sources=4).num_edges == 4


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"schedule": bounds(0, 3)}, DataError, "bounds must rise from 0 to 4"),
        ({"schedule": bounds(0, 3, 2, 4)}, DataError, "bounds must rise"),
        ({"schedule": Schedule(bounds=np.array([0, 4]), strip=0)}, ConfigError, "strip=0"),
        (
            {"schedule": Schedule(bounds=np.array([0, 4]), order=np.zeros(4, np.int32))},
            DataError,
            "order must hold every vertex",
        ),
        ({"records": Records(lines=1)}, ConfigError, "in place .* or packed"),
        ({"records": Records(lines=3, region_lines=2)}, ConfigError, "region_lines=2 does not hold 3"),
        ({"records": Records(lines=-1, region_lines=2)}, ConfigError, r"records\.lines=-1"),
        (
            {"records": Records(lines=np.ones(3, np.uint16), region_lines=1)},
            DataError,
            r"records\.lines has shape \(3,\)",
        ),
        ({"records": Records(lines=1, offsets=np.full(4, -1))}, DataError, "lines count from 0"),
        ({"records": Records(lines=1, region_lines=2**31)}, ConfigError, "too long"),
        ({"records": Records(lines=1, region_lines=1, pointer_bytes=65)}, ConfigError, "pointer_bytes=65"),
        ({"output_lines": -1}, ConfigError, "output_lines=-1"),
        ({"edge_bytes": 5}, ConfigError, "edge_bytes=5"),
        ({"pinned": np.array([4], np.int32)}, DataError, "pinned vertices"),
    ],
)
def test_a_run_out_of_range_is_refused(changes: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        run(ring(4), **changes)


def test_an_array_of_another_type_is_refused_and_not_copied() -> None:
    records = Records(lines=np.ones(4, np.int64), region_lines=1)
    with pytest.raises(TypeError):
        run(ring(4), records=records)


def test_a_trace_holds_every_line_that_went_to_dram_by_cycle() -> None:
    agg = ring(300)
    done = run(agg, schedule=bounds(0, 150, 300), trace=True)
    assert done.trace is not None
    assert len(done.trace.line) == done.dram_lines == done.row_hits + done.row_misses
    assert done.trace.write.sum() == done.partial_write_lines + done.output_lines
    assert (np.diff(done.trace.cycle) >= 0).all()
    assert set(done.trace.line[:]) >= set(range(300))
    assert run(agg).trace is None


def test_an_empty_graph_takes_no_time() -> None:
    empty = Aggregation(np.zeros(1, np.int64), np.zeros(0, np.int32), num_sources=0)
    done = run(empty, schedule=bounds(0, 0))
    assert (done.cycles, done.accesses, done.dram_lines) == (0, 0, 0)


def test_a_run_can_be_interrupted() -> None:
    agg = Aggregation(np.array([0, 60_000_000], np.int64), np.zeros(60_000_000, np.int32), num_sources=1)
    timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(agg)
    timer.join()


def test_the_interpreter_goes_on_while_a_round_runs() -> None:
    agg = Aggregation(np.array([0, 4_000_000], np.int64), np.zeros(4_000_000, np.int32), num_sources=1)
    counted, stop = 0, threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = counted
    run(agg)
    after = counted
    stop.set()
    thread.join()
    assert after > before


def test_the_cache_stays_warm_and_refuses_lines_that_mean_empty() -> None:
    cache = Cache(CacheShape(bytes=128, ways=2))
    assert cache.access(np.array([5, 7, 5], np.uint32)).tolist() == [False, False, True]
    assert cache.access(np.array([7, 9, 5], np.uint32)).tolist() == [True, False, False]
    with pytest.raises(DataError, match="line 4294967295"):
        cache.access(np.array([2**32 - 1], np.uint32))
