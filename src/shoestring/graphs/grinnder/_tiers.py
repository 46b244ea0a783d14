"""The three tiers of a run: device and host as budgets, storage as files; every byte between them counted."""

from typing import Any

import torch
from torch import Tensor

from shoestring.core.errors import ConfigError
from shoestring.graphs.grinnder._prepare import PreparedGraph
from shoestring.graphs.grinnder.config import Config
from shoestring.native.io import Buffer, Engine
from shoestring.storage import FIXED, Budget, Key, Ledger, PartitionFiles, Reservation, Transfer, round_up
from shoestring.storage.scratch import Scratch

__all__ = ["POOL_BYTES", "Staging", "Tiers", "TopologyFeed", "open_engine"]

POOL_BYTES = 16 << 20
"""Idle buffers that the engine keeps, at most: the one thing beyond the budgets, besides Python and torch."""


def open_engine(config: Config) -> Engine:
    """Open the native engine as the config says."""
    direct: Any = {"auto": "auto", "yes": True, "no": False}[config.io.direct]
    return Engine(
        backend=config.io.backend,
        queue_depth=config.io.queue_depth,
        direct=direct,
        limit_bytes_per_s=config.io.limit_bytes_per_s or None,
        pool_bytes=POOL_BYTES,
    )


class Staging:
    """An aligned buffer of one tier, reserved in its budget, viewed as bytes."""

    __slots__ = ("_reservation", "buffer", "data", "pending")

    def __init__(self, engine: Engine, budget: Budget, what: str, nbytes: int) -> None:
        padded = round_up(max(nbytes, 1))
        self._reservation: Reservation = budget.reserve(what, padded)
        self.buffer: Buffer = engine.buffer(padded)
        self.data: Tensor = torch.from_numpy(self.buffer.array)
        self.pending: Transfer | None = None

    def wait(self) -> None:
        """Wait for the transfer under way, if any."""
        if self.pending is not None:
            self.pending.result()
            self.pending = None

    def free(self) -> None:
        """Give buffer and bytes back."""
        try:
            self.wait()
        finally:
            del self.data
            self.buffer.release()
            self._reservation.release()


class Tiers:
    """Budgets, ledger, files and the native engine of one run; a context manager through `close`.

    Parameters
    ----------
    graph : PreparedGraph
        Its features and topology are attached for reading.
    config : Config
        Budgets and places.

    Notes
    -----
    Without a GPU the device tier is emulated: a byte budget over RAM, into which data are really copied.
    """

    def __init__(
        self, graph: PreparedGraph, config: Config, device: torch.device, engine: Engine | None = None
    ) -> None:
        if device.type not in ("cpu", "cuda"):
            raise ConfigError(f"device {device} is not supported; give cpu (an emulated tier) or cuda")
        self.graph = graph
        self.config = config
        self.torch_device = device
        self.device = Budget("device", config.device_bytes)
        self.host = Budget("host", config.host_bytes)
        self.ledger = Ledger()
        self.scratch = Scratch(config.storage / "scratch")
        try:
            self.engine = open_engine(config) if engine is None else engine
            self.files = PartitionFiles(self.engine, self.scratch.folder, self.ledger)
        except BaseException:
            self.scratch.remove()
            raise
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    @property
    def emulated(self) -> bool:
        """Whether the device tier is emulated in RAM."""
        return self.torch_device.type == "cpu"

    def _attach(self) -> None:
        graph = self.graph
        self.files.attach("act", 0, graph.folder / "features.bin", graph.feature_bytes())
        for i, kind in enumerate(graph.kinds):
            sizes = [graph.sizes.topology_bytes(kind, j) for j in range(graph.num_parts)]
            self.files.attach("topology", i, graph.folder / f"topology-{i}.bin", [s[0] for s in sizes])
            self.files.attach("transpose", i, graph.folder / f"transpose-{i}.bin", [s[1] for s in sizes])

    def close(self) -> None:
        """Close files and engine and remove the scratch folder, whatever fails on the way."""
        try:
            try:
                self.files.close()
            finally:
                self.engine.close()
        finally:
            self.scratch.remove()


class TopologyFeed:
    """Brings the topology of (layer, partition) to the device: resident if it fits, else streamed ahead.

    Streaming keeps at most two partitions: the one in use and the one prefetched.
    """

    def __init__(self, tiers: Tiers, *, resident: bool) -> None:
        self._tiers = tiers
        self._resident = resident
        self._held: dict[tuple[int, int], tuple[Staging, Staging | None]] = {}
        self._pool: dict[int, list[Staging]] = {}

    def fetch(self, index: int, part: int, *, transpose: bool) -> None:
        """Start reading, unless it is there."""
        held = self._held.get((index, part))
        if held is not None and (held[1] is not None or not transpose):
            return
        forward = held[0] if held is not None else self._read("topology", index, part)
        self._held[index, part] = (forward, self._read("transpose", index, part) if transpose else None)

    def get(self, index: int, part: int, *, transpose: bool) -> tuple[Any, Tensor]:
        """Wait for a partition's block and the boundary rows; `release` it afterwards."""
        self.fetch(index, part, transpose=transpose)
        forward, back = self._held[index, part]
        forward.wait()
        if back is not None:
            back.wait()
        tiers = self._tiers
        kind = tiers.graph.kinds[index]
        block, boundary = tiers.graph.unpack(
            kind, part, forward.data, back.data if back is not None else None
        )
        return block, boundary

    def release(self, index: int, part: int) -> None:
        """Free a streamed partition; a resident one stays."""
        if not self._resident:
            for staging in self._held.pop((index, part)):
                if staging is not None:
                    staging.free()

    def close(self) -> None:
        """Free everything."""
        for held in self._held.values():
            for staging in held:
                if staging is not None:
                    staging.free()
        self._held.clear()

    def _read(self, kind: str, index: int, part: int) -> Staging:
        tiers = self._tiers
        key = Key(kind, index, part)
        what = f"{kind} of partition {part}"
        staging = Staging(tiers.engine, tiers.device, what, tiers.files.nbytes(key))
        staging.pending = tiers.files.read(
            key, staging.buffer, version=FIXED, link="device-storage", what=kind
        )
        return staging
