"""The method as functions on tensors: losses inside dates, and targets.

Shapes: K members of the ensemble, R rows (a firm on a date), S dates (segments of rows)
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "HUBER_DELTA",
    "date_correlation",
    "pairwise_logistic_loss",
    "rank_ic_loss",
    "row_losses",
    "segment_mean",
]

HUBER_DELTA = 0.25  # a quarter of the span of ranks


def segment_mean(value_KR: Tensor, segment_R: Tensor, num_segments: int) -> Tensor:
    """Return the mean of each segment, [K, S].

    Parameters
    ----------
    value_KR : Tensor [K, R]
        Values.
    segment_R : Tensor [R], int64
        Segment of each row, each with at least one row.
    num_segments : int
        S.
    """
    total = value_KR.new_zeros(len(value_KR), num_segments).index_add_(1, segment_R, value_KR)
    count = torch.bincount(segment_R, minlength=num_segments)
    return total / count


def date_correlation(score_KR: Tensor, target_R: Tensor, segment_R: Tensor, num_segments: int) -> Tensor:
    """Return Pearson's correlation of score and target inside each date, [K, S]; 0 where one is constant.

    On ranked targets of distinct firms this is the differentiable stand-in for the rank information
    coefficient.
    """

    def centred(value_KR: Tensor) -> Tensor:
        return value_KR - segment_mean(value_KR, segment_R, num_segments)[:, segment_R]

    score, target = centred(score_KR), centred(target_R[None])
    both = segment_mean(score * target, segment_R, num_segments)
    own = segment_mean(score * score, segment_R, num_segments)
    other = segment_mean(target * target, segment_R, num_segments)
    return both / torch.sqrt((own * other).clamp_min(1e-20))


def rank_ic_loss(score_KR: Tensor, target_R: Tensor, segment_R: Tensor, num_segments: int) -> Tensor:
    """Return 1 - the mean over dates of the correlation inside the date, [K]."""
    return 1 - date_correlation(score_KR, target_R, segment_R, num_segments).mean(1)


def pairwise_logistic_loss(score_KR: Tensor, target_R: Tensor, partner_R: Tensor) -> Tensor:
    """Return ``log(1 + exp(-(s_i - s_j)))`` over pairs whose target i lies above target j, [K].

    Parameters
    ----------
    score_KR : Tensor [K, R]
        Scores.
    target_R : Tensor [R]
        Targets; pairs with equal targets do not count.
    partner_R : Tensor [R], int64
        The row that each row is compared with, of the same date.
    """
    sign = torch.sign(target_R - target_R[partner_R])
    loss = functional.softplus(-(score_KR - score_KR[:, partner_R]) * sign) * sign.abs()
    return loss.sum(1) / sign.abs().sum().clamp_min(1)


def row_losses(score_KR: Tensor, target_R: Tensor, loss: str) -> Tensor:
    """Return the mean over rows of Huber's, the squared or the logistic loss, [K].

    Parameters
    ----------
    score_KR, target_R : Tensor
        Scores and targets; for ``logistic`` targets are 0 or 1.
    loss : str
        ``huber``, ``mse`` or ``logistic``.
    """
    target_KR = target_R.expand_as(score_KR)
    if loss == "huber":
        each = functional.huber_loss(score_KR, target_KR, delta=HUBER_DELTA, reduction="none")
    elif loss == "mse":
        each = (score_KR - target_KR) ** 2
    else:
        each = functional.binary_cross_entropy_with_logits(score_KR, target_KR, reduction="none")
    return each.mean(1)
