"""InceptionTime for time series.

References
----------
H. Ismail Fawaz et al., "InceptionTime: Finding AlexNet for Time Series Classification", Data Mining and Knowledge
Discovery 34, 2020. Kernel lengths are odd (39, 19, 9) instead of 40, 20, 10, as in the implementation that the qcore
protocol was published with.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FILTERS = 32
KERNELS = (39, 19, 9)
DEPTH = 6
RESIDUAL_EVERY = 3
WIDTH = FILTERS * (len(KERNELS) + 1)


class InceptionModule(nn.Module):
    """A 1x1 bottleneck feeding three long convolutions, beside a max-pool with its own 1x1; joined, normalized."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(c_in, FILTERS, 1, bias=False)
        self.branches = nn.ModuleList(nn.Conv1d(FILTERS, FILTERS, k, padding=k // 2, bias=False) for k in KERNELS)
        self.pool = nn.MaxPool1d(3, stride=1, padding=1)
        self.pooled = nn.Conv1d(c_in, FILTERS, 1, bias=False)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.bottleneck(x)
        parts = [branch(narrow) for branch in self.branches]
        return torch.relu(self.norm(torch.cat([*parts, self.pooled(self.pool(x))], dim=1)))


class InceptionTime(nn.Module):
    """Six inception modules of 128 channels with a shortcut over every three, global mean, linear.

    Takes float32[N, channels, time]; 465,747 parameters on 45 channels and 19 classes.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = [channels] + [WIDTH] * DEPTH
        self.blocks = nn.ModuleList(InceptionModule(c) for c in widths[:-1])
        self.shortcuts = nn.ModuleList(_shortcut(widths[i]) for i in range(0, DEPTH, RESIDUAL_EVERY))
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32[N, classes]."""
        kept = x
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i % RESIDUAL_EVERY == RESIDUAL_EVERY - 1:
                kept = x = torch.relu(x + self.shortcuts[i // RESIDUAL_EVERY](kept))
        logits: Tensor = self.head(x.mean(dim=-1))
        return logits


def _shortcut(c_in: int) -> nn.Module:
    if c_in == WIDTH:
        return nn.BatchNorm1d(WIDTH)
    return nn.Sequential(nn.Conv1d(c_in, WIDTH, 1, bias=False), nn.BatchNorm1d(WIDTH))
