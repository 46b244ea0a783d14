"""Small reference models, their training loop, and how to score and keep them."""

from shoestring.nn._predict import predict_logits, top1
from shoestring.nn._resnet import BasicBlock, CifarResNet, cifar_resnet, resnet20, resnet32, resnet56
from shoestring.nn._state import load_state, save_state
from shoestring.nn._training import (
    CIFAR_TRAINING,
    DIGITS_TRAINING,
    TrainingConfig,
    TrainingProgress,
    fit_classifier,
    one_cycle,
    resolve_precision,
)

__all__ = [
    "CIFAR_TRAINING",
    "DIGITS_TRAINING",
    "BasicBlock",
    "CifarResNet",
    "TrainingConfig",
    "TrainingProgress",
    "cifar_resnet",
    "fit_classifier",
    "load_state",
    "one_cycle",
    "predict_logits",
    "resnet20",
    "resnet32",
    "resnet56",
    "resolve_precision",
    "save_state",
    "top1",
]
