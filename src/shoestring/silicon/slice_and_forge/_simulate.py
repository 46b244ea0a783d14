"""A run of layers, slice by slice, with every round reported."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shoestring.core.files import write_text_atomic
from shoestring.native.sim import Round
from shoestring.silicon.aggregation import DensePhase, contiguous_strip, machine_of, slice_bounds
from shoestring.silicon.arch import Arch
from shoestring.silicon.slice_and_forge._sweep import Sweep, sweep_phase
from shoestring.silicon.slice_and_forge._tuner import Proposal, Setting, Tuner
from shoestring.silicon.slice_and_forge.config import CONTIGUOUS, SnfConfig
from shoestring.silicon.slice_and_forge.functional import (
    even_runs,
    fitting_tiles,
    nearest_power,
    run_bounds,
    unit_count,
)
from shoestring.silicon.systolic import Gemm, combination_cycles
from shoestring.silicon.topology import Topology, load_graph

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RoundRow", "Simulation", "simulate"]


@dataclass(frozen=True, slots=True, eq=False)
class RoundRow:
    """One slice of one layer."""

    layer: int
    slice: int
    columns: int
    """Of the slice."""
    setting: Setting
    """Tiles and strip height."""
    round: Round
    """What was measured."""
    lines: int
    """Cache lines of a record."""
    decision: str
    """Why it ran so: ``start``, ``tiles 8``, ``strip 128``, ``split 2, merge 1``, ``undo, ...``, ``keep``."""

    @property
    def cost(self) -> float:
        """Cycles a cache line of record, so that slices of different widths compare."""
        return self.round.cycles / self.lines


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """What a run took."""

    topology: Topology
    config: SnfConfig
    arch: Arch
    rows: tuple[RoundRow, ...]
    """Every round, in order."""
    combination_cycles: int
    """Of one layer's dense product, which runs beside the aggregation."""
    settled: bool
    """Whether the controller had nothing left to try; true for the other tilers."""
    oracle: Sweep | None = field(default=None)
    """All settings of ``tiler="oracle"``."""

    @property
    def aggregation_cycles(self) -> int:
        """Cycles of all rounds, exploring ones included."""
        return sum(row.round.cycles for row in self.rows)

    @property
    def cycles(self) -> int:
        """Cycles of all layers; a layer takes the longer of aggregation and combination."""
        layers = range(self.config.layers)
        return sum(max(self._layer_cycles(layer), self.combination_cycles) for layer in layers)

    @property
    def dram_lines(self) -> int:
        """Cache lines moved, all streams."""
        return sum(row.round.dram_lines for row in self.rows)

    @property
    def final(self) -> RoundRow:
        """The last round of full width: what the run settled on."""
        widest = max(row.columns for row in self.rows)
        return next(row for row in reversed(self.rows) if row.columns == widest)

    @property
    def rounds(self) -> "pd.DataFrame":
        """One row a round: layer, slice, tiles, strip, cycles, counters, decision."""
        import pandas as pd

        return pd.DataFrame([_plain(row) for row in self.rows])

    @property
    def layers(self) -> "pd.DataFrame":
        """One row a layer: cycles, and cache lines of each stream."""
        import pandas as pd

        rounds = self.rounds
        streams = [c for c in rounds.columns if c.endswith("_lines")]
        frame = rounds.groupby("layer")[["cycles", *streams]].sum().reset_index()
        frame = frame.rename(columns={"cycles": "aggregation_cycles"})
        frame.insert(2, "combination_cycles", self.combination_cycles)
        longer = frame[["aggregation_cycles", "combination_cycles"]].max(axis=1)
        frame.insert(1, "cycles", longer)
        return pd.DataFrame(frame)

    def summary(self) -> dict[str, Any]:
        """Return the totals as plain values."""
        final = self.final
        return {
            "graph": self.topology.source,
            "vertices": self.topology.num_nodes,
            "edges": self.topology.num_edges,
            "tiler": self.config.tiler,
            "slices": len({row.slice for row in self.rows}),
            "cycles": self.cycles,
            "aggregation_cycles": self.aggregation_cycles,
            "combination_cycles": self.config.layers * self.combination_cycles,
            "modelled_s": self.cycles / (self.arch.clock_ghz * 1e9),
            "dram_bytes": self.dram_lines * self.arch.cache.line_bytes,
            "hit_rate": _share(sum(r.round.hits + r.round.merges for r in self.rows), self.rows),
            "final_tiles": final.setting.tiles,
            "final_strip": final.setting.strip,
            "final_cycles": final.round.cycles,
            "settled": self.settled,
        }

    def write(self, folder: Path) -> None:
        """Write ``{rounds,layers,summary}.csv``, ``config.resolved.yaml`` and ``convergence.svg``.

        Each file is written atomically; with the oracle, ``sweep.csv`` too.
        """
        import pandas as pd

        from shoestring.silicon.slice_and_forge._plot import convergence_svg

        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / "rounds.csv", self.rounds.to_csv(index=False))
        write_text_atomic(folder / "layers.csv", self.layers.to_csv(index=False))
        write_text_atomic(folder / "summary.csv", pd.DataFrame([self.summary()]).to_csv(index=False))
        if self.oracle is not None:
            write_text_atomic(folder / "sweep.csv", self.oracle.frame.to_csv(index=False))
        self.arch.to_yaml(folder / "config.resolved.yaml")
        write_text_atomic(folder / "convergence.svg", convergence_svg(self))

    def _layer_cycles(self, layer: int) -> int:
        return sum(row.round.cycles for row in self.rows if row.layer == layer)


