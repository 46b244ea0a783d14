"""Energy of an accelerator: DRAM from the currents of its data sheet, SRAM and arithmetic from a table.

References
----------
DRAM: the form that DRAMsim3 uses. A command's energy is what it draws above standby; standby goes by state.
"""

import math
from typing import ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from shoestring.native.dram import DramCounts
from shoestring.silicon.dram import Device, Dram
from shoestring.silicon.yaml_model import YamlModel

__all__ = ["DramEnergy", "EnergyTable", "command_energy_pj", "dram_energy_pj"]

V = TypeVar("V")


class Entry(YamlModel, Generic[V]):
    """A number and where it comes from."""

    value: V
    origin: str = Field(min_length=1)


class NonNegative(Entry[float]):
    """An energy or a factor."""

    value: float = Field(ge=0, le=1e12)


class Model(Entry[str]):
    """How DRAM energy is counted."""

    value: Literal["idd", "flat"]


class EnergyTable(YamlModel):
    """Energies with their origins; ``EnergyTable.from_yaml("energy")`` is the one that ships."""

    folder: ClassVar[str] = "."

    dram_model: Model
    dram_flat_pj_per_bit: NonNegative
    sram_line_pj: NonNegative
    """A 64-byte line, read or written, in an SRAM of `sram_reference_bytes`."""
    sram_reference_bytes: NonNegative
    mac_fp32_pj: NonNegative
    logic_scale: NonNegative

    def sram_pj(self, capacity_bytes: int, line_bytes: int = 64) -> float:
        """Return the energy of one line of an SRAM; grows with the square root of the capacity."""
        reference = max(self.sram_reference_bytes.value, 1.0)
        scale = math.sqrt(capacity_bytes / reference) * line_bytes / 64
        return self.sram_line_pj.value * scale * self.logic_scale.value

    @property
    def mac_pj(self) -> float:
        """Energy of a multiply-add in fp32."""
        return self.mac_fp32_pj.value * self.logic_scale.value


class DramEnergy(YamlModel):
    """Energy of a DRAM in picojoules, by what it was spent on."""

    activate_pj: float
    read_pj: float
    write_pj: float
    refresh_pj: float
    standby_pj: float
    io_pj: float

    @property
    def total_pj(self) -> float:
        """Sum of all parts."""
        return (
            self.activate_pj + self.read_pj + self.write_pj + self.refresh_pj + self.standby_pj + self.io_pj
        )


def command_energy_pj(device: Device) -> dict[str, float]:
    """Return the energy above standby of one activate with its precharge, read, write and refresh of a rank.

    Notes
    -----
    mA * V * ns = pJ. ``activate = VDD (IDD0 tRC - IDD3N tRAS - IDD2N tRP)``,
    ``read = VDD (IDD4R - IDD3N) BL/2``, ``write`` likewise, ``refresh = VDD (IDD5AB - IDD3N) tRFC``, each
    times tCK and the chips of a rank.
    """
    t, i = device.timing_clk, device.current_ma
    scale = device.vdd_v * device.clock_ns * device.chips
    burst = device.burst_length // 2
    return {
        "activate": scale * (i.idd0 * (t.t_ras + t.t_rp) - i.idd3n * t.t_ras - i.idd2n * t.t_rp),
        "read": scale * (i.idd4r - i.idd3n) * burst,
        "write": scale * (i.idd4w - i.idd3n) * burst,
        "refresh": scale * (i.idd5ab - i.idd3n) * t.t_rfc,
    }


def dram_energy_pj(dram: Dram, counts: DramCounts, table: EnergyTable) -> DramEnergy:
    """Return what a run of the memory took.

    Parameters
    ----------
    dram : Dram
    counts : DramCounts
        Of `Dram.simulate`, or counted without commands. Then nobody knows when a rank was closed: all its
        clocks count as open, which is the upper bound.
    table : EnergyTable
        ``dram_model: flat`` puts every bit moved at `dram_flat_pj_per_bit` and the rest at 0.
    """
    bits = (counts.reads + counts.writes) * dram.access_bytes * 8
    if table.dram_model.value == "flat":
        flat = bits * table.dram_flat_pj_per_bit.value
        return DramEnergy(
            activate_pj=0.0, read_pj=0.0, write_pj=0.0, refresh_pj=0.0, standby_pj=0.0, io_pj=flat
        )
    device = dram.device
    each = command_energy_pj(device)
    geometry = dram.spec.geometry
    rank_clocks = counts.cycles * geometry.channels * geometry.ranks
    active = rank_clocks if counts.active_clocks is None else counts.active_clocks
    standby = active * device.current_ma.idd3n + (rank_clocks - active) * device.current_ma.idd2n
    return DramEnergy(
        activate_pj=each["activate"] * counts.activates,
        read_pj=each["read"] * counts.reads,
        write_pj=each["write"] * counts.writes,
        refresh_pj=each["refresh"] * counts.refreshes,
        standby_pj=standby * device.vdd_v * device.clock_ns * device.chips,
        io_pj=bits * device.io_pj_per_bit,
    )
