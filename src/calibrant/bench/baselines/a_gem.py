"""Averaged gradient episodic memory (Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.bench.baselines.learner import tensor_bytes
from calibrant.bench.baselines.rehearsal import Rehearsal


class GradientMemory(Rehearsal):
    """Learns from the window alone, in directions that do not raise the memory's loss to first order.

    Adam gets the projected gradient, so the guarantee holds for the gradient, not for Adam's step.
    """

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy on given samples."""
        return nn.functional.cross_entropy(self.net(x), y)

    def backward(self, x: Tensor, y: Tensor) -> None:
        """Leave the window's gradient, projected against the memory's."""
        past_x, past_y = self.rehearse()
        reference = torch.autograd.grad(self.loss(past_x, past_y), self._parameters)
        gradient = torch.autograd.grad(self.loss(x, y), self._parameters)
        for parameter, part in zip(self._parameters, projected(gradient, reference), strict=True):
            parameter.grad = part

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        """As for every learner, and the reference gradient."""
        return super().added_bytes(x) + tensor_bytes(*self._parameters)


def projected(gradient: Sequence[Tensor], reference: Sequence[Tensor]) -> list[Tensor]:
    """The nearest gradient with no negative component along the reference (paper, equation 11), part by part.

    Examples
    --------
    >>> conflict = [torch.tensor([1.0, -1.0])], [torch.tensor([0.0, 2.0])]
    >>> [part.tolist() for part in projected(*conflict)]
    [[1.0, 0.0]]
    """
    along = sum(float((g * r).sum()) for g, r in zip(gradient, reference, strict=True))
    if along >= 0:
        return list(gradient)
    length = sum(float((r * r).sum()) for r in reference)
    return [g - along / length * r for g, r in zip(gradient, reference, strict=True)]
