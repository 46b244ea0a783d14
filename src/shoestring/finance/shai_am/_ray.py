"""Many independent tasks on Ray: a local one of a few workers, or a cluster."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoestring.core.entry import check_entry_point, load_entry_point
from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional

__all__ = ["Done", "ray_map"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """How one task ended."""

    number: int
    """Its place among the tasks given."""
    value: Any = None
    """JSON value that the function returned; None if it failed."""
    error: str = ""
    """Type and message of what was raised, or that its worker died; empty if it did not fail."""


def ray_map(
    entry: str, tasks: Sequence[Mapping[str, Any]], *, workers: int = 2, address: str = "local"
) -> Iterator[Done]:
    """Call one function with every task, on Ray, and yield results as they come.

    Parameters
    ----------
    entry : str
        ``module:function``; the function takes one mapping of JSON values and returns a JSON value.
    tasks : sequence of mapping
        JSON values. Large inputs belong into a `Store` that the workers can read; give the ref.
    workers : int
        Processes of the local Ray, one core each. A cluster has its own.
    address : str
        ``"local"`` starts a Ray that ends with the iterator; anything else is the address of a cluster.

    Yields
    ------
    Done
        One a task, in the order in which they end. One that fails does not stop the others.

    Raises
    ------
    ConfigError
        If `entry` is malformed or Ray cannot be started or reached.
    MissingExtraError
        Without Ray.

    Notes
    -----
    Starting takes some seconds, a task under a millisecond. Text goes to the workers and comes back: nothing
    of ours is pickled. Breaking off the iteration cancels what still runs.
    """
    check_entry_point(entry)
    if workers < 1:
        raise ConfigError(f"workers={workers} must be at least 1")
    ray = optional("ray", "ray")
    with _connected(ray, workers, address):
        remote = ray.remote(num_cpus=1, max_retries=0)(_call)
        paths = [path for path in sys.path if path]
        waiting = {
            remote.remote(entry, json.dumps(dict(task), allow_nan=False), paths): number
            for number, task in enumerate(tasks)
        }
        try:
            while waiting:
                ready, _ = ray.wait(list(waiting), num_returns=1)
                for reference in ready:
                    yield _collect(ray, reference, waiting.pop(reference))
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


@contextlib.contextmanager
def _connected(ray: Any, workers: int, address: str) -> Iterator[None]:
    """Start or join a Ray; one that the caller has joined already is used and kept."""
    if ray.is_initialized():
        yield
        return
    local: dict[str, Any] = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    where = local if address == "local" else {"address": address}
    # Ray gives its own node half a minute to start, which a busy machine may exceed the first time.
    for last in (False, True) if address == "local" else (True,):
        try:
            ray.init(**where, log_to_driver=False, configure_logging=False)
            break
        except Exception as e:  # Ray has no narrower class for what can go wrong here
            ray.shutdown()
            if last:
                advice = "is the machine too busy?" if address == "local" else "check it with 'ray status'"
                raise ConfigError(
                    f"could not reach Ray at {address!r} ({type(e).__name__}: {e}); {advice}"
                ) from e
    try:
        yield
    finally:
        ray.shutdown()


def _call(entry: str, task: str, paths: list[str]) -> str:
    """Run one task in a worker; what is raised comes back as text."""
    sys.path[:] = [*sys.path, *(path for path in paths if path not in sys.path)]
    try:
        return json.dumps({"value": load_entry_point(entry)(json.loads(task))}, allow_nan=False)
    except Exception as e:  # any failure of a user's function is the result of this task
        return json.dumps({"error": f"{type(e).__name__}: {e}"})


def _collect(ray: Any, reference: Any, number: int) -> Done:
    try:
        return Done(number=number, **json.loads(ray.get(reference)))
    except ray.exceptions.RayError as e:
        text = str(e).splitlines()[0] if str(e) else ""
        return Done(number=number, error=f"its worker died ({type(e).__name__}: {text})")
