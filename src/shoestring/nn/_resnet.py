"""Residual networks for small images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from shoestring.core.errors import ConfigError
from shoestring.core.seeds import derive_seed

__all__ = ["BasicBlock", "CifarResNet", "cifar_resnet", "resnet20", "resnet32", "resnet56"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut, and a ReLU after each sum.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    stride : int, default 1
        Stride of the first convolution and of the shortcut.

    Notes
    -----
    The shortcut is the identity where shapes agree, else a 1x1 convolution with batch norm.
    Every activation is a module of its own, so that a quantiser can be put behind each site.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU(inplace=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.relu2 = nn.ReLU(inplace=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        main = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(main + self.shortcut(x))
        return out


class CifarResNet(nn.Module):
    """Residual network of three stages for small images; made by `cifar_resnet`.

    Parameters
    ----------
    blocks : int
        Basic blocks in each stage.
    num_classes : int
        Width of the output.
    channels : int
        Channels of the input images.
    widths : sequence of three int
        Channels of the stages; the second and the third halve the resolution.
    """

    def __init__(self, blocks: int, num_classes: int, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=False)
        before = widths[0]
        stages = []
        for place, width in enumerate(widths):
            first = BasicBlock(before, width, stride=1 if place == 0 else 2)
            stages.append(nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1))))
            before = width
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, channels, H, W) to logits (B, num_classes)."""
        x = self.relu(self.bn(self.conv(x)))
        out: Tensor = self.linear(self.flatten(self.pool(self.stages(x))))
        return out


def cifar_resnet(
    depth: int,
    *,
    num_classes: int = 10,
    channels: int = 3,
    widths: Sequence[int] = (16, 32, 64),
    seed: int | torch.Generator = 0,
) -> CifarResNet:
    """Build a residual network of ``depth = 6 n + 2`` weighted layers for small images.

    Parameters
    ----------
    depth : int
        8 (one block a stage, enough for digits), 14, 20, 26, 32, ..., 56, 110, ...
    num_classes : int, default 10
        Width of the output, at least 2.
    channels : int, default 3
        Channels of the images.
    widths : sequence of three int, default (16, 32, 64)
        Channels of the three stages.
    seed : int or torch.Generator, default 0
        Where the initial weights come from. The global generator is neither read nor moved.

    Returns
    -------
    CifarResNet
        In train mode, fp32, on the CPU. It can be traced by ``torch.fx.symbolic_trace``.

    Raises
    ------
    ConfigError
        If `depth` is not 6 n + 2 with n >= 1, `widths` does not hold three positive numbers,
        or `num_classes` or `channels` is too small.

    Notes
    -----
    Convolutions and the last layer start from the normal distribution of He et al. (2015) over
    the fan-out (the last layer: variance 1 / fan-in, zero bias); batch norm starts at 1 and 0.
    ResNet-20 has 0.27 M weights and takes 41 M multiply-accumulates for a 32x32 image.

    References
    ----------
    K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2; the
    projection shortcut is option B of section 4.1.
    """
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise ConfigError(f"depth={depth} is not 6 n + 2 with n >= 1; give 8, 14, 20, 32, 44, 56 or 110")
    if len(widths) != 3 or min(widths) < 1:
        raise ConfigError(f"widths={tuple(widths)} must be three positive channel counts, as (16, 32, 64)")
    if num_classes < 2:
        raise ConfigError(f"num_classes={num_classes} is too small; give at least 2")
    if channels < 1:
        raise ConfigError(f"channels={channels} is too small; give 1 for grey or 3 for colour images")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the constructors draw too; all they draw is overwritten below
        model = CifarResNet(blocks, num_classes, channels, widths)
    _initialise(model, seed)
    return model


def resnet20(*, num_classes: int = 10, channels: int = 3, seed: int | torch.Generator = 0) -> CifarResNet:
    """Build `cifar_resnet` of depth 20."""
    return cifar_resnet(20, num_classes=num_classes, channels=channels, seed=seed)


def resnet32(*, num_classes: int = 10, channels: int = 3, seed: int | torch.Generator = 0) -> CifarResNet:
    """Build `cifar_resnet` of depth 32."""
    return cifar_resnet(32, num_classes=num_classes, channels=channels, seed=seed)


def resnet56(*, num_classes: int = 10, channels: int = 3, seed: int | torch.Generator = 0) -> CifarResNet:
    """Build `cifar_resnet` of depth 56."""
    return cifar_resnet(56, num_classes=num_classes, channels=channels, seed=seed)


def _initialise(model: nn.Module, seed: int | torch.Generator) -> None:
    """Draw all weights in module order from one stream."""
    if isinstance(seed, torch.Generator):
        generator = seed
    else:
        generator = torch.Generator().manual_seed(derive_seed(seed, "init"))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
            nn.init.zeros_(module.bias)
