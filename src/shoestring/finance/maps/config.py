"""Options of MAPS."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from shoestring.core.errors import ConfigError

__all__ = ["Diversity", "MapsConfig", "NetworkConfig", "PortfolioConfig", "Rule", "TrainingConfig"]

Diversity = Literal["corr", "corr2", "relu"]
"""What is punished of a pair's correlation: itself, its square, or its positive part."""
Rule = Literal["confidence", "action", "top_bottom"]
"""What becomes a position: the confidence, the greedy action, or the best and worst shares of the ranking."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """Sizes of the network; one encoder for all agents, one head each."""

    encoder: tuple[int, ...] = (64, 32)
    """Widths of the encoder's layers."""
    head: int = 16
    """Width of the hidden layer of a head."""
    shared_encoder: bool = True
    """One encoder for all agents; False gives each its own (independent DQNs, with ``lam=0``)."""
    batch_norm: bool = True
    """BatchNorm after each layer of the encoder; False switches it off."""

    def __post_init__(self) -> None:
        if not self.encoder or min(self.encoder) < 1:
            raise ConfigError(f"network.encoder={self.encoder} must name at least one width above 0")
        if self.head < 1:
            raise ConfigError(f"network.head={self.head} must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """Budget, replay and exploration."""

    updates: int = 3000
    """Most gradient steps."""
    batch_size: int = 2048
    """States in a gradient step, the same for every agent."""
    collect: int = 640
    """New (company, day) states before each gradient step; as many a sample as 10 steps for a batch of 32."""
    buffer_size: int = 65_536
    """Transitions that the memory holds."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    target_every: int = 200
    """Gradient steps between two copies into the target network."""
    epsilon_start: float = 1.0
    """Share of random actions at the start."""
    epsilon_end: float = 0.1
    """Least share of random actions."""
    epsilon_decay: float = 0.999999
    """Factor on the share, a collected state."""
    check_every: int = 100
    """Gradient steps between two looks at the validation years."""
    patience: int = 10
    """Looks without a better validation Sharpe ratio after which training ends; the best state counts."""

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "collect", "target_every", "check_every", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name}={getattr(self, name)} must be at least 1")
        if self.batch_size < 2:
            raise ConfigError(f"training.batch_size={self.batch_size} has no correlation; give at least 2")
        if self.buffer_size < max(self.batch_size, self.collect):
            raise ConfigError(
                f"training.buffer_size={self.buffer_size} is smaller than batch_size={self.batch_size} or "
                f"collect={self.collect}; give at least {max(self.batch_size, self.collect)}"
            )
        if not self.lr > 0:
            raise ConfigError(f"training.lr={self.lr} must be above 0")
        if not 0 <= self.epsilon_end <= self.epsilon_start <= 1:
            raise ConfigError(
                f"training.epsilon_end={self.epsilon_end} and epsilon_start={self.epsilon_start} must be "
                "ordered and lie in [0, 1]"
            )
        if not 0 < self.epsilon_decay <= 1:
            raise ConfigError(
                f"training.epsilon_decay={self.epsilon_decay} must lie in (0, 1]; 1 never decays"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PortfolioConfig:
    """From what the agents think to weights."""

    rule: Rule = "confidence"
    """How an agent's values become positions."""
    top_share: float = 0.2
    """Share K of the companies bought and sold by ``"top_bottom"``, in (0, 0.5]."""
    neutral: bool = True
    """Subtract the mean position, so that the weights sum to 0; False keeps the market in."""
    flat_tolerance: float = 0.01
    """Stay flat if less than this share of the agents' gross positions is left after summing, in [0, 1)."""

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ConfigError(f"portfolio.rule={self.rule!r} is not one of {', '.join(get_args(Rule))}")
        if not 0 < self.top_share <= 0.5:
            raise ConfigError(f"portfolio.top_share={self.top_share} is outside (0, 0.5]; 0.2 buys a fifth")
        if not 0 <= self.flat_tolerance < 1:
            raise ConfigError(f"portfolio.flat_tolerance={self.flat_tolerance} is outside [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class MapsConfig:
    """MAPS; with one agent it is a plain DQN."""

    n_agents: int = 8
    """Investors."""
    window: int = 20
    """Closing prices in a state."""
    lam: float = 0.5
    """Weight of the global loss, in [0, 1]; 0 switches it off. Without effect with one agent."""
    diversity: Diversity = "corr2"
    """Form of the global loss."""
    detach: bool = True
    """Take the other agents' confidences as constants in an agent's global loss."""
    gamma: float = 0.99
    """Discount of the future, in [0, 1)."""
    switch_cost: float = 0.0
    """Price of a change of position in the reward, in percent a unit."""
    full_information: bool = False
    """Ours: learn from the rewards of all three actions, known because actions do not move the market."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Sizes."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Budget, replay and exploration."""
    portfolio: PortfolioConfig = field(default_factory=PortfolioConfig)
    """Weights."""

    def __post_init__(self) -> None:
        if self.n_agents < 1:
            raise ConfigError(f"n_agents={self.n_agents} must be at least 1; 1 is a plain DQN")
        if self.window < 2:
            raise ConfigError(f"window={self.window} must be at least 2; one price has no shape")
        if not 0 <= self.lam <= 1:
            raise ConfigError(f"lam={self.lam} is outside [0, 1]; 0 switches the global loss off")
        if self.diversity not in get_args(Diversity):
            raise ConfigError(f"diversity={self.diversity!r} is not one of {', '.join(get_args(Diversity))}")
        if not 0 <= self.gamma < 1:
            raise ConfigError(f"gamma={self.gamma} is outside [0, 1); there is no last day, so 1 diverges")
        if self.switch_cost < 0:
            raise ConfigError(f"switch_cost={self.switch_cost} must not be negative; 0 leaves it out")
        if self.full_information and self.switch_cost:
            raise ConfigError(
                f"full_information=True and switch_cost={self.switch_cost} contradict each other: the cost "
                "depends on the action before; set one of them off"
            )
