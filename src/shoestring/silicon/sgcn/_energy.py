"""What the work of a machine costs in energy, and a stream in time."""

from collections.abc import Sequence
from dataclasses import dataclass

from shoestring.native.dram import DramCounts
from shoestring.native.sim import BankTiming, Round
from shoestring.silicon.arch import Arch
from shoestring.silicon.dram import Dram
from shoestring.silicon.energy import EnergyTable, dram_energy_pj

__all__ = ["EnergyModel", "stream_cycles_per_line"]


def stream_cycles_per_line(timing: BankTiming) -> float:
    """Cycles of a line in a sequential stream over all channels, refresh included."""
    return timing.burst_cycles / timing.channels / (1 - timing.refresh_share)


@dataclass(slots=True, eq=False)
class EnergyModel:
    """Energy of DRAM, cache and arithmetic of a machine."""

    arch: Arch
    table: EnergyTable
    dram: Dram

    @classmethod
    def of(cls, arch: Arch) -> "EnergyModel":
        """Read the machine's table."""
        table = EnergyTable.from_yaml("energy" if arch.energy == "default" else arch.energy)
        return cls(arch, table, Dram.from_config(arch.dram))

    def dram_pj(self, rounds: Sequence[Round], stream_lines: int, written_lines: int, cycles: int) -> float:
        """Energy of the rounds and of a sequential stream beside them, in picojoules.

        Parameters
        ----------
        rounds : sequence of Round
            Of the aggregation.
        stream_lines, written_lines : int
            Lines of the combination, and how many of them are written.
        cycles : int
            Of the layer: standby and refresh are paid for all of it.
        """
        geometry = self.dram.spec.geometry
        t = self.dram.spec.timing
        parts = max(1, self.arch.cache.line_bytes // self.dram.access_bytes)
        clocks = round(cycles / (self.dram.device.clock_ns * self.arch.clock_ghz))
        moved = sum(r.dram_lines for r in rounds)
        written = sum(r.partial_write_lines + r.output_lines for r in rounds)
        counts = DramCounts(
            reads=(moved - written + stream_lines - written_lines) * parts,
            writes=(written + written_lines) * parts,
            row_hits=0,
            activates=sum(r.row_misses for r in rounds) + -(-stream_lines * parts // geometry.columns),
            refreshes=geometry.channels * geometry.ranks * (clocks // t.t_refi if t.t_refi else 0),
            cycles=clocks,
        )
        return dram_energy_pj(self.dram, counts, self.table).total_pj

    def sram_pj(self, lines: int) -> float:
        """Energy of reading or writing lines of the cache."""
        return lines * self.table.sram_pj(self.arch.cache.bytes, self.arch.cache.line_bytes)

    def mac_pj(self, macs: int) -> float:
        """Energy of multiply-adds."""
        return macs * self.table.mac_pj
