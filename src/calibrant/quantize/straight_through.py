"""Rounding with straight-through gradients. Activations are integers held in float32, exact below 2^24."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def _round_half_away(v: Tensor, low: float) -> Tensor:
    """Round in place; if nothing below `low` >= 0 survives the clamp, floor(v + 1/2) does the same in fewer passes."""
    if low >= 0:
        return v.add_(0.5).floor_()
    return v.add_(torch.copysign(v.new_tensor(0.5), v)).trunc_()


class _Requantize(torch.autograd.Function):
    """clamp(round(x * factor), low, high); the gradient passes where x * factor lies within the clamp."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, low: float, high: float) -> Tensor:
        v = x * factor
        ctx.factor = factor
        if x.requires_grad:
            ctx.save_for_backward((v >= low) & (v <= high))
        return _round_half_away(v, low).clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return (grads[0] * inside).mul_(ctx.factor), None, None, None


class _RoundInput(torch.autograd.Function):
    """clamp(round(x / scale), low, high), half to even; the gradient passes where x / scale lies within the clamp."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, low: float, high: float) -> Tensor:
        v = x / scale
        ctx.scale = scale
        if x.requires_grad:
            ctx.save_for_backward((v >= low) & (v <= high))
        return v.round_().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return (grads[0] * inside).div_(ctx.scale), None, None, None


class _DivideRound(torch.autograd.Function):
    """round(total / count), half away from zero; the gradient is that of the division."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, count: Tensor) -> Tensor:
        ctx.save_for_backward(count)
        return _round_half_away(total / count, -1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (count,) = ctx.saved_tensors
        return grads[0] / count, None


class _RoundCodes(torch.autograd.Function):
    """clamp(round(v), -limit, limit), half to even, for latent weights and biases in code units.

    The gradient passes within the range and, beyond it, where descent would move back inside: a latent that was
    pushed over the edge is not lost.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.limit = limit
        return torch.round(v).clamp_(-limit, limit)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (v,) = ctx.saved_tensors
        return grads[0] * ((v.abs() <= ctx.limit + 0.5) | (grads[0] * v > 0)), None


class _Sign(torch.autograd.Function):
    """-1 where x < 0, else 1; the gradient passes where |x| <= reach."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, reach: float) -> Tensor:
        if x.requires_grad:
            ctx.save_for_backward(x.abs() <= reach)
        return torch.where(x < 0, -1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None


def requantize(x: Tensor, factor: float, low: float, high: float) -> Tensor:
    """clamp(round(x * factor), low, high) with straight-through gradient, half away from zero."""
    return cast(Tensor, _Requantize.apply(x, factor, low, high))  # type: ignore[no-untyped-call]


def divide_round(total: Tensor, count: Tensor) -> Tensor:
    """round(total / count) with straight-through gradient, half away from zero."""
    return cast(Tensor, _DivideRound.apply(total, count))  # type: ignore[no-untyped-call]


def round_codes(v: Tensor, limit: float) -> Tensor:
    """clamp(round(v), -limit, limit) with straight-through gradient, half to even."""
    return cast(Tensor, _RoundCodes.apply(v, limit))  # type: ignore[no-untyped-call]


def round_input(x: Tensor, scale: float, low: float, high: float) -> Tensor:
    """clamp(round(x / scale), low, high), half to even as `QParams.quantize`; gradient as of :func:`requantize`."""
    return cast(Tensor, _RoundInput.apply(x, scale, low, high))  # type: ignore[no-untyped-call]


def sign(x: Tensor, reach: float) -> Tensor:
    """-1 where `x` < 0, else 1, with straight-through gradient where |x| <= reach."""
    return cast(Tensor, _Sign.apply(x, reach))  # type: ignore[no-untyped-call]
