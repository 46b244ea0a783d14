"""GriNNder: exact full-graph GNN training with the activations on storage (MLSys 2026)."""

from shoestring.graphs.grinnder._budgets import Needs, Placement
from shoestring.graphs.grinnder._job import prepare, train
from shoestring.graphs.grinnder._models import LayerwiseModule
from shoestring.graphs.grinnder._plan import ModePlan, plan
from shoestring.graphs.grinnder._prepare import PreparedGraph
from shoestring.graphs.grinnder._trainer import EpochReport, Trainer, TrainResult
from shoestring.graphs.grinnder.config import Config, IoConfig

__all__ = [
    "Config",
    "EpochReport",
    "IoConfig",
    "LayerwiseModule",
    "ModePlan",
    "Needs",
    "Placement",
    "PreparedGraph",
    "TrainResult",
    "Trainer",
    "plan",
    "prepare",
    "train",
]
