"""A small convolutional network for time series."""

from __future__ import annotations

from torch import Tensor, nn


class CNN(nn.Module):
    """Four convolutions (64, 64, 96, 96 channels; kernels 7, 5, 3, 3), global mean, linear.

    The first convolution has stride 2 and a max-pool halves the length after the first and the third: 2.9 M
    multiply-accumulates and 88 k weights on 45 channels of 125 steps with 19 classes. Takes float32[N, channels, time].
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(channels, 64, 7, stride=2),
            nn.MaxPool1d(2),
            *_block(64, 64, 5),
            *_block(64, 96, 3),
            nn.MaxPool1d(2),
            *_block(96, 96, 3),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(96, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32[N, classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _block(c_in: int, c_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv1d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm1d(c_out), nn.ReLU()]
