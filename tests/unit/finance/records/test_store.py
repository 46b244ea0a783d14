"""Results by content: written once, found again, checked on reading, refused when they could be code."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from shoestring.core.errors import DataError, StorageError
from shoestring.finance.records.store import Store, task_document

FRAME = pd.DataFrame(
    {"a": [1.0, np.nan], "b": [0.1, -0.0]}, index=pd.DatetimeIndex(["2020-01-01", "2020-01-02"], name="date")
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def document(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"code": "c", "params": {"k": 1}, "inputs": {"panel": "p"}, "seed": 0}
    return task_document("stage", **{**given, **changes})


@pytest.mark.parametrize("value", [None, 3, [1, "a"], {"x": {"y": 0.5}}, b"\x00orders", "text"])
def test_plain_values_come_back(store: Store, value: Any) -> None:
    assert store.get(store.put(value)) == value


def test_tables_come_back_bit_for_bit(store: Store) -> None:
    made = store.get(store.put(FRAME))
    pd.testing.assert_frame_equal(made, FRAME, check_freq=False)
    assert made.to_numpy().tobytes() == FRAME.to_numpy().tobytes()


def test_series_come_back_with_their_name(store: Store) -> None:
    made = store.get(store.put(FRAME["b"]))
    assert made.name == "b"
    assert made.tolist() == FRAME["b"].tolist()


def test_states_of_arrays_and_tensors_come_back(store: Store) -> None:
    state = {
        "w": np.arange(6.0).reshape(2, 3).T,
        "layers": [{"bias": torch.ones(2, dtype=torch.float32)}, {"scalar": np.array(3)}],
        "columns": ["a", "b"],
        "level": 0.25,
        "flag": np.array([True, False]),
    }
    made = store.get(store.put(state))
    assert (made["w"] == state["w"]).all()
    assert made["layers"][0]["bias"].dtype == np.float32
    assert made["layers"][1]["scalar"].shape == ()
    assert (made["columns"], made["level"]) == (["a", "b"], 0.25)
    assert made["flag"].dtype == bool


@pytest.mark.parametrize(
    "bad",
    [object(), {"f": lambda: 0}, {"t": np.array(["x"])}, {"x": float("nan")}, {"$array": 1}, {"s": {1, 2}}],
)
def test_what_has_no_safe_format_is_refused(store: Store, bad: Any) -> None:
    with pytest.raises(DataError):
        store.put(bad)
    assert not list(store.folder.glob("obj/*/*"))


def test_the_same_value_has_the_same_ref_and_one_file(store: Store) -> None:
    assert store.put(FRAME) == store.put(FRAME.copy())
    assert store.put({"b": 1, "a": 2}) == store.put({"a": 2.0, "b": 1.0})
    assert len(list(store.folder.glob("obj/*/*"))) == 2


def test_a_task_runs_once(store: Store) -> None:
    calls = []

    def compute() -> dict[str, int]:
        calls.append(1)
        return {"x": 1}

    first = store.cached(document(), compute)
    second = store.cached(document(), compute)
    assert (first.hit, second.hit, len(calls)) == (False, True, 1)
    assert (first.key, first.ref) == (second.key, second.ref)
    assert store.document(first.key)["params"] == {"k": 1}


@pytest.mark.parametrize(
    "change", [{"code": "d"}, {"params": {"k": 2}}, {"inputs": {"panel": "q"}}, {"seed": 1}, {"inputs": {}}]
)
def test_everything_that_decides_a_result_is_part_of_its_key(store: Store, change: dict[str, Any]) -> None:
    one = store.cached(document(), lambda: 1)
    assert store.cached(document(**change), lambda: 1).key != one.key


def test_a_task_that_fails_leaves_nothing(store: Store) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.cached(document(), fail)
    assert store.find(document()) is None


def test_a_damaged_object_is_refused_removed_and_made_again(store: Store) -> None:
    made = store.cached(document(), lambda: FRAME)
    path = store.path(made.ref)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StorageError, match="was damaged"):
        store.get(made.ref)
    assert not store.cached(document(), lambda: FRAME).hit
    pd.testing.assert_frame_equal(store.get(made.ref), FRAME, check_freq=False)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"document": {}, "ref": "x", "seconds": 1}', b"null"])
def test_a_damaged_key_counts_as_absent(store: Store, text: bytes) -> None:
    made = store.cached(document(), lambda: 1)
    (path,) = store.folder.glob("key/*/*.json")
    path.write_bytes(text)
    assert store.find(document()) is None
    assert store.cached(document(), lambda: 1).ref == made.ref


def test_a_key_of_a_missing_object_is_no_hit(store: Store) -> None:
    made = store.cached(document(), lambda: 1)
    store.path(made.ref).unlink()
    assert store.find(document()) is None
    with pytest.raises(StorageError, match="run again"):
        store.get(made.ref)


@pytest.mark.parametrize(
    "ref", ["", "abc", "../../etc/passwd", "0" * 64, "g" * 64 + ".json", "0" * 64 + ".a/b"]
)
def test_a_text_that_is_no_ref_never_becomes_a_path(store: Store, ref: str) -> None:
    with pytest.raises(DataError):
        store.path(ref)


def test_an_object_of_an_unknown_kind_is_refused(store: Store) -> None:
    ref = store.put(1)
    other = store.path(ref).with_suffix(".pickle")
    store.path(ref).rename(other)
    with pytest.raises(StorageError, match="pickle"):
        store.get(other.name)


def test_old_temporary_files_are_collected_and_young_ones_stay(store: Store) -> None:
    ref = store.put(1)
    folder = store.path(ref).parent
    old, young = folder / ".x.1.tmp", folder / ".y.2.tmp"
    old.write_bytes(b"12345")
    young.write_bytes(b"1")
    then = time.time() - 7200
    os.utime(old, (then, then))
    collected = store.collect(3600)
    assert (collected.files, collected.bytes) == (1, 5)
    assert young.exists()
    assert store.get(ref) == 1


def test_a_folder_that_cannot_be_written_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StorageError):
        Store(tmp_path / "store").put(1)


FULL = (
    "import resource, signal, sys; from shoestring.core.errors import StorageError; "
    "from shoestring.finance.records.store import Store; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); store = Store(sys.argv[1]); "
    "store.put(b'x' * 4000)\n"
    "try: store.put(b'y' * 6000)\n"
    "except StorageError as e: print(e)\n"
)


def test_a_disk_that_is_full_leaves_no_half_object(store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(store.folder)], capture_output=True, text=True, check=True
    )
    assert "nothing was changed there" in done.stdout
    files = [p for p in store.folder.rglob("*") if p.is_file()]
    assert [p.stat().st_size for p in files] == [4000]
