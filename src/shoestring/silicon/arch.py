"""A machine: engines, cache, DRAM, systolic arrays; read from YAML, units in the names of the keys."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shoestring.core.errors import ConfigError
from shoestring.silicon.yaml_model import YamlModel, is_power_of_two

__all__ = ["Arch", "CacheConfig", "DramConfig", "SystolicConfig"]


def _power_of_two(value: int) -> int:
    if not is_power_of_two(value):
        raise ConfigError(f"give a power of two, such as {1 << (value.bit_length() - 1)}")
    return value


PowerOfTwo = Annotated[int, Field(ge=1), AfterValidator(_power_of_two)]


class CacheConfig(YamlModel):
    """The cache that all engines share."""

    bytes: int = Field(ge=64, le=1 << 40)
    """Capacity. Sets, `bytes` / (`ways` * `line_bytes`), must be a power of two."""
    ways: int = Field(ge=1, le=1024)
    line_bytes: PowerOfTwo = Field(default=64, ge=16, le=4096)
    policy: Literal["lru", "fifo", "rrip"] = "lru"
    """What a full set gives up."""
    mshr_entries: int = Field(default=0, ge=0, le=1 << 24)
    """Lines on their way whose later requests merge; 0: as many as `max_outstanding` allows."""

    @property
    def num_lines(self) -> int:
        """Lines that fit."""
        return self.bytes // self.line_bytes

    @property
    def num_sets(self) -> int:
        """Sets of `ways` lines."""
        return self.num_lines // self.ways

    @model_validator(mode="after")
    def _sets_are_a_power_of_two(self) -> Self:
        way_bytes = self.ways * self.line_bytes
        if self.bytes % way_bytes or not is_power_of_two(self.num_sets):
            below = way_bytes << (max(self.bytes // way_bytes, 1).bit_length() - 1)
            raise ConfigError(
                f"bytes={self.bytes} is not allowed; with {self.ways} ways of {self.line_bytes}-byte lines "
                f"the sets must be a power of two, such as with bytes={below}"
            )
        return self


class DramConfig(YamlModel):
    """The memory behind the cache."""

    device: str = Field(min_length=1)
    """A name out of `Device.shipped()`, or the path of a device file."""
    channels: PowerOfTwo = Field(default=1, le=256)
    ranks: PowerOfTwo = Field(default=1, le=16)
    """Ranks of each channel."""
    mapping: str = Field(default="ro-ba-co-ra-bg-ch", min_length=2)
    """Address bits from high to low, see `shoestring.silicon.dram.AddressMap`."""
    queue: int = Field(default=64, ge=2, le=4096)
    """Requests that a channel's controller chooses from; half of them reads, half writes."""


class SystolicConfig(YamlModel):
    """The arrays that do the dense products."""

    rows: int = Field(ge=1, le=1 << 16)
    cols: int = Field(ge=1, le=1 << 16)
    count: int = Field(default=1, ge=1, le=1 << 16)
    """Arrays; they share the tiles of one product."""
    dataflow: Literal["os", "ws", "is"] = "os"
    """What stays in the array: outputs, weights or inputs."""


class Arch(YamlModel):
    """An accelerator for sparse graph networks.

    Read one with ``Arch.from_yaml("sgcn_hbm2")`` or the path of your own file; vary one with `replaced`.
    """

    folder: ClassVar[str] = "machines"

    clock_ghz: float = Field(gt=0, le=100)
    """Of engines, cache and arrays."""
    engines: int = Field(ge=1, le=4096)
    queue_lines: int = Field(default=256, ge=1, le=1 << 20)
    """Lines that an engine may wait for."""
    max_outstanding: int = Field(default=10_240, ge=1, le=1 << 24)
    """Lines that may be on their way from DRAM, all engines together."""
    simd_lanes: int = Field(default=16, ge=1, le=4096)
    """Multiply-adds that an engine does in a clock."""
    cache: CacheConfig
    dram: DramConfig
    systolic: SystolicConfig
    energy: str = Field(default="energy", min_length=1)
    """An energy table: "energy", which ships, or the path of yours."""

    @model_validator(mode="after")
    def _a_queue_fits_what_may_be_outstanding(self) -> Self:
        if self.queue_lines > self.max_outstanding:
            raise ConfigError(
                f"queue_lines={self.queue_lines} is not allowed; an engine cannot wait for more lines than "
                f"max_outstanding={self.max_outstanding}; lower the one or raise the other"
            )
        return self

    def replaced(self, **values: object) -> "Arch":
        """Return the machine with some values replaced and all checks done again.

        Parameters
        ----------
        **values
            Top-level keys, or nested ones with two underscores, such as ``cache__bytes=262144``.

        Raises
        ------
        ConfigError
            For an unknown key or a value outside its range.
        """
        plain = self.model_dump()
        for key, value in values.items():
            *parents, leaf = key.split("__")
            place = plain
            for parent in parents:
                if not isinstance(place.get(parent), dict):
                    raise ConfigError(
                        f"{key.replace('__', '.')}: {parent!r} is no section of {sorted(plain)}"
                    )
                place = place[parent]
            place[leaf] = value
        return type(self).from_values(plain, origin="arch")
