"""Warm worker processes on this machine: one thread each, gone when their parent is."""

import multiprocessing as mp
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from typing import Any

from shoestring.core.errors import StorageError

__all__ = ["Pool"]

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Pool:
    """A pool of processes that call one function on plain values.

    Parameters
    ----------
    jobs : int
        Processes.

    Notes
    -----
    They are started afresh, not forked from a process with threads; the modules of a backtest are imported
    once. A worker whose parent was killed ends by itself.
    """

    def __init__(self, jobs: int) -> None:
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(["shoestring.finance.shai_am._tasks"])
        self._jobs = jobs
        with _one_thread():
            self._pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_watch_parent)
            # The processes inherit the setting when they start, so they start here.
            wait([self._pool.submit(os.getpid) for _ in range(jobs)])

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Yield (number, result) as they come.

        Raises
        ------
        StorageError
            If a process was killed (out of memory, for example); what was finished is in the store.
        """
        waiting: dict[Future[Any], int] = {}
        todo = iter(enumerate(items))
        try:
            for number, item in todo:
                waiting[self._pool.submit(function, item)] = number
                if len(waiting) >= 2 * self._jobs:  # enough to keep everybody busy
                    yield from _ready(waiting)
            while waiting:
                yield from _ready(waiting)
        except BrokenProcessPool as e:
            raise StorageError(
                "a worker process was killed, perhaps for want of memory; finished tasks are kept, so run "
                "again, with fewer jobs if it happens again"
            ) from e


def _ready(waiting: dict[Future[Any], int]) -> Iterator[tuple[int, Any]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        yield waiting.pop(future), future.result()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _watch_parent() -> None:
    """End this process when the one that started the pool ends: nobody would read its results."""
    parent = mp.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
