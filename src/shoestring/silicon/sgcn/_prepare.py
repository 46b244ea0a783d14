"""Trains the network whose zeros the arms of a verification share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoestring.core.config import from_dict
from shoestring.core.errors import ConfigError
from shoestring.core.optional import optional
from shoestring.evidence.model import Context, Outcome, Series
from shoestring.silicon.residual_gcn import TrainingConfig
from shoestring.silicon.workload import Workload

__all__ = ["WORKLOAD_FILE", "prepare_workload", "train_workload"]

WORKLOAD_FILE = "workload.npz"


def prepare_workload(context: Context) -> Outcome:
    """Train as the options say and leave the workload in the folder.

    Options: those of `train_workload`.
    """
    workload = train_workload(context)
    workload.save(context.folder / WORKLOAD_FILE)
    return outcome_of(workload)


def train_workload(context: Context) -> Workload:
    """Train the residual or plain GCN.

    Options: ``graph`` (``{"text": "sbm:..."}`` or ``{"file": NAME}`` in the data folder) and ``training``
    (of `TrainingConfig`).
    """
    # One thread: sums, and so zeros, do not depend on the machine, and small products gain nothing from two.
    optional("torch", extra="silicon").set_num_threads(1)
    training = from_dict(TrainingConfig, context.options["training"])
    return Workload.train_residual(
        graph_of(context.options["graph"], context.data),
        training.layers,
        training.width,
        context.seed,
        training=training,
        report_progress=context.report_progress,
    )


def graph_of(options: Mapping[str, Any], folder: Path | None) -> str:
    """Return the generator's text, or the path of a file of the data folder."""
    if "text" in options:
        return str(options["text"])
    if folder is None:
        raise ConfigError("this workload needs the folder of graphs; give --data graphs=FOLDER")
    return str(folder / options["file"])


def outcome_of(workload: Workload) -> Outcome:
    """Shares of zeros of the hidden features, over the layers, and accuracies, in percent."""
    hidden = [100 * z for z in workload.zeros[1:]]
    curve = Series(x=tuple(float(n) for n in range(1, len(hidden) + 1)), y=tuple(hidden))
    return Outcome(
        metrics={
            "zeros": 100 * workload.hidden_zeros,
            "test": 100 * workload.info["test_accuracy"],
            "train": 100 * workload.info["train_accuracy"],
        },
        series={"zeros": curve},
    )
