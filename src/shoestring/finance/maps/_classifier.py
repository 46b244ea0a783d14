"""A baseline: a supervised classifier of the next day's direction, one or a bag of them, on the same states.

Shapes: A members, B states of a batch.
"""

from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from shoestring.core.errors import DataError
from shoestring.core.seeds import derive_seed
from shoestring.finance.maps._base import PortfolioEstimator
from shoestring.finance.maps._learner import part
from shoestring.finance.maps._network import AgentNetwork
from shoestring.finance.maps._optimizer import FlatAdam
from shoestring.finance.maps._training import Learner
from shoestring.finance.maps._windows import PriceWindows
from shoestring.finance.maps.config import MapsConfig, NetworkConfig, PortfolioConfig, TrainingConfig

__all__ = ["Classifier", "ClassifierLearner"]


class ClassifierLearner:
    """MLPs of the agents' shape that learn up, unchanged or down by cross-entropy.

    The scores take the place of Q-values, so the portfolio rule is that of the agents.

    Parameters
    ----------
    windows : PriceWindows
        Prices.
    config : MapsConfig
        ``n_agents`` members, sizes, batch size and learning rate; the rest is not used.
    first, last : int
        Dates to learn from; no return after `last` is seen.
    seed : int
        Of initial weights, batches and bags.
    bagged : bool
        Each member sees its own bootstrap sample: Poisson(1) copies of every transition.

    Raises
    ------
    DataError
        If those dates hold no complete transition.
    """

    def __init__(
        self,
        windows: PriceWindows,
        config: MapsConfig,
        first: int,
        last: int,
        *,
        seed: int,
        bagged: bool = False,
    ) -> None:
        self.windows, self.config = windows, config
        self.places = windows.transitions(first, last)
        if not len(self.places):
            raise DataError(
                f"the training dates hold no window of {config.window} prices with a next day; give more "
                "dates, or a shorter window"
            )
        self.network = AgentNetwork(config.n_agents, config.window, config.network, seed=seed)
        self.optimizer = FlatAdam(self.network, config.training.lr)
        self.rng = torch.Generator().manual_seed(derive_seed(seed, "classifier", "batches"))
        shape = (len(self.places), config.n_agents)
        self.copies = torch.ones(shape, dtype=torch.float32)
        """(transitions, A): how often each is in a member's sample."""
        if bagged:
            bag = torch.Generator().manual_seed(derive_seed(seed, "classifier", "bags"))
            self.copies = torch.poisson(self.copies, generator=bag)
        self.updates = 0

    def step(self) -> dict[str, float]:
        """Make one gradient step on a random batch; return the mean loss."""
        pick = torch.randint(len(self.places), (self.config.training.batch_size,), generator=self.rng)
        place_B = self.places[pick]
        direction_B = 1 - self.windows.returns(place_B).sign().long()
        score_A3B = self.network.train()(self.windows.states(place_B))
        each_AB = nn.functional.cross_entropy(
            score_A3B, direction_B.expand(len(score_A3B), -1), reduction="none"
        )
        loss_A = (each_AB * self.copies.index_select(0, pick).t()).mean(1)
        self.optimizer.zero_grad()
        loss_A.sum().backward()  # type: ignore[no-untyped-call]  # torch's own method lacks types
        self.optimizer.step()
        self.updates += 1
        return {"local_loss": float(loss_A.detach().mean())}

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that decides the next step, as tensors; the bags come from the seed."""
        out = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        out |= {f"optimizer.{k}": v for k, v in self.optimizer.state_dict().items()}
        return out | {"stream": self.rng.get_state(), "updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put a learner of the same options back."""
        self.network.load_state_dict(part(state, "network."))
        self.optimizer.load_state_dict(part(state, "optimizer."))
        self.rng.set_state(state["stream"])
        self.updates = int(state["updates"])


class Classifier(PortfolioEstimator):
    """The supervised baseline: MLPs that classify the next day's direction, with the agents' portfolio rule.

    Parameters
    ----------
    n_members : int
        1 is a single MLP; more are bagged: each from its own bootstrap sample, with its own encoder.
    window : int
        Closing prices in a state.
    seed : int
        Of weights, batches and bags.
    network, training, portfolio : NetworkConfig, TrainingConfig, PortfolioConfig, optional
        As for `MAPS`; replay and exploration options are not used.
    """

    kind = "classifier"

    def __init__(
        self,
        n_members: int = 1,
        window: int = 20,
        seed: int = 0,
        *,
        network: NetworkConfig | None = None,
        training: TrainingConfig | None = None,
        portfolio: PortfolioConfig | None = None,
    ) -> None:
        self.n_members = n_members
        self.window = window
        self.seed = seed
        self.network = network
        self.training = training
        self.portfolio = portfolio

    @classmethod
    def from_config(cls, config: MapsConfig, *, seed: int = 0) -> Self:
        """Return an estimator with the options of a config that it has."""
        return cls(
            config.n_agents,
            config.window,
            seed,
            network=config.network,
            training=config.training,
            portfolio=config.portfolio,
        )

    def _config(self) -> MapsConfig:
        return MapsConfig(
            n_agents=self.n_members,
            window=self.window,
            lam=0.0,
            network=replace(self.network or NetworkConfig(), shared_encoder=False),
            training=self.training or TrainingConfig(),
            portfolio=self.portfolio or PortfolioConfig(),
        )

    def _learner(self, windows: PriceWindows, config: MapsConfig, first: int, last: int) -> Learner:
        return ClassifierLearner(windows, config, first, last, seed=self.seed, bagged=self.n_members > 1)
