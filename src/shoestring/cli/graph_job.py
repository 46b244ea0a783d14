"""What the verbs of ``shoestring graph`` share: options, the user's graph, the model."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from shoestring.cli.console import note
from shoestring.core.config import apply_overrides, from_dict, read_toml
from shoestring.core.errors import ConfigError, DataError, StorageError
from shoestring.core.optional import optional

if TYPE_CHECKING:
    from torch import nn
    from torch_geometric.data import Data

__all__ = [
    "GraphJob",
    "InputOptions",
    "ModelOptions",
    "TrainingOptions",
    "build_model",
    "check_out_file",
    "check_trainable",
    "load",
    "read_job",
    "text_flag",
]

J = TypeVar("J")


@dataclass(frozen=True, kw_only=True, slots=True)
class InputOptions:
    """How the graph is read."""

    name: str = ""
    """Which data set of a Planetoid folder with several."""
    features: str = ""
    """Features of an edge list: .npy or text, a row a vertex."""
    labels: str = ""
    """Classes of an edge list: .npy or text, an entry a vertex, -1 for none."""
    undirected: Literal["auto", "yes", "no"] = "auto"
    """Add the reverse of every edge; "auto" does what the format says."""
    split: int = 0
    """Which of several stored splits."""
    seed: int = 0
    """Seed of the split that is made when there are labels and no split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """A stack of PyG layers with ReLU and dropout between them."""

    kind: Literal["gcn", "sage", "gat"] = "gcn"
    """PyG's GCNConv, SAGEConv or GATConv."""
    layers: int = 2
    """Number of layers."""
    hidden: int = 64
    """Width between layers; of all heads together."""
    heads: int = 1
    """Attention heads of "gat"."""
    norm: Literal["layer", "none"] = "none"
    """Normalise every vertex after each layer but the last."""
    dropout: float = 0.5
    """Share of values dropped after each layer but the last."""

    def __post_init__(self) -> None:
        if min(self.layers, self.hidden, self.heads) < 1:
            raise ConfigError(
                f"model.layers={self.layers}, hidden={self.hidden}, heads={self.heads}; "
                "each must be at least 1"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout={self.dropout} is outside 0 .. 1; 0 drops nothing")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """The length of the training and its step."""

    epochs: int = 100
    """Passes over the whole graph."""
    lr: float = 0.01
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """Weight decay of Adam; grinnder only."""
    checkpoint_every: int = 10
    """Epochs between two checkpoints of granndis, 0 for none; grinnder writes one after every epoch."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.checkpoint_every < 0:
            raise ConfigError(
                f"training.epochs={self.epochs}, checkpoint_every={self.checkpoint_every}; "
                "give at least 1 and 0"
            )
        if not self.lr > 0 or self.weight_decay < 0:
            raise ConfigError(
                f"training.lr={self.lr} must be above 0, weight_decay={self.weight_decay} not below 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphJob:
    """Everything that decides the result of ``shoestring graph train``, but the graph's files."""

    system: Literal["grinnder", "granndis"] = "grinnder"
    """grinnder: one machine with storage as the last tier; granndis: servers with slow links between them."""
    mode: str = ""
    """Mode of the system; its own method when empty."""
    seed: int = 0
    """Seed of weights, partitions, dropout and sampling."""
    input: InputOptions = InputOptions()
    """How the graph is read."""
    model: ModelOptions = ModelOptions()
    """The network."""
    training: TrainingOptions = TrainingOptions()
    """Epochs and step."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the system, as its own config has them."""


def read_job(kind: type[J], path: Path | None, overrides: list[str]) -> J:
    """Build a job from a TOML file, if there is one, and overrides."""
    if path is not None:
        return read_toml(kind, path, overrides)
    return from_dict(kind, apply_overrides({}, overrides))


def text_flag(key: str, value: str | None) -> list[str]:
    """Write a flag as the override that it is."""
    return [] if value is None else [f"{key}={json.dumps(value)}"]


def load(path: Path, options: InputOptions) -> "Data":
    """Load the user's graph.

    Raises
    ------
    DataError, ConfigError
        As `shoestring.data.graphs.formats.load_graph`; a graph without a vertex.
    """
    optional("torch_geometric", extra="graphs")
    from shoestring.data.graphs.formats import load_graph

    try:
        data = load_graph(
            path,
            name=options.name or None,
            features=options.features or None,
            labels=options.labels or None,
            undirected={"auto": None, "yes": True, "no": False}[options.undirected],
            split=options.split,
            seed=options.seed,
        )
    except ConfigError as e:
        raise ConfigError(f"{e}. Here such options are written --set input.NAME=VALUE") from e
    if data.num_nodes == 0:
        raise DataError(f"{path} holds no vertex and no edge; give a graph with at least one edge")
    _note_gaps(data, path)
    return data


def _note_gaps(data: "Data", path: Path) -> None:
    """Say when an edge list has ids that no edge uses: they are vertices too, if perhaps not meant."""
    import torch

    if data.get("x") is not None or data.get("y") is not None or path.suffix in {".npz", ".pt", ".pth"}:
        return
    used = int(torch.unique(data.edge_index).numel())
    if used < data.num_nodes:
        note(
            f"{path.name} has {used:,} vertices with edges; ids run up to {data.num_nodes - 1:,}, so "
            f"{data.num_nodes - used:,} vertices without an edge are counted too"
        )


def check_trainable(data: "Data", path: Path) -> None:
    """Refuse a graph without features or labels, or without a training vertex, with a DataError."""
    missing = [name for name in ("x", "y") if data.get(name) is None]
    if missing:
        what = {"x": "features", "y": "labels"}
        raise DataError(
            f"{path} has no {' and no '.join(what[m] for m in missing)}; a training needs features and "
            "labels. Store them as x and y, or for an edge list give --set input.features=FILE.npy "
            "--set input.labels=FILE.npy"
        )
    if data.get("train_mask") is None or not bool(data.train_mask.any()):
        raise DataError(f"{path} has no training vertex; give a train_mask with at least one true entry")


def check_out_file(path: Path, suffix: str) -> None:
    """Find out before the work, not after it, that a result cannot be written."""
    if path.suffix != suffix:
        raise ConfigError(f"--out {str(path)!r} must end in {suffix}")
    folder = next(p for p in (path.absolute().parent, *path.absolute().parents) if p.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StorageError(
            f"--out {str(path)!r} cannot be written: check the folder {folder} and its permissions"
        )


def build_model(options: ModelOptions, data: "Data", seed: int, dtype: str) -> "nn.Module":
    """Build the network with weights drawn from `seed`; global random state is left as it was."""
    import torch

    from shoestring.graphs.models import build_gnn

    labels = data.y
    classes = int(labels.shape[1]) if labels.dim() == 2 else int(labels.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_gnn(
            options.kind,
            int(data.x.shape[1]),
            options.hidden,
            max(classes, 2),
            options.layers,
            heads=options.heads,
            norm=None if options.norm == "none" else "layer",
            dropout=options.dropout,
        )
    return model.to(getattr(torch, dtype))
