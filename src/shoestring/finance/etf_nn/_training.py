"""Training of the batched ensemble: whole dates a step, early stop a member on the last dates."""

# Shapes: K members, R rows, S dates of a batch

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shoestring.core.errors import DataError
from shoestring.core.seeds import derive_seed
from shoestring.finance.etf_nn._network import BatchedNetwork
from shoestring.finance.etf_nn._samples import Samples, split_dates
from shoestring.finance.etf_nn.config import NetworkConfig, TrainingConfig
from shoestring.finance.etf_nn.functional import (
    date_correlation,
    pairwise_logistic_loss,
    rank_ic_loss,
    row_losses,
)

__all__ = ["Trained", "scores_of", "train_ensemble"]


@dataclass(frozen=True, eq=False)
class Trained:
    """An ensemble and how its training went.

    Attributes
    ----------
    network : BatchedNetwork
        Each member in its best state, in evaluation mode.
    best_epoch : tuple of int, K
        Epoch of that state, from 1.
    holdout_ic : float
        Mean correlation inside the held-out dates of the members' mean score; NaN without held-out dates.
    """

    network: BatchedNetwork
    best_epoch: tuple[int, ...]
    holdout_ic: float


def train_ensemble(
    samples: Samples,
    network: NetworkConfig,
    training: TrainingConfig,
    *,
    seed: int,
    members: Sequence[int] = (0, 1, 2, 3, 4),
) -> Trained:
    """Train all members at once.

    Parameters
    ----------
    samples : Samples
        Training dates, the held-out ones included.
    network, training : NetworkConfig, TrainingConfig
        What and how.
    seed : int
        With a member's number decides its weights and dropout; alone, the order of the dates.
    members : sequence of int
        Numbers of the members.

    Raises
    ------
    DataError
        If a loss is not finite.

    Notes
    -----
    O(epochs R P) for P parameters of all members.
    """
    train, held = split_dates(samples, training.holdout, embargo=training.embargo)
    net = BatchedNetwork(network, samples.x.shape[2], samples.x.shape[1], seed, members)
    groups = [
        {"params": net.decayed(), "weight_decay": training.weight_decay},
        {"params": net.kept(), "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=training.lr)
    order = np.random.default_rng(derive_seed(seed, "order"))
    stop = _EarlyStop(net, held, training.patience)
    x, y = torch.from_numpy(train.x), torch.from_numpy(train.y)
    for epoch in range(1, training.epochs + 1):
        net.train()
        days = order.permutation(len(train.dates))
        for first in range(0, len(days), training.dates_per_batch):
            batch = _Batch.of(train, days[first : first + training.dates_per_batch], order)
            loss_K = _loss(net(x[batch.rows]), y[batch.rows], batch, training.loss)
            optimizer.zero_grad(set_to_none=True)
            loss_K.sum().backward()  # type: ignore[no-untyped-call]  # torch ships no type for it
            optimizer.step()
        if not bool(torch.isfinite(loss_K).all()):
            raise DataError(
                f"the loss of epoch {epoch} is not finite with lr={training.lr}; lower the learning rate"
            )
        if stop.after(epoch):
            break
    stop.restore()
    net.eval()
    return Trained(net, tuple(stop.best_epoch), stop.ensemble_ic())


@dataclass(frozen=True, slots=True)
class _Batch:
    rows: Tensor
    segment: Tensor
    num_dates: int
    partner: Tensor

    @classmethod
    def of(cls, samples: Samples, days: "np.typing.NDArray[np.int64]", rng: np.random.Generator) -> "_Batch":
        sizes = samples.start[days + 1] - samples.start[days]
        offset = np.cumsum(sizes) - sizes
        place = np.arange(sizes.sum()) - np.repeat(offset, sizes)
        rows = np.repeat(samples.start[days], sizes) + place
        # the same number of places apart inside each date: every row has one partner, never itself
        shift = np.repeat(1 + (rng.random(len(days)) * (sizes - 1)).astype(np.int64), sizes)
        partner = np.repeat(offset, sizes) + (place + shift) % np.repeat(sizes, sizes)
        segment = np.repeat(np.arange(len(days)), sizes)
        return cls(torch.from_numpy(rows), torch.from_numpy(segment), len(days), torch.from_numpy(partner))


def _loss(score_KR: Tensor, y_R: Tensor, batch: _Batch, loss: str) -> Tensor:
    if loss == "rank_ic":
        return rank_ic_loss(score_KR, y_R, batch.segment, batch.num_dates)
    if loss == "pairwise":
        return pairwise_logistic_loss(score_KR, y_R, batch.partner)
    return row_losses(score_KR, y_R, loss)


def scores_of(network: BatchedNetwork, x: Tensor, block: int = 65536) -> Tensor:
    """Return the members' scores [K, R] without gradients, block by block."""
    with torch.no_grad():
        return torch.cat([network(part) for part in torch.split(x, block)], dim=1)


class _EarlyStop:
    """Keeps each member's best state by the correlation inside the held-out dates."""

    def __init__(self, network: BatchedNetwork, held: Samples | None, patience: int) -> None:
        self._network = network
        self._patience = patience
        members = network.biases[0].shape[0]
        self.best_epoch = [0] * members
        self._best = torch.full((members,), -torch.inf)
        self._state = {n: p.detach().clone() for n, p in network.named_parameters()}
        self._held = held
        if held is not None:
            self._x, self._y = torch.from_numpy(held.x), torch.from_numpy(held.y)
            self._day = torch.from_numpy(held.day)

    def after(self, epoch: int) -> bool:
        """Take note of an epoch; True if every member has run out of patience."""
        if self._held is None:
            self.best_epoch = [epoch] * len(self.best_epoch)
            return False
        self._network.eval()
        score = scores_of(self._network, self._x)
        ic_K = date_correlation(score, self._y, self._day, len(self._held.dates)).mean(1)
        running_K = torch.tensor([epoch - best <= self._patience for best in self.best_epoch])
        better = (ic_K > self._best) & running_K
        for k in torch.nonzero(better).flatten().tolist():
            self._best[k] = ic_K[k]
            self.best_epoch[k] = epoch
            for name, p in self._network.named_parameters():
                self._state[name][k] = p.detach()[k]
        return all(epoch - best >= self._patience for best in self.best_epoch)

    def restore(self) -> None:
        """Put every member into its best state."""
        if self._held is None:
            return
        with torch.no_grad():
            for name, p in self._network.named_parameters():
                p.copy_(self._state[name])

    def ensemble_ic(self) -> float:
        """Correlation of the members' mean score inside the held-out dates."""
        if self._held is None:
            return float("nan")
        self._network.eval()
        score = scores_of(self._network, self._x).mean(0, keepdim=True)
        return float(date_correlation(score, self._y, self._day, len(self._held.dates)).mean())
