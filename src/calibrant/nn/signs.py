"""Signs with gradients, and the two operators that a binary layer is to `torch.export`: one node a layer.

`sign(x)` is -1 where x < 0, else 1. What counts as its slope is an estimator's choice (docs/numerics.md, Signs).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "straight": lambda x: (x.abs() <= 1).to(x.dtype),
    "approximate": lambda x: 2 * (1 - x.abs()).clamp(min=0),
}


def sign(x: Tensor) -> Tensor:
    """-1 where `x` < 0, else 1; without a gradient."""
    return torch.where(x < 0, -1.0, 1.0)


class _WeightSign(torch.autograd.Function):
    """Sign of latent weights; the gradient passes where |w| <= 1."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        ctx.save_for_backward(w)
        return sign(w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (w,) = ctx.saved_tensors
        return grads[0] * SLOPES["straight"](w)


def weight_signs(w: Tensor) -> Tensor:
    """Signs of latent weights, straight-through."""
    signs: Tensor = _WeightSign.apply(w)  # type: ignore[no-untyped-call]
    return signs


def _padded(signs: Tensor, padding: Sequence[int]) -> Tensor:
    """One around it: [left, right] for series, [left, right, top, bottom] for images, as torch pads."""
    return F.pad(signs, list(padding), value=1.0) if any(padding) else signs


def _convolved(signs: Tensor, w: Tensor, bias: Tensor | None, stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    convolve: Callable[..., Tensor] = F.conv1d if w.ndim == 3 else F.conv2d
    return convolve(signs, w, bias, stride=list(stride), dilation=list(dilation))


@torch.library.custom_op("calibrant::binary_conv", mutates_args=())
def binary_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    slope: str,
) -> Tensor:
    """Convolution of the signs of `x`, with +1 around them, by `weight`; `slope` names the estimator of SLOPES."""
    return _convolved(_padded(sign(x), padding), weight, bias, stride, dilation)


@binary_conv.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    slope: str,
) -> Tensor:
    return _convolved(_padded(x, padding), weight, bias, stride, dilation)


def _conv_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.stride, ctx.padding, ctx.dilation, ctx.slope = inputs
    ctx.bias = None if bias is None else list(bias.shape)
    ctx.save_for_backward(x, weight)


def _conv_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    signs, none = _padded(sign(x), ctx.padding), [0] * (weight.ndim - 2)
    wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.bias is not None]
    to_signs, to_weight, to_bias = torch.ops.aten.convolution_backward(
        grad, signs, weight, ctx.bias, ctx.stride, none, ctx.dilation, False, none, 1, wanted
    )
    if to_signs is not None:
        inner = F.pad(to_signs, [-n for n in ctx.padding]) if any(ctx.padding) else to_signs
        to_signs = inner * SLOPES[ctx.slope](x)
    return to_signs, to_weight, to_bias, None, None, None, None


binary_conv.register_autograd(_conv_backward, setup_context=_conv_setup)


@torch.library.custom_op("calibrant::binary_linear", mutates_args=())
def binary_linear(x: Tensor, weight: Tensor, bias: Tensor | None, slope: str) -> Tensor:
    """Products of the signs of `x` [N, features] and `weight`; `slope` as in :func:`binary_conv`."""
    return F.linear(sign(x), weight, bias)


@binary_linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, slope: str) -> Tensor:
    return F.linear(x, weight, bias)


def _linear_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, ctx.slope = inputs
    ctx.biased = bias is not None
    ctx.save_for_backward(x, weight)


def _linear_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    to_x = (grad @ weight) * SLOPES[ctx.slope](x) if ctx.needs_input_grad[0] else None
    to_weight = grad.T @ sign(x) if ctx.needs_input_grad[1] else None
    return to_x, to_weight, grad.sum(0) if ctx.biased else None, None


binary_linear.register_autograd(_linear_backward, setup_context=_linear_setup)
