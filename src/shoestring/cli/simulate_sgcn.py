"""``shoestring simulate sgcn``."""

import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from shoestring.cli.bar import progress_bar
from shoestring.cli.console import note, print_json, results
from shoestring.cli.graph_job import read_job
from shoestring.cli.out_folder import check_out_folder
from shoestring.core.config import to_dict, to_toml
from shoestring.core.errors import ConfigError, MissingExtraError
from shoestring.core.files import write_text_atomic
from shoestring.silicon.arch import Arch
from shoestring.silicon.residual_gcn import TrainingConfig
from shoestring.silicon.sgcn.config import Config, Grid

if TYPE_CHECKING:
    from shoestring.silicon.sgcn import Report
    from shoestring.silicon.workload import Workload

__all__ = ["SgcnJob", "sgcn"]

SUMMARY, LAYERS, RESOLVED = "summary.csv", "layers.csv", "config.resolved.yaml"
TRACE, PLOT, WORKLOAD = "dram.trace", "layers.svg", "workload.npz"


@dataclass(frozen=True, kw_only=True, slots=True)
class SgcnJob:
    """Everything that decides the result of ``shoestring simulate sgcn``, but the files given to it."""

    options: Config = field(default_factory=Config)
    """The accelerator: format, slices, tiles, schedule."""
    compare: tuple[str, ...] = ()
    """Systems that are tuned over the grid and run too, e.g. hygcn, gcnax, csr."""
    grid: Grid = field(default_factory=Grid)
    """Slices and tiles that the compared systems are tuned over."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """The network that --train trains."""
    trace_layer: int = -1
    """Layer whose DRAM lines are written; -1 for none."""


def sgcn(  # noqa: PLR0913, PLR0917  # one parameter a flag
    arch: Annotated[
        str, typer.Option(help="Machine: a YAML file, or a shipped one's name.", metavar="FILE")
    ] = "sgcn_hbm2",
    workload: Annotated[
        Path | None, typer.Option(help="Workload .npz: saved, or your own activations.", metavar="FILE")
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            help="Instead: train the residual GCN on this graph (file or sbm:...).", metavar="GRAPH"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the reports.", metavar="DIR")] = Path("sgcn-run"),
    compare: Annotated[
        str | None, typer.Option(help="Systems to tune and run too, with commas; or all.", metavar="NAMES")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One option.", metavar="A.B=VALUE")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all options and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulate the inference of a GCN on an accelerator that keeps its features compressed.

    Writes summary.csv (a row a system), layers.csv (a row a layer), config.resolved.yaml, a plot, and with
    --set trace_layer=N the DRAM lines of layer N as DRAMsim3 reads them (dram.trace). Every figure is that of
    a model.

    Example: shoestring simulate sgcn --workload run.npz --set options.slice=64 --compare gcnax,csr --out run
    """
    job = _with_names(read_job(SgcnJob, config, set_ or []), compare)
    if print_config:
        sys.stdout.write(to_toml(job))
        return
    machine = Arch.from_yaml(arch)
    check_out_folder(out)
    with progress_bar() as report_progress:
        loaded = _load(workload, train, job, report_progress)
        if job.trace_layer >= len(loaded.layers):
            raise ConfigError(f"trace_layer={job.trace_layer}; the layers are 0 .. {len(loaded.layers) - 1}")
        reports, trials = _run(loaded, machine, job, report_progress)
    if train is not None:
        loaded.save(out / WORKLOAD)
    summary = [
        {"system": name, **_setting(report), "trials": trials.get(name, 0), **report.summary()}
        for name, report in reports.items()
    ]
    _write(out, loaded, machine, job, reports, summary)
    note(f"reports are in {out}")
    if json:
        print_json({"systems": summary, "zeros": list(loaded.zeros)})
    else:
        results().print(_table(summary))


