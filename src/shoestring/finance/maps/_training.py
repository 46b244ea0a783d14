"""The training loop: steps, looks at the validation years, early stop, checkpoints."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from shoestring.core.errors import ConfigError, StorageError
from shoestring.core.recorder import NullRecorder, Recorder
from shoestring.finance.maps._checkpoint import read_tensors, write_tensors
from shoestring.finance.maps._learner import part
from shoestring.finance.maps._network import AgentNetwork
from shoestring.finance.maps.config import TrainingConfig

__all__ = ["Learner", "TrainingRun", "annual_sharpe", "run_training"]

TRADING_DAYS = 252


class Learner(Protocol):
    """What the loop trains."""

    network: AgentNetwork
    updates: int

    def step(self) -> dict[str, float]:
        """Make one gradient step and return its losses."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that decides the next step."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put it back."""
        ...


@dataclass(slots=True)
class TrainingRun:
    """How a training went."""

    best: dict[str, Tensor]
    """State of the network at the best look; the last one without validation."""
    best_update: int = 0
    """Gradient steps done then."""
    best_sharpe: float = -math.inf
    """Annual Sharpe ratio on the validation dates then."""
    looks_since: int = 0
    """Looks since then."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row a look."""


def annual_sharpe(daily: Tensor) -> float:
    """Return mean over standard deviation of daily returns, times the root of 252; 0 if they never move."""
    daily = daily.double()
    if len(daily) < 2:
        return 0.0
    deviation = float(daily.std())
    return float(daily.mean()) / deviation * math.sqrt(TRADING_DAYS) if deviation > 1e-12 else 0.0


def run_training(
    learner: Learner,
    config: TrainingConfig,
    validate: Callable[[AgentNetwork], Tensor] | None,
    *,
    identity: str = "",
    checkpoint: Path | None = None,
    recorder: Recorder | None = None,
    report_progress: Callable[[float, str], None] = lambda _fraction, _word: None,
) -> TrainingRun:
    """Train until the budget or the patience ends; leave the network in its best state.

    Parameters
    ----------
    learner : Learner
        Fresh; its network ends in the best state.
    config : TrainingConfig
        Budget and looks.
    validate : callable or None
        Network to daily returns on the validation dates; None takes the last state.
    identity : str
        What the run is of; a checkpoint of another is refused.
    checkpoint : Path, optional
        Written at every look; the same call goes on from it.
    recorder : Recorder, optional
        Gets a row a look.
    report_progress : callable
        Gets the fraction done and a word.

    Returns
    -------
    TrainingRun
        Best state and history.

    Raises
    ------
    ConfigError
        If the losses are no longer finite.
    StorageError
        If the checkpoint is damaged or of another run.
    """
    recorder = recorder or NullRecorder()
    run = TrainingRun(best={})
    if checkpoint is not None and checkpoint.exists():
        run = _resume(learner, checkpoint, identity)
    while learner.updates < config.updates and not _patience_is_out(run, config, validate is not None):
        losses = learner.step()
        if learner.updates % config.check_every and learner.updates < config.updates:
            continue
        if not all(map(math.isfinite, losses.values())):
            raise ConfigError(
                f"training diverged after {learner.updates} updates (losses {losses}); lower "
                f"training.lr={config.lr}"
            )
        row = {"update": float(learner.updates), **losses}
        _look(learner, run, row, validate)
        recorder.record(learner.updates, row)
        report_progress(learner.updates / config.updates, "training")
        if checkpoint is not None:
            _save(learner, run, checkpoint, identity)
    learner.network.load_state_dict(run.best)
    return run


def _patience_is_out(run: TrainingRun, config: TrainingConfig, validated: bool) -> bool:
    return validated and run.looks_since >= config.patience


def _look(
    learner: Learner,
    run: TrainingRun,
    row: dict[str, float],
    validate: Callable[[AgentNetwork], Tensor] | None,
) -> None:
    sharpe = annual_sharpe(validate(learner.network)) if validate is not None else math.inf
    if validate is not None:
        row["valid_sharpe"] = sharpe
    run.history.append(row)
    run.looks_since += 1
    if validate is None or sharpe > run.best_sharpe:
        run.best = {k: v.clone() for k, v in learner.network.state_dict().items()}
        run.best_update, run.best_sharpe, run.looks_since = learner.updates, sharpe, 0


def _save(learner: Learner, run: TrainingRun, path: Path, identity: str) -> None:
    tensors = learner.state_dict() | {f"best.{k}": v for k, v in run.best.items()}
    meta = {
        "identity": identity,
        "best_update": run.best_update,
        "best_sharpe": run.best_sharpe if math.isfinite(run.best_sharpe) else None,
        "looks_since": run.looks_since,
        "history": run.history,
    }
    write_tensors(path, "training", tensors, meta)


def _resume(learner: Learner, path: Path, identity: str) -> TrainingRun:
    tensors, meta = read_tensors(path, "training")
    if meta["identity"] != identity:
        raise StorageError(
            f"checkpoint {path} is of another run (options, seed, dates or prices differ); give another "
            "path, or delete it to start afresh"
        )
    learner.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("best.")})
    sharpe = meta["best_sharpe"]
    return TrainingRun(
        best=part(tensors, "best."),
        best_update=meta["best_update"],
        best_sharpe=math.inf if sharpe is None else sharpe,
        looks_since=meta["looks_since"],
        history=meta["history"],
    )
