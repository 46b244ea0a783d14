"""What the verification of GraNNDis runs for one arm and seed, and what it measures."""

from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Data

from shoestring.core.config import from_dict
from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed
from shoestring.data.graphs.formats import load_graph, save_graph
from shoestring.data.graphs.generators import block_model, digits_graph
from shoestring.evidence.model import Context, Outcome, Series
from shoestring.graphs.granndis._reference import train_single
from shoestring.graphs.granndis._run import TrainingRun, train
from shoestring.graphs.granndis.config import GranndisConfig

__all__ = ["measure_arm", "prepare_graph"]

MB = 1e6
_FILE = "graph.npz"


def prepare_graph(context: Context) -> None:
    """Make or load the workload's graph, and leave it as an npz.

    Parameters
    ----------
    context : Context
        With the option ``graph``: ``{"kind": "block_model", ...}``, ``{"kind": "digits"}`` or
        ``{"kind": "file", "name": ..., "width": ...}`` (a file of the data folder; features wider than
        ``width`` are projected at random, then every column is standardised).
    """
    options = dict(context.options["graph"])
    kind = options.pop("kind")
    if kind == "block_model":
        data = block_model(**options)
    elif kind == "digits":
        data = digits_graph()
    elif kind == "file":
        if context.data is None:
            raise ConfigError("this workload needs the folder of graphs; give --data graphs=FOLDER")
        data = _narrow(load_graph(Path(context.data) / f"{options['name']}.npz"), int(options["width"]))
    else:
        raise ConfigError(f"graph.kind={kind!r} is not one of block_model, digits, file")
    save_graph(context.folder / _FILE, data)


def _narrow(data: Data, width: int) -> Data:
    x = data.x
    if x.shape[1] > width:
        rng = torch.Generator().manual_seed(derive_seed(0, "projection"))
        x = x @ (torch.randn(x.shape[1], width, generator=rng) / width**0.5)
    data.x = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)
    return data


def measure_arm(context: Context) -> Outcome:
    """Train with one arm's layout and measure it.

    Parameters
    ----------
    context : Context
        With the options ``method`` (``granndis`` or ``pyg``) and ``config``, and a graph from
        `prepare_graph`.

    Returns
    -------
    Outcome
        Metrics of the study and the curve of the loss.
    """
    assert context.prepared is not None
    data = load_graph(context.prepared / _FILE)
    options: dict[str, Any] = dict(context.options["config"])
    options["plan"] = dict(context.options.get("plan", {}))
    options["training"] = {**options.get("training", {}), "seed": context.seed}
    config = from_dict(GranndisConfig, options)
    if context.options.get("method") == "pyg":
        single = train_single(data, config)
        times = sorted(single.seconds[1:] or single.seconds)
        metrics = {
            "test": 100 * single.accuracy["test"],
            "free_epoch_s": times[len(times) // 2],
            "activation_mb": single.activation_bytes / MB,
            "edges_m": single.edges / MB,
        }
        return Outcome(metrics=metrics, series={"loss": _curve(single.loss)})
    run = train(data, config, report_progress=context.report_progress)
    return Outcome(
        metrics=_metrics(run, config, int(data.num_nodes)),
        series={"loss": _curve(run.loss)},
        notes=(f"link between servers: {run.link}",),
    )


def _metrics(run: TrainingRun, config: GranndisConfig, num_nodes: int) -> dict[str, float]:
    traffic, measured = run.traffic(), run.measured
    out = {
        "test": 100 * run.accuracy["test"],
        "inter_mb": (traffic["inter.feature"] + traffic["inter.gradient"]) / MB,
        "intra_mb": (traffic["intra.feature"] + traffic["intra.gradient"]) / MB,
        "weights_mb": (traffic["inter.weights"] + traffic["intra.weights"]) / MB,
        "rows": sum(run.rows) / config.servers,
        "edges_m": run.edges / MB,
        "epoch_s": run.epoch_s,
        "setup_s": run.setup_s,
        "activation_mb": measured["activation_bytes"] / MB,
        "rank_mb": measured["resident_bytes"] / MB,
    }
    if config.plan.mode in ("full", "flexible", "eas"):
        out["replication"] = sum(run.rows) / num_nodes
    if run.free_seconds:
        out["free_epoch_s"] = run.free_epoch_s
    if run.link == "namespaces" and measured["counted_link_bytes"] > 0:
        out["wire_ratio"] = measured["link_sent_bytes"] / measured["counted_link_bytes"]
    for name in ("gradient_difference", "modelled_epoch_s", "modelled_paper_s"):
        if name in measured:
            out[name] = measured[name]
    return out


def _curve(loss: list[float]) -> Series:
    return Series(x=tuple(float(i + 1) for i in range(len(loss))), y=tuple(loss))
