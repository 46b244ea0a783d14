"""SGCN: a GCN accelerator that keeps intermediate features compressed, simulated (HPCA 2023)."""

from shoestring.silicon.arch import Arch
from shoestring.silicon.beicsr import Beicsr, encode
from shoestring.silicon.residual_gcn import TrainingConfig
from shoestring.silicon.sgcn._layer import LayerReport
from shoestring.silicon.sgcn._simulate import Comparison, Report, Trial, compare, simulate, tune
from shoestring.silicon.sgcn._systems import EXISTING, SYSTEMS, System
from shoestring.silicon.sgcn.config import Config, Grid
from shoestring.silicon.topology import Topology, load_graph
from shoestring.silicon.workload import Workload

__all__ = [
    "EXISTING",
    "SYSTEMS",
    "Arch",
    "Beicsr",
    "Comparison",
    "Config",
    "Grid",
    "LayerReport",
    "Report",
    "System",
    "Topology",
    "TrainingConfig",
    "Trial",
    "Workload",
    "compare",
    "encode",
    "load_graph",
    "simulate",
    "tune",
]
