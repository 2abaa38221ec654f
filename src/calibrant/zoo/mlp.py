"""A small network for vectors of features."""

from __future__ import annotations

from torch import Tensor, nn


class MLP(nn.Module):
    """Two hidden layers of 64 with batch norm, linear. Takes float32[N, features, 1], a series of one step.

    Hidden layers are convolutions over that one step: what deploys convolutions, and corrects them, deploys these.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_hidden(channels), *_hidden(64), nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32[N, classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _hidden(c_in: int) -> list[nn.Module]:
    return [nn.Conv1d(c_in, 64, 1, bias=False), nn.BatchNorm1d(64), nn.ReLU()]
