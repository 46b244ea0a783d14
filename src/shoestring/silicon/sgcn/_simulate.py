"""Simulate a workload on a machine; tune and compare the systems."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.silicon.arch import Arch
from shoestring.silicon.formats import FormatName
from shoestring.silicon.sgcn._bench import Bench
from shoestring.silicon.sgcn._energy import EnergyModel
from shoestring.silicon.sgcn._layer import LayerReport, simulate_layer
from shoestring.silicon.sgcn._systems import EXISTING, System, find_system
from shoestring.silicon.sgcn.config import Config, Grid
from shoestring.silicon.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "Report", "Trial", "compare", "simulate", "tune"]

Progress = Callable[[float, str], None]


def _silent(_fraction: float, _word: str) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What a workload took on a machine; every figure is modelled.

    Attributes
    ----------
    workload : str
        Name of the workload.
    origin : str
        Where its zeros come from.
    config : Config
        What ran.
    arch : Arch
        On what.
    rows : tuple of LayerReport
        One a layer.
    """

    workload: str
    origin: str
    config: Config
    arch: Arch
    rows: tuple[LayerReport, ...]

    @property
    def cycles(self) -> int:
        """Cycles of all layers, one after another."""
        return sum(r.cycles for r in self.rows)

    @property
    def modelled_s(self) -> float:
        """Seconds of all layers at the machine's clock."""
        return self.cycles / (self.arch.clock_ghz * 1e9)

    @property
    def dram_bytes(self) -> int:
        """Bytes of all streams of all layers."""
        return sum(r.dram_bytes for r in self.rows)

    @property
    def energy_pj(self) -> float:
        """Energy of all layers, in picojoules."""
        return sum(r.energy_pj for r in self.rows)

    @property
    def hit_rate(self) -> float:
        """Share of the lines asked for that were in the cache, pinned or under way."""
        asked = sum(r.accesses for r in self.rows)
        return sum(r.hits for r in self.rows) / asked if asked else 0.0

    @property
    def layers(self) -> "pd.DataFrame":
        """One row a layer: cycles, bytes of every stream, hits, zeros, energy."""
        pandas = optional("pandas", extra="silicon")
        derived = ("dram_bytes", "hit_rate", "energy_pj")
        rows = [asdict(r) | {name: getattr(r, name) for name in derived} for r in self.rows]
        frame: pd.DataFrame = pandas.DataFrame(rows)
        return frame

    def summary(self) -> dict[str, Any]:
        """Return the totals as plain values."""
        streams = (
            "feature_bytes",
            "topology_bytes",
            "partial_write_bytes",
            "partial_read_bytes",
            "output_bytes",
            "comb_read_bytes",
            "comb_write_bytes",
        )
        parts = ("dram_pj", "sram_pj", "mac_pj")
        return {
            "workload": self.workload,
            "origin": self.origin,
            "cycles": self.cycles,
            "modelled_s": self.modelled_s,
            "dram_bytes": self.dram_bytes,
            **{name: sum(getattr(r, name) for r in self.rows) for name in streams},
            "hit_rate": self.hit_rate,
            "energy_pj": self.energy_pj,
            **{name: sum(getattr(r, name) for r in self.rows) for name in parts},
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting that was tried while tuning, on some of the layers."""

    config: Config
    cycles: int
    dram_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Reports of several systems on one workload and machine.

    Attributes
    ----------
    reports : dict
        By the system's name.
    trials : dict
        Settings that each tried.
    """

    reports: dict[str, Report]
    trials: dict[str, tuple[Trial, ...]]

    @property
    def frame(self) -> "pd.DataFrame":
        """One row a system, with the setting that it was tuned to."""
        pandas = optional("pandas", extra="silicon")
        rows = []
        for name, report in self.reports.items():
            setting = {k: getattr(report.config, k) for k in ("fmt", "slice", "tiles", "schedule", "order")}
            tried = {"trials": len(self.trials.get(name, ()))}
            rows.append({"system": name, **setting, **tried, **report.summary()})
        frame: pd.DataFrame = pandas.DataFrame(rows)
        return frame

    def to_csv(self, path: str) -> None:
        """Write `frame` as CSV."""
        self.frame.to_csv(path, index=False)

    def speedup(self, name: str, over: Sequence[str] = EXISTING) -> float:
        """Return the geometric mean of the factors by which `name` takes fewer cycles than the others."""
        return _geomean([self.reports[o].cycles / self.reports[name].cycles for o in over])

    def energy_gain(self, name: str, over: Sequence[str] = EXISTING) -> float:
        """Return the geometric mean of the factors by which `name` takes less energy than the others."""
        return _geomean([self.reports[o].energy_pj / self.reports[name].energy_pj for o in over])

    def traffic_gain(self, name: str, over: Sequence[str] = EXISTING) -> float:
        """Return the geometric mean of the factors by which `name` moves fewer bytes than the others."""
        return _geomean([self.reports[o].dram_bytes / self.reports[name].dram_bytes for o in over])


def simulate(  # noqa: PLR0913  # the options that are varied most have names of their own
    workload: Workload,
    arch: Arch,
    config: Config | None = None,
    *,
    fmt: FormatName | None = None,
    slice: int | None = None,
    schedule: str | None = None,
    strip: int | None = None,
    tiles: int | None = None,
    report_progress: Progress = _silent,
) -> Report:
    """Simulate the inference of a GCN.

    Parameters
    ----------
    workload : Workload
        Topology and zeros.
    arch : Arch
        Machine.
    config : Config or None
        Format, slices, tiles, schedule; SGCN's own by default.
    fmt, slice, schedule, strip, tiles
        Replace those of `config`.
    report_progress : callable
        Called with a fraction and a word after every layer.

    Returns
    -------
    Report

    Raises
    ------
    ConfigError
        Options or a machine that do not fit.

    Notes
    -----
    O(edges x lines of a record) time a layer. Equal slices are simulated once.
    """
    given = {"fmt": fmt, "slice": slice, "schedule": schedule, "strip": strip, "tiles": tiles}
    config = replace(config or Config(), **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]  # checked by Config
    return _run(Bench(workload, arch), config, EnergyModel.of(arch), report_progress)


def tune(
    workload: Workload | Bench,
    arch: Arch,
    system: str,
    grid: Grid | None = None,
    report_progress: Progress = _silent,
) -> tuple[Report, tuple[Trial, ...]]:
    """Try every setting of the grid on some layers, and run the one of fewest cycles on all.

    Returns
    -------
    report : Report
        Of the best setting (ties: the fewer bytes, then the earlier).
    trials : tuple of Trial
        All that were tried, in the order of the grid.
    """
    grid = grid or Grid()
    bench = workload if isinstance(workload, Bench) else Bench(workload, arch)
    energy = EnergyModel.of(arch)
    chosen = find_system(system)
    layers = _some_layers(len(bench.workload.layers), grid.layers)
    candidates = _distinct(chosen, grid, bench.workload)
    trials = []
    for number, config in enumerate(candidates):
        rows = [simulate_layer(bench, n, config, energy) for n in layers]
        trials.append(Trial(config, sum(r.cycles for r in rows), sum(r.dram_bytes for r in rows)))
        report_progress((number + 1) / (len(candidates) + 1), f"tuning {system}")
    best = min(trials, key=lambda t: (t.cycles, t.dram_bytes))
    return _run(bench, best.config, energy, _silent), tuple(trials)


def compare(
    workload: Workload,
    arch: Arch,
    systems: Sequence[str] = (*EXISTING, "csr", "beicsr", "sgcn"),
    grid: Grid | None = None,
    report_progress: Progress = _silent,
) -> Comparison:
    """Tune every system over the same grid and run its best setting.

    Parameters
    ----------
    workload, arch
        As `simulate`.
    systems : sequence of str
        Names out of `SYSTEMS`.
    grid : Grid or None
        Slice widths, tiles and layers to tune on.
    report_progress : callable
        Called with a fraction and a word.

    Raises
    ------
    ConfigError
        A name that is not known, or none.
    """
    if not systems:
        raise ConfigError("systems is empty; give at least one, such as 'sgcn'")
    for name in systems:
        find_system(name)
    bench = Bench(workload, arch)
    reports, trials = {}, {}
    for number, name in enumerate(systems):

        def part(fraction: float, word: str, number: int = number) -> None:
            report_progress((number + fraction) / len(systems), word)

        reports[name], trials[name] = tune(bench, arch, name, grid, part)
    return Comparison(reports, trials)


def _run(bench: Bench, config: Config, energy: EnergyModel, report_progress: Progress) -> Report:
    rows = []
    for number in range(len(bench.workload.layers)):
        rows.append(simulate_layer(bench, number, config, energy))
        report_progress((number + 1) / len(bench.workload.layers), f"layer {number}")
    return Report(bench.workload.name, bench.workload.origin, config, bench.arch, tuple(rows))


def _some_layers(num: int, wanted: int) -> list[int]:
    """Take layers evenly spaced over the hidden ones; the only one if there is one."""
    first = 1 if num > 1 else 0
    return sorted({int(n) for n in np.linspace(first, num - 1, min(wanted, num - first)).round()})


def _distinct(system: System, grid: Grid, workload: Workload) -> list[Config]:
    """Give the settings of the grid that differ here: a slice as wide as the widest row is none."""
    widest = max(s.width_in for s in workload.layers[1:] or workload.layers)
    seen: dict[Config, None] = {}
    for config in system.candidates(grid):
        whole = config.slice == 0 or config.slice >= widest
        tiles = min(config.tiles, max(1, workload.topology.num_nodes))
        seen.setdefault(replace(config, slice=0 if whole else config.slice, tiles=tiles))
    return list(seen)


def _geomean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))
