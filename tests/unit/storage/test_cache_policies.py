"""The cache's policies on sequences of demands, against Belady's count."""

import random
from pathlib import Path
from typing import Literal

from shoestring.native.io import Engine
from shoestring.storage import DEAD, PAGE, Budget, Key, Ledger, PartitionCache, PartitionFiles


def put(files: PartitionFiles, part: int, version: int, value: int) -> None:
    key = Key("act", 1, part)
    buffer = files.engine.buffer(max(files.nbytes(key), 1))
    buffer.array[:] = value
    files.write(key, buffer, version=version, link="device-storage", what="act").result()
    buffer.release()


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
