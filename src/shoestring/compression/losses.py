"""Losses of data-free quantisation; each is a plain function of logits (B batch, C classes)."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["distillation_kl", "soft_cross_entropy", "soft_labels"]


def soft_cross_entropy(logits_BC: Tensor, target_BC: Tensor) -> Tensor:
    """Cross-entropy to class distributions: ``-(target * log_softmax(logits)).sum(1).mean()``, a scalar."""
    return -(target_BC * F.log_softmax(logits_BC, dim=1)).sum(1).mean()


def distillation_kl(student_BC: Tensor, teacher_BC: Tensor, temperature: float = 20.0) -> Tensor:
    """KL of the softened teacher from the softened student, times T**2, averaged over batch *and classes*.

    The mean over classes is the released code's (torch's reduction "mean"): the weight of one sample's KL is
    T**2 / C, i.e. 40 for ten classes at T = 20.

    References
    ----------
    GDFQ, eq. 8; Qimera section 4.3 (T = 20, alpha = 1).
    """
    log_student = F.log_softmax(student_BC / temperature, dim=1)
    log_teacher = F.log_softmax(teacher_BC.detach() / temperature, dim=1)
    return (log_teacher.exp() * (log_teacher - log_student)).mean() * temperature**2


def soft_labels(class_BK: Tensor, weight_BK: Tensor, num_classes: int) -> Tensor:
    """Class distributions (B, C) of mixed samples: weights of equal classes add up, each row sums to 1.

    Parameters
    ----------
    class_BK : Tensor
        int64, the K classes mixed in each sample; duplicates and K > C are allowed.
    weight_BK : Tensor
        float, their weights, each row summing to 1.
    """
    return weight_BK.new_zeros(len(class_BK), num_classes).scatter_add_(1, class_BK, weight_BK)
