"""Logits and accuracy of a classifier."""

import torch
from torch import Tensor, nn

from shoestring.core.errors import ConfigError, DataError
from shoestring.nn._views import ViewsReshape

__all__ = ["predict_logits", "top1"]


def predict_logits(model: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Return the logits of all images, computed batch by batch without gradients.

    Parameters
    ----------
    model : nn.Module
        Maps (B, C, H, W) to (B, classes). It is put in eval mode for the call and back afterwards.
    images : float32 Tensor of shape (N, C, H, W)
        Standardised pixels.
    batch_size : int, default 500
        Images a call; bounds the memory of activations.

    Returns
    -------
    float32 Tensor of shape (N, classes)
        A usable tensor (not an inference tensor).

    Raises
    ------
    ConfigError
        If `batch_size` is below 1.
    DataError
        If `images` is not a non-empty floating tensor of rank 4.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} is too small; give at least 1")
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise DataError(
            f"images have dtype {images.dtype} and shape {tuple(images.shape)}; "
            "give non-empty float32 (N, C, H, W)"
        )
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode(), ViewsReshape():
            parts = [
                model(x.contiguous(memory_format=torch.channels_last)).float()
                for x in torch.split(images, batch_size)
            ]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return torch.cat(parts).clone()


def top1(logits: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest logit is the label, in percent.

    Parameters
    ----------
    logits : Tensor of shape (N, classes)
        As from `predict_logits`.
    labels : int64 Tensor of shape (N,)
        Class numbers.

    Raises
    ------
    DataError
        If the lengths differ or nothing is given.
    """
    if logits.ndim != 2 or labels.ndim != 1 or len(logits) != len(labels) or not len(labels):
        raise DataError(
            f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not fit; "
            "give (N, classes) and (N,)"
        )
    return 100.0 * int((logits.argmax(1) == labels).sum()) / len(labels)
