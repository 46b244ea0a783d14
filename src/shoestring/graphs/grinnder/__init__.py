"""GriNNder: exact full-graph GNN training with the activations on storage (MLSys 2026)."""

from shoestring.graphs.grinnder._job import prepare
from shoestring.graphs.grinnder._models import LayerwiseModule
from shoestring.graphs.grinnder._trainer import Trainer
from shoestring.graphs.grinnder.config import Config, IoConfig

__all__ = ["Config", "IoConfig", "LayerwiseModule", "Trainer", "prepare"]
