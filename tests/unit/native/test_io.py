"""The I/O engine from Python: transfers run on both backends, direct and through the page cache."""

import errno
import gc
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoestring.core.errors import ConfigError, StorageError
from shoestring.native.io import Engine, Faults, File

PAGE = 4096


def uring_works() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Engine("io_uring") as engine:
            return bool(engine.stats()["backend"] == "io_uring")


BACKENDS = [
    "threads",
    pytest.param("io_uring", marks=pytest.mark.skipif(not uring_works(), reason="refused")),
]
MakeEngine = Callable[..., Engine]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["auto", False], ids=["direct", "cached"])
def make(request: pytest.FixtureRequest, backend: Any) -> MakeEngine:
    def engine(**options: Any) -> Engine:
        return Engine(backend, direct=options.pop("direct", request.param), **options)

    return engine


def noise(nbytes: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, nbytes, dtype=np.uint8)


def stored(engine: Engine, path: Path, nbytes: int) -> tuple[File, np.ndarray[Any, np.dtype[np.uint8]]]:
    file = engine.open(path, "create", nbytes)
    data = noise(nbytes)
    with engine.buffer(nbytes) as buffer:
        buffer.array[:nbytes] = data
        engine.write(file, 0, buffer, nbytes).result()
    return file, data


@pytest.mark.parametrize("nbytes", [0, 1, 4095, 4096, 4097, 3 << 20, (3 << 20) + 5])
def test_what_is_written_is_read(make: MakeEngine, tmp_path: Path, nbytes: int) -> None:
    with make(max_request_bytes=1 << 18) as engine:
        file, data = stored(engine, tmp_path / "a", max(nbytes, 1))
        buffer = engine.buffer(nbytes)
        assert engine.read(file, 0, buffer, nbytes).result() == nbytes
        assert (buffer.array[:nbytes] == data[:nbytes]).all()
        engine.sync(file)
        file.close()
    assert (tmp_path / "a").stat().st_size % PAGE == 0
    assert (tmp_path / "a").read_bytes()[:nbytes] == data[:nbytes].tobytes()


def test_a_part_of_a_buffer_goes_to_a_part_of_a_file(make: MakeEngine, tmp_path: Path) -> None:
    with make() as engine:
        file, data = stored(engine, tmp_path / "a", 4 * PAGE)
        buffer = engine.buffer(4 * PAGE)
        buffer.array[:] = 7
        engine.read(file, PAGE, buffer, 100, at=2 * PAGE).result()
        assert (buffer.array[2 * PAGE : 2 * PAGE + 100] == data[PAGE : PAGE + 100]).all()
        assert (buffer.array[: 2 * PAGE] == 7).all()
        assert (buffer.array[3 * PAGE :] == 7).all()
        file.close()


@pytest.mark.parametrize("page_bytes", [PAGE, 4 * PAGE])
def test_pages_arrive_in_the_order_asked_for(make: MakeEngine, tmp_path: Path, page_bytes: int) -> None:
    with make(queue_depth=7, threads=3) as engine:
        file, data = stored(engine, tmp_path / "a", 64 * page_bytes)
        pages = np.random.default_rng(1).integers(0, 64, 150)  # some of them twice
        buffer = engine.buffer(150 * page_bytes)
        assert engine.read_pages(file, pages * page_bytes, page_bytes, buffer).result() == 150 * page_bytes
        assert (buffer.array.reshape(150, -1) == data.reshape(64, -1)[pages]).all()
        file.close()


def test_neighbouring_pages_are_read_with_one_request(make: MakeEngine, tmp_path: Path) -> None:
    with make() as engine:
        file, data = stored(engine, tmp_path / "a", 64 * PAGE)
        before = engine.stats()["read_requests"]
        buffer = engine.buffer(30 * PAGE)
        pages = np.concatenate([np.arange(10, 30), np.arange(0, 10)])
        engine.read_pages(file, pages * PAGE, PAGE, buffer).result()
        assert engine.stats()["read_requests"] == before + 2
        assert (buffer.array.reshape(30, -1) == data.reshape(64, -1)[pages]).all()
        file.close()


