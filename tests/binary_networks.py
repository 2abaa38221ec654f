"""A small network with binary layers of every sort, and windows that it can tell apart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from calibrant.core.rng import generator
from calibrant.nn import BinaryConv1d, BinaryConv2d, BinaryLinear

OPS = {"sign", "binary_conv2d", "binary_linear"}  # in no random graph: networks of this file have them
CHANNELS, LENGTH, CLASSES = 3, 24, 3


class Residual(nn.Module):
    """A binary convolution beside a shortcut of reals."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = BinaryConv1d(channels, channels, 3, padding="same")
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.norm(self.conv(x))
        return y


def _settled(model: nn.Module, *shape: int) -> nn.Module:
    """With statistics of some batch, and normalizations of either sign."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    model.train()(torch.randn(32, *shape))
    return model.eval()


def series() -> nn.Module:
    """int8, binary to bits, binary to codes, shortcut, binary to bits on a flattened map, binary to codes, int8."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(CHANNELS, 20, 5, padding=2),
        nn.BatchNorm1d(20),
        BinaryConv1d(20, 36, 3, padding=1, scale="none", slope="straight"),
        nn.BatchNorm1d(36),
        nn.Hardtanh(),
        BinaryConv1d(36, 33, 4, stride=2, dilation=2, bias=True),
        nn.BatchNorm1d(33),
        Residual(33),
        nn.Flatten(),
        BinaryLinear(33 * 9, 17, bias=True),
        nn.BatchNorm1d(17),
        BinaryLinear(17, 40),
        nn.BatchNorm1d(40),
        nn.ReLU(),
        nn.Linear(40, CLASSES),
    )
    return _settled(model, CHANNELS, LENGTH)


def image() -> nn.Module:
    """Of 2 x 7 x 6."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 34, 3, padding=1),
        nn.BatchNorm2d(34),
        BinaryConv2d(34, 18, (3, 2), stride=(2, 1), padding=(1, 2)),
        nn.BatchNorm2d(18),
        nn.MaxPool2d(2),
        BinaryConv2d(18, 8, 2, padding="same"),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8 * 2 * 4, CLASSES),
    )
    return _settled(model, 2, 7, 6)


def learnable() -> nn.Module:
    """A network of the usual shape: int8 first and last, a binary chain and a shortcut between."""
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv1d(CHANNELS, 16, 5, stride=2, padding=2),
        nn.BatchNorm1d(16),
        BinaryConv1d(16, 24, 3, padding=1),
        nn.BatchNorm1d(24),
        BinaryConv1d(24, 24, 3, padding=1),
        nn.BatchNorm1d(24),
        Residual(24),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(24, CLASSES),
    )


def windows(n: int, seed: int = 0, gain: float = 1.0, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """x float32[n, CHANNELS, LENGTH], waves of one of three speeds in noise, and y int64[n]."""
    rng = generator(seed, "binary windows")
    y = rng.integers(0, CLASSES, n)
    phase = 2 * np.pi * rng.random((n, CHANNELS, 1)) / 4
    wave = np.sin(np.arange(LENGTH) * (0.25 + 0.45 * y[:, None, None]) + phase)
    x = gain * (wave + rng.normal(0, 0.3, wave.shape)) + offset
    return x.astype(np.float32), y.astype(np.int64)
