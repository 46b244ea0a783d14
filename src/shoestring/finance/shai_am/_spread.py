"""Where many backtests run: processes of this machine, or Ray."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from shoestring.core.errors import StorageError
from shoestring.finance.shai_am._pool import Pool
from shoestring.finance.shai_am._tasks import run_request

__all__ = ["Executor", "spread"]

Executor = Literal["inproc", "process", "ray"]


def spread(requests: Sequence[Mapping[str, Any]], executor: Executor, jobs: int) -> Iterator[tuple[int, Any]]:
    """Yield (number, answer) of requests in the order in which they end.

    Parameters
    ----------
    requests : sequence of mapping
        As `request_of` gives them.
    executor : str
        ``"process"`` or ``"ray"``.
    jobs : int
        Processes.

    Raises
    ------
    StorageError
        If a worker died; what was finished is in the store.
    """
    if executor == "ray":
        yield from _on_ray(requests, jobs)
        return
    with Pool(min(jobs, len(requests))) as pool:
        yield from pool.map(run_request, requests)


def _on_ray(requests: Sequence[Mapping[str, Any]], jobs: int) -> Iterator[tuple[int, Any]]:
    from shoestring.finance.shai_am._ray import ray_map

    entry = f"{run_request.__module__}:{run_request.__qualname__}"
    for done in ray_map(entry, requests, workers=jobs):
        if done.error:
            raise StorageError(f"a task on Ray failed: {done.error}; finished tasks are kept, run again")
        yield done.number, done.value
