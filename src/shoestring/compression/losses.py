"""Losses of data-free quantisation; each is a plain function of logits.

Shapes: B batch, C classes, K classes mixed in one sample.
"""

from torch import Tensor
from torch.nn import functional

__all__ = ["distillation_kl", "soft_cross_entropy", "soft_labels"]


def soft_cross_entropy(logits_BC: Tensor, target_BC: Tensor) -> Tensor:
    """Cross-entropy to class distributions.

    Parameters
    ----------
    logits_BC : Tensor
        float, (B, C).
    target_BC : Tensor
        float, (B, C), rows summing to 1.

    Returns
    -------
    Tensor
        The scalar ``-(target * log_softmax(logits)).sum(1).mean()``, in nats.
    """
    return -(target_BC * functional.log_softmax(logits_BC, dim=1)).sum(1).mean()


def distillation_kl(student_BC: Tensor, teacher_BC: Tensor, temperature: float = 20.0) -> Tensor:
    """KL of the softened teacher from the softened student, times T**2, averaged over batch *and classes*.

    Parameters
    ----------
    student_BC, teacher_BC : Tensor
        float logits, (B, C); no gradient reaches the teacher's.
    temperature : float
        T; divides both logits.

    Returns
    -------
    Tensor
        A scalar, in nats.

    Notes
    -----
    The mean over classes is the released code's (torch's reduction "mean"): the weight of one sample's KL is
    T**2 / C, i.e. 40 for ten classes at T = 20.

    References
    ----------
    GDFQ, eq. 8; Qimera section 4.3 (T = 20, alpha = 1).
    """
    log_student = functional.log_softmax(student_BC / temperature, dim=1)
    log_teacher = functional.log_softmax(teacher_BC.detach() / temperature, dim=1)
    return (log_teacher.exp() * (log_teacher - log_student)).mean() * temperature**2


def soft_labels(class_BK: Tensor, weight_BK: Tensor, num_classes: int) -> Tensor:
    """Class distributions of mixed samples: weights of equal classes add up.

    Parameters
    ----------
    class_BK : Tensor
        int64, (B, K), the classes mixed in each sample; duplicates and K > C are allowed.
    weight_BK : Tensor
        float, (B, K), their weights, each row summing to 1.
    num_classes : int
        C.

    Returns
    -------
    Tensor
        (B, C), rows summing to 1, in the dtype of the weights.
    """
    return weight_BK.new_zeros(len(class_BK), num_classes).scatter_add_(1, class_BK, weight_BK)
