"""A small binary convolutional network for windows of sensors."""

from __future__ import annotations

from torch import Tensor, nn

from calibrant.nn import BinaryConv1d


class BinaryCNN(nn.Module):
    """`CNN` with binary layers: its sizes, the first convolution and the head as they are.

    Shortcuts of reals lead around binary convolutions that keep the number of channels (Z. Liu et al., "Bi-Real Net",
    ECCV 2018); signs take the place of the ReLUs. Of 88 k weights 66 k take one bit. Takes float32[N, channels, time].
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(channels, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm1d(64),
            nn.MaxPool1d(2),
            _Block(64, 64, 5),
            _Block(64, 96, 3),
            nn.MaxPool1d(2),
            _Block(96, 96, 3),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(96, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32[N, classes]."""
        logits: Tensor = self.head(self.features(x))
        return logits


class _Block(nn.Module):
    """Binary convolution and normalization, and the input on top where it has as many channels."""

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = BinaryConv1d(c_in, c_out, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm1d(c_out)
        self.shortcut = c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return x + y if self.shortcut else y
