"""``shoestring simulate snf``."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from shoestring.cli.console import note, print_json, results
from shoestring.cli.graph_job import read_job, text_flag
from shoestring.cli.out_folder import check_out_folder
from shoestring.core.config import to_toml
from shoestring.core.errors import ConfigError
from shoestring.silicon.arch import Arch
from shoestring.silicon.slice_and_forge.config import SnfConfig

if TYPE_CHECKING:
    from shoestring.silicon.slice_and_forge import Simulation

__all__ = ["SnfJob", "snf"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SnfJob:
    """Everything that decides the result of ``shoestring simulate snf``, but the graph and the machine."""

    options: SnfConfig = field(default_factory=SnfConfig)
    """Slices, tiler, controller."""
    seed: int = 0
    """Of a generated graph."""


def snf(  # noqa: PLR0913, PLR0917  # one parameter a flag
    graph: Annotated[
        str,
        typer.Option(help="Edge list, .mtx, .npz, .pt, folder, or a generator (sbm:n=...).", metavar="GRAPH"),
    ],
    width: Annotated[int | None, typer.Option(help="Columns of the features.")] = None,
    slices: Annotated[int | None, typer.Option(help="Slices of the features.")] = None,
    tiler: Annotated[
        str | None, typer.Option(help="morph, fixed:TILES, analytic or oracle.", metavar="NAME")
    ] = None,
    arch: Annotated[
        str, typer.Option(help="Machine: a YAML file, or a shipped one's name.", metavar="FILE")
    ] = "snf_hbm2",
    out: Annotated[Path, typer.Option(help="Folder of the reports.", metavar="DIR")] = Path("snf-run"),
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One option.", metavar="A.B=VALUE")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all options and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulate the aggregation of a GCN whose feature slices tune their own tiles.

    Writes rounds.csv (a row a slice, with the decision), layers.csv, summary.csv, config.resolved.yaml (the
    machine), convergence.svg, and with the oracle sweep.csv (every setting). All figures are a model's.

    Example: shoestring simulate snf --graph soc.mtx --width 256 --slices 16 --tiler morph --out run
    """
    overrides = [
        *(
            f"options.{name}={value}"
            for name, value in (("width", width), ("slices", slices))
            if value is not None
        ),
        *_tiler(tiler),
    ]
    job = read_job(SnfJob, config, [*overrides, *(set_ or ())])
    if print_config:
        sys.stdout.write(to_toml(job))
        return
    from shoestring.silicon.slice_and_forge import simulate
    from shoestring.silicon.topology import load_graph

    machine = Arch.from_yaml(arch)
    check_out_folder(out)
    run = simulate(load_graph(graph, seed=job.seed), machine, job.options)
    run.write(out)
    note(f"reports are in {out}")
    summary = run.summary()
    if summary["slices"] < job.options.slices:
        note(
            f"{job.options.width} columns make {summary['slices']} slices, not {job.options.slices}: a slice "
            f"is whole cache lines, of {machine.cache.line_bytes} bytes here"
        )
    if json:
        print_json({**summary, "out": str(out)})
        return
    results().print(_table(run, summary))


def _tiler(text: str | None) -> list[str]:
    """Split ``fixed:8`` into the two options that it stands for."""
    if text is None:
        return []
    name, sign, tiles = text.partition(":")
    if not sign:
        return text_flag("options.tiler", name)
    if name != "fixed" or not tiles.isdecimal():
        raise ConfigError(
            f"--tiler {text!r} is not one of morph, fixed:TILES (such as fixed:8), analytic, oracle"
        )
    return [*text_flag("options.tiler", name), f"options.tiles={tiles}"]


_LABELS = {"modelled_s": "modelled time", "dram_bytes": "DRAM traffic"}


def _table(run: "Simulation", summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in summary.items():
        table.add_row(_LABELS.get(name, name.replace("_", " ")), _cell(name, value))
    explored = len({row.setting for row in run.rows})
    table.add_row("settings tried", str(explored))
    return table


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "final_strip":
        return str(value) if value else "contiguous"
    if name.endswith("_bytes"):
        return f"{value / 2**20:,.1f} MiB"
    if name.endswith("_s"):
        return f"{1e3 * value:.3f} ms"
    return (
        f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
