"""What the verification of Slice-and-Forge runs: tables of all settings once, then every arm beside them."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np

from shoestring.core.config import from_dict
from shoestring.core.errors import ConfigError
from shoestring.core.files import write_bytes_atomic, write_json_atomic
from shoestring.evidence.model import Context, Outcome, Series
from shoestring.silicon.aggregation import DensePhase, machine_of
from shoestring.silicon.arch import Arch
from shoestring.silicon.slice_and_forge._baselines import BASELINES, best_of_baseline
from shoestring.silicon.slice_and_forge._simulate import Simulation, simulate
from shoestring.silicon.slice_and_forge._sweep import Point, sweep_phase
from shoestring.silicon.slice_and_forge.config import MorphingConfig, SnfConfig
from shoestring.silicon.slice_and_forge.functional import fitting_tiles
from shoestring.silicon.topology import Topology, load_graph

__all__ = ["measure_arm", "prepare_tables"]

_TABLE = "table.json"
_COLUMNS_OF_A_LINE = 16


@dataclass(frozen=True, slots=True)
class _Cell:
    """A graph on a machine: one of those whose geometric mean is taken."""

    graph: str
    """File of the preparation, without ending."""
    kind: str
    """Name of the kind of graph."""
    cache_kb: int
    width: int

    @property
    def key(self) -> str:
        return f"{self.graph} {self.cache_kb} {self.width}"

    @property
    def slices(self) -> int:
        """One line of record a slice."""
        return max(1, self.width // _COLUMNS_OF_A_LINE)


def _cells(options: Mapping[str, Any], seed: int) -> Iterator[_Cell]:
    for graph in options["graphs"]:
        name = graph["kind"] if graph.get("file") else f"{graph['kind']}-{seed}"
        for cache_kb in options["caches_kb"]:
            for width in options["widths"]:
                yield _Cell(name, graph["kind"], cache_kb, width)


def _arch(options: Mapping[str, Any], cache_kb: int) -> Arch:
    return Arch.from_yaml(options["machine"]).replaced(cache__bytes=cache_kb << 10)


def prepare_tables(context: Context) -> None:
    """Keep the graphs, and one layer at every setting of every baseline's grid.

    Parameters
    ----------
    context : Context
        With the options ``machine``, ``graphs`` (``kind`` and ``text``, or ``file`` of the data folder),
        ``caches_kb``, ``widths``, ``generator_seeds``, and ``whole_rows``: whether the schedules without
        slices are measured too.
    """
    options = context.options
    table: dict[str, Any] = {}
    made = list(_graphs(context))
    for i, (name, topology) in enumerate(made):
        context.report_progress(i / len(made), name)
        _save(context.folder / f"{name}.npz", topology)
        cells = {c.key: c for seed in options["generator_seeds"] for c in _cells(options, seed)}
        for key, cell in cells.items():
            if cell.graph == name:
                arch = _arch(options, cell.cache_kb)
                table[key] = _measure_cell(topology, arch, cell, whole_rows=options["whole_rows"])
    write_json_atomic(context.folder / _TABLE, table)


def _graphs(context: Context) -> Iterator[tuple[str, Topology]]:
    for graph in context.options["graphs"]:
        if not graph.get("file"):
            for seed in context.options["generator_seeds"]:
                yield f"{graph['kind']}-{seed}", load_graph(graph["text"], seed=seed)
            continue
        if context.data is None:
            raise ConfigError("this workload needs the folder of graphs; give --data graphs=FOLDER")
        yield graph["kind"], load_graph(context.data / graph["file"])


def _measure_cell(topology: Topology, arch: Arch, cell: _Cell, *, whole_rows: bool) -> dict[str, Any]:
    phase = DensePhase(topology, machine_of(arch))
    sliced = sweep_phase(phase, cell.width, (cell.slices,))
    found: dict[str, Any] = {"sliced": [_plain(p) for p in sliced.points]}
    if whole_rows:
        found["whole"] = [_plain(p) for p in sweep_phase(phase, cell.width, (1,)).points]
        best = {n: best_of_baseline(n, topology, arch, width=cell.width, phase=phase) for n in BASELINES}
        found["baselines"] = {name: _plain(point) for name, point in best.items()}
    return found


def _plain(point: Point) -> list[int]:
    return [point.slices, point.tiles, point.strip, point.cycles, point.dram_lines]


def _save(path: Path, topology: Topology) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, indptr=topology.indptr, indices=topology.indices)
    write_bytes_atomic(path, buffer.getvalue())


def _load(path: Path) -> Topology:
    with np.load(path, allow_pickle=False) as z:
        return Topology(z["indptr"], z["indices"], source=path.stem)


@dataclass(frozen=True, slots=True)
class _Result:
    """One layer of an arm in a cell."""

    cell: _Cell
    cycles: float
    lines: float
    oracle: Point
    settled: float
    """Cycles of a layer at the setting that it ended with."""
    tiles: int


def measure_arm(context: Context) -> Outcome:
    """Run one arm in every cell, and compare it with the best of all settings there.

    Parameters
    ----------
    context : Context
        With the options of `prepare_tables` and ``method``: ``morph`` (with ``morphing``, options of the
        controller), ``oracle``, ``fixed`` (the tiles and strips whose geometric mean over all cells is
        least), ``analytic``, ``least_lines`` and ``least_lines_whole`` (with and without slices), or the
        name of a baseline.

    Returns
    -------
    Outcome
        Geometric means over the cells, and the worst of them.
    """
    assert context.prepared is not None
    table = json.loads((context.prepared / _TABLE).read_text())
    cells = list(_cells(context.options, context.seed))
    graphs = {c.graph: _load(context.prepared / f"{c.graph}.npz") for c in cells}
    method = context.options["method"]
    fixed = _best_single([table[c.key]["sliced"] for c in cells]) if method == "fixed" else None
    results, curves = [], []
    for i, cell in enumerate(cells):
        context.report_progress(i / len(cells), cell.key)
        found = table[cell.key]
        oracle = min((Point(*p) for p in found["sliced"]), key=lambda p: p.cycles)
        if method == "morph":
            run = _morph(context.options, graphs[cell.graph], cell)
            results.append(_of_run(run, cell, oracle))
            curves.append([row.round.cycles * cell.slices / oracle.cycles for row in run.rows])
        else:
            point = _constant(method, found, oracle, fixed, graphs[cell.graph], cell)
            results.append(_Result(cell, point.cycles, point.dram_lines, oracle, point.cycles, point.tiles))
    return Outcome(
        metrics=_metrics(results, [table[c.key] for c in cells]),
        series={"convergence": _mean_curve(curves)} if curves else {},
        notes=(f"single best: {fixed[0]} tiles, strips of {fixed[1] or 'n / engines'}",) if fixed else (),
    )


def _morph(options: Mapping[str, Any], topology: Topology, cell: _Cell) -> Simulation:
    morphing = from_dict(MorphingConfig, dict(options.get("morphing", {})))
    config = SnfConfig(width=cell.width, slices=cell.slices, layers=2, morphing=morphing)
    return simulate(topology, _arch(options, cell.cache_kb), config)


def _of_run(run: Simulation, cell: _Cell, oracle: Point) -> _Result:
    layers = run.config.layers
    return _Result(
        cell,
        run.aggregation_cycles / layers,
        run.dram_lines / layers,
        oracle,
        run.final.round.cycles * cell.slices,
        max(row.setting.tiles for row in run.rows),
    )


def _constant(
    method: str,
    found: Mapping[str, Any],
    oracle: Point,
    fixed: tuple[int, int] | None,
    topology: Topology,
    cell: _Cell,
) -> Point:
    if method == "oracle":
        return oracle
    if method in found.get("baselines", {}):
        return Point(*found["baselines"][method])
    if method.startswith("least_lines"):
        grid = found["whole" if method == "least_lines_whole" else "sliced"]
        return min((Point(*p) for p in grid), key=lambda p: p.dram_lines)
    if method == "analytic":
        cache_lines = (cell.cache_kb << 10) // 64
        tiles = fitting_tiles(topology.num_nodes, 1, cache_lines, fill=1.0, most=64)
        counts = sorted({p[1] for p in found["sliced"]})
        fixed = (next((t for t in counts if t >= tiles), counts[-1]), 32)
    if fixed is None:
        raise ConfigError(f"method {method!r} is not known; see measure_arm")
    return next(Point(*p) for p in found["sliced"] if (p[1], p[2]) == fixed)


def _best_single(grids: list[list[list[int]]]) -> tuple[int, int]:
    """Return the tiles and strip with the least geometric mean over all cells."""
    logs: dict[tuple[int, int], float] = {}
    for grid in grids:
        for _, tiles, strip, cycles, _ in grid:
            logs[tiles, strip] = logs.get((tiles, strip), 0.0) + log(cycles)
    return min(logs, key=lambda setting: logs[setting])


def _metrics(results: list[_Result], found: list[Mapping[str, Any]]) -> dict[str, float]:
    settled: dict[str, float] = {}
    for r in results:
        settled[r.cell.kind] = max(settled.get(r.cell.kind, 0.0), r.settled / r.oracle.cycles)
    out = {
        "mcycles": _geomean([r.cycles for r in results]) / 1e6,
        "mlines": _geomean([r.lines for r in results]) / 1e6,
        "over_oracle": _geomean([r.cycles / r.oracle.cycles for r in results]),
        "worst_total": max(r.cycles / r.oracle.cycles for r in results),
        "worst_settled": max(settled.values()),
        "kinds": float(sum(ratio <= 1.05 for ratio in settled.values())),
        "most_tiles": float(max(r.tiles for r in results)),
    }
    if all("baselines" in f for f in found):
        tiled = [f["baselines"]["tiled"][3] for f in found]
        out["most_saved"] = max(100 * (1 - r.cycles / t) for r, t in zip(results, tiled, strict=True))
    return out


def _geomean(values: list[float]) -> float:
    return exp(sum(log(v) for v in values) / len(values))


def _mean_curve(curves: list[list[float]]) -> Series:
    """Mean over the cells of the most common number of rounds, round after round."""
    longest = max(len(c) for c in curves)
    mean = np.mean([c for c in curves if len(c) == longest], axis=0)
    return Series(x=tuple(float(i) for i in range(longest)), y=tuple(float(v) for v in mean))
