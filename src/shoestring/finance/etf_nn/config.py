"""Options of ETF-NN."""

from dataclasses import dataclass
from typing import Literal

from shoestring.core.errors import ConfigError

__all__ = ["LOSSES", "NetworkConfig", "TargetKind", "TrainingConfig", "horizon_months"]

TargetKind = Literal["rank", "excess", "class"]
LOSSES = ("huber", "mse", "rank_ic", "pairwise", "logistic")


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """The network from a firm's features to its score."""

    hidden: tuple[int, ...] = (64, 32)
    """Widths of the hidden layers; empty: a linear model."""
    norm: Literal["layer", "none"] = "layer"
    """Layer normalisation after each hidden layer."""
    dropout: float = 0.2
    """Share of hidden units left out in training, in [0, 1)."""
    encoder: Literal["stack", "gru"] = "stack"
    """How the quarters enter: side by side, or through a GRU from the oldest to the latest."""
    gru_width: int = 32
    """Units of the GRU."""
    output_scale: float = 0.01
    """Factor on the first weights of the last layer, in (0, 1]. Scores then start near 0: what statements
    tell is a small part of the target's spread, and a random start of that size drowns it. 1 is off."""

    def __post_init__(self) -> None:
        if any(h < 1 for h in self.hidden) or self.gru_width < 1:
            raise ConfigError(
                f"hidden={self.hidden} and gru_width={self.gru_width} must be 1 or more; () is linear"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout} is outside [0, 1); 0 switches it off")
        if not 0 < self.output_scale <= 1:
            raise ConfigError(
                f"output_scale={self.output_scale} is outside (0, 1]; 1 leaves the first weights as drawn"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Loss, optimiser, and which dates are learnt from."""

    loss: Literal["huber", "mse", "rank_ic", "pairwise", "logistic"] = "huber"
    """On the target; ``rank_ic``: 1 - Pearson inside each date; ``pairwise``: logistic on pairs of a date."""
    lr: float = 1e-3
    """Step of AdamW."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of AdamW, on weight matrices only."""
    epochs: int = 60
    """Most passes over the training dates."""
    patience: int = 10
    """Passes without a better held-out correlation after which a member stops."""
    dates_per_batch: int = 4
    """Whole dates in one step."""
    holdout: float = 0.2
    """Share of training dates, the last ones, kept for stopping early; 0: all epochs on all dates."""
    embargo: bool = True
    """Drop training dates whose target reaches past the first held-out date."""
    sample_months: int = 3
    """Months between two training dates; below the horizon targets overlap."""
    window_years: int = 0
    """Learn from the last so many years only; 0 takes all (expanding window)."""

    def __post_init__(self) -> None:
        if not (self.lr > 0 and self.weight_decay >= 0):
            raise ConfigError(
                f"lr={self.lr} must be above 0 and weight_decay={self.weight_decay} not below 0"
            )
        if min(self.epochs, self.patience, self.dates_per_batch, self.sample_months) < 1:
            raise ConfigError(
                f"epochs={self.epochs}, patience={self.patience}, dates_per_batch={self.dates_per_batch}, "
                f"sample_months={self.sample_months} must all be 1 or more"
            )
        if not 0 <= self.holdout <= 0.5:
            raise ConfigError(f"holdout={self.holdout} is outside [0, 0.5]; 0 switches early stopping off")
        if self.window_years < 0:
            raise ConfigError(f"window_years={self.window_years} must not be negative; 0 takes all years")


def horizon_months(horizon: str) -> int:
    """Return the months of a horizon such as ``"3M"`` or ``"1Y"``.

    Raises
    ------
    ConfigError
        For anything else.
    """
    number, unit = horizon[:-1], horizon[-1:].upper()
    if number.isdigit() and int(number) > 0 and unit in ("M", "Y"):
        return int(number) * (12 if unit == "Y" else 1)
    raise ConfigError(f"{horizon!r} is no span of time; write months or years, e.g. '3M' or '1Y'")
