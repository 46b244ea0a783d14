"""The shared memory: one sequence of states for all agents, actions and rewards of each."""

import torch
from torch import Tensor

__all__ = ["SharedMemory"]


class SharedMemory:
    """A ring of transitions; a state is kept as its place in the price table, not as prices.

    Parameters
    ----------
    size : int
        Transitions that fit.
    n_agents : int
        A.
    """

    def __init__(self, size: int, n_agents: int) -> None:
        self.place = torch.zeros(size, dtype=torch.int64)
        """(size,); one for all agents."""
        self.action = torch.zeros(size, n_agents, dtype=torch.uint8)
        """(size, A)."""
        self.reward = torch.zeros(size, n_agents)
        """(size, A), in percent."""
        self.added = 0
        """Transitions ever added."""

    def __len__(self) -> int:
        return min(self.added, len(self.place))

    def add(self, place_B: Tensor, action_AB: Tensor, reward_AB: Tensor) -> None:
        """Add transitions in order; the oldest give way."""
        slot = self.added % len(self.place)
        fits = len(self.place) - slot
        self._put(slot, place_B[:fits], action_AB[:, :fits], reward_AB[:, :fits])
        self._put(0, place_B[fits:], action_AB[:, fits:], reward_AB[:, fits:])
        self.added += len(place_B)

    def _put(self, slot: int, place_B: Tensor, action_AB: Tensor, reward_AB: Tensor) -> None:
        part = slice(slot, slot + len(place_B))
        self.place[part] = place_B
        self.action[part] = action_AB.t()
        self.reward[part] = reward_AB.t()

    def draw(self, batch_size: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw transitions with replacement: (B,), (A, B), (A, B); the same states for every agent."""
        slot = torch.randint(len(self), (batch_size,), generator=rng)
        action_AB = self.action.index_select(0, slot).t().long()
        return self.place.index_select(0, slot), action_AB, self.reward.index_select(0, slot).t()

    def state_dict(self) -> dict[str, Tensor]:
        """Return what `load_state_dict` takes."""
        added = torch.tensor(self.added)
        return {"place": self.place, "action": self.action, "reward": self.reward, "added": added}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put a memory of the same size back."""
        self.place.copy_(state["place"])
        self.action.copy_(state["action"])
        self.reward.copy_(state["reward"])
        self.added = int(state["added"])
