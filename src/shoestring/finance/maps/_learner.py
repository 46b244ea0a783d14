"""The agents while they learn: acting, the shared memory, and one gradient step.

Shapes: A agents, B states of a batch, W prices of a window.
"""

import copy

import torch
from torch import Tensor

from shoestring.core.errors import DataError
from shoestring.core.seeds import derive_seed
from shoestring.finance.maps._memory import SharedMemory
from shoestring.finance.maps._network import NUM_ACTIONS, AgentNetwork
from shoestring.finance.maps._optimizer import FlatAdam
from shoestring.finance.maps._windows import PriceWindows
from shoestring.finance.maps.config import MapsConfig
from shoestring.finance.maps.functional import (
    POSITIONS,
    confidence,
    diversity_loss,
    greedy_action,
    local_loss,
    rewards,
    td_targets,
    total_loss,
)

__all__ = ["DqnLearner"]

STREAMS = ("places", "exploration", "replay")


class DqnLearner:
    """MAPS's agents, their target network, memory and optimiser.

    Parameters
    ----------
    windows : PriceWindows
        Prices.
    config : MapsConfig
        Options.
    first, last : int
        Dates to learn from; no return after `last` is seen.
    seed : int
        Of initial weights, states, exploration and replay.

    Raises
    ------
    DataError
        If those dates hold no complete transition.
    """

    def __init__(
        self, windows: PriceWindows, config: MapsConfig, first: int, last: int, *, seed: int
    ) -> None:
        self.windows, self.config = windows, config
        self.places = windows.transitions(first, last, before=config.switch_cost > 0)
        if not len(self.places):
            raise DataError(
                f"the training dates hold no window of {config.window} prices with a next day; give more "
                "dates, or a shorter window"
            )
        self.network = AgentNetwork(config.n_agents, config.window, config.network, seed=seed)
        self.target = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = FlatAdam(self.network, config.training.lr)
        self.memory = SharedMemory(config.training.buffer_size, config.n_agents)
        self.streams = {
            name: torch.Generator().manual_seed(derive_seed(seed, "maps", name)) for name in STREAMS
        }
        self.updates = 0

    @property
    def epsilon(self) -> float:
        """Share of random actions now."""
        t = self.config.training
        return max(t.epsilon_end, t.epsilon_start * t.epsilon_decay**self.memory.added)

    def step(self) -> dict[str, float]:
        """Collect new transitions, learn from a batch of old ones; return the mean losses."""
        config = self.config
        if config.full_information:
            place_B, action, reward = self._all_rewards()
        else:
            self.collect(max(config.training.collect, config.training.batch_size - len(self.memory)))
            place_B, action, reward = self.memory.draw(config.training.batch_size, self.streams["replay"])
        state_BW, next_BW = self.windows.state_pairs(place_B)
        with torch.no_grad():
            target = td_targets(reward, self.target(next_BW), config.gamma)
        q_A3B = self.network.train()(state_BW)
        local_A = local_loss(q_A3B, action, target)
        global_A = self._global_loss(q_A3B)
        self.optimizer.zero_grad()
        total_loss(local_A, global_A, config.lam).backward()  # type: ignore[no-untyped-call]  # torch's own
        self.optimizer.step()
        self.updates += 1
        if self.updates % config.training.target_every == 0:
            self.target.load_state_dict(self.network.state_dict())  # with the running statistics
        losses = {"local_loss": float(local_A.detach().mean())}
        if global_A is not None:
            losses["global_loss"] = float(global_A.detach().mean())
        return losses

    def _global_loss(self, q_A3B: Tensor) -> Tensor | None:
        if self.config.n_agents == 1 or not self.config.lam:
            return None
        return diversity_loss(confidence(q_A3B), self.config.diversity, detach=self.config.detach)

    def collect(self, number: int) -> None:
        """Let all agents act, epsilon-greedily, in the same `number` random states."""
        config, training = self.config, self.config.training
        pick = torch.randint(len(self.places), (number,), generator=self.streams["places"])
        place_B = self.places[pick]
        steps = torch.arange(self.memory.added, self.memory.added + number, dtype=torch.float64)
        epsilon_B = (training.epsilon_start * training.epsilon_decay**steps).clamp(min=training.epsilon_end)
        action_AB = self._act(place_B, epsilon_B)
        before_AB = self._act(place_B - 1, epsilon_B) if config.switch_cost else None
        earned_AB = rewards(action_AB, self.windows.returns(place_B), before_AB, config.switch_cost)
        self.memory.add(place_B, action_AB, earned_AB)

    def _act(self, place_B: Tensor, epsilon_B: Tensor) -> Tensor:
        with torch.no_grad():
            greedy_AB = greedy_action(self.network.eval()(self.windows.states(place_B)))
        rng = self.streams["exploration"]
        explore_AB = torch.rand(greedy_AB.shape, generator=rng) < epsilon_B
        random_AB = torch.randint(NUM_ACTIONS, greedy_AB.shape, generator=rng)
        return torch.where(explore_AB, random_AB, greedy_AB)

    def _all_rewards(self) -> tuple[Tensor, None, Tensor]:
        """Draw states with the rewards of all three actions, (A, 3, B)."""
        size = self.config.training.batch_size
        pick = torch.randint(len(self.places), (size,), generator=self.streams["places"])
        place_B = self.places[pick]
        reward_3B = torch.tensor(POSITIONS).unsqueeze(1) * self.windows.returns(place_B)
        return place_B, None, reward_3B.expand(self.config.n_agents, -1, -1)

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that decides the next step, as tensors."""
        out = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        out |= {f"target.{k}": v for k, v in self.target.state_dict().items()}
        out |= {f"optimizer.{k}": v for k, v in self.optimizer.state_dict().items()}
        if not self.config.full_information:
            out |= {f"memory.{k}": v for k, v in self.memory.state_dict().items()}
        out |= {f"stream.{k}": g.get_state() for k, g in self.streams.items()}
        out["updates"] = torch.tensor(self.updates)
        return out

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put a learner of the same options back."""
        self.network.load_state_dict(part(state, "network."))
        self.target.load_state_dict(part(state, "target."))
        self.optimizer.load_state_dict(part(state, "optimizer."))
        if not self.config.full_information:
            self.memory.load_state_dict(part(state, "memory."))
        for name, rng in self.streams.items():
            rng.set_state(state[f"stream.{name}"])
        self.updates = int(state["updates"])


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
