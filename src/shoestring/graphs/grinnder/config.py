"""Options of GriNNder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from shoestring.core.errors import ConfigError
from shoestring.storage import parse_bytes

__all__ = ["CacheMode", "Config", "IoConfig", "Mode"]

Mode = Literal["grinnder", "regather", "hongtu", "snapshot", "plain"]
"""``grinnder`` all parts; ``regather`` without cache and bypass; the others are baselines."""
CacheMode = Literal["auto", "lru_layer", "partition_lru", "one_layer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class IoConfig:
    """How storage is reached."""

    backend: Literal["auto", "io_uring", "threads"] = "auto"
    """The native engine's backend."""
    direct: Literal["auto", "yes", "no"] = "auto"
    """O_DIRECT; "auto" falls back with one warning where the file system refuses it."""
    queue_depth: int = 64
    """Requests under way at once."""
    limit_bytes_per_s: int = 0
    """Emulated limit of the storage's bandwidth (token bucket), in bytes per second; 0 for none."""
    topology: Literal["auto", "resident", "stream"] = "auto"
    """Keep the partitions' topology on the device, or stream it for every layer; "auto" if it fits."""

    def __post_init__(self) -> None:
        if self.queue_depth < 1:
            raise ConfigError(f"io.queue_depth={self.queue_depth} starts no request; give at least 1")
        if self.limit_bytes_per_s < 0:
            raise ConfigError(f"io.limit_bytes_per_s={self.limit_bytes_per_s} is negative; give 0 for none")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Budgets, place and parts of a GriNNder run; every part has an off-switch."""

    device_budget: str | int = "1GiB"
    """Bytes of device memory for everything there: weights, gathered inputs, topology, working memory."""
    host_budget: str | int = "4GiB"
    """Bytes of host memory for the cache, gradients, staging and what is resident."""
    storage: Path = Path("grinnder-storage")
    """Folder for the prepared graph and the scratch files; on the device whose bandwidth is to be used."""
    parts: int | Literal["auto"] = "auto"
    """Number of partitions; "auto" takes the smallest whose working set fits the device budget."""
    partitioner: Literal["switching", "spinner", "random", "metis"] = "switching"
    """Who cuts the graph."""
    init: Literal["bfs", "random"] = "bfs"
    """Start of the switching-aware partitioner; "random" is the paper's."""
    cache: CacheMode = "auto"
    """Whole layers, single partitions, or nothing beyond one pass over a layer ("one_layer")."""
    policy: Literal["min", "lru"] = "min"
    """Victim of the cache: farthest next use (ours), or least recently used (the paper's)."""
    hybrid: bool = True
    """Read single pages of a source partition when they are less than half of it (ours)."""
    prefetch: bool = True
    """Start the reads of the next partition while one computes."""
    fuse_last: bool = True
    """Take the loss in the backward pass of the last layer, which then needs no forward pass (ours)."""
    order: Literal["reuse", "natural"] = "reuse"
    """Order of the target partitions: most shared sources next, or by number."""
    dtype: Literal["float32", "float64"] = "float32"
    """Type of activations, gradients and weights."""
    seed: int = 0
    """Seed of the partitioner and of dropout."""
    io: IoConfig = field(default_factory=IoConfig)
    """How storage is reached."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "storage", Path(self.storage))  # text is welcome too
        for name in ("device_budget", "host_budget"):
            try:
                parse_bytes(getattr(self, name))
            except ConfigError as e:
                raise ConfigError(f"{name}: {e}") from None
        if self.parts != "auto" and (not isinstance(self.parts, int) or self.parts < 1):
            raise ConfigError(f"parts={self.parts!r} is not allowed; give a number of at least 1, or 'auto'")
        if self.cache not in get_args(CacheMode):
            raise ConfigError(f"cache={self.cache!r} is not one of {', '.join(get_args(CacheMode))}")

    @property
    def device_bytes(self) -> int:
        """The device budget in bytes."""
        return parse_bytes(self.device_budget)

    @property
    def host_bytes(self) -> int:
        """The host budget in bytes."""
        return parse_bytes(self.host_budget)
