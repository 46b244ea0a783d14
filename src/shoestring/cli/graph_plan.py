"""``shoestring graph plan``."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from shoestring.cli.bar import progress_bar
from shoestring.cli.console import print_json, results
from shoestring.cli.graph_job import GraphJob, check_trainable, load, read_job, text_flag
from shoestring.cli.graph_systems import find_system
from shoestring.core.config import to_dict, to_toml

__all__ = ["plan"]


def plan(  # one parameter a flag
    graph: Annotated[
        Path, typer.Argument(help=".npz, .pt of PyG, Planetoid or OGB folder, edge list.", metavar="GRAPH")
    ],
    system: Annotated[
        str | None, typer.Option(help="grinnder: one machine and its storage; granndis: several servers.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="gcn, sage or gat.")] = None,
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One option.", metavar="A.B=VALUE")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all options and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict what every mode of a system needs, moves and takes, without training.

    Takes the options of shoestring graph train. Bytes are those of an epoch after the first. Times called
    modelled come from the speed of this machine, and of options.storage (a temporary folder by default) or
    options.link.

    Example: shoestring graph plan cora.npz --model sage --set options.host_budget=32MiB
    """
    job = read_job(
        GraphJob, config, [*text_flag("system", system), *text_flag("model.kind", model), *(set_ or ())]
    )
    chosen = find_system(job)
    job = replace(job, mode=job.mode or chosen.modes[0])
    with tempfile.TemporaryDirectory(prefix="shoestring-plan-") as folder:
        options = {k: v for k, v in chosen.resolve(job, Path(folder)).items() if k != "schema"}
        if print_config:
            sys.stdout.write(to_toml(replace(job, options=options)))
            return
        data = load(graph, job.input)
        check_trainable(data, graph)
        with progress_bar() as report:
            rows = chosen.plan(data, job, Path(folder), report)
    if json:
        head = {
            "graph": graph.name,
            "num_nodes": int(data.num_nodes),
            "num_edges": int(data.edge_index.shape[1]),
        }
        print_json({**head, "config": to_dict(replace(job, options=options)), "modes": rows})
    else:
        console = results()
        for part in _fitting(rows, console):
            console.print(_table(part))
        for row in rows:
            if row.get("why_not"):
                console.print(f"{row['mode']}: {row['why_not']}", soft_wrap=True, markup=False)


def _fitting(rows: list[dict[str, Any]], console: Console) -> list[list[dict[str, Any]]]:
    """Cut the modes into groups whose tables the terminal is wide enough for."""
    parts: list[list[dict[str, Any]]] = []
    for row in rows:
        wider = [*parts[-1], row] if parts else [row]
        wide = console.options.update(max_width=10_000)
        if parts and Measurement.get(console, wide, _table(wider)).maximum <= console.width:
            parts[-1] = wider
        else:
            parts.append([row])
    return parts


def _table(rows: list[dict[str, Any]]) -> Table:
    """One column a mode, one row a figure."""
    table = Table(box=None, pad_edge=False)
    table.add_column("an epoch")
    for row in rows:
        name = str(row["mode"]) + (f" k={row['k']}" if row["mode"] == "flexible" else "")
        table.add_column(name, justify="right")
    names = dict.fromkeys(name for row in rows for name in row if name not in ("mode", "k", "why_not"))
    for name in names:
        table.add_row(_title(name), *(_cell(name, row.get(name)) for row in rows))
    return table


def _title(name: str) -> str:
    return name.removesuffix("_bytes").removesuffix("_s").replace("_", " ")


def _cell(name: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes"):
        return f"{value / 2**20:,.2f} MiB"
    if name.endswith("_s"):
        return f"{value:.3g} s"
    return (
        f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