def test_counted_bytes_are_those_of_the_kernel(backend: Any, tmp_path: Path) -> None:
    def kernel() -> dict[str, int]:
        rows = Path("/proc/self/io").read_text().split("\n")
        return {k: int(v) for k, v in (row.split(": ") for row in rows if row)}

    with Engine(backend) as engine:
        file = engine.open(tmp_path / "a", "create", 8 << 20)
        if not file.direct:
            pytest.skip("no O_DIRECT on this file system")
        buffer = engine.buffer(8 << 20)
        buffer.array[:] = 1
        before = kernel()
        engine.write(file, 0, buffer, 8 << 20).result()
        engine.read(file, 0, buffer, (8 << 20) - 1).result()
        after, stats = kernel(), engine.stats()
        file.close()
    assert stats["bytes_written"] == 8 << 20
    assert stats["bytes_read"] == 8 << 20  # rounded up
    assert after["write_bytes"] - before["write_bytes"] == pytest.approx(8 << 20, rel=0.1)
    assert after["read_bytes"] - before["read_bytes"] == pytest.approx(8 << 20, rel=0.1)


def test_memory_is_aligned_shared_and_outlives_its_buffer() -> None:
    torch = pytest.importorskip("torch")
    with Engine("threads") as engine:
        buffer = engine.buffer(10000)
        assert buffer.nbytes == 3 * PAGE
        array = buffer.array
        assert array.ctypes.data % PAGE == 0
        tensor = torch.from_numpy(buffer.array).view(torch.float32)
        array[:] = 0
        tensor[0] = 1.5
        assert buffer.array[:4].tobytes() == np.float32(1.5).tobytes()
        buffer.release()
        with pytest.raises(ConfigError, match="given back"):
            _ = buffer.array
        other = engine.buffer(10000)
        other.array[:] = 9
        assert tensor[0] == 1.5, "memory in use was handed out again"
        del array, tensor
        assert engine.stats()["pool_in_use"] == 3 * PAGE
    assert (other.array == 9).all(), "memory lives on after the engine"


def test_the_pool_keeps_no_more_than_its_bound() -> None:
    with Engine("threads", pool_bytes=2 * PAGE) as engine:
        buffers = [engine.buffer(PAGE) for _ in range(5)]
        del buffers
        gc.collect()
        assert engine.stats()["pool_idle"] == 2 * PAGE
        assert engine.stats()["pool_peak_in_use"] == 5 * PAGE


def test_dropped_futures_are_carried_out(make: MakeEngine, tmp_path: Path) -> None:
    with make(faults=Faults(delay_s=0.001)) as engine:
        file = engine.open(tmp_path / "a", "create", 40 * PAGE)
        for i in range(40):
            buffer = engine.buffer(PAGE)
            buffer.array[:] = i
            engine.write(file, i * PAGE, buffer, PAGE)
            del buffer
        file.close()
    content = np.fromfile(tmp_path / "a", dtype=np.uint8).reshape(40, PAGE)
    assert (content == np.arange(40, dtype=np.uint8)[:, None]).all()


def test_requests_go_on_while_python_is_busy(make: MakeEngine, tmp_path: Path) -> None:
    with make(queue_depth=2, threads=1, faults=Faults(delay_s=0.005)) as engine:
        file = engine.open(tmp_path / "a", "create", 20 * PAGE)
        pending = [engine.write(file, i * PAGE, engine.buffer(PAGE), PAGE) for i in range(10)]
        deadline = time.monotonic() + 10
        while not pending[-1].done():  # holds the GIL but for the switch interval
            assert time.monotonic() < deadline
        assert all(f.done() for f in pending)
        file.close()


@pytest.mark.parametrize(
    "faults",
    [Faults(short_reads=2), Faults(eintr=2), Faults(eagain=3), Faults(short_reads=3, eintr=2, eagain=5)],
)
def test_short_answers_and_interruptions_are_carried_on(
    make: MakeEngine, tmp_path: Path, faults: Faults
) -> None:
    with make(faults=faults, max_request_bytes=4 * PAGE) as engine:
        file, data = stored(engine, tmp_path / "a", 50 * PAGE)
        buffer = engine.buffer(50 * PAGE)
        engine.read(file, 0, buffer, 50 * PAGE).result()
        assert (buffer.array == data).all()
        assert engine.stats()["retries"] > 0
        file.close()


def test_an_error_says_where_and_what_to_do(make: MakeEngine, tmp_path: Path) -> None:
    faults = Faults(fail_after_bytes=8 * PAGE, errno=errno.ENOSPC)
    with make(faults=faults, max_request_bytes=PAGE, queue_depth=1, threads=1) as engine:
        file = engine.open(tmp_path / "a", "create", 16 * PAGE)
        future = engine.write(file, 0, engine.buffer(16 * PAGE), 16 * PAGE)
        with pytest.raises(StorageError, match="Free space") as caught:
            future.result()
        file.close()
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "a")
    assert caught.value.offset == 8 * PAGE  # type: ignore[attr-defined]  # set by the native core
    assert str(16 * PAGE) in str(caught.value)


