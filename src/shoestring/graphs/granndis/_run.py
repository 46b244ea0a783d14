"""The job: plan, start the ranks, train, collect; by itself here, or in ranks that torchrun started."""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from shoestring.core.config import from_dict, to_dict
from shoestring.core.errors import ConfigError
from shoestring.graphs.granndis._models import GraphModel
from shoestring.graphs.granndis._plan import Plan, make_plan
from shoestring.graphs.granndis._source import Source, prepare_source, source_from_tensors
from shoestring.graphs.granndis._training import Fit, accuracy, fit
from shoestring.graphs.granndis.config import GranndisConfig, Mode
from shoestring.parallel import netns
from shoestring.parallel.groups import choose_backend, connect
from shoestring.parallel.launch import Rank, RankResult, launch
from shoestring.parallel.topology import Topology
from shoestring.parallel.transport import Traffic, Transport

__all__ = ["TrainingRun", "rank_main", "train", "train_rank"]


@dataclass(slots=True)
class TrainingRun:
    """The result of a run."""

    state_dict: dict[str, Tensor]
    """Trained weights under PyG's names."""
    loss: list[float]
    """Mean over all training vertices, by epoch."""
    accuracy: dict[str, float]
    """On the whole graph, by split (train, val, test)."""
    seconds: list[float]
    """Wall clock by epoch, of the slowest rank."""
    free_seconds: list[float]
    """Of the epochs after training without a limit of the link (``training.free_epochs``)."""
    plan: Plan
    """What was replicated where."""
    traffic_by_epoch: list[Traffic]
    """Of all ranks together, counted at the transport."""
    setup_traffic: Traffic
    """Of all ranks, before the first epoch."""
    setup_s: float
    """From the start of the ranks' work to the first epoch."""
    edges: int
    """Edges computed in an epoch's forward passes, all ranks."""
    rows: list[int]
    """Rows that every rank holds (full batch) or fetches in an epoch."""
    measured: dict[str, float] = field(default_factory=dict)
    """Activation bytes kept (greatest rank), gradient difference, resident memory, predictions."""
    link: str = "none"
    """How the link was shaped: none, namespaces or emulated."""
    start_epoch: int = 0
    """Above 0 if the run went on from a checkpoint."""

    def traffic(self) -> dict[str, float]:
        """Bytes an epoch, sent by all ranks, averaged: ``intra`` and ``inter``, each in all and by kind."""
        epochs = max(len(self.traffic_by_epoch), 1)
        out: dict[str, float] = {}
        for link in ("intra", "inter"):
            out[link] = sum(t.total(link=link) for t in self.traffic_by_epoch) / epochs
            for kind in ("feature", "gradient", "weights", "setup"):
                out[f"{link}.{kind}"] = (
                    sum(t.total(link=link, kind=kind) for t in self.traffic_by_epoch) / epochs
                )
        return out

    @property
    def epoch_s(self) -> float:
        """Median time of an epoch, the first left out."""
        return _median(self.seconds)

    @property
    def free_epoch_s(self) -> float:
        """The same without a limit of the link."""
        return _median(self.free_seconds)

    @property
    def replication(self) -> float:
        """Rows held by all ranks over the vertices of the graph (full batch)."""
        return sum(self.rows) / self.plan.owner.numel()


def train(
    data: Any,
    config: GranndisConfig,
    *,
    checkpoint: Path | None = None,
    report_progress: Callable[[float, str], None] | None = None,
) -> TrainingRun:
    """Train a network on a graph with GraNNDis, or with one of its baselines.

    Parameters
    ----------
    data : torch_geometric.data.Data
        ``x`` (N, D) float, ``edge_index`` (2, E), ``y`` (N,), ``train_mask`` and, if there are,
        ``val_mask`` and ``test_mask``. Never changed.
    config : GranndisConfig
        Topology, what is replicated, network, optimisation, link.
    checkpoint : Path or None
        File to write every ``training.checkpoint_every`` epochs; a run goes on from it if it exists.
    report_progress : callable or None
        Gets a fraction and a word.

    Returns
    -------
    TrainingRun
        Weights, losses, accuracy, bytes, times.

    Raises
    ------
    DataError, ConfigError
        Data or options that do not fit, before any process is started.
    RankError
        A rank failed or died; the message has its traceback, all others are ended.

    Notes
    -----
    Started by itself it forks the ranks on this machine (loopback, or namespaces with ``link``). In ranks
    that torchrun started, use `train_rank`.
    """
    source = prepare_source(data, config)
    plan = make_plan(source, config, compare=False)
    if checkpoint is not None:
        checkpoint = checkpoint.resolve()
    results = launch(
        "shoestring.graphs.granndis._run:rank_main",
        config.topology,
        options={
            "config": to_dict(config),
            "mode": plan.mode,
            "k": plan.k,
            "checkpoint": None if checkpoint is None else str(checkpoint),
        },
        tensors={**source.tensors(), "owner": plan.owner},
        shape=config.link,
        timeout_s=config.timeout_s,
        collective_timeout_s=config.collective_timeout_s,
        report_progress=report_progress,
    )
    return _collect(results, plan, config.link.resolve())