def simulate(graph: Any, arch: Arch, config: SnfConfig | None = None) -> Simulation:
    """Aggregate some layers on an accelerator, with the tiler that the options name.

    Parameters
    ----------
    graph : str, Path or object
        Whatever `shoestring.silicon.topology.load_graph` takes; row = destination, aggregated over in-edges.
    arch : Arch
        The machine.
    config : SnfConfig or None
        None takes the defaults: 16 slices, morphing, two layers.

    Returns
    -------
    Simulation

    Raises
    ------
    ConfigError, DataError
        Options out of range, a graph that cannot be read.

    Notes
    -----
    A round costs O(E lines) time; equal settings are simulated once. Memory is O(N + E).
    """
    config = config or SnfConfig()
    topology = load_graph(graph)
    phase = DensePhase(topology, machine_of(arch), edge_bytes=config.edge_bytes)
    columns = np.diff(slice_bounds(config.width, config.slices, arch.cache.line_bytes))
    run = _Run(phase, config, [int(c) for c in columns])
    rows, settled, oracle = run.morph() if config.tiler == "morph" else run.constant()
    dense = 0
    if topology.num_nodes:
        gemm = Gemm(m=topology.num_nodes, n=config.width, k=config.width)
        dense = combination_cycles(gemm, arch.systolic)
    return Simulation(topology, config, arch, tuple(rows), dense, settled, oracle)


class _Run:
    def __init__(self, phase: DensePhase, config: SnfConfig, columns: list[int]) -> None:
        self.phase, self.config, self.columns = phase, config, columns
        self.num = phase.topology.num_nodes
        self.units = unit_count(self.num, config.units)
        cache = phase.machine.cache
        self.cache_lines = cache.bytes // cache.line_bytes
        self.lines = phase.lines(columns[0])

    def measure(self, layer: int, part: int, proposal: Proposal) -> RoundRow:
        setting, columns = proposal.setting, self.columns[part]
        strip = setting.strip or contiguous_strip(self.num, self.phase.machine.engines)
        done = self.phase.run(columns, run_bounds(self.num, setting.runs), strip)
        return RoundRow(layer, part, columns, setting, done, self.phase.lines(columns), proposal.decision)

    def fitting(self, fill: float) -> int:
        return fitting_tiles(self.num, self.lines, self.cache_lines, fill=fill, most=self.units)

    def even(self, tiles: int) -> Setting:
        return Setting(even_runs(self.units, tiles), self.config.strip)

    def constant(self) -> tuple[list[RoundRow], bool, Sweep | None]:
        """Run every slice of every layer at one setting."""
        config, oracle = self.config, None
        if config.tiler == "oracle":
            oracle = sweep_phase(self.phase, config.width, (config.slices,), units=config.units)
            best = oracle.best()
            setting = Setting(even_runs(self.units, best.tiles), best.strip)
        else:
            setting = self.even(config.tiles if config.tiler == "fixed" else self.fitting(1.0))
        rows = [
            self.measure(layer, part, Proposal(setting, config.tiler))
            for layer in range(config.layers)
            for part in range(len(self.columns))
        ]
        return rows, True, oracle

    def morph(self) -> tuple[list[RoundRow], bool, None]:
        """Run every slice as the controller says; the last rounds of a layer at the best setting."""
        morphing = self.config.morphing
        exploring = len(self.columns) - max(1, int(len(self.columns) * morphing.settle))
        rows: list[RoundRow] = []
        tuner: Tuner | None = None
        for layer in range(self.config.layers):
            if tuner is None or not morphing.warm_start:
                tiles = morphing.start_tiles or nearest_power(self.fitting(0.5), most=self.units)
                tuner = Tuner(
                    morphing,
                    self.even(tiles),
                    cache_lines=self.cache_lines,
                    lines=self.lines,
                    engines=self.phase.machine.engines,
                )
            for part, columns in enumerate(self.columns):
                comparable = self.phase.lines(columns) == self.lines
                proposal = tuner.propose() if part < exploring and comparable else tuner.stay()
                row = self.measure(layer, part, proposal)
                tuner.observe(proposal, row.cost, row.round)
                rows.append(row)
        assert tuner is not None
        return rows, tuner.settled, None


def _share(part: int, rows: tuple[RoundRow, ...]) -> float:
    whole = sum(row.round.accesses for row in rows)
    return part / whole if whole else 0.0


def _plain(row: RoundRow) -> dict[str, Any]:
    done = row.round
    rows_found = done.row_hits + done.row_misses
    return {
        "layer": row.layer,
        "slice": row.slice,
        "columns": row.columns,
        "tiles": row.setting.tiles,
        "strip": "contiguous" if row.setting.strip == CONTIGUOUS else row.setting.strip,
        "cycles": done.cycles,
        "cost": row.cost,
        "accesses": done.accesses,
        "hits": done.hits,
        "merges": done.merges,
        "misses": done.misses,
        "cold": int(done.tile_cold.sum()),
        "partial_writes": int(done.tile_partial_writes.sum()),
        "feature_lines": done.feature_lines,
        "topology_lines": done.topology_lines,
        "partial_write_lines": done.partial_write_lines,
        "partial_read_lines": done.partial_read_lines,
        "output_lines": done.output_lines,
        "row_hit_rate": done.row_hits / rows_found if rows_found else 0.0,
        "decision": row.decision,
    }
