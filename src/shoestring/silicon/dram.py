"""DRAM of an accelerator: a device from YAML, its channels and address map, and its commands."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from shoestring.core.errors import ConfigError, DataError
from shoestring.core.files import write_text_atomic
from shoestring.native.dram import (
    COMMAND_DTYPE,
    COMMANDS,
    DramCounts,
    DramGeometry,
    DramSpec,
    DramTiming,
    Violation,
)
from shoestring.native.dram import Field as AddressField
from shoestring.silicon.arch import DramConfig, PowerOfTwo
from shoestring.silicon.yaml_model import YamlModel

__all__ = ["Device", "Dram", "DramRun", "parse_mapping"]

Clocks = Annotated[int, Field(ge=1, le=1 << 20)]
Gap = Annotated[int, Field(ge=0, le=1 << 20)]
Milliamperes = Annotated[float, Field(ge=0, le=1e6)]

_FIELDS: dict[str, AddressField] = {
    "ch": "channel",
    "ra": "rank",
    "bg": "group",
    "ba": "bank",
    "ro": "row",
    "co": "column",
}


class TimingClk(YamlModel):
    """Timings in clocks of the memory; the names are those of the JEDEC standards."""

    cl: Clocks
    cwl: Clocks
    t_rcd: Clocks
    t_rp: Clocks
    t_ras: Clocks
    t_rrd_s: Clocks
    t_rrd_l: Clocks
    t_faw: Clocks
    t_ccd_s: Clocks
    t_ccd_l: Clocks
    t_wtr_s: Gap
    t_wtr_l: Gap
    t_wr: Gap
    t_rtp: Gap
    t_rtrs: Gap
    t_rfc: Clocks
    t_refi: Gap
    """0: never refreshed."""

    @model_validator(mode="after")
    def _long_gaps_are_not_shorter(self) -> Self:
        for short in ("t_rrd_s", "t_ccd_s", "t_wtr_s"):
            long = short[:-1] + "l"
            if getattr(self, long) < getattr(self, short):
                raise ConfigError(
                    f"{long}={getattr(self, long)} is not allowed; within a bank group the gap is at least "
                    f"{short}={getattr(self, short)}"
                )
        if self.t_refi and self.t_refi <= 2 * self.t_rfc:
            raise ConfigError(
                f"t_refi={self.t_refi} is not allowed; give 0 or more than twice t_rfc={self.t_rfc}"
            )
        return self


class CurrentMa(YamlModel):
    """Supply currents of one chip, in milliamperes."""

    idd0: Milliamperes
    """One bank, activate to precharge, over and over."""
    idd2n: Milliamperes
    """All banks closed."""
    idd3n: Milliamperes
    """A bank open."""
    idd4r: Milliamperes
    """Reads without a gap."""
    idd4w: Milliamperes
    """Writes without a gap."""
    idd5ab: Milliamperes
    """Refreshes without a gap."""


class Device(YamlModel):
    """A DRAM part: geometry, timings, currents.

    Read one with ``Device.from_yaml("ddr4_2133")`` or the path of your own file.
    """

    folder: ClassVar[str] = "devices"

    protocol: Literal["DDR4", "HBM2"]
    split_command_bus: bool
    """Row and column commands have a bus each."""
    clock_ns: float = Field(gt=0, le=1000)
    device_width_bits: PowerOfTwo = Field(le=1024)
    """Data pins of one chip."""
    bus_width_bits: PowerOfTwo = Field(le=4096)
    """Data pins of a channel; ``bus_width_bits / device_width_bits`` chips work in step."""
    burst_length: PowerOfTwo = Field(ge=2, le=64)
    bank_groups: PowerOfTwo = Field(le=16)
    banks_per_group: PowerOfTwo = Field(le=16)
    rows: PowerOfTwo = Field(le=1 << 24)
    columns: PowerOfTwo = Field(le=1 << 16)
    """Places of a row, each as wide as the chip."""
    vdd_v: float = Field(gt=0, le=10)
    io_pj_per_bit: float = Field(ge=0, le=1000)
    """Bus and termination."""
    timing_clk: TimingClk
    current_ma: CurrentMa

    @property
    def chips(self) -> int:
        """Chips of a rank."""
        return self.bus_width_bits // self.device_width_bits

    @property
    def access_bytes(self) -> int:
        """Bytes of one burst."""
        return self.bus_width_bits // 8 * self.burst_length

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.device_width_bits > self.bus_width_bits:
            raise ConfigError(
                f"device_width_bits={self.device_width_bits} is not allowed; a chip is at most as wide as "
                f"bus_width_bits={self.bus_width_bits}"
            )
        if self.columns < self.burst_length:
            raise ConfigError(
                f"columns={self.columns} is not allowed; a row holds burst_length={self.burst_length}"
            )
        return self


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DramRun:
    """What a stream of requests cost."""

    counts: DramCounts
    clock_ns: float
    access_bytes: int
    channels: int
    burst: int
    commands: NDArray[np.void] = field(default_factory=lambda: np.empty(0, COMMAND_DTYPE))
    """Of `COMMAND_DTYPE`; empty unless asked for."""

    @property
    def bytes(self) -> int:
        """Bytes moved."""
        return (self.counts.reads + self.counts.writes) * self.access_bytes

    @property
    def modelled_s(self) -> float:
        """Modelled time in seconds."""
        return self.counts.cycles * self.clock_ns * 1e-9

    @property
    def utilization(self) -> float:
        """Share of the peak bandwidth of all channels."""
        moved = (self.counts.reads + self.counts.writes) * self.burst
        return moved / (self.counts.cycles * self.channels) if self.counts.cycles else 0.0

    @property
    def row_hit_rate(self) -> float:
        """Share of the accesses that found their row open."""
        accesses = self.counts.reads + self.counts.writes
        return self.counts.row_hits / accesses if accesses else 0.0

    def write_commands_csv(self, path: str | Path) -> None:
        """Write the commands as ``clk,channel,rank,bg,bank,op,row,col``, by clock; whole or not at all."""
        import pandas as pd

        order = np.argsort(self.commands["clock"], kind="stable")
        c = self.commands[order]
        frame = pd.DataFrame({"clk": c["clock"], "channel": c["channel"], "rank": c["rank"]})
        frame["bg"], frame["bank"] = c["group"], c["bank"]
        frame["op"] = np.array(COMMANDS)[c["command"]]
        frame["row"], frame["col"] = c["row"], c["column"]
        write_text_atomic(Path(path), frame.to_csv(index=False))


class Dram:
    """A device times channels and ranks, behind an address map.

    Parameters
    ----------
    device : Device
    channels, ranks : int
        Powers of two.
    mapping : str
        See `parse_mapping`.
    queue : int
        Requests that a channel's controller chooses from.

    Raises
    ------
    ConfigError
        For a mapping that does not fit.
    """

    def __init__(
        self,
        device: Device,
        *,
        channels: int = 1,
        ranks: int = 1,
        mapping: str = "ro-ba-co-ra-bg-ch",
        queue: int = 64,
    ) -> None:
        self.device = device
        t = device.timing_clk
        geometry = DramGeometry(
            channels=channels,
            ranks=ranks,
            bank_groups=device.bank_groups,
            banks_per_group=device.banks_per_group,
            rows=device.rows,
            columns=device.columns // device.burst_length,
        )
        timing = DramTiming(burst=device.burst_length // 2, **t.model_dump())
        self.spec = DramSpec(
            geometry,
            timing,
            parse_mapping(mapping, geometry),
            queue=queue,
            split_command_bus=device.split_command_bus,
        )

    @classmethod
    def from_config(cls, config: DramConfig) -> "Dram":
        """Build the memory of a machine (``Arch.dram``)."""
        return cls(
            Device.from_yaml(config.device),
            channels=config.channels,
            ranks=config.ranks,
            mapping=config.mapping,
            queue=config.queue,
        )

    @property
    def access_bytes(self) -> int:
        """Bytes of one access; addresses are cut to multiples of it."""
        return self.device.access_bytes

    @property
    def capacity_bytes(self) -> int:
        """Bytes of all channels."""
        return self.spec.accesses * self.access_bytes

    @property
    def peak_gb_per_s(self) -> float:
        """Peak bandwidth of all channels, in 10^9 bytes a second."""
        channels = self.spec.geometry.channels
        return channels * self.access_bytes / (self.spec.timing.burst * self.device.clock_ns)

    def simulate(
        self,
        addresses: NDArray[np.uint64],
        writes: NDArray[np.bool_],
        arrivals: NDArray[np.int64] | None = None,
        *,
        log_commands: bool = False,
    ) -> DramRun:
        """Run requests at command level; see `DramSpec.simulate`.

        Parameters
        ----------
        addresses : ndarray
            uint64, (n,): byte addresses, in the order in which they reach the memory.
        writes : ndarray
            bool, (n,).
        arrivals : ndarray, optional
            int64, (n,): clocks of the memory, never falling; without it all are there at once.
        log_commands : bool
            Keep every command, 40 bytes each.
        """
        counts, commands = self.spec.simulate(
            self._accesses(addresses), writes.astype(np.uint8), arrivals, log_commands=log_commands
        )
        return self._run(counts, commands)

    def check(self, run: DramRun) -> tuple[Violation, ...]:
        """Return what the commands of a run violate; none if all is well."""
        return self.spec.check(run.commands, end=run.counts.cycles)

    def split_lines(
        self, addresses: NDArray[np.uint64], writes: NDArray[np.bool_], line_bytes: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Return the accesses of whole cache lines; a line of two accesses becomes two."""
        if line_bytes % self.access_bytes:
            raise ConfigError(
                f"cache.line_bytes={line_bytes} is not allowed; give a multiple of the {self.access_bytes} "
                "bytes that one access of the DRAM moves"
            )
        parts = line_bytes // self.access_bytes
        steps = np.arange(parts, dtype=np.uint64) * np.uint64(self.access_bytes)
        return (addresses[:, None] + steps).reshape(-1), np.repeat(writes, parts)

    def _accesses(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
        if addresses.dtype != np.uint64:
            raise DataError(f"addresses are {addresses.dtype}; give uint64 byte addresses")
        return addresses // np.uint64(self.access_bytes)

    def _run(self, counts: DramCounts, commands: NDArray[np.void]) -> DramRun:
        return DramRun(
            counts=counts,
            clock_ns=self.device.clock_ns,
            access_bytes=self.access_bytes,
            channels=self.spec.geometry.channels,
            burst=self.spec.timing.burst,
            commands=commands,
        )


def parse_mapping(text: str, geometry: DramGeometry) -> list[tuple[AddressField, int]]:
    """Read an address map.

    Parameters
    ----------
    text : str
        Fields from the high bits to the low ones: ``ro`` row, ``ba`` bank, ``bg`` bank group, ``ra`` rank,
        ``ch`` channel, ``co`` column. Between dashes, a field may be followed by how many bits it takes there
        and come again: in ``ro-ba-co-ra-bg-co1`` the lowest bit of the column is the lowest of all. Twelve
        letters without dashes are DRAMsim3's form, ``rochrababgco``.
    geometry : DramGeometry
        How many bits each field needs.

    Returns
    -------
    list of (field, bits)
        From low to high, as `DramSpec` takes it.

    Raises
    ------
    ConfigError
        For an unknown field, one that is missing, or bits that do not add up.
    """
    tokens = text.split("-") if "-" in text else re.findall("..?", text)
    sizes = (
        geometry.channels,
        geometry.ranks,
        geometry.bank_groups,
        geometry.banks_per_group,
        geometry.rows,
        geometry.columns,
    )
    need = {name: size.bit_length() - 1 for name, size in zip(_FIELDS, sizes, strict=True)}
    parts = [re.fullmatch(r"([a-z]{2})(\d{0,2})", token) for token in tokens]
    if not all(part and part[1] in _FIELDS for part in parts):
        bad = next(t for t, p in zip(tokens, parts, strict=True) if not p or p[1] not in _FIELDS)
        raise ConfigError(
            f"mapping={text!r} is not allowed; {bad!r} is none of {', '.join(_FIELDS)} with or without bits"
        )
    found = [(part[1], part[2]) for part in parts if part]
    given = {name: sum(int(bits) for field_, bits in found if field_ == name and bits) for name in _FIELDS}
    out: list[tuple[AddressField, int]] = []
    for name, bits in reversed(found):
        out.append((_FIELDS[name], int(bits) if bits else need[name] - given[name]))
    for name, field_ in _FIELDS.items():
        total = sum(bits for other, bits in out if other == field_)
        total = max(total, given[name])  # more than there are leaves less than nothing for the rest
        if total != need[name]:
            raise ConfigError(
                f"mapping={text!r} is not allowed; it gives {total} bits to {name!r}, {need[name]} are needed"
            )
    return out
