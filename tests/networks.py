"""Small torch networks of the kinds that users bring, with batch statistics that are not trivial."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Two-dimensional residual network; the shortcut of the first block is a strided convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.norm2 = nn.BatchNorm2d(8)
        self.shortcut = nn.Sequential(nn.Conv2d(6, 8, 1, stride=2), nn.BatchNorm2d(8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        y = self.norm2(self.conv(x))
        y += self.shortcut(x)
        y = F.relu(y, inplace=True)
        return self.head(torch.flatten(self.pool(y), 1))


class PreActivation(nn.Module):
    """Norms that no convolution can take in: at the entry, after an add that others read, on a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.BatchNorm1d(3)
        self.first = nn.Conv1d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm1d(6)
        self.second = nn.Conv1d(6, 6, 4, padding="same", dilation=2)
        self.last = nn.BatchNorm1d(6)
        self.pool = nn.AvgPool1d(3, padding=1)
        self.vector = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.entry(x))
        x = x + self.second(F.relu6(self.norm(x)))
        x = F.max_pool1d(F.relu(self.last(x)), 2, ceil_mode=True)
        return self.head(self.vector(self.pool(x).mean(-1)))


class Inverted(nn.Module):
    """MobileNet-like block: expand, depthwise, project, all with ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(inplace=True),
            nn.Conv2d(12, 12, 3, stride=2, padding=1, groups=12, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(inplace=True),
            nn.Conv2d(12, 3, 1, bias=False),
            nn.BatchNorm2d(3),
        )
        self.pool = nn.AvgPool2d(2, ceil_mode=True)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(3 * 3 * 2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.body(x)))


class Inception(nn.Module):
    """InceptionTime: bottleneck, three kernel widths and a pooled branch, concat, norm, relu; residual every two."""

    def __init__(self, channels: int = 3, width: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(InceptionBlock(channels if i == 0 else 4 * width, width) for i in range(2))
        self.shortcut = nn.Sequential(nn.Conv1d(channels, 4 * width, 1, bias=False), nn.BatchNorm1d(4 * width))
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y)
        y = F.relu(y + self.shortcut(x))
        return self.head(self.pool(y).squeeze(-1))


class InceptionBlock(nn.Module):
    """One module of InceptionTime."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(channels, width, 1, bias=False)
        self.branches = nn.ModuleList(nn.Conv1d(width, width, k, padding="same", bias=False) for k in (8, 5, 3))
        self.pooled = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(channels, width, 1, bias=False))
        self.norm = nn.BatchNorm1d(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.bottleneck(x)
        parts = [branch(narrow) for branch in self.branches]
        return F.relu(self.norm(torch.cat([*parts, self.pooled(x)], dim=1)))


class Causal(nn.Module):
    """Padded by hand on the left, bounded, averaged by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 5, 4, padding=1)
        self.act = nn.Hardtanh(-0.5, 0.75)
        self.head = nn.Conv1d(5, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.conv(F.pad(x, (2, 0)))).clamp(min=-0.25)
        return self.head(y.mean(dim=2, keepdim=True))[:, :, 0]


def cnn() -> nn.Module:
    """Plain chain for series."""
    return nn.Sequential(
        nn.Conv1d(3, 6, 5, padding=2),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(6, 8, 3, stride=2),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def perceptron() -> nn.Module:
    """Vectors in, vectors out."""
    return nn.Sequential(nn.Linear(7, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cnn": (cnn, (3, 29)),
    "residual": (Residual, (2, 9, 7)),
    "preactivation": (PreActivation, (3, 21)),
    "inverted": (Inverted, (3, 10, 7)),
    "inception": (Inception, (3, 19)),
    "causal": (Causal, (2, 11)),
    "perceptron": (perceptron, (7,)),
}


def network(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A network in training mode with random weights and batch statistics, and five samples for it."""
    build, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.3, 3.0)
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
        return model, torch.randn(5, *shape)