def test_an_error_that_nobody_read_comes_up_at_sync(make: MakeEngine, tmp_path: Path) -> None:
    with make(faults=Faults(fail_after_bytes=0)) as engine:
        file = engine.open(tmp_path / "a", "create", PAGE)
        other = engine.open(tmp_path / "b", "create", PAGE)
        engine.write(file, 0, engine.buffer(PAGE), PAGE)
        engine.write(file, 0, engine.buffer(PAGE), PAGE)
        engine.sync(other)
        with pytest.raises(StorageError, match="could not write") as caught:
            engine.sync(file)
        assert "1 more" in caught.value.__notes__[0]
        file.close()
        other.close()


def test_an_error_that_nobody_read_comes_up_at_close(make: MakeEngine, tmp_path: Path) -> None:
    engine = make(faults=Faults(fail_after_bytes=0))
    file = engine.open(tmp_path / "a", "create", PAGE)
    engine.write(file, 0, engine.buffer(PAGE), PAGE)
    with pytest.raises(StorageError, match="could not write"):
        engine.close()
    engine.close()
    file.close()


def test_an_error_that_nobody_read_does_not_hide_another(make: MakeEngine, tmp_path: Path) -> None:
    engine = make(faults=Faults(fail_after_bytes=0))
    file = engine.open(tmp_path / "a", "create", PAGE)

    def work() -> None:
        with engine:
            engine.write(file, 0, engine.buffer(PAGE), PAGE)
            raise ValueError("first")

    with pytest.warns(RuntimeWarning, match="failed as well"), pytest.raises(ValueError, match="first"):
        work()
    file.close()


def test_a_file_that_was_cut_is_an_error_and_not_zeros(make: MakeEngine, tmp_path: Path) -> None:
    with make() as engine:
        file, _ = stored(engine, tmp_path / "a", 16 * PAGE)
        os.truncate(tmp_path / "a", 10000)
        with pytest.raises(StorageError, match="the file ends before that") as caught:
            engine.read(file, 0, engine.buffer(16 * PAGE), 16 * PAGE).result()
        assert caught.value.errno == errno.ENODATA
        file.close()


def test_waiting_gives_way_to_ctrl_c(make: MakeEngine, tmp_path: Path) -> None:
    with make(faults=Faults(delay_s=0.6), threads=1) as engine:
        file = engine.open(tmp_path / "a", "create", PAGE)
        future = engine.write(file, 0, engine.buffer(PAGE), PAGE)
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            future.result()
        assert time.monotonic() - start < 0.5
        timer.join()
        assert future.result() == PAGE
        file.close()


def test_waiting_can_be_limited(make: MakeEngine, tmp_path: Path) -> None:
    with make(faults=Faults(delay_s=0.2), threads=1) as engine:
        file = engine.open(tmp_path / "a", "create", PAGE)
        future = engine.write(file, 0, engine.buffer(PAGE), PAGE)
        with pytest.raises(TimeoutError, match="not over yet"):
            future.result(0.01)
        assert future.result(30) == PAGE
        file.close()


def test_an_emulated_limit_is_kept_and_labelled(make: MakeEngine, tmp_path: Path) -> None:
    with make(limit_bytes_per_s=10e6, max_request_bytes=1 << 16) as engine:
        file = engine.open(tmp_path / "a", "create", 2 << 20)
        start = time.monotonic()
        engine.write(file, 0, engine.buffer(1 << 20), 1 << 20).result()
        engine.read(file, 0, engine.buffer(1 << 20), 1 << 20).result()
        took = time.monotonic() - start
        assert engine.stats()["emulated_limit"] == 10e6
        file.close()
    assert 0.2 < took < 1.5  # 2 MiB at 10 MB/s