def train_rank(data: Any, config: GranndisConfig, *, checkpoint: Path | None = None) -> TrainingRun | None:
    """`train` inside a rank that torchrun started; every rank calls it with the same data and options.

    Returns
    -------
    TrainingRun or None
        On rank 0; None elsewhere. Bytes, rows and edges are those of all ranks.

    Raises
    ------
    ConfigError
        If torchrun's ranks are not those of ``config``.
    """
    topology = Topology.from_env()
    if topology != config.topology:
        raise ConfigError(
            f"torchrun started {topology.servers} x {topology.ranks_per_server} ranks, the options say "
            f"{config.servers} x {config.ranks_per_server}; make them equal"
        )
    source = prepare_source(data, config)
    plan = make_plan(source, config, compare=False)
    timeout = config.collective_timeout_s
    rank = int(os.environ["RANK"])
    with connect(topology, rank, backend=choose_backend(topology), timeout_s=timeout) as groups:
        # Ranks may have split the vertices on different machines: rank 0 decides.
        transport = Transport(groups, inter_bits_per_s=config.link.inter_bits_per_s)
        owner = transport.broadcast(plan.owner.to(groups.device).contiguous(), group="world").cpu()
        plan.owner.copy_(owner)
        mine = run_rank(transport, source, plan, config, checkpoint)
        gathered = _gather(transport, mine)
    return None if gathered is None else _collect(gathered, plan, "none")


def rank_main(rank: Rank) -> RankResult:
    """Run one of the ranks that `train` started."""
    options = rank.options
    config = from_dict(GranndisConfig, options["config"])
    source = source_from_tensors(rank.tensors)
    mode = cast("Mode", options["mode"])
    plan = Plan(
        mode=mode, k=options["k"], owner=rank.tensors["owner"].clone(), candidates=(), chosen=0, reason=""
    )
    path = options["checkpoint"]
    report = rank.report_progress
    return run_rank(rank.transport, source, plan, config, None if path is None else Path(path), report)


def run_rank(
    transport: Transport,
    source: Source,
    plan: Plan,
    config: GranndisConfig,
    checkpoint: Path | None,
    report: Callable[[float, str], None] | None = None,
) -> RankResult:
    """Train, then evaluate in rank 0."""
    wire = netns.link_bytes()
    dtype = getattr(torch, config.training.dtype)
    model = GraphModel(config.model, source.x.shape[1], source.num_classes, config.training.seed)
    model = model.to(device=transport.groups.device, dtype=dtype)
    done = fit(model, transport, source, plan, config, checkpoint=checkpoint, report=report)
    transport.barrier()
    counted = transport.traffic.copy()
    sent, received = (b - a for a, b in zip(wire, netns.link_bytes(), strict=True))
    first = transport.groups.rank == 0
    scores = accuracy(model, source, transport, config) if first and config.training.evaluate else {}
    transport.barrier()
    values = _values(done)
    values["measured"] |= {"link_sent_bytes": float(sent), "link_received_bytes": float(received)}
    values["server"] = transport.groups.topology.server_of(transport.groups.rank)
    values |= {"accuracy": scores, "all_traffic": counted.rows()}
    return RankResult(values, dict(model.state_dict()) if first else {})


def _values(done: Fit) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "loss": done.loss,
        "seconds": done.seconds,
        "free_seconds": done.free_seconds,
        "traffic": [t.rows() for t in done.traffic],
        "setup_traffic": done.setup_traffic.rows(),
        "setup_s": done.setup_s,
        "edges": done.edges,
        "rows": done.rows,
        "measured": {**done.measured, "resident_bytes": float(peak)},
        "start_epoch": done.start_epoch,
    }


def _collect(results: list[RankResult], plan: Plan, link: str) -> TrainingRun:
    values = [r.values for r in results]
    first = values[0]
    epochs = [
        sum((Traffic.from_rows(rows) for rows in epoch), Traffic())
        for epoch in zip(*(v["traffic"] for v in values), strict=True)
    ]
    measured: dict[str, float] = {}
    for v in values:
        for key, figure in v["measured"].items():
            measured[key] = max(measured.get(key, figure), figure)
    measured["counted_link_bytes"] = _busiest_link(values)
    return TrainingRun(
        state_dict=results[0].tensors,
        loss=first["loss"],
        accuracy=first["accuracy"],
        seconds=[max(times) for times in zip(*(v["seconds"] for v in values), strict=True)],
        free_seconds=[max(times) for times in zip(*(v["free_seconds"] for v in values), strict=True)],
        plan=plan,
        traffic_by_epoch=epochs,
        setup_traffic=sum((Traffic.from_rows(v["setup_traffic"]) for v in values), Traffic()),
        setup_s=max(v["setup_s"] for v in values),
        edges=sum(v["edges"] for v in values),
        rows=[v["rows"] for v in values],
        measured=measured,
        link=link,
        start_epoch=first["start_epoch"],
    )


def _busiest_link(values: list[dict[str, Any]]) -> float:
    """Bytes that the server with the most to send sent to others in the whole run, as counted."""
    sent: dict[int, int] = {}
    for v in values:
        bytes_sent = Traffic.from_rows(v["all_traffic"]).total(link="inter")
        sent[v["server"]] = sent.get(v["server"], 0) + bytes_sent
    return float(max(sent.values()))


def _gather(transport: Transport, mine: RankResult) -> list[RankResult] | None:
    """Results of all ranks on rank 0, as JSON over the transport."""
    import json

    text = torch.frombuffer(bytearray(json.dumps(mine.values).encode()), dtype=torch.uint8)
    world, rank = transport.size("world"), transport.groups.rank
    counts = [text.numel()] + [0] * (world - 1)
    incoming = transport.exchange_counts(counts, "world")
    device = transport.groups.device
    received = transport.all_to_all(text.to(device), counts, incoming, group="world", kind="setup").cpu()
    if rank != 0:
        return None
    parts = torch.split(received, incoming)
    out = [RankResult(json.loads(p.numpy().tobytes())) for p in parts]
    out[0].tensors = mine.tensors
    return out


def _median(seconds: list[float]) -> float:
    times = sorted(seconds[1:] or seconds)
    return times[len(times) // 2] if times else 0.0
