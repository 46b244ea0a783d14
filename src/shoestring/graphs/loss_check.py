"""A training that diverged stops at once, and says what to lower."""

import math

from shoestring.core.errors import DataError

__all__ = ["check_loss"]


def check_loss(loss: float, epoch: int, lr: float) -> float:
    """Return the loss of an epoch.

    Parameters
    ----------
    loss : float
        Mean loss over the training vertices.
    epoch : int
        Counted from 0.
    lr : float
        Learning rate of the steps before.

    Raises
    ------
    DataError
        If it is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise DataError(
            f"the loss of epoch {epoch} is {loss}: the training diverged; lower the learning rate ({lr:g}), "
            "or check the scale of the features"
        )
    return loss
