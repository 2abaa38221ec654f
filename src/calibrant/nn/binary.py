"""Layers of signs: a sum of products of -1 and 1, one bit a weight and one a value, trained through latent weights."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from calibrant.core.errors import ModelError, check_known
from calibrant.nn import signs

Sizes: TypeAlias = int | tuple[int, ...]
Slope: TypeAlias = Literal["straight", "approximate"]
Scale: TypeAlias = Literal["none", "magnitude"]
SCALES = ("none", "magnitude")


class _Binary(nn.Module):
    """What binary layers share: latent weights, and the signs that stand for them.

    Parameters
    ----------
    shape : tuple of int
        Of the weights, outputs first.
    bias : bool
    slope : {'straight', 'approximate'}
        What counts as the slope of an input's sign: 1 where |x| <= 1 (M. Courbariaux et al., 2016), or 2 - 2|x| there
        (Z. Liu et al., "Bi-Real Net", ECCV 2018).
    scale : {'none', 'magnitude'}
        What an output channel's signs are multiplied by: nothing, or the mean magnitude of its latent weights, through
        which no gradient passes (ibid., magnitude-aware).

    Raises
    ------
    ModelError
        An unknown estimator, or a size below 1.
    """

    def __init__(self, shape: tuple[int, ...], bias: bool, slope: Slope, scale: Scale) -> None:
        super().__init__()
        check_known("slope", slope, tuple(signs.SLOPES), ModelError)
        check_known("scale", scale, SCALES, ModelError)
        if min(shape) < 1:
            raise ModelError(f"{type(self).__name__}: expected sizes of at least 1, got weights of {list(shape)}")
        self.slope, self.scale = slope, scale
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        bound = math.sqrt(3 / math.prod(shape[1:]))
        nn.init.uniform_(self.weight, -bound, bound)

    def signs(self) -> Tensor:
        """The weights in force: -1 and 1, or these times a magnitude per output channel; sign(0) is 1."""
        found = signs.weight_signs(self.weight)
        if self.scale == "none":
            return found
        return found * self.weight.detach().abs().mean(dim=tuple(range(1, self.weight.ndim)), keepdim=True)

    def extra_repr(self) -> str:
        """Shape of the weights and the estimators."""
        return f"{list(self.weight.shape)}, slope={self.slope}, scale={self.scale}"


class _BinaryConv(_Binary):
    """A convolution over `sides` dimensions; parameters as of torch's, groups are not to be had."""

    sides = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | Literal["same"] = 0,
        dilation: Sizes = 1,
        bias: bool = False,
        slope: Slope = "approximate",
        scale: Scale = "magnitude",
    ) -> None:
        kernel = self._sides(kernel_size)
        super().__init__((out_channels, in_channels, *kernel), bias, slope, scale)
        self.stride, self.dilation = self._sides(stride), self._sides(dilation)
        if padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, kernel, strict=True)]
            widths = [(total // 2, total - total // 2) for total in totals]  # torch puts the odd position at the end
        else:
            widths = [(n, n) for n in self._sides(padding)]
        if min(n for pair in widths for n in pair) < 0 or min(*self.stride, *self.dilation) < 1:
            raise ModelError(f"{type(self).__name__}: expected padding of at least 0, stride and dilation of at least "
                             f"1, got {padding}, {stride} and {dilation}")  # fmt: skip
        if padding == "same" and max(self.stride) > 1:
            raise ModelError(f"{type(self).__name__}: expected stride 1 with padding 'same', got {stride}")
        self.padding = [n for pair in reversed(widths) for n in pair]  # as F.pad has it, the last side first

    def forward(self, x: Tensor) -> Tensor:
        """float32[N, out_channels, ...] of the signs of `x` float32[N, in_channels, ...], with +1 around them."""
        y: Tensor = signs.binary_conv(
            x, self.signs(), self.bias, list(self.stride), self.padding, list(self.dilation), self.slope
        )
        return y

    def _sides(self, given: Sizes) -> tuple[int, ...]:
        sizes = (given,) * self.sides if isinstance(given, int) else tuple(given)
        if len(sizes) != self.sides:
            raise ModelError(f"{type(self).__name__}: expected {self.sides} size(s), got {list(sizes)}")
        return sizes


class BinaryConv1d(_BinaryConv):
    """Binary convolution of a series, in place of `torch.nn.Conv1d`; put batch normalization behind it.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, bias
        As of `torch.nn.Conv1d`; padding is with +1, 'same' or a number.
    slope : {'approximate', 'straight'}
        Estimator of the input's signs.
    scale : {'magnitude', 'none'}
        Estimator of the weights.

    Examples
    --------
    >>> layer = BinaryConv1d(2, 3, 5, padding="same", scale="none")
    >>> sorted(set(layer(torch.randn(1, 2, 8)).flatten().int().abs().tolist())) <= [0, 2, 4, 6, 8, 10]
    True
    """


class BinaryConv2d(_BinaryConv):
    """Binary convolution of an image, in place of `torch.nn.Conv2d`; see :class:`BinaryConv1d`.

    Examples
    --------
    >>> tuple(BinaryConv2d(2, 3, 3, stride=2, padding=1)(torch.zeros(1, 2, 8, 8)).shape)
    (1, 3, 4, 4)
    """

    sides = 2


class BinaryLinear(_Binary):
    """Binary fully connected layer, in place of `torch.nn.Linear`; see :class:`BinaryConv1d`.

    Examples
    --------
    >>> layer = BinaryLinear(4, 2, scale="none")
    >>> bool((layer(torch.ones(1, 4)) == layer.signs().sum(1)).all())
    True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        slope: Slope = "approximate",
        scale: Scale = "magnitude",
    ) -> None:
        super().__init__((out_features, in_features), bias, slope, scale)

    def forward(self, x: Tensor) -> Tensor:
        """float32[N, out_features] of the signs of `x` float32[N, in_features]."""
        y: Tensor = signs.binary_linear(x, self.signs(), self.bias, self.slope)
        return y
