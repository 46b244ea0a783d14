"""Asynchronous file I/O with aligned buffers: io_uring where the kernel allows it, else a pool of threads.

Data bypass the page cache (`O_DIRECT`) where the file system allows it; elsewhere they leave it at once.
`SHOESTRING_IO=threads` (or `io_uring`) in the environment overrides the choice of backend.
"""

import os
import warnings
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from shoestring.core.errors import ConfigError
from shoestring.native._core import io as _io
from shoestring.native._core.io import Buffer, File, Future

__all__ = ["ALIGNMENT", "Backend", "Buffer", "Engine", "Faults", "File", "Future", "Mode"]

ALIGNMENT = 4096
"""Bytes: offsets must be multiples of it, buffers are."""

Backend = Literal["auto", "io_uring", "threads"]
Mode = Literal["create", "read", "update"]

_BACKENDS = {"auto": 0, "io_uring": 1, "threads": 2}
_MODES = {"create": 0, "read": 1, "update": 2}
_DIRECT = {"auto": 0, True: 1, False: 2}


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults on demand, for tests; 0 and None mean never.

    Parameters
    ----------
    short_reads : int
        Every n-th request to the kernel (reads and writes) is cut to half.
    eintr, eagain : int
        Every n-th request answers EINTR, or EAGAIN.
    fail_after_bytes : int or None
        Requests fail once that many bytes have been asked for.
    errno : int
        What those requests answer, for example `errno.ENOSPC`.
    delay_s : float
        Wait before every request, in seconds.
    """

    short_reads: int = 0
    eintr: int = 0
    eagain: int = 0
    fail_after_bytes: int | None = None
    errno: int = 5
    delay_s: float = 0.0


class Engine:
    """Reads and writes files in the background; a context manager that waits for what is in flight.

    Parameters
    ----------
    backend : {"auto", "io_uring", "threads"}
        "auto" takes io_uring, and threads where the kernel refuses it (one warning, and a row in `stats`).
    queue_depth : int
        Requests in flight at once with io_uring, 1 to 4096.
    threads : int
        Size of the pool of the other backend, 1 to 256.
    direct : "auto" or bool
        Bypass the page cache; "auto" goes on without where the file system refuses (one warning).
    max_request_bytes : int
        Longer reads and writes are split; a multiple of 4096, up to 1 GiB.
    limit_bytes_per_s : float or None
        Emulate a device of that speed (reads and writes together); shown in `stats` as emulated.
    pool_bytes : int
        Idle buffers kept for reuse, at most.
    faults : Faults or None
        For tests.

    Raises
    ------
    ConfigError
        If an option is out of its range.

    Notes
    -----
    Thread-safe. Not usable in a forked child: make an engine there. Errors of requests whose `result`
    nobody asked for are raised by `sync` and `close`.

    Examples
    --------
    >>> with Engine() as engine:  # doctest: +SKIP
    ...     file = engine.open("activations.bin", mode="create", size_bytes=1 << 20)
    ...     buffer = engine.buffer(1 << 20)
    ...     buffer.array[:] = 7
    ...     engine.write(file, 0, buffer, 1 << 20).result()
    ...     file.close()
    """

    def __init__(
        self,
        backend: Backend = "auto",
        *,
        queue_depth: int = 64,
        threads: int = 4,
        direct: Literal["auto"] | bool = "auto",
        max_request_bytes: int = 1 << 20,
        limit_bytes_per_s: float | None = None,
        pool_bytes: int = 64 << 20,
        faults: Faults | None = None,
    ) -> None:
        self._native: _io.Engine | None = None
        backend = _backend_from_environment(backend)
        _one_of("direct", direct, _DIRECT)
        _in_range("queue_depth", queue_depth, 1, 4096)
        _in_range("threads", threads, 1, 256)
        _in_range("max_request_bytes", max_request_bytes, ALIGNMENT, 1 << 30)
        _in_range("pool_bytes", pool_bytes, 0, 1 << 46)
        if max_request_bytes % ALIGNMENT:
            raise ConfigError(
                f"max_request_bytes is {max_request_bytes}; it must be a multiple of {ALIGNMENT}"
            )
        if limit_bytes_per_s is not None and not 0 < limit_bytes_per_s < float("inf"):
            raise ConfigError(
                f"limit_bytes_per_s is {limit_bytes_per_s}; give bytes a second above 0, or None for no limit"
            )
        options = _io.EngineOptions()
        options.backend = _BACKENDS[backend]
        options.queue_depth = queue_depth
        options.threads = threads
        options.max_request = max_request_bytes
        options.pool_bytes = pool_bytes
        options.limit_bytes_per_s = limit_bytes_per_s or 0.0
        options.faults = _plan(faults or Faults())
        refused = os.environ.get("SHOESTRING_IO_REFUSE", "").split(",")
        options.refuse_uring = "io_uring" in refused
        options.refuse_direct = "direct" in refused
        self._direct = direct
        self._limit = limit_bytes_per_s
        self._fallbacks: list[str] = []
        self._warned_direct = False
        self._direct_files: list[bool] = []
        self._native = _io.Engine(options)
        refusal = self._native.uring_refusal
        if refusal:
            self._fallbacks.append(f"io_uring -> threads: {refusal}")
            if _io.has_liburing or backend == "io_uring":
                warnings.warn(
                    f"{refusal}; a pool of {threads} threads serves the requests instead",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def open(self, path: str | os.PathLike[str], mode: Mode = "read", size_bytes: int | None = None) -> File:
        """Open a file for this engine.

        Parameters
        ----------
        path : path-like
            The file; its folder must exist.
        mode : {"create", "read", "update"}
            "create" empties or makes it, "update" reads and writes one that exists.
        size_bytes : int or None
            With "create": reserve that many bytes on the disk now (rounded up to 4096); writes past them are
            refused.

        Raises
        ------
        StorageError
            With `errno` and `filename`: no such folder, no permission, not enough space.
        ConfigError
            If an argument is out of its range.
        """
        _one_of("mode", mode, _MODES)
        if size_bytes is not None:
            _in_range("size_bytes", size_bytes, 1, 1 << 62)
            if mode != "create":
                raise ConfigError(
                    f"size_bytes is {size_bytes} with mode {mode!r}; only 'create' reserves space"
                )
        file = self._live().open(os.fsencode(path), _MODES[mode], size_bytes or 0, _DIRECT[self._direct])
        self._direct_files.append(file.direct)
        if file.fallback:
            self._note_direct(f"{file.path}: {file.fallback}")
        return file

    def buffer(self, nbytes: int) -> Buffer:
        """Memory of at least `nbytes`, 4096-aligned and rounded up to 4096; its content is arbitrary.

        Raises
        ------
        MemoryError
            If the system has no such memory.
        """
        _in_range("nbytes", nbytes, 0, 1 << 62)
        return self._live().buffer(nbytes)

    def read(self, file: File, offset: int, buffer: Buffer, nbytes: int, *, at: int = 0) -> Future:
        """Start reading `nbytes` at `offset` of `file` to `at` in `buffer`.

        Raises
        ------
        ConfigError
            If offsets are not multiples of 4096, or the range leaves the file or the buffer.
        """
        return self._live().read(file, offset, buffer, nbytes, at)

    def write(self, file: File, offset: int, buffer: Buffer, nbytes: int, *, at: int = 0) -> Future:
        """Start writing `nbytes` from `at` in `buffer` to `offset` of `file`.

        A direct write is rounded up to 4096 bytes: what the buffer holds there goes to the file as well. The
        buffer must not change until the result is there.

        Raises
        ------
        ConfigError
            As `read`, and if the file is open for reading only.
        """
        return self._live().write(file, offset, buffer, nbytes, at)

    def read_pages(
        self, file: File, offsets: npt.NDArray[np.int64], page_bytes: int, buffer: Buffer, *, at: int = 0
    ) -> Future:
        """Start reading many pages; page `i` lands at `at + i * page_bytes` of `buffer`.

        Parameters
        ----------
        offsets : int64 [pages]
            Where in the file, bytes, multiples of 4096. Neighbours that follow each other in the file as in
            this list are read with one request.
        page_bytes : int
            A multiple of 4096.

        Raises
        ------
        ConfigError
            If an offset is not a multiple of 4096 inside the file, or the buffer is too small.
        """
        if offsets.dtype != np.int64 or offsets.ndim != 1:
            raise ConfigError(
                f"offsets are {offsets.dtype} with {offsets.ndim} dimensions; int64 with 1 is needed"
            )
        _in_range("page_bytes", page_bytes, ALIGNMENT, 1 << 30)
        return self._live().read_pages(file, np.ascontiguousarray(offsets), page_bytes, buffer, at)

    def sync(self, file: File) -> None:
        """Wait for the requests of `file`, then make what was written survive a power cut.

        Raises
        ------
        StorageError
            If that fails, or a request of this file failed and nobody has asked for its result.
        """
        native = self._live()
        native.sync(file)
        self._note_late_fallbacks(native)
        _raise_first(native.take_unread(file))

    def stats(self) -> dict[str, Any]:
        """Count what the engine did so far.

        Returns
        -------
        dict
            backend; direct (all files so far); bytes_read, bytes_written (as the kernel moved them, with the
            rounding of direct requests); read_requests, write_requests, requests; retries (short answers,
            EINTR); fallbacks (a list of sentences); emulated_limit (bytes/s or None); pool_in_use, pool_idle,
            pool_peak_in_use (bytes).
        """
        native = self._native
        if native is None:
            raise ConfigError("the engine was not opened; its constructor failed")
        self._note_late_fallbacks(native)
        stats: dict[str, Any] = dict(native.stats())
        stats["requests"] = stats["read_requests"] + stats["write_requests"]
        stats["direct"] = (
            bool(self._direct_files) and all(self._direct_files) and not stats.pop("late_fallbacks")
        )
        stats.pop("late_fallbacks", None)
        stats["fallbacks"] = list(self._fallbacks)
        stats["emulated_limit"] = self._limit
        return stats

    def close(self) -> None:
        """Wait for all requests in flight and stop; twice is allowed. Files have their own `close`.

        Raises
        ------
        StorageError
            If requests failed and nobody has asked for their results.
        """
        _raise_first(self._finish())

    def _finish(self) -> list[Exception]:
        native = self._native
        if native is None or native.closed:
            return []
        native.wait_idle()
        self._note_late_fallbacks(native)
        unread = native.take_unread(None)
        native.close()
        return unread

    def _live(self) -> _io.Engine:
        assert self._native is not None
        return self._native

    def _note_direct(self, text: str) -> None:
        self._fallbacks.append(f"O_DIRECT -> page cache: {text}")
        if not self._warned_direct:
            self._warned_direct = True
            message = f"{text}; data go through the page cache and are dropped from it at once"
            warnings.warn(message, RuntimeWarning, stacklevel=3)

    def _note_late_fallbacks(self, native: _io.Engine) -> None:
        late = int(native.stats()["late_fallbacks"])
        known = sum("aligned request" in text for text in self._fallbacks)
        for _ in range(late - known):
            self._note_direct("the file system refused an aligned request with O_DIRECT")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        unread = self._finish()
        if error is None:
            _raise_first(unread)
        for failure in unread:
            warnings.warn(f"a request failed as well: {failure}", RuntimeWarning, stacklevel=2)

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None and not native.closed:
            warnings.warn(
                "an I/O engine was dropped without close()", ResourceWarning, stacklevel=2, source=self
            )


def _raise_first(failures: list[Exception]) -> None:
    if not failures:
        return
    if len(failures) > 1:
        failures[0].add_note(f"{len(failures) - 1} more requests failed, and nobody asked for their results")
    raise failures[0]


def _backend_from_environment(backend: Backend) -> Backend:
    _one_of("backend", backend, _BACKENDS)
    forced = os.environ.get("SHOESTRING_IO", "")
    if not forced:
        return backend
    if forced not in _BACKENDS:
        raise ConfigError(f"SHOESTRING_IO={forced!r} in the environment; allowed are {', '.join(_BACKENDS)}")
    return forced  # type: ignore[return-value]  # checked against the keys in the line above


def _plan(faults: Faults) -> _io.FaultPlan:
    plan = _io.FaultPlan()
    plan.short_every = faults.short_reads
    plan.eintr_every = faults.eintr
    plan.eagain_every = faults.eagain
    plan.fail_after_bytes = -1 if faults.fail_after_bytes is None else faults.fail_after_bytes
    plan.fail_code = faults.errno
    plan.delay_us = round(faults.delay_s * 1e6)
    return plan


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}; allowed are whole numbers from {low} to {high}")


def _one_of(name: str, value: object, allowed: dict[Any, int]) -> None:
    if value not in allowed or isinstance(value, int) is not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; allowed are {', '.join(map(repr, allowed))}")
