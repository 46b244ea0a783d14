"""What SGCN's verification runs for one arm and seed, and what it measures; all figures are modelled."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shoestring.core.config import from_dict
from shoestring.evidence.model import Context, Outcome, Series
from shoestring.silicon.arch import Arch
from shoestring.silicon.formats import footprints
from shoestring.silicon.sgcn._bench import Bench
from shoestring.silicon.sgcn._prepare import WORKLOAD_FILE, outcome_of, train_workload
from shoestring.silicon.sgcn._simulate import Report, simulate, tune
from shoestring.silicon.sgcn.config import Config, Grid
from shoestring.silicon.workload import Workload

__all__ = [
    "measure_cooperation",
    "measure_formats",
    "measure_random_zeros",
    "measure_system",
    "measure_zeros",
]

MB = 1e6


def measure_zeros(context: Context) -> Outcome:
    """Train one network; share of zeros of its hidden features, and accuracy.

    Options: ``graph``, ``training`` (see `train_workload`).
    """
    return outcome_of(train_workload(context))


def measure_formats(context: Context) -> Outcome:
    """Lay the trained features out in one format; lines that a reader of a row touches, by slice width.

    Options: ``fmt``, ``slices`` (widths, 0 for whole rows), ``block``.
    """
    options = context.options
    workload = _prepared(context)
    picked = np.linspace(1, len(workload.inputs) - 1, min(7, len(workload.inputs) - 1)).round().astype(int)
    metrics, curve = {}, []
    for width in options["slices"]:
        lines, capacity = [], []
        for number in picked:
            parts = footprints(workload.inputs[number], options["fmt"], width or None, block=options["block"])
            lines.append(sum(float(p.lines.mean() + (p.pointer == "line")) for p in parts))
            capacity.append(sum(p.capacity_lines for p in parts) / workload.topology.num_nodes)
        metrics[f"lines_{width or 'row'}"] = float(np.mean(lines))
        metrics[f"capacity_{width or 'row'}"] = float(np.mean(capacity))
        curve.append((width or workload.inputs[1].width, float(np.mean(lines))))
    curve.sort()
    series = Series(x=tuple(float(w) for w, _ in curve), y=tuple(v for _, v in curve))
    return Outcome(metrics=metrics, series={"lines": series})


def measure_system(context: Context) -> Outcome:
    """Tune systems over the grid and run the workload on each; geometric means where there are several.

    Options: ``systems`` (names), ``arch`` (shipped name), ``machine`` (keys to replace), ``grid``,
    ``override`` (fields of `Config` to replace after tuning).
    """
    options = context.options
    workload = _prepared(context)
    arch = _machine(options)
    bench = Bench(workload, arch)
    grid = from_dict(Grid, options["grid"])
    reports, trials = [], []
    systems = options["systems"]
    for number, name in enumerate(systems):

        def part(fraction: float, word: str, number: int = number) -> None:
            context.report_progress((number + fraction) / len(systems), word)

        report, tried = tune(bench, arch, name, grid, part)
        if options.get("override"):
            report = simulate(workload, arch, replace(report.config, **options["override"]))
        reports.append(report)
        trials.append(len(tried))
    metrics = _geometric_means([_metrics(r) for r in reports])
    metrics["trials"] = float(sum(trials))
    notes = [f"{name}: {_setting(r.config)}" for name, r in zip(systems, reports, strict=True)]
    if len(reports) > 1:
        return Outcome(metrics=metrics, notes=tuple(notes))
    chosen = reports[0].config
    metrics |= {"slice": float(chosen.slice), "tiles": float(chosen.tiles)}
    rows = reports[0].rows
    curve = Series(x=tuple(float(r.layer) for r in rows), y=tuple(r.cycles / MB for r in rows))
    return Outcome(metrics=metrics, series={"cycles": curve}, notes=tuple(notes))


def measure_random_zeros(context: Context) -> Outcome:
    """Aggregate one layer of random zeros with the best of the tile counts.

    Options: ``graph`` (text), ``width``, ``zeros``, ``config`` (of `Config`), ``tiles``, ``arch``,
    ``machine``.
    """
    options = context.options
    workload = Workload.random_zeros(
        options["graph"], 1, options["width"], options["zeros"], seed=context.seed
    )
    arch = _machine(options)
    config = from_dict(Config, options["config"])
    reports = [simulate(workload, arch, config, tiles=t) for t in options["tiles"]]
    best = min(reports, key=_aggregation_bytes)
    return Outcome(
        metrics={
            "aggregation_mb": _aggregation_bytes(best) / MB,
            "feature_mb": sum(r.feature_bytes for r in best.rows) / MB,
            "agg_mcycles": sum(r.agg_cycles for r in best.rows) / MB,
            "tiles": float(best.config.tiles),
        }
    )


def measure_cooperation(context: Context) -> Outcome:
    """Run one layer with and without cooperating engines; what cooperation saves.

    Options: ``graph``, ``width``, ``zeros``, ``config``, ``arch``, ``machine``.
    """
    options = context.options
    workload = Workload.random_zeros(
        options["graph"], 1, options["width"], options["zeros"], seed=context.seed
    )
    arch = _machine(options)
    config = from_dict(Config, options["config"])
    off, on = (simulate(workload, arch, config, schedule=s).rows[0] for s in ("contiguous", "sac"))
    misses = [r.accesses - r.hits for r in (off, on)]
    return Outcome(
        metrics={
            "misses_saved": 100 * (1 - misses[1] / misses[0]),
            "cycles_saved": 100 * (1 - on.agg_cycles / off.agg_cycles),
            "hit_rate": 100 * on.hit_rate,
        }
    )


def _prepared(context: Context) -> Workload:
    assert context.prepared is not None, "the study gives this workload a preparation"
    return Workload.from_npz(context.prepared / WORKLOAD_FILE)


def _machine(options: Mapping[str, Any]) -> Arch:
    return Arch.from_yaml(options["arch"]).replaced(**options["machine"])


def _geometric_means(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    if len(parts) == 1:
        return dict(parts[0])
    return {name: float(np.exp(np.mean([np.log(p[name]) for p in parts]))) for name in parts[0]}


def _metrics(report: Report) -> dict[str, float]:
    rows: Sequence[Any] = report.rows
    return {
        "mcycles": report.cycles / MB,
        "agg_mcycles": sum(r.agg_cycles for r in rows) / MB,
        "dram_mb": report.dram_bytes / MB,
        "aggregation_mb": _aggregation_bytes(report) / MB,
        "feature_mb": sum(r.feature_bytes for r in rows) / MB,
        "energy_mj": report.energy_pj / 1e9,
        "dram_mj": sum(r.dram_pj for r in rows) / 1e9,
        "hit_rate": 100 * report.hit_rate,
    }


def _aggregation_bytes(report: Report) -> int:
    """Bytes of the five streams of the aggregation."""
    return sum(r.dram_bytes - r.comb_read_bytes - r.comb_write_bytes for r in report.rows)


def _setting(config: Config) -> str:
    width = f"slices of {config.slice} columns" if config.slice else "whole rows"
    more = f", order {config.order}" if config.order != "given" else ""
    pinned = f", {100 * config.pinned_share:.0f} % of the cache pinned" if config.pinned_share else ""
    return f"{width}, {config.tiles} tile(s){more}{pinned}"
