"""Adam over all parameters of a network at once: they lie in one array, so a step is one call."""

import torch
from torch import Tensor, nn

__all__ = ["FlatAdam"]


class FlatAdam:
    """Adam (Kingma and Ba, 2015) on a network whose parameters and gradients become views of two arrays.

    Parameters
    ----------
    network : nn.Module
        float32; its parameters keep their names, shapes and values.
    lr : float
        Learning rate.
    """

    def __init__(self, network: nn.Module, lr: float) -> None:
        parameters = list(network.parameters())
        sizes = [p.numel() for p in parameters]
        self._all = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self._grad = torch.zeros_like(self._all)
        values, grads = torch.split(self._all.detach(), sizes), torch.split(self._grad, sizes)
        for p, value, grad in zip(parameters, values, grads, strict=True):
            p.data, p.grad = value.view_as(p), grad.view_as(p)
        self._adam = torch.optim.Adam([self._all], lr=lr, fused=True)

    def zero_grad(self) -> None:
        """Set all gradients to 0, in place."""
        self._grad.zero_()

    def step(self) -> None:
        """Make a step along the gradients."""
        self._all.grad = self._grad
        self._adam.step()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments and the number of steps; empty before the first step."""
        return {k: torch.as_tensor(v) for k, v in self._adam.state_dict()["state"].get(0, {}).items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put back what `state_dict` gave."""
        self._adam.load_state_dict({**self._adam.state_dict(), "state": {0: dict(state)} if state else {}})
