"""Two small torch networks that between them have the ops users bring."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def build(name: str, channels: int, classes: int) -> nn.Module:
    """The network of that name with the weights that torch's random state gives."""
    return {"chain": chain, "branches": Branches}[name](channels, classes)


def chain(channels: int, classes: int) -> nn.Module:
    """One layer after the other."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(12, classes),
    )


class Branches(nn.Module):
    """A depthwise convolution, a shortcut, and two branches side by side."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.wide, self.narrow = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = functional.relu(x + self.pointwise(self.depthwise(x)))
        x = functional.relu(torch.cat([self.wide(x), self.narrow(x)], dim=1))
        return self.head(self.pool(x).mean(dim=(2, 3)))
