"""Where metrics of a run go."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

__all__ = ["JsonLinesRecorder", "MemoryRecorder", "NullRecorder", "Recorder"]


class Recorder(Protocol):
    """Receives scalar metrics, one call a step."""

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of one step."""
        ...


class NullRecorder:
    """Drops everything."""

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""


class MemoryRecorder:
    """Keeps rows in memory: ``rows`` is a list of dicts with the key ``step``."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one row."""
        self.rows.append({"step": float(step), **{k: float(v) for k, v in metrics.items()}})


class JsonLinesRecorder:
    """Appends one JSON object a step to a file; use as a context manager."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def record(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line and flush it."""
        row = {"step": step, **{k: float(v) for k, v in metrics.items()}}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
