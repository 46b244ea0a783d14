"""MAPS with one agent against a DQN written again from its description, without anything of MAPS."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shoestring.core.seeds import derive_seed
from shoestring.finance.maps import MapsConfig, TrainingConfig
from shoestring.finance.maps._learner import DqnLearner
from shoestring.finance.maps._windows import PriceWindows

WINDOW, BATCH, COLLECT, SIZE, GAMMA, LR = 10, 64, 20, 256, 0.9, 2e-3
FIRST, LAST = 15, 150


def prices() -> np.ndarray:
    rng = np.random.default_rng(3)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (200, 7)), axis=0))
    close[40:60, 2] = np.nan
    return close


def start_layer(layer: nn.Linear, name: str, seed: int) -> None:
    """The protocol of initial weights: a stream for every layer."""
    rng = torch.Generator().manual_seed(derive_seed(seed, "init", name, 0))
    bound = 1 / layer.in_features**0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=rng)
        layer.bias.uniform_(-bound, bound, generator=rng)


class StatesLast(nn.Module):
    """A linear layer of (B, width) applied to (width, B), the memory layout of the heads."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.layer.bias.unsqueeze(1), self.layer.weight, x)


class Turn(nn.Module):
    """(B, width) to (width, B)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.t()


class PlainDqn:
    """One network, its target, a list of transitions, an Adam; epsilon-greedy."""

    def __init__(self, close: np.ndarray, seed: int) -> None:
        self.close = close
        sizes = {"encoder.0": (WINDOW, 64), "encoder.1": (64, 32), "hidden": (32, 16), "out": (16, 3)}
        linear = {name: nn.Linear(*size) for name, size in sizes.items()}
        for name, layer in linear.items():
            start_layer(layer, name, seed)
        self.network = nn.Sequential(
            *(linear["encoder.0"], nn.BatchNorm1d(64), nn.ReLU()),
            *(linear["encoder.1"], nn.BatchNorm1d(32), nn.ReLU(), Turn()),
            *(StatesLast(linear["hidden"]), nn.ReLU(), StatesLast(linear["out"])),
        )
        self.target = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LR, fused=True)
        self.memory: list[tuple[int, int, int, float]] = []
        self.added = self.updates = 0
        self.rng = {
            n: torch.Generator().manual_seed(derive_seed(seed, "maps", n))
            for n in ("places", "exploration", "replay")
        }
        finite = np.isfinite(close)
        self.starts = [
            (c, t)
            for c in range(close.shape[1])
            for t in range(FIRST, LAST)
            if finite[t - WINDOW + 1 : t + 2, c].all()
        ]

    def states(self, where: list[tuple[int, int]]) -> Tensor:
        rows = np.stack([self.close[t - WINDOW + 1 : t + 1, c] for c, t in where]).astype(np.float32)
        window = torch.from_numpy(rows)
        relative = window / window.mean(1, keepdim=True) - 1
        return relative / relative.square().mean(1, keepdim=True).sqrt()

    def collect(self, number: int) -> None:
        pick = torch.randint(len(self.starts), (number,), generator=self.rng["places"])
        where = [self.starts[i] for i in pick.tolist()]
        with torch.no_grad():
            greedy = self.network.eval()(self.states(where)).argmax(0)
        explore = torch.rand((1, number), generator=self.rng["exploration"])[0]
        random = torch.randint(3, (1, number), generator=self.rng["exploration"])[0]
        for k, (c, t) in enumerate(where):
            epsilon = max(0.1, 1.0 * 0.999**self.added)
            action = int(random[k]) if float(explore[k]) < epsilon else int(greedy[k])
            percent = np.float32((self.close[t + 1, c] / self.close[t, c] - 1) * 100)
            self.remember((c, t, action, float(np.float32((1, 0, -1)[action]) * percent)))

    def remember(self, transition: tuple[int, int, int, float]) -> None:
        if len(self.memory) < SIZE:
            self.memory.append(transition)
        else:
            self.memory[self.added % SIZE] = transition
        self.added += 1

    def step(self) -> float:
        self.collect(max(COLLECT, BATCH - len(self.memory)))
        slot = torch.randint(len(self.memory), (BATCH,), generator=self.rng["replay"])
        batch = [self.memory[i] for i in slot.tolist()]
        action = torch.tensor([a for _, _, a, _ in batch])
        reward = torch.tensor([r for _, _, _, r in batch])
        with torch.no_grad():
            best = self.target(self.states([(c, t + 1) for c, t, _, _ in batch])).amax(0)
            target = reward + GAMMA * best
        q = self.network.train()(self.states([(c, t) for c, t, _, _ in batch]))
        loss = (target - q.gather(0, action.unsqueeze(0))[0]).square().mean()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.updates += 1
        if self.updates % 7 == 0:
            self.target.load_state_dict(self.network.state_dict())
        return float(loss.detach())


def config(lam: float) -> MapsConfig:
    training = TrainingConfig(
        batch_size=BATCH,
        collect=COLLECT,
        buffer_size=SIZE,
        lr=LR,
        target_every=7,
        epsilon_decay=0.999,
    )
    return MapsConfig(n_agents=1, window=WINDOW, lam=lam, gamma=GAMMA, training=training)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_one_agent_is_a_plain_dqn_bit_for_bit(lam: float) -> None:
    close = prices()
    ours = DqnLearner(PriceWindows(close, WINDOW), config(lam), FIRST, LAST, seed=11)
    plain = PlainDqn(close, seed=11)
    for _ in range(40):
        assert ours.step() == {"local_loss": plain.step()}
    own = [p.flatten() for p in ours.network.state_dict().values()]
    theirs = [p.flatten() for p in plain.network.state_dict().values()]
    assert [torch.equal(a, b) for a, b in zip(own, theirs, strict=True)] == [True] * len(own)


def test_the_plain_dqn_wraps_its_memory_and_leaves_random_actions_behind() -> None:
    plain = PlainDqn(prices(), seed=11)
    for _ in range(40):
        plain.step()
    assert plain.added > 2 * SIZE
    assert max(0.1, 0.999**plain.added) < 0.5