def test_an_engine_is_refused_to_a_forked_child(make: MakeEngine, tmp_path: Path) -> None:
    with make() as engine:
        file, _ = stored(engine, tmp_path / "a", PAGE)
        buffer = engine.buffer(PAGE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: the point of the test
            child = os.fork()
        if child == 0:
            code = 1
            try:
                engine.read(file, 0, buffer, PAGE)
            except ConfigError as e:
                code = 0 if "Make an engine of its own" in str(e) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        engine.read(file, 0, buffer, PAGE).result()
        file.close()


def test_an_engine_dropped_without_close_warns_and_waits(tmp_path: Path) -> None:
    engine = Engine("threads", faults=Faults(delay_s=0.02))
    file = engine.open(tmp_path / "a", "create", PAGE)
    engine.write(file, 0, engine.buffer(PAGE), PAGE)
    with pytest.warns(ResourceWarning, match="without close"):
        del engine
    file.close()


def test_file_names_need_not_be_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.bin"))
    with Engine("threads") as engine:
        file = engine.open(path, "create", PAGE)
        assert file.path == str(path)
        file.close()
        with pytest.raises(StorageError) as caught:
            engine.open(path / "under", "read")
    assert caught.value.filename == str(path / "under")


def test_an_existing_file_is_updated_in_place(make: MakeEngine, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (3 * PAGE))
    with make() as engine, engine.open(tmp_path / "a", "update") as file:
        buffer = engine.buffer(PAGE)
        buffer.array[:] = ord("y")
        engine.write(file, PAGE, buffer, PAGE).result()
        engine.write(file, 3 * PAGE, buffer, PAGE).result()
        assert file.size_bytes == 4 * PAGE
    assert (tmp_path / "a").read_bytes() == (b"x" * PAGE + b"y" * PAGE) * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backend": "aio"}, "'io_uring'"),
        ({"queue_depth": 0}, "from 1 to 4096"),
        ({"queue_depth": True}, "whole numbers"),
        ({"threads": 257}, "from 1 to 256"),
        ({"direct": 1}, "'auto', True, False"),
        ({"max_request_bytes": 5000}, "a multiple of 4096"),
        ({"limit_bytes_per_s": 0.0}, "above 0"),
        ({"limit_bytes_per_s": float("nan")}, "above 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Engine(**options)


def test_wrong_requests_are_refused(make: MakeEngine, tmp_path: Path) -> None:
    with make() as engine:
        file, _ = stored(engine, tmp_path / "a", 2 * PAGE)
        buffer = engine.buffer(2 * PAGE)
        with pytest.raises(ConfigError, match="multiples of 4096"):
            engine.read(file, 5, buffer, 10)
        with pytest.raises(ConfigError, match="do not fit in a buffer of 8192"):
            engine.read(file, 0, buffer, 8193)
        with pytest.raises(ConfigError, match="past the end of the file, which has 8192"):
            engine.read(file, PAGE, buffer, 4097)
        with pytest.raises(ConfigError, match="past the end"):
            engine.write(file, PAGE, buffer, 8192)
        with pytest.raises(ConfigError, match="page offset 4097"):
            engine.read_pages(file, np.array([0, 4097]), PAGE, buffer)
        with pytest.raises(ConfigError, match="int64"):
            engine.read_pages(file, np.zeros(1, np.int32), PAGE, buffer)
        with pytest.raises(ConfigError, match="mode is 'w'"):
            engine.open(tmp_path / "b", "w")  # type: ignore[arg-type]  # the point
        with pytest.raises(ConfigError, match="only 'create'"):
            engine.open(tmp_path / "a", "read", 4096)
        with pytest.raises(ConfigError, match="mode 'read'"), engine.open(tmp_path / "a") as reader:
            engine.write(reader, 0, buffer, 1)
        file.close()
        file.close()
        with pytest.raises(ConfigError, match="the file is closed"):
            engine.read(file, 0, buffer, 1)
    with pytest.raises(ConfigError, match="the engine is closed"):
        engine.buffer(1)


def test_too_much_memory_is_a_memory_error() -> None:
    with Engine("threads") as engine, pytest.raises(MemoryError, match="bytes"):
        engine.buffer(1 << 60)


@pytest.mark.slow
def test_requests_over_two_gibibytes_are_whole(backend: Any, tmp_path: Path) -> None:
    size = (2 << 30) + 3 * PAGE
    with (tmp_path / "big").open("wb") as plain:
        plain.truncate(size)
        plain.seek(size - 4)
        plain.write(b"tail")
    with Engine(backend, max_request_bytes=1 << 30) as engine, engine.open(tmp_path / "big") as file:
        buffer = engine.buffer(size)
        buffer.array[-4:] = 0
        assert engine.read(file, 0, buffer, size).result() == size
        assert buffer.array[-4:].tobytes() == b"tail"
