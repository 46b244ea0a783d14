"""MAPS as a strategy of the platform."""

from typing import TYPE_CHECKING

from shoestring.finance.maps.config import (
    Diversity,
    MapsConfig,
    NetworkConfig,
    PortfolioConfig,
    Rule,
    TrainingConfig,
)
from shoestring.finance.strategies.interface import (
    Context,
    DataView,
    NotEnoughHistoryError,
    State,
    Strategy,
    strategy,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MapsStrategy"]


@strategy(name="maps", version="1.0", schedule="B 06:00 America/New_York", refit="BYS", long_only=False)
class MapsStrategy(Strategy):
    """MAPS, trained anew every year on all prices so far, the last part of which validates."""

    n_agents: int = 8
    """Investors."""
    window: int = 20
    """Closing prices in a state."""
    lam: float = 0.5
    """Weight of the global loss."""
    diversity: Diversity = "corr2"
    """Form of the global loss."""
    gamma: float = 0.99
    """Discount."""
    rule: Rule = "confidence"
    """From an agent's values to its positions."""
    updates: int = 300
    """Most gradient steps of a training."""
    batch_size: int = 512
    """States in a gradient step."""
    lr: float = 1e-3
    """Learning rate."""
    min_history: int = 504
    """Sessions before the first training."""

    def __post_init__(self) -> None:
        self.config()

    def config(self) -> MapsConfig:
        """Return the options of the method; wrong ones raise `ConfigError`."""
        return MapsConfig(
            n_agents=self.n_agents,
            window=self.window,
            lam=self.lam,
            diversity=self.diversity,
            gamma=self.gamma,
            network=NetworkConfig(),
            training=TrainingConfig(
                updates=self.updates,
                batch_size=self.batch_size,
                collect=max(1, self.batch_size * 5 // 16),
                buffer_size=32 * self.batch_size,
                lr=self.lr,
                target_every=100,
                check_every=25,
                patience=8,
            ),
            portfolio=PortfolioConfig(rule=self.rule),
        )

    def fit(self, ctx: Context, data: DataView) -> State:
        """Train on all prices so far, also of companies that are gone; the last fifth validates."""
        from shoestring.finance.maps._estimator import MAPS

        close = data.prices(listed=False)
        if len(close) < max(self.min_history, 5 * self.window):
            raise NotEnoughHistoryError(
                f"MAPS at {ctx.as_of.date()}: only {len(close)} sessions, min_history={self.min_history}; "
                "start later or give longer data"
            )
        model = MAPS.from_config(self.config(), seed=ctx.seed).fit(close)
        return dict(model.network_.state_dict())

    def on_rebalance(self, ctx: Context, data: DataView) -> "pd.Series[float]":
        """Return the system's weights from the windows that end at the date."""
        import pandas as pd
        import torch

        from shoestring.finance.maps._network import AgentNetwork
        from shoestring.finance.maps._portfolio import agent_weights, system_weights
        from shoestring.finance.maps._windows import PriceWindows

        config = self.config()
        close = data.prices(lookback=config.window)
        if ctx.state is None:
            raise NotEnoughHistoryError(f"MAPS at {ctx.as_of.date()} was not trained yet; start later")
        network = AgentNetwork(config.n_agents, config.window, config.network, seed=None)
        network.load_state_dict({name: torch.as_tensor(value) for name, value in ctx.state.items()})
        windows = PriceWindows(close.to_numpy(), config.window)
        last = config.window - 1
        weight = agent_weights(network, windows, last, last, config.portfolio)
        return pd.Series(
            system_weights(weight, config.portfolio)[0].numpy(), index=list(close.columns), dtype=float
        )
