"""VGG-16 with batch normalization for small images.

References
----------
K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015, table 1,
configuration D. Batch normalization replaces dropout; for 32x32 images the map is 1x1 after the fifth pool, so the two
hidden linear layers are as wide as the last convolution instead of 4096.
"""

from __future__ import annotations

from torch import Tensor, nn

STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # (width factor, convolutions) before each max-pool


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions in five stages with a max-pool after each, global mean, three linear layers.

    Takes float32[N, channels, height, width] with sides of at least 32. On 32x32 pixels: 15.3 M parameters and 314 M
    multiply-accumulates at width 64, 1.0 M and 20 M at width 16.
    """

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c_in = channels
        for factor, count in STAGES:
            for _ in range(count):
                layers += [nn.Conv2d(c_in, factor * width, 3, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(factor * width), nn.ReLU()]
                c_in = factor * width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential(*_hidden(c_in), *_hidden(c_in), nn.Linear(c_in, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32[N, classes]."""
        logits: Tensor = self.head(self.pool(self.features(x)))
        return logits


def _hidden(width: int) -> list[nn.Module]:
    return [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