def _with_names(job: SgcnJob, names: str | None) -> SgcnJob:
    from shoestring.silicon.sgcn import SYSTEMS

    if names is not None:
        wanted = tuple(SYSTEMS) if names == "all" else tuple(n.strip() for n in names.split(",") if n.strip())
        job = replace(job, compare=wanted)
    for name in job.compare:
        if name not in SYSTEMS:
            raise ConfigError(f"compare={name!r} is not one of {', '.join(SYSTEMS)}, all")
    return job


def _load(
    path: Path | None, train: str | None, job: SgcnJob, report_progress: Callable[[float, str], None]
) -> "Workload":
    from shoestring.silicon.workload import Workload

    if (path is None) == (train is None):
        raise ConfigError("give --workload FILE or --train GRAPH, one of them")
    if path is not None:
        return Workload.from_npz(path)
    return Workload.train_residual(
        train,
        job.training.layers,
        job.training.width,
        job.training.seed,
        training=job.training,
        report_progress=report_progress,
    )


def _run(
    workload: "Workload", machine: Arch, job: SgcnJob, report_progress: Callable[[float, str], None]
) -> tuple[dict[str, "Report"], dict[str, int]]:
    """Run the options as they are, then the systems to compare at their best settings."""
    from shoestring.silicon.sgcn import compare as compare_systems
    from shoestring.silicon.sgcn import simulate

    reports = {"options": simulate(workload, machine, job.options, report_progress=report_progress)}
    if not job.compare:
        return reports, {}
    made = compare_systems(workload, machine, job.compare, job.grid, report_progress)
    return reports | made.reports, {name: len(t) for name, t in made.trials.items()}


def _setting(report: "Report") -> dict[str, Any]:
    return {k: getattr(report.config, k) for k in ("fmt", "slice", "tiles", "schedule", "strip", "order")}


def _write(
    out: Path,
    workload: "Workload",
    machine: Arch,
    job: SgcnJob,
    reports: dict[str, "Report"],
    summary: list[dict[str, Any]],
) -> None:
    """Write the reports; the summary comes last, so a folder that has it is complete."""
    import yaml

    from shoestring.silicon.dram_trace import write_trace
    from shoestring.silicon.sgcn._plot import layers_svg
    from shoestring.silicon.sgcn._trace import trace_layer

    if job.trace_layer >= 0:
        write_trace(out / TRACE, trace_layer(workload, machine, job.options, job.trace_layer))
    rows = [
        {"system": name, **asdict(row), "dram_bytes": row.dram_bytes, "hit_rate": row.hit_rate}
        for name, report in reports.items()
        for row in report.rows
    ]
    write_text_atomic(out / LAYERS, _csv(rows))
    resolved = {
        "arch": machine.model_dump(),
        "job": to_dict(job),
        "workload": {"name": workload.name, "origin": workload.origin, "info": dict(workload.info)},
    }
    write_text_atomic(out / RESOLVED, yaml.safe_dump(_plain(resolved), sort_keys=False))
    try:
        write_text_atomic(out / PLOT, layers_svg(reports))
    except MissingExtraError as e:
        note(f"no plot: {e}")
    write_text_atomic(out / SUMMARY, _csv(summary))


def _plain(value: Any) -> Any:
    """Turn tuples into lists, which YAML knows."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _table(summary: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in (
        "system",
        "format",
        "slice",
        "tiles",
        "M cycles",
        "time (ms)",
        "DRAM (MB)",
        "hits (%)",
        "energy (mJ)",
    ):
        table.add_column(title, justify="left" if title in ("system", "format") else "right")
    for row in summary:
        table.add_row(
            row["system"],
            row["fmt"],
            str(row["slice"] or "rows"),
            str(row["tiles"]),
            f"{row['cycles'] / 1e6:,.3f}",
            f"{row['modelled_s'] * 1e3:,.3f}",
            f"{row['dram_bytes'] / 1e6:,.2f}",
            f"{100 * row['hit_rate']:.1f}",
            f"{row['energy_pj'] / 1e9:,.3f}",
        )
    return table
