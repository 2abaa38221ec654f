"""Omni-scale CNN for time series: kernels of prime length, so that two layers together see every scale.

References
----------
W. Tang, G. Long, L. Liu, T. Zhou, M. Blumenstein, J. Jiang, "Omni-Scale CNNs: a simple and effective kernel size
configuration for time series classification", ICLR 2022, section 3: kernel lengths 1, 2, 3, 5, 7, ... up to a limit in
the first two layers, 1 and 2 in the third. By Goldbach's conjecture the sums of two primes reach every even length, and
the third layer adds the odd ones. A budget of weights a layer, not a channel count, sets the width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LONGEST_KERNEL = 89  # the published limit; a quarter of the series where that is less
BUDGETS = (16_384, 65_536, 24_576)  # weights of the three layers
LAST_KERNELS = (1, 2)


def kernel_lengths(limit: int) -> tuple[int, ...]:
    """1 and the primes up to `limit`; 1 and 2 for smaller limits.

    Examples
    --------
    >>> kernel_lengths(13)
    (1, 2, 3, 5, 7, 11, 13)
    """
    primes = [n for n in range(2, max(limit, 2) + 1) if all(n % k for k in range(2, int(n**0.5) + 1))]
    return 1, *primes


class OmniScaleLayer(nn.Module):
    """One convolution a kernel length, all over the same input and of the input's length; joined, normalized, relu.

    Each branch gets the same number of channels: what `budget` weights allow, at least one.
    """

    def __init__(self, c_in: int, kernels: Sequence[int], budget: int) -> None:
        super().__init__()
        each = max(1, budget // (c_in * sum(kernels)))
        self.branches = nn.ModuleList(_branch(c_in, each, k) for k in kernels)
        self.width = each * len(kernels)
        self.norm = nn.BatchNorm1d(self.width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(torch.cat([branch(x) for branch in self.branches], dim=1)))


class OmniScaleCNN(nn.Module):
    """Three omni-scale layers, global mean, linear. Takes float32[N, channels, length].

    On 45 channels of 125 steps with 19 classes: twelve kernel lengths up to 31, layers of 24, 192 and 84 channels,
    102,721 parameters, 12.6 M multiply-accumulates. The published budgets (1,024 and 229,376, the third layer's width
    following from the first) give 12, 1,416 and 144 channels and five times the work; with these it trains in a minute
    on one core.
    """

    def __init__(self, channels: int, classes: int, length: int, budgets: tuple[int, int, int] = BUDGETS) -> None:
        super().__init__()
        kernels = kernel_lengths(min(length // 4, LONGEST_KERNEL))
        layers, width = [], channels
        for lengths, budget in zip((kernels, kernels, LAST_KERNELS), budgets, strict=True):
            layers.append(OmniScaleLayer(width, lengths, budget))
            width = layers[-1].width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32[N, classes]."""
        logits: Tensor = self.head(self.layers(x).mean(dim=-1))
        return logits


def _branch(c_in: int, c_out: int, kernel: int) -> nn.Module:
    """A convolution that keeps the length; an even kernel (only 2 is) reaches one step further ahead than back."""
    conv = nn.Conv1d(c_in, c_out, kernel, padding=(kernel - 1) // 2, bias=False)
    return conv if kernel % 2 else nn.Sequential(nn.ConstantPad1d((0, 1), 0.0), conv)
