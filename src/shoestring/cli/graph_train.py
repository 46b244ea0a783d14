"""``shoestring graph train``."""

import hashlib
import json as json_format
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from shoestring.cli.bar import progress_bar
from shoestring.cli.console import note, print_json, results
from shoestring.cli.graph_folder import (
    CHECKPOINTS,
    METRICS,
    PREDICTIONS,
    STORAGE,
    WEIGHTS,
    JobFolder,
    MetricsFile,
    is_complete,
    job_folder,
)
from shoestring.cli.graph_job import GraphJob, check_trainable, load, read_job, text_flag
from shoestring.cli.graph_systems import System, find_system, started_by_torchrun
from shoestring.core.config import to_dict, to_toml

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["train"]


def train(  # noqa: PLR0913, PLR0917  # one parameter a flag
    graph: Annotated[
        Path, typer.Argument(help=".npz, .pt of PyG, Planetoid or OGB folder, edge list.", metavar="GRAPH")
    ],
    system: Annotated[
        str | None, typer.Option(help="grinnder: one machine and its storage; granndis: several servers.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="Mode of the system; its own method by default.")] = None,
    model: Annotated[str | None, typer.Option(help="gcn, sage or gat.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the graph.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of this training.", metavar="DIR")] = Path("graph-run"),
    replace_: Annotated[
        bool, typer.Option("--replace", help="Lose what an earlier training left in the folder.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Options as TOML.", metavar="FILE")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One option.", metavar="A.B=VALUE")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all options and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a GCN, GraphSAGE or GAT on the whole graph, exactly, within budgets of memory or bandwidth.

    Writes weights with PyG's names (model.safetensors), logits (predictions.npy), metrics (metrics.jsonl) and
    figures (result.json). A training that was stopped goes on with the same command.

    Example: shoestring graph train cora.npz --epochs 50 --set options.device_budget=64MiB --out run
    """
    flags = [
        *text_flag("system", system),
        *text_flag("mode", mode),
        *text_flag("model.kind", model),
        *([] if epochs is None else [f"training.epochs={epochs}"]),
    ]
    job = read_job(GraphJob, config, [*flags, *(set_ or ())])
    chosen = find_system(job)
    job = replace(job, mode=job.mode or chosen.modes[0])
    if print_config:
        options = {k: v for k, v in chosen.resolve(job, out / STORAGE).items() if k != "schema"}
        sys.stdout.write(to_toml(replace(job, options=options)))
        return
    report = _run(graph, job, chosen, out, replace_)
    if json:
        print_json(report)
    else:
        results().print(_table(report, out))


def _run(graph: Path, job: GraphJob, system: System, out: Path, start_anew: bool) -> dict[str, Any]:
    """Train, or go on, or return what an earlier run of the same job reported."""
    data = load(graph, job.input)
    check_trainable(data, graph)
    options = {k: v for k, v in system.resolve(job, out / STORAGE).items() if k != "storage"}
    identity = {"graph": fingerprint(data), "job": {**to_dict(job), "options": options}}
    if started_by_torchrun() and os.environ["RANK"] != "0":
        if start_anew or not is_complete(out, identity):
            system.join(data, job, out / CHECKPOINTS)
        raise typer.Exit  # rank 0 writes and prints
    with job_folder(out, identity, replace=start_anew) as folder:
        if folder.result is not None:
            note(f"this training is complete; its result is in {out} (--replace begins again)")
            return folder.result
        try:
            return _train(graph, data, job, system, folder)
        except KeyboardInterrupt:
            note("interrupted; the same command goes on from the last checkpoint")
            raise typer.Exit(130) from None


def _train(graph: Path, data: "Data", job: GraphJob, system: System, folder: JobFolder) -> dict[str, Any]:
    start = time.monotonic()
    about_graph = {
        "graph": graph.name,
        "num_nodes": int(data.num_nodes),
        "num_edges": int(data.edge_index.shape[1]),
        "split": str(data.get("split") or "given"),
    }
    num_features = int(data.x.shape[1])
    metrics = MetricsFile(folder.path / METRICS)
    with progress_bar() as report_progress:
        done = system.train(data, job, folder.storage, folder.checkpoints, metrics, report_progress)
    report = {
        **about_graph,
        "system": job.system,
        "mode": job.mode,
        "model": job.model.kind,
        "epochs": job.training.epochs,
        "seed": job.seed,
        **done.figures,
        "wall_s": round(time.monotonic() - start, 3),
        "config": to_dict(job),
    }
    about = {
        "format": "shoestring-gnn-1",
        "model": json_format.dumps(to_dict(job.model)),
        "in_channels": str(num_features),
        "out_channels": str(int(done.logits.shape[1])),
    }
    folder.finish(done.weights, about, done.logits, report)
    return report


def fingerprint(data: "Data") -> str:
    """Hash the arrays of a graph that a training reads; 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name in ("edge_index", "edge_weight", "x", "y", "train_mask", "val_mask", "test_mask"):
        value = data.get(name)
        if value is not None:
            digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            digest.update(value.contiguous().numpy().data)
    return digest.hexdigest()


def _table(report: dict[str, Any], out: Path) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = {
        "graph": f"{report['graph']}: {report['num_nodes']:,} vertices, {report['num_edges']:,} edges",
        "split": report["split"],
        "training": f"{report['system']} ({report['mode']}), {report['model']}, {report['epochs']} epochs, "
        f"seed {report['seed']}",
        "loss": f"{report['loss']:.4f}",
    }
    shares = [
        f"{report[f'{n}_accuracy']:.2f} % {n}" for n in ("train", "val", "test") if f"{n}_accuracy" in report
    ]
    if shares:
        rows["accuracy"] = ", ".join(shares)
    for name, value in report.items():
        if name.endswith("_bytes"):
            rows[name.removesuffix("_bytes").replace("_", " ")] = f"{value / 2**20:,.1f} MiB"
    rows["time"] = f"{report['wall_s']:.1f} s"
    rows["files"] = ", ".join(str(out / name) for name in (WEIGHTS, PREDICTIONS, METRICS))
    for name, text in rows.items():
        table.add_row(name, text)
    return table
