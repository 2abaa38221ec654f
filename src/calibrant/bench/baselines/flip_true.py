"""The product's updater with true gradients: what its estimate of them costs."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibrant.artifact import Artifact
from calibrant.bench.baselines.codes import decode
from calibrant.bench.baselines.learner import BATCH, saved_bytes
from calibrant.core.evaluation import Evaluation
from calibrant.core.fmath import ERROR_ONE
from calibrant.core.settings import FlipSettings
from calibrant.quantize import FakeQuantNet
from calibrant.quantize.layers import Weighted
from calibrant.updaters.accumulated_flips import AccumulatedFlips
from calibrant.updaters.base import AdaptableEngine, Samples

BYTES_PER_PARAMETER = 8  # float32: value and gradient


class TrueFlips(AccumulatedFlips):
    """Gradients come from back-propagation through the fake-quantized network at the engine's present codes.

    Parameters
    ----------
    artifact : Artifact
    settings : FlipSettings
    net : FakeQuantNet
        What the artifact was lowered from; a copy is used.
    """

    def __init__(self, artifact: Artifact, settings: FlipSettings, net: FakeQuantNet) -> None:
        super().__init__(artifact.meaning, settings)
        self._net, self._input_shape = copy.deepcopy(net), artifact.input_shape
        self._steps = {step.name: step for step in self._net.steps if isinstance(step, Weighted)}
        self._entry = artifact.program.tensors[artifact.program.input]

    @property
    def name(self) -> str:
        """'flip-true'."""
        return "flip-true"

    def added_bytes(self, samples: int) -> int:
        """What it needs beyond the product: 8 bytes a parameter, and what the forward pass over a minibatch saves."""
        x = torch.zeros(min(samples, BATCH), *self._input_shape)
        count = sum(parameter.numel() for parameter in self._net.parameters())
        return BYTES_PER_PARAMETER * count + saved_bytes(self._net, lambda: self._net(x))

    def _slopes(
        self, engine: AdaptableEngine, state: Evaluation, samples: Samples
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Gradients of the mean loss by the real values of weights and biases."""
        self._load(state)
        x = torch.from_numpy(decode(samples.x, self._entry.scale, self._entry.zero_point, self._input_shape))
        weighted = state.error * samples.importance[:, None] / (ERROR_ONE * int(samples.importance.sum()))
        error = torch.from_numpy(weighted.astype(np.float32))
        self._net.zero_grad()
        for start in range(0, len(error), BATCH):
            rows = slice(start, start + BATCH)
            torch.autograd.backward(self._net(x[rows]), error[rows])
        weights = []
        for layer in self.program.layers:
            c_out, height, width, c_in = layer.weight_shape
            slope = _gradient(self._steps[layer.name].weight).reshape(c_out, c_in, height, width)
            weights.append(slope.transpose(0, 2, 3, 1).ravel())
        biases = [_gradient(self._steps[layer.name].bias) for layer in self.program.layers]
        return np.concatenate(weights), np.concatenate(biases)

    def _load(self, state: Evaluation) -> None:
        """Put the engine's codes into the network; a linear layer's kernel is flat there."""
        kernels = {}
        for layer in self.program.layers:
            kernel = state.parameters.weights[layer.weight_slice].reshape(layer.weight_shape).transpose(0, 3, 1, 2)
            kernels[layer.name] = kernel.reshape(layer.c_out, -1, 1, 1) if self._steps[layer.name].linear else kernel
        self._net.load_codes(
            kernels, {layer.name: state.parameters.bias[layer.channel_slice] for layer in self.program.layers}
        )


def _gradient(parameter: nn.Parameter) -> NDArray[np.float32]:
    assert parameter.grad is not None  # every parameter is in every loss
    gradient: NDArray[np.float32] = parameter.grad.numpy()
    return gradient
