"""How the student's parameters move, given a loss; the distillation loop takes any object of this shape."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from shoestring.core.errors import ConfigError

__all__ = ["NesterovStep", "StepRule", "load_optimizer_tensors", "optimizer_tensors"]


class StepRule(Protocol):
    """One update of the student from one loss."""

    def step(self, loss: Tensor) -> Mapping[str, float]:
        """Differentiate `loss`, move the parameters, and return metrics of the step (may be empty)."""
        ...

    def scale_lr(self, factor: float) -> None:
        """Set the learning rate to `factor` times its first value."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint."""
        ...

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the state that `tensors` returned."""
        ...


class NesterovStep:
    """SGD with Nesterov momentum on all parameters, the rule of GDFQ and Qimera.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to move.
    lr, momentum, weight_decay : float
        As in `torch.optim.SGD`; `momentum` in (0, 1).
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ) -> None:
        self.lr = lr
        self.optimizer = torch.optim.SGD(
            list(parameters), lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=True, fused=True
        )

    def step(self, loss: Tensor) -> Mapping[str, float]:
        """Backpropagate and step."""
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return {}

    def scale_lr(self, factor: float) -> None:
        """Set the learning rate to `factor` times the first one."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * factor

    def tensors(self) -> dict[str, Tensor]:
        """Return the momentum buffers."""
        return optimizer_tensors(self.optimizer)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up momentum buffers."""
        load_optimizer_tensors(self.optimizer, tensors)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's per-parameter state as a flat dict.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any whose state is tensors and numbers.

    Returns
    -------
    dict
        ``"index.name"`` to a copy of the state.
    """
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{k}": torch.as_tensor(v).clone()
        for i, row in state.items()
        for k, v in row.items()
        if v is not None
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state that `optimizer_tensors` returned.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Over the same parameters in the same order.
    tensors : mapping
        The state. State of a parameter's shape takes over the parameter's memory layout: the fused kernels
        walk both in memory order and would otherwise mix up the elements.

    Raises
    ------
    ConfigError
        If the state belongs to another number of parameters.
    """
    whole = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    if any(i >= len(parameters) for i in state):
        raise ConfigError(
            f"optimiser state is for parameter {max(state)}, but there are only {len(parameters)}; it is of "
            "another model"
        )
    for i, row in state.items():
        parameter = parameters[i]
        row.update(
            {k: torch.empty_like(parameter).copy_(v) for k, v in row.items() if v.shape == parameter.shape}
        )
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
