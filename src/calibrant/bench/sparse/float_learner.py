"""Training in float32: the network behind the integers, by torch's autograd and plain SGD."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from calibrant.autodiff import Scheme
from calibrant.autodiff.selection import depthwise, select
from calibrant.bench.sparse.fit import Codes, Labels
from calibrant.bench.sparse.float_network import Twin, real
from calibrant.core.program import Constants, Program
from calibrant.plan.cut import split

_BATCH = 64


class RealLearner:
    """What the scheme trains of the integers learns here in reals, the same channels too; see `fit.Learner`.

    Parameters
    ----------
    program, constants
        The last layer is the classifier.
    scheme : Scheme
    """

    def __init__(self, program: Program, constants: Constants, scheme: Scheme) -> None:
        parts = split(program, constants, scheme)
        self._program = program
        self._frozen = None if parts.frozen is None else Twin(*parts.frozen).requires_grad_(False)
        self.twin = Twin(*parts.own).requires_grad_(False)
        self._trained = _trained(self.twin, *parts.own, parts.scheme)

    def features(self, codes: Codes) -> Tensor:
        """Real values float32[N, channels, height, width] where the part that learns begins."""
        with torch.no_grad():
            parts = [self._frozen_part(codes[start : start + _BATCH]) for start in range(0, len(codes), _BATCH)]
        return torch.cat(parts)

    def step(self, features: Tensor, y: Labels, rate: float) -> float:
        """One step of SGD on the mean loss."""
        loss = functional.cross_entropy(self.twin(features).flatten(1), torch.from_numpy(y))
        gradients = torch.autograd.grad(loss, [parameter for parameter, _ in self._trained])
        with torch.no_grad():
            for (parameter, mask), gradient in zip(self._trained, gradients, strict=True):
                parameter.sub_(gradient if mask is None else gradient * mask, alpha=rate)
        return float(loss.detach()) * len(y)

    def scores(self, features: Tensor) -> NDArray[np.float32]:
        """Logits float32[N, classes]."""
        starts = range(0, len(features), _BATCH)
        with torch.no_grad():
            parts = [self.twin(features[start : start + _BATCH]).flatten(1) for start in starts]
        made: NDArray[np.float32] = torch.cat(parts).numpy()
        return made

    def _frozen_part(self, codes: Codes) -> Tensor:
        values = real(codes, self._program)
        made: Tensor = values if self._frozen is None else self._frozen(values)
        return made


def _trained(
    twin: Twin, program: Program, constants: Constants, scheme: Scheme
) -> list[tuple[torch.nn.Parameter, Tensor | None]]:
    """Parameters that learn, each with the 0 or 1 of its channels, None for all."""
    backbone = len(program.layers) - 1
    found: list[tuple[torch.nn.Parameter, Tensor | None]] = []
    for number, layer in enumerate(program.layers):
        is_head = number == backbone and scheme.head
        if number in scheme.weights or is_head:
            channels = select(layer, constants.weights[layer.weight_slice], scheme.weights.get(number, 1.0))
            mask = None
            if channels:
                mask = torch.zeros(
                    (layer.c_out, 1, 1, 1) if depthwise(layer) else (1, layer.c_in // layer.groups, 1, 1)
                )
                mask.view(-1)[list(channels)] = 1.0
            found.append((twin.weights[number].requires_grad_(), mask))
        if is_head or (number < backbone and scheme.trains_bias(number, backbone)):
            found.append((twin.biases[number].requires_grad_(), None))
    return found
