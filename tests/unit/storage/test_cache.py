"""The cache evicts by its policy, writes what is dirty and alive, and never passes its budget."""

from collections.abc import Callable

import pytest

from shoestring.storage import DEAD, Budget, BudgetExceeded, CachePolicy, Key, PartitionCache, PartitionFiles

PAGE = 4096
PARTS = 6


def key(part: int, kind: str = "act") -> Key:
    return Key(kind, 1, part)


def make(
    files: PartitionFiles,
    rooms: int,
    *,
    policy: CachePolicy = "lru",
    next_use: Callable[[Key], int] = lambda k: 100 + k.part,
    whole_layers: bool = False,
) -> PartitionCache:
    """A cache of `rooms` partitions over files with six pages, page p full of p."""
    files.create("act", 1, [PAGE] * PARTS)
    files.create("grad", 1, [PAGE] * PARTS)
    buffer = files.engine.buffer(PAGE)
    for part in range(PARTS):
        buffer.array[:] = part
        files.write(key(part), buffer, version=1, link="host-storage", what="act").result()
    budget = Budget("host", rooms * PAGE)
    return PartitionCache(
        files, budget, policy=policy, next_use=next_use, now=lambda: 0, whole_layers=whole_layers
    )


def touch(cache: PartitionCache, part: int) -> int:
    entry = cache.get(key(part), version=1, what="act")
    value = int(entry.data[0])
    cache.unpin(entry)
    return value


def held(cache: PartitionCache) -> list[int]:
    return [p for p in range(PARTS) if key(p) in cache]


def test_content_survives_any_number_of_evictions(files: PartitionFiles) -> None:
    cache = make(files, 2)
    for part in [0, 1, 2, 3, 0, 1, 5, 4, 0]:
        assert touch(cache, part) == part
    assert len(cache) == 2


def test_lru_evicts_what_was_not_used_for_longest(files: PartitionFiles) -> None:
    cache = make(files, 3)
    for part in (0, 1, 2, 0, 3):
        touch(cache, part)
    assert held(cache) == [0, 2, 3]


def test_min_evicts_what_is_used_last(files: PartitionFiles) -> None:
    cache = make(files, 3, policy="min", next_use=lambda k: {0: 5, 1: 50, 2: 9}.get(k.part, 20))
    for part in (0, 1, 2, 3):
        touch(cache, part)
    assert held(cache) == [0, 2, 3]


def test_what_the_step_still_needs_goes_last(files: PartitionFiles) -> None:
    cache = make(files, 2, next_use=lambda k: 0 if k.part == 0 else 10)
    for part in (0, 1, 2):
        touch(cache, part)
    assert held(cache) == [0, 2]


def test_a_dirty_victim_is_written_and_read_back(files: PartitionFiles) -> None:
    cache = make(files, 1)
    entry = cache.create(key(3, "grad"), version=7)
    entry.data.fill_(42)
    cache.unpin(entry)
    touch(cache, 0)
    assert files.version(key(3, "grad")) == 7
    again = cache.get(key(3, "grad"), version=7, what="grad")
    assert set(again.data.tolist()) == {42}


def test_a_dead_entry_is_dropped_first_and_never_written(files: PartitionFiles) -> None:
    cache = make(files, 2, next_use=lambda k: DEAD if k.kind == "grad" else 10)
    touch(cache, 0)
    entry = cache.create(key(3, "grad"), version=7)
    cache.unpin(entry)
    touch(cache, 1)
    assert held(cache) == [0, 1]
    assert files.version(key(3, "grad")) == -2
    cache.drop_dead()
    assert held(cache) == [0, 1]


def test_pinned_entries_stay_and_a_full_cache_says_so(files: PartitionFiles) -> None:
    cache = make(files, 2)
    for part in (0, 1):
        cache.get(key(part), version=1, what="act")
    with pytest.raises(BudgetExceeded, match="act of layer 1, partition 2"):
        cache.get(key(2), version=1, what="act")
    assert held(cache) == [0, 1]


def test_whole_layers_leave_together(files: PartitionFiles) -> None:
    cache = make(files, 4, whole_layers=True)
    files.create("act", 2, [PAGE] * PARTS)
    for part in (0, 1, 2):
        touch(cache, part)
    for part in (0, 1):
        cache.unpin(cache.create(Key("act", 2, part), version=1))
    assert held(cache) == []
    assert len(cache) == 2


def test_a_prefetch_counts_as_a_miss_once_and_evicts_nothing_that_comes_earlier(
    files: PartitionFiles,
) -> None:
    cache = make(files, 2)
    assert cache.prefetch(key(4), version=1, what="act", spare_bytes=0)
    assert touch(cache, 4) == 4
    assert touch(cache, 4) == 4
    assert (files.ledger.hits, files.ledger.misses) == (1, 1)
    touch(cache, 0)
    assert not cache.prefetch(key(5), version=1, what="act", spare_bytes=0)
    assert not make_room_needed(cache)
    assert held(cache) == [0, 4]


def make_room_needed(cache: PartitionCache) -> bool:
    return len(cache) != 2


def test_a_flush_writes_and_forgets(files: PartitionFiles) -> None:
    cache = make(files, 3)
    for part in (0, 1):
        cache.unpin(cache.create(key(part, "grad"), version=2))
    cache.flush("grad", 1, keep=True)
    assert len(cache) == 2
    cache.flush("grad", 1, keep=False)
    assert len(cache) == 0
    assert files.version(key(1, "grad")) == 2
    cache.clear()
