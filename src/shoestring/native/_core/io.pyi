"""Asynchronous file I/O with aligned buffers."""

from typing import Annotated

import numpy
from numpy.typing import NDArray


has_liburing: bool = True

class Buffer:
    """
    Aligned memory of an engine; goes back to it when nothing uses it any more.
    """

    @property
    def array(self) -> Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu')]:
        """The memory as uint8 [nbytes]; stays valid as long as the array lives."""

    @property
    def nbytes(self) -> int:
        """Size in bytes, a multiple of 4096."""

    def release(self) -> None:
        """
        Let go of the memory; requests in flight and arrays keep it until they end.
        """

    def __enter__(self) -> Buffer: ...

    def __exit__(self, *args: object) -> None: ...

class File:
    """An open file of an engine."""

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int:
        """Length now; preallocated files are rounded up to 4096."""

    @property
    def direct(self) -> bool:
        """Whether requests bypass the page cache."""

    @property
    def fallback(self) -> str:
        """Why O_DIRECT is not used, or ''."""

    @property
    def closed(self) -> bool: ...

    def close(self) -> None:
        """Wait for the requests in flight, then close. Twice is allowed."""

    def __enter__(self) -> File: ...

    def __exit__(self, *args: object) -> None: ...

class Future:
    """A request under way. It goes on even if this object is dropped."""

    def done(self) -> bool:
        """Whether it is over, well or not."""

    def result(self, timeout_s: float = -1.0) -> int:
        """
        Wait, and return the bytes moved; raises StorageError if it failed, TimeoutError after `timeout_s` seconds (below 0: never).
        """

class FaultPlan:
    """Faults on demand, for tests."""

    def __init__(self) -> None: ...

    @property
    def short_every(self) -> int: ...

    @short_every.setter
    def short_every(self, arg: int, /) -> None: ...

    @property
    def eintr_every(self) -> int: ...

    @eintr_every.setter
    def eintr_every(self, arg: int, /) -> None: ...

    @property
    def eagain_every(self) -> int: ...

    @eagain_every.setter
    def eagain_every(self, arg: int, /) -> None: ...

    @property
    def fail_after_bytes(self) -> int: ...

    @fail_after_bytes.setter
    def fail_after_bytes(self, arg: int, /) -> None: ...

    @property
    def fail_code(self) -> int: ...

    @fail_code.setter
    def fail_code(self, arg: int, /) -> None: ...

    @property
    def delay_us(self) -> int: ...

    @delay_us.setter
    def delay_us(self, arg: int, /) -> None: ...

class EngineOptions:
    """What `Engine` takes; checked by shoestring.native.io."""

    def __init__(self) -> None: ...

    @property
    def backend(self) -> int:
        """0 automatic, 1 io_uring, 2 threads"""

    @backend.setter
    def backend(self, arg: int, /) -> None: ...

    @property
    def queue_depth(self) -> int: ...

    @queue_depth.setter
    def queue_depth(self, arg: int, /) -> None: ...

    @property
    def threads(self) -> int: ...

    @threads.setter
    def threads(self, arg: int, /) -> None: ...

    @property
    def max_request(self) -> int: ...

    @max_request.setter
    def max_request(self, arg: int, /) -> None: ...

    @property
    def pool_bytes(self) -> int: ...

    @pool_bytes.setter
    def pool_bytes(self, arg: int, /) -> None: ...

    @property
    def limit_bytes_per_s(self) -> float: ...

    @limit_bytes_per_s.setter
    def limit_bytes_per_s(self, arg: float, /) -> None: ...

    @property
    def faults(self) -> FaultPlan: ...

    @faults.setter
    def faults(self, arg: FaultPlan, /) -> None: ...

    @property
    def refuse_uring(self) -> bool: ...

    @refuse_uring.setter
    def refuse_uring(self, arg: bool, /) -> None: ...

    @property
    def refuse_direct(self) -> bool: ...

    @refuse_direct.setter
    def refuse_direct(self, arg: bool, /) -> None: ...

class Engine:
    """Use shoestring.native.io.Engine."""

    def __init__(self, options: EngineOptions) -> None: ...

    def open(self, path: bytes, mode: int, size: int, direct: int) -> File: ...

    def buffer(self, nbytes: int) -> Buffer: ...

    def read(self, file: File, offset: int, buffer: Buffer, nbytes: int, at: int = 0) -> Future: ...

    def write(self, file: File, offset: int, buffer: Buffer, nbytes: int, at: int = 0) -> Future: ...

    def read_pages(self, file: File, offsets: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu', writable=False)], page_bytes: int, buffer: Buffer, at: int = 0) -> Future: ...

    def sync(self, file: File) -> None: ...

    def wait_idle(self) -> None: ...

    def take_unread(self, file: File | None) -> list[Exception]: ...

    def close(self) -> None: ...

    @property
    def closed(self) -> bool: ...

    @property
    def backend(self) -> str: ...

    @property
    def uring_refusal(self) -> str: ...

    def stats(self) -> dict[str, int | str]: ...
