"""Partition files and the host cache: versions, evictions, policies, prefetch."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch

from shoestring.core.errors import StorageError
from shoestring.native.io import Engine
from shoestring.storage import (
    DEAD,
    PAGE,
    Budget,
    BudgetExceeded,
    Key,
    Ledger,
    PartitionCache,
    PartitionFiles,
    round_up,
)

SIZES = [5000, 4096, 0, 100, 9000]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[PartitionFiles]:
    with Engine() as engine:
        made = PartitionFiles(engine, tmp_path, Ledger())
        made.create("act", 1, SIZES)
        yield made
        made.close()


def put(files: PartitionFiles, part: int, version: int, value: int) -> None:
    key = Key("act", 1, part)
    buffer = files.engine.buffer(max(files.nbytes(key), 1))
    buffer.array[:] = value
    files.write(key, buffer, version=version, link="device-storage", what="act").result()
    buffer.release()


def make_cache(
    files: PartitionFiles,
    pages: int,
    policy: Literal["lru", "min"] = "lru",
    next_use: Callable[[Key], int] = lambda _: 1,
) -> PartitionCache:
    return PartitionCache(files, Budget("host", pages * PAGE), policy=policy, next_use=next_use)


def test_partitions_do_not_touch_each_other(files: PartitionFiles) -> None:
    for part in range(5):
        put(files, part, 1, part + 1)
    for part, size in enumerate(SIZES):
        buffer = files.engine.buffer(max(size, 1))
        got = files.read(Key("act", 1, part), buffer, version=1, link="host-storage", what="act").result()
        assert got == size
        assert (buffer.array[:size] == part + 1).all()
        buffer.release()
    assert files.ledger.storage_read_bytes == sum(round_up(s) for s in SIZES)
    assert files.ledger.storage_write_bytes == sum(round_up(s) for s in SIZES)


def test_data_of_another_epoch_are_never_read(files: PartitionFiles) -> None:
    buffer = files.engine.buffer(5000)
    with pytest.raises(StorageError, match="version -2, version 1"):
        files.read(Key("act", 1, 0), buffer, version=1, link="host-storage", what="act")
    put(files, 0, 1, 1)
    with pytest.raises(StorageError, match="version 1, version 2"):
        files.read(Key("act", 1, 0), buffer, version=2, link="host-storage", what="act")
    buffer.release()


def test_a_file_cut_short_is_refused(files: PartitionFiles, tmp_path: Path) -> None:
    (tmp_path / "short.bin").write_bytes(b"x" * 4096)
    with pytest.raises(StorageError, match="cut short"):
        files.attach("features", 0, tmp_path / "short.bin", SIZES)


def test_single_pages_are_read_in_their_order(files: PartitionFiles) -> None:
    key = Key("act", 1, 4)
    buffer = files.engine.buffer(9000)
    buffer.array[:] = torch.arange(len(buffer.array)).div(PAGE, rounding_mode="floor").to(torch.uint8).numpy()
    files.write(key, buffer, version=3, link="device-storage", what="act").result()
    pages = torch.tensor([2, 0]).numpy()
    small = files.engine.buffer(2 * PAGE)
    files.read_pages(key, pages, small, version=3, link="host-storage", what="act pages").result()
    assert (small.array[0], small.array[PAGE]) == (2, 0)
    buffer.release()
    small.release()


def test_a_dirty_victim_is_written_and_comes_back(files: PartitionFiles) -> None:
    cache = make_cache(files, pages=2)
    entry = cache.create(Key("act", 1, 0), version=1)
    entry.data.fill_(42)
    cache.unpin(entry)
    cache.unpin(cache.create(Key("act", 1, 1), version=1))  # does not fit beside it
    assert Key("act", 1, 0) not in cache
    again = cache.get(Key("act", 1, 0), version=1, what="act")
    assert bool((again.data == 42).all())
    cache.unpin(again)
    assert files.ledger.evictions == 2
    cache.clear()


def test_what_is_pinned_stays(files: PartitionFiles) -> None:
    cache = make_cache(files, pages=2)
    cache.create(Key("act", 1, 0), version=1)
    with pytest.raises(BudgetExceeded, match="partition 1 asked for"):
        cache.create(Key("act", 1, 1), version=1)
    cache.clear()


def test_a_dead_victim_is_dropped_unwritten(files: PartitionFiles) -> None:
    cache = make_cache(files, pages=2, next_use=lambda _: DEAD)
    cache.unpin(cache.create(Key("act", 1, 0), version=1))
    cache.unpin(cache.create(Key("act", 1, 1), version=1))
    assert files.ledger.storage_write_bytes == 0
    cache.drop_dead()
    assert len(cache) == 0


def test_a_prefetch_never_costs_a_live_entry(files: PartitionFiles) -> None:
    for part in (0, 1, 3):
        put(files, part, 1, part)
    uses = {0: 1, 1: 5, 3: 3}
    cache = make_cache(files, pages=3, next_use=lambda key: uses[key.part])
    cache.unpin(cache.get(Key("act", 1, 0), version=1, what="act"))  # two pages, needed at 1
    assert cache.prefetch(Key("act", 1, 3), version=1, what="act", spare_bytes=0)
    assert not cache.prefetch(Key("act", 1, 1), version=1, what="act", spare_bytes=0)
    assert Key("act", 1, 0) in cache
    entry = cache.get(Key("act", 1, 3), version=1, what="act")
    assert bool((entry.data == 3).all())
    cache.unpin(entry)
    assert files.ledger.hits == 0  # what was prefetched was read all the same
    cache.clear()


def misses(folder: Path, accesses: list[int], slots: int, policy: Literal["lru", "min"]) -> int:
    """Run a sequence of demands over single-page partitions; count the reads."""
    place = 0

    def next_use(key: Key) -> int:
        later = [i for i in range(place + 1, len(accesses)) if accesses[i] == key.part]
        return later[0] if later else DEAD

    with Engine() as engine:
        files = PartitionFiles(engine, folder, Ledger())
        files.create("act", 1, [PAGE] * 8)
        for part in range(8):
            put(files, part, 1, part)
        cache = PartitionCache(
            files, Budget("host", slots * PAGE), policy=policy, next_use=next_use, now=lambda: place
        )
        for place, part in enumerate(accesses):  # noqa: B007  # next_use looks at it
            entry = cache.get(Key("act", 1, part), version=1, what="act")
            assert bool((entry.data == part).all())
            cache.unpin(entry)
        reads = files.ledger.misses
        cache.clear()
        files.close()
    return reads


def belady(accesses: list[int], slots: int) -> int:
    held: set[int] = set()
    reads = 0
    for i, part in enumerate(accesses):
        if part in held:
            continue
        reads += 1
        if len(held) == slots:
            rest = accesses[i + 1 :]
            held.remove(max(held, key=lambda p: rest.index(p) if p in rest else len(accesses)))
        held.add(part)
    return reads


def test_the_next_use_policy_reads_as_little_as_beladys(tmp_path: Path) -> None:
    rng = random.Random(0)
    for trial in range(5):
        accesses = [rng.randrange(8) for _ in range(60)]
        folder = tmp_path / str(trial)
        folder.mkdir()
        best = misses(folder, accesses, 3, "min")
        assert best == belady(accesses, 3)
        assert best <= misses(folder, accesses, 3, "lru")


def test_lru_thrashes_on_a_cycle_one_longer_than_the_cache(tmp_path: Path) -> None:
    accesses = [0, 1, 2, 3] * 6
    (tmp_path / "lru").mkdir()
    (tmp_path / "min").mkdir()
    # In the last round, what is not needed again leaves first.
    assert misses(tmp_path / "lru", accesses, 3, "lru") >= 22
    assert misses(tmp_path / "min", accesses, 3, "min") < 14
