"""GraNNDis: distributed GNN training that knows which links are slow (PACT 2024)."""

from shoestring.graphs.granndis._models import GraphModel
from shoestring.graphs.granndis._modes import ModeEstimate, plan_modes
from shoestring.graphs.granndis._plan import Candidate, Plan, plan
from shoestring.graphs.granndis._reference import ReferenceRun, train_single
from shoestring.graphs.granndis._run import TrainingRun, train, train_rank
from shoestring.graphs.granndis.config import (
    CooperativeConfig,
    GranndisConfig,
    HaloConfig,
    ModelConfig,
    PlanConfig,
    TrainingConfig,
)

__all__ = [
    "Candidate",
    "CooperativeConfig",
    "GranndisConfig",
    "GraphModel",
    "HaloConfig",
    "ModeEstimate",
    "ModelConfig",
    "Plan",
    "PlanConfig",
    "ReferenceRun",
    "TrainingConfig",
    "TrainingRun",
    "plan",
    "plan_modes",
    "train",
    "train_rank",
    "train_single",
]
