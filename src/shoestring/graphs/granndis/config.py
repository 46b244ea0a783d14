"""Options of GraNNDis and of the baselines that run on the same transport."""

from dataclasses import dataclass, field
from typing import Literal

from shoestring.core.errors import ConfigError
from shoestring.parallel.launch import LinkShape
from shoestring.parallel.topology import Topology

__all__ = [
    "CooperativeConfig",
    "GranndisConfig",
    "HaloConfig",
    "Mode",
    "ModelConfig",
    "Partitioner",
    "PlanConfig",
    "TrainingConfig",
]

Partitioner = Literal["metis", "switching", "random", "contiguous"]
Mode = Literal["auto", "full", "flexible", "eas", "cooperative", "minibatch"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CooperativeConfig:
    """Batches of the modes ``cooperative`` (one neighbourhood a server) and ``minibatch`` (one a rank)."""

    batches: int = 4
    """Iterations an epoch; the training vertices are split over them and over the servers (or ranks)."""
    sampler: Literal["sage", "saint", "cluster", "eas"] = "sage"
    """How the neighbourhood of a batch is drawn."""
    fanout: int = 25
    """In-neighbours a vertex and hop (``sage``); -1 takes all, which makes a batch exact."""
    saint_nodes: int = 2000
    """Vertices that ``saint`` adds to a batch, drawn with probability proportional to their degree."""

    def __post_init__(self) -> None:
        if self.batches < 1:
            raise ConfigError(f"cooperative.batches={self.batches} must be at least 1; 1 is the whole epoch")
        if self.fanout < -1:
            raise ConfigError(f"cooperative.fanout={self.fanout} must be -1 (all), 0 (none) or more")
        if self.saint_nodes < 0:
            raise ConfigError(f"cooperative.saint_nodes={self.saint_nodes} must not be negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class HaloConfig:
    """How boundary rows travel in mode ``full``."""

    kind: Literal["fresh", "stale", "sampled"] = "fresh"
    """``fresh``: synchronous and exact. ``stale``: one step behind, overlapped (PipeGCN). ``sampled``: a
    random share, rescaled (BNS-GCN)."""
    keep: float = 0.1
    """Share of the rows that ``sampled`` sends, in (0, 1]."""
    hierarchical: bool = False
    """Partition into servers, then ranks, and send a row to a server once, where it is handed on. False:
    one partition into all ranks and one all-to-all (the baseline of the paper)."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ConfigError(f"halo.keep={self.keep} is outside (0, 1]; 1 sends everything")
        if self.hierarchical and self.kind != "fresh":
            raise ConfigError(
                f"halo.kind={self.kind!r} goes with hierarchical=False only; choose one of them"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanConfig:
    """What is replicated where."""

    mode: Mode = "flexible"
    """``auto`` takes the first of flexible (largest k), eas, cooperative that fits `mem_budget`."""
    k: int | None = None
    """Layers without inter-server traffic (``flexible``); None takes the largest that fits `mem_budget`."""
    hops: int = 1
    """Hops that leave a server (``eas``)."""
    fanout: int = 15
    """External in-neighbours a vertex and hop (``eas``); -1 takes all, 0 none."""
    select: Literal["degree", "uniform"] = "degree"
    """Which external neighbours: those with most edges into the server (ties by id), or at random."""
    masking: bool = True
    """One-hop graph masking: layer l reads a row only if its hop is at most L - l, and computes no other.
    False: every row of the induced graph in every layer."""
    mem_budget_bytes: int | None = None
    """Bytes a rank for features, structure, activations and their gradients; None is no limit."""
    partitioner: Partitioner = "metis"
    """How vertices are split: METIS (least rows sent), switching-aware, at random, equal ranges of ids."""
    cooperative: CooperativeConfig = field(default_factory=CooperativeConfig)
    """Batches."""
    halo: HaloConfig = field(default_factory=HaloConfig)
    """Exchange of mode ``full``."""

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 0:
            raise ConfigError(
                f"k={self.k} must be at least 0; 0 is the baseline, the number of layers is all"
            )
        if self.hops < 0 or self.fanout < -1:
            raise ConfigError(
                f"hops={self.hops}, fanout={self.fanout}: hops must be at least 0 and fanout at least "
                "-1 (all)"
            )
        if self.mem_budget_bytes is not None and self.mem_budget_bytes < 1:
            raise ConfigError(f"mem_budget_bytes={self.mem_budget_bytes} must be above 0; None is no limit")
        if self.mode != "full" and self.halo.kind != "fresh":
            raise ConfigError(f"halo.kind={self.halo.kind!r} is an option of mode='full', not {self.mode!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network."""

    kind: Literal["sage", "gcn", "ressage"] = "sage"
    """GraphSAGE and GCN as PyG has them; ``ressage``: encoder, blocks h + conv(relu(norm(h))), linear."""
    layers: int = 3
    """Convolutions."""
    hidden: int = 64
    """Width between layers."""
    dropout: float = 0.0
    """Probability, in front of every convolution."""
    dropout_place: Literal["before", "after"] = "before"
    """``before`` the exchange: the mask belongs to the vertex, all its copies agree. ``after``: as in the
    authors' code, every rank draws its own."""
    norm: Literal["layer", "none"] = "layer"
    """LayerNorm between layers."""
    final_linear: bool = False
    """A linear layer behind the convolutions (always there in ``ressage``)."""

    def __post_init__(self) -> None:
        if self.layers < 1 or self.hidden < 1:
            raise ConfigError(f"layers={self.layers} and hidden={self.hidden} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout} is outside 0 <= dropout < 1; 0.5 is usual")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """The optimisation: Adam without weight decay."""

    epochs: int = 100
    """Passes over the training vertices."""
    lr: float = 0.01
    """Learning rate."""
    seed: int = 0
    """Of weights, dropout and samples."""
    dtype: Literal["float32", "float64"] = "float32"
    """Of everything."""
    self_loops: Literal["once", "keep"] = "once"
    """``once``: those of the graph are removed and every vertex gets one, so a mean includes the vertex."""
    measure: bool = False
    """Before training, one pass more that measures kept activations and, where all of the graph can be run
    in one process, the difference of the summed gradient to PyG's."""
    evaluate: bool = True
    """Accuracy on the whole graph at the end, in rank 0."""
    calibrate: bool = False
    """Measure compute and link rates before training and predict the epoch time (a model, labelled so)."""
    free_epochs: int = 0
    """After training, so many epochs more with the limit of the link taken off, for their time alone: the
    weights are put back."""
    checkpoint_every: int = 0
    """Epochs between checkpoints; 0 writes none."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.checkpoint_every, self.free_epochs) < 0:
            raise ConfigError(
                f"epochs={self.epochs}, checkpoint_every={self.checkpoint_every}, "
                f"free_epochs={self.free_epochs}: "
                "not below 0"
            )
        if not self.lr > 0:
            raise ConfigError(f"lr={self.lr} must be above 0; 0.01 is usual")


@dataclass(frozen=True, kw_only=True, slots=True)
class GranndisConfig:
    """A whole run."""

    servers: int = 2
    """Groups of ranks with fast links."""
    ranks_per_server: int = 2
    """Ranks a server."""
    plan: PlanConfig = field(default_factory=PlanConfig)
    """What is replicated where."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """The optimisation."""
    link: LinkShape = field(default_factory=LinkShape)
    """The link between servers, for experiments on one machine."""
    timeout_s: float = 86400.0
    """Limit of the whole run, in seconds."""
    collective_timeout_s: float = 300.0
    """After which a message that misses its peer fails, in seconds."""

    def __post_init__(self) -> None:
        Topology(self.servers, self.ranks_per_server)
        if self.timeout_s <= 0 or self.collective_timeout_s <= 0:
            raise ConfigError("timeout_s and collective_timeout_s must be above 0")
        if self.plan.k is not None and self.plan.k > self.model.layers:
            raise ConfigError(
                f"plan.k={self.plan.k} is more than model.layers={self.model.layers}; "
                "k counts layers without inter-server traffic"
            )
        if self.training.checkpoint_every and self.plan.halo.kind == "stale":
            raise ConfigError(
                "halo.kind='stale' keeps messages under way, which a checkpoint does not hold; "
                "set training.checkpoint_every=0"
            )

    @property
    def topology(self) -> Topology:
        """Servers and ranks."""
        return Topology(self.servers, self.ranks_per_server)
