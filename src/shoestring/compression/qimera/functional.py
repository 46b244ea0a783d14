"""The parts of Qimera as plain functions on tensors.

Shapes: B batch, C classes, K classes mixed per sample, D latent width.

| paper | here |
| --- | --- |
| superposed latent embeddings | `mix` of K latents with `mixing_weights` |
| disentanglement mapping | a linear layer on each latent before `mix` |
| extracted embedding initialisation | `teacher_embedding` |
"""

import torch
from torch import Tensor, nn

from shoestring.compression.conversion import final_linear

__all__ = ["boundary_share", "between_share", "mix", "mixing_weights", "noisy_embedding", "teacher_embedding"]


def teacher_embedding(teacher: nn.Module) -> Tensor:
    """Rows of the teacher's last linear layer (a 1x1 convolution head squeezed), (C, D): one prototype a class.

    References
    ----------
    Qimera section 4.3, extracted embedding initialisation.
    """
    _, head = final_linear(teacher)
    return head.weight.detach().flatten(1).clone()


def noisy_embedding(embedding_CD: Tensor, class_BK: Tensor, noise_BKD: Tensor, noise_std: float) -> Tensor:
    """``normalise(embedding[class] + noise_std * noise)`` (B, K, D), each vector to mean 0 and variance 1 by itself.

    The released code normalises mixed batches over batch and width together because of a transpose; here the
    per-vector form serves both cases.
    """
    picked_BKD = embedding_CD[class_BK] + noise_std * noise_BKD
    return nn.functional.layer_norm(picked_BKD, picked_BKD.shape[-1:])


def mixing_weights(logit_BK: Tensor) -> Tensor:
    """Softmax over the K slots of standard normal draws: coefficients that are positive and sum to 1."""
    return torch.softmax(logit_BK, dim=1)


def mix(latent_BKD: Tensor, weight_BK: Tensor) -> Tensor:
    """Superpose K latents of each sample, (B, D): ``sum_k weight_k * latent_k`` (Qimera eq. 7)."""
    return (weight_BK.unsqueeze(-1) * latent_BKD).sum(dim=1)


def boundary_share(teacher_BC: Tensor, gap: float = 0.2) -> float:
    """Fraction of samples whose two most likely classes differ by less than `gap` in the teacher's probability."""
    top_B2 = torch.softmax(teacher_BC, dim=1).topk(2, dim=1).values
    return ((top_B2[:, 0] - top_B2[:, 1]) < gap).double().mean().item()


def between_share(feature_BD: Tensor, centroid_CD: Tensor, margin: float = 0.25) -> float:
    """Fraction of features that project into the middle of the line between their two nearest class centroids.

    With a and b the nearest and second-nearest centroids of a feature f, ``t = (f - a).(b - a) / |b - a|**2`` is 0 at a and
    1/2 half-way; a feature counts when ``t > margin`` (it is never above 1/2, since a is the nearer).
    """
    distance_BC = torch.cdist(feature_BD, centroid_CD)
    near_B2 = distance_BC.topk(2, dim=1, largest=False).indices
    a_BD, b_BD = centroid_CD[near_B2[:, 0]], centroid_CD[near_B2[:, 1]]
    line_BD = b_BD - a_BD
    t_B = ((feature_BD - a_BD) * line_BD).sum(1) / line_BD.square().sum(1).clamp_min(1e-12)
    return (t_B > margin).double().mean().item()
