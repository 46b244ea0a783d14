"""MAPS as an estimator in the manner of scikit-learn."""

from dataclasses import fields
from typing import Self

from shoestring.finance.maps._base import PortfolioEstimator
from shoestring.finance.maps._learner import DqnLearner
from shoestring.finance.maps._training import Learner
from shoestring.finance.maps._windows import PriceWindows
from shoestring.finance.maps.config import (
    Diversity,
    MapsConfig,
    NetworkConfig,
    PortfolioConfig,
    TrainingConfig,
)

__all__ = ["MAPS"]


class MAPS(PortfolioEstimator):
    """Multi-agent reinforcement-learning portfolios: investors that each learn, and that shall differ.

    Parameters
    ----------
    n_agents : int
        Investors; 1 is a plain DQN.
    window : int
        Closing prices in a state.
    lam : float
        Weight of the global (diversity) loss, in [0, 1].
    diversity : {"corr2", "corr", "relu"}
        What of a pair's correlation is punished.
    detach : bool
        Take the other agents' confidences as constants.
    gamma : float
        Discount.
    switch_cost : float
        Cost of a change of position in the reward, in percent.
    full_information : bool
        Ours: learn from the rewards of all three actions.
    seed : int
        Same seed, prices and number of threads: same bits.
    network, training, portfolio : NetworkConfig, TrainingConfig, PortfolioConfig, optional
        More options; None takes the defaults.

    Attributes
    ----------
    network_ : AgentNetwork
        In its best state.
    config_ : MapsConfig
        The options, checked.
    history_ : list of dict
        A row a look: update, losses, validation Sharpe ratio.
    best_update_ : int
        Update of the best look.
    valid_sharpe_ : float
        Validation Sharpe ratio then, before costs; NaN without validation.
    seen_until_ : Timestamp
        Last date whose price training saw.

    References
    ----------
    arXiv 2007.05402 (IJCAI 2020).
    """

    kind = "maps"

    def __init__(  # noqa: PLR0913  # scikit-learn wants every parameter as an argument
        self,
        n_agents: int = 8,
        window: int = 20,
        lam: float = 0.5,
        diversity: Diversity = "corr2",
        gamma: float = 0.99,
        seed: int = 0,
        *,
        detach: bool = True,
        switch_cost: float = 0.0,
        full_information: bool = False,
        network: NetworkConfig | None = None,
        training: TrainingConfig | None = None,
        portfolio: PortfolioConfig | None = None,
    ) -> None:
        self.n_agents = n_agents
        self.window = window
        self.lam = lam
        self.diversity = diversity
        self.gamma = gamma
        self.seed = seed
        self.detach = detach
        self.switch_cost = switch_cost
        self.full_information = full_information
        self.network = network
        self.training = training
        self.portfolio = portfolio

    @classmethod
    def from_config(cls, config: MapsConfig, *, seed: int = 0) -> Self:
        """Return an estimator with the options of a config."""
        return cls(**{f.name: getattr(config, f.name) for f in fields(config)}, seed=seed)

    def _config(self) -> MapsConfig:
        return MapsConfig(
            n_agents=self.n_agents,
            window=self.window,
            lam=self.lam,
            diversity=self.diversity,
            detach=self.detach,
            gamma=self.gamma,
            switch_cost=self.switch_cost,
            full_information=self.full_information,
            network=self.network or NetworkConfig(),
            training=self.training or TrainingConfig(),
            portfolio=self.portfolio or PortfolioConfig(),
        )

    def _learner(self, windows: PriceWindows, config: MapsConfig, first: int, last: int) -> Learner:
        return DqnLearner(windows, config, first, last, seed=self.seed)
