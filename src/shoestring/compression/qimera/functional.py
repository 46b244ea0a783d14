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

__all__ = ["between_share", "boundary_share", "mix", "mixing_weights", "noisy_embedding", "teacher_embedding"]


def teacher_embedding(teacher: nn.Module) -> Tensor:
    """Return the rows of the teacher's last linear layer: one prototype a class.

    Parameters
    ----------
    teacher : nn.Module
        A classifier that ends in a Linear or a 1x1 convolution, which is squeezed.

    Returns
    -------
    Tensor
        A copy, (C, D).

    Raises
    ------
    UnsupportedModelError
        If it ends in another layer.

    References
    ----------
    Qimera section 4.3, extracted embedding initialisation.
    """
    _, head = final_linear(teacher)
    return head.weight.detach().flatten(1).clone()


def noisy_embedding(embedding_CD: Tensor, class_BK: Tensor, noise_BKD: Tensor, noise_std: float) -> Tensor:
    """Add noise to class embeddings and normalise each vector to mean 0 and variance 1 by itself.

    Parameters
    ----------
    embedding_CD : Tensor
        float, (C, D).
    class_BK : Tensor
        int64, (B, K).
    noise_BKD : Tensor
        float, (B, K, D), standard normal.
    noise_std : float
        Scales the noise.

    Returns
    -------
    Tensor
        ``normalise(embedding[class] + noise_std * noise)``, (B, K, D).

    Notes
    -----
    The released code normalises mixed batches over batch and width together because of a transpose; here the
    per-vector form serves both cases.
    """
    picked_BKD = embedding_CD[class_BK] + noise_std * noise_BKD
    return nn.functional.layer_norm(picked_BKD, picked_BKD.shape[-1:])


def mixing_weights(logit_BK: Tensor) -> Tensor:
    """Turn standard normal draws into coefficients that are positive and sum to 1.

    Parameters
    ----------
    logit_BK : Tensor
        float, (B, K).

    Returns
    -------
    Tensor
        Softmax over the K slots, (B, K).
    """
    return torch.softmax(logit_BK, dim=1)


def mix(latent_BKD: Tensor, weight_BK: Tensor) -> Tensor:
    """Superpose the K latents of each sample.

    Parameters
    ----------
    latent_BKD : Tensor
        float, (B, K, D).
    weight_BK : Tensor
        float, (B, K), rows summing to 1.

    Returns
    -------
    Tensor
        ``sum_k weight_k * latent_k``, (B, D).

    References
    ----------
    Qimera eq. 7.
    """
    return (weight_BK.unsqueeze(-1) * latent_BKD).sum(dim=1)


def boundary_share(teacher_BC: Tensor, gap: float = 0.2) -> float:
    """Share of samples whose two most likely classes are almost equally likely to the teacher.

    Parameters
    ----------
    teacher_BC : Tensor
        float logits, (B, C) with C >= 2.
    gap : float
        Difference of the two probabilities below which a sample counts.

    Returns
    -------
    float
        In [0, 1].
    """
    top_B2 = torch.softmax(teacher_BC, dim=1).topk(2, dim=1).values
    return ((top_B2[:, 0] - top_B2[:, 1]) < gap).double().mean().item()


def between_share(feature_BD: Tensor, centroid_CD: Tensor, margin: float = 0.25) -> float:
    """Share of features that project into the middle of the line between their two nearest class centroids.

    Parameters
    ----------
    feature_BD : Tensor
        float, (B, D).
    centroid_CD : Tensor
        float, (C, D) with C >= 2.
    margin : float
        How far along the line a feature must be to count.

    Returns
    -------
    float
        In [0, 1].

    Notes
    -----
    With a and b the nearest and second-nearest centroids of a feature f, ``t = (f - a).(b - a) / |b - a|**2``
    is 0 at a and 1/2 half-way; a feature counts when ``t > margin`` (it is never above 1/2, since a is the
    nearer).
    """
    distance_BC = torch.cdist(feature_BD, centroid_CD)
    near_B2 = distance_BC.topk(2, dim=1, largest=False).indices
    a_BD, b_BD = centroid_CD[near_B2[:, 0]], centroid_CD[near_B2[:, 1]]
    line_BD = b_BD - a_BD
    t_B = ((feature_BD - a_BD) * line_BD).sum(1) / line_BD.square().sum(1).clamp_min(1e-12)
    return (t_B > margin).double().mean().item()
